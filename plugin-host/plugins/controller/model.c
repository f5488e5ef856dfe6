/*
 * What is known as facts of the host: see controller.h.
 *
 * Each allocation has a worker of its own in the model, named as the
 * controller names it (should two have the same one, the second's has its id
 * behind the name): what is believed of an allocation is the state of its
 * worker, READY or STARTING.
 */

#include <stdio.h>
#include <string.h>

#include "controller.h"


typedef struct {
    ctl_t            *ctl;
    bk_alloc_info_t  *allocs;
    size_t            n;
    size_t            room;
} ctl_inherit_t;


static int ctl_model_collect(const bk_alloc_info_t *alloc, void *data);
static void ctl_model_inherit(ctl_t *ctl, const bk_alloc_info_t *alloc);
static char *ctl_model_copy(const void *data, size_t len);
static int ctl_model_worker(ctl_row_t *row, const ctl_answer_t *answer,
    bk_err_t *err);
static int ctl_model_same(bk_str_t a, const char *b);
static void ctl_model_name(const ctl_row_t *row, const char *worker,
    char *buf, size_t size);
static int ctl_model_say(ctl_t *ctl, const char *name, const char *endpoint,
    const char *tls_name, const char *message, int state, bk_err_t *err);
static void ctl_model_delete(ctl_t *ctl, const char *name);


/*
 * What an earlier run left in the table is this plugin's again.  Its tokens
 * are not known here: live connections go on, new ones bring them.
 */

int
ctl_model_start(ctl_t *ctl, bk_err_t *err)
{
    size_t           i;
    ctl_inherit_t    in = { ctl, NULL, 0, 0 };
    bk_pool_info_t   pool = { ctl_pool(ctl), 1 };

    ctl->host->snapshot_begin(ctl->host);

    if (ctl->host->pool_put(ctl->host, &pool, err) != 0) {
        return -1;
    }

    (void) ctl->host->alloc_each(ctl->host, ctl_pool(ctl), ctl_model_collect,
                                 &in);

    for (i = 0; i < in.n; i++) {
        ctl_model_inherit(ctl, &in.allocs[i]);
        free((char *) in.allocs[i].hash);
        free((char *) in.allocs[i].key_hash);
        free((char *) in.allocs[i].worker.data);
        free((char *) in.allocs[i].reason.data);
    }

    free(in.allocs);
    ctl->host->snapshot_commit(ctl->host);

    return 0;
}


/* The model changes in the walk: copies. */

static int
ctl_model_collect(const bk_alloc_info_t *alloc, void *data)
{
    ctl_inherit_t    *in = data;
    bk_alloc_info_t  *a;

    if (bk_alloc_ended(alloc->state) || in->n == CTL_ROWS_MAX) {
        return 0;
    }

    if (in->n == in->room) {
        in->room = in->room == 0 ? 64 : 2 * in->room;
        in->allocs = realloc(in->allocs, in->room * sizeof(bk_alloc_info_t));
        if (in->allocs == NULL) {
            abort();
        }
    }

    a = &in->allocs[in->n++];
    *a = *alloc;
    a->pool = ctl_pool(in->ctl);
    a->hash = (const uint8_t *) ctl_model_copy(alloc->hash,
                                               BK_LOOKUP_HASH_LEN);
    a->worker.data = ctl_model_copy(alloc->worker.data, alloc->worker.len);
    a->reason.data = ctl_model_copy(alloc->reason.data, alloc->reason.len);

    if (alloc->key_hash != NULL) {
        a->key_hash = (const uint8_t *) ctl_model_copy(alloc->key_hash,
                                                       BK_LOOKUP_HASH_LEN);
    }

    return 0;
}


static char *
ctl_model_copy(const void *data, size_t len)
{
    char  *copy;

    copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }

    if (len > 0) {
        memcpy(copy, data, len);
    }

    copy[len] = '\0';

    return copy;
}


static void
ctl_model_inherit(ctl_t *ctl, const bk_alloc_info_t *alloc)
{
    char              endpoint[CTL_ENDPOINT_MAX + 1];
    char              tls_name[CTL_NAME_MAX + 1];
    bk_err_t          err;
    bk_alloc_info_t   a = *alloc;
    bk_worker_info_t  w;

    if (a.worker.len > 0) {
        if (ctl->host->worker_find(ctl->host, a.pool, a.worker, &w) != 0) {
            return;
        }

        snprintf(endpoint, sizeof(endpoint), "%.*s", (int) w.endpoint.len,
                 w.endpoint.data);
        snprintf(tls_name, sizeof(tls_name), "%.*s", (int) w.tls_name.len,
                 w.tls_name.data);

        if (ctl_model_say(ctl, a.worker.data, endpoint, tls_name,
                          "the controller is asked about it again",
                          BK_WORKER_STARTING, &err) != 0)
        {
            ctl->host->log(ctl->host, BK_LOG_WARN, "worker %s of an earlier "
                           "run: %s", a.worker.data, err.text);
            return;
        }

        a.state = BK_ALLOC_STARTING;

    } else {
        a.state = BK_ALLOC_QUEUED;
    }

    if (ctl->host->alloc_put(ctl->host, &a, &err) != 0) {
        ctl->host->log(ctl->host, BK_LOG_WARN, "an allocation of an earlier "
                       "run: %s", err.text);
        return;
    }

    ctl_row_inherit(ctl, &a);
}


int
ctl_model_put(ctl_row_t *row, const ctl_answer_t *answer, bk_err_t *err)
{
    char              old[CTL_NAME_MAX + 1];
    ctl_t            *ctl = row->ctl;
    bk_alloc_info_t   a;

    snprintf(old, sizeof(old), "%s", row->worker);

    if (ctl_model_worker(row, answer, err) != 0) {
        return -1;
    }

    memset(&a, 0, sizeof(a));
    a.hash = row->hash;
    a.pool = ctl_pool(ctl);
    a.worker = CTL_STR(row->worker);
    a.reason = CTL_STR(answer->text);
    a.state = answer->state;
    a.expires_ms = answer->expires_ms != 0 ? answer->expires_ms
                                           : row->not_after_ms;

    if (ctl->host->alloc_put(ctl->host, &a, err) != 0) {
        if (!row->in_model) {
            ctl_model_delete(ctl, row->worker);
            row->worker[0] = '\0';
        }

        row->fresh = 0;
        return -1;
    }

    row->in_model = 1;
    row->renewable = answer->expires_ms != 0;
    row->fresh = answer->state == BK_ALLOC_READY
                 || answer->state == BK_ALLOC_DRAINING;

    if (old[0] != '\0' && strcmp(old, row->worker) != 0) {
        ctl_model_delete(ctl, old);
    }

    return 0;
}


/* Sets row->worker; there is none while it is queued. */

static int
ctl_model_worker(ctl_row_t *row, const ctl_answer_t *answer, bk_err_t *err)
{
    int                state;
    char               name[CTL_NAME_MAX + 1], tls_name[CTL_NAME_MAX + 1];
    ctl_t             *ctl = row->ctl;
    const char        *tls = answer->tls_name;
    bk_worker_info_t   w;

    if (answer->worker[0] == '\0') {
        row->worker[0] = '\0';
        return 0;
    }

    if (tls[0] == '\0') {
        tls = tls_name;

        if (ctl_model_tls_name(ctl->conf.tls_name, ctl->conf.pool,
                               answer->worker, tls_name, sizeof(tls_name))
            != 0)
        {
            return bk_err_set(err, 500, "BadTlsName", "the name of the worker "
                              "is too long for a TLS name");
        }
    }

    ctl_model_name(row, answer->worker, name, sizeof(name));

    state = answer->state == BK_ALLOC_READY
            || answer->state == BK_ALLOC_DRAINING
            ? BK_WORKER_READY : BK_WORKER_STARTING;

    /* another address is another worker, and would end the allocation if it
     * were said of one that is READY */

    if (ctl->host->worker_find(ctl->host, ctl_pool(ctl), CTL_STR(name), &w)
           == 0
        && w.state == BK_WORKER_READY
        && (!ctl_model_same(w.endpoint, answer->endpoint)
            || !ctl_model_same(w.tls_name, tls))
        && ctl_model_say(ctl, name, answer->endpoint, tls, "",
                         BK_WORKER_STARTING, err) != 0)
    {
        return -1;
    }

    if (ctl_model_say(ctl, name, answer->endpoint, tls, answer->text, state,
                      err) != 0)
    {
        return -1;
    }

    snprintf(row->worker, sizeof(row->worker), "%s", name);

    return 0;
}


static int
ctl_model_same(bk_str_t a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.data, b, a.len) == 0;
}


static void
ctl_model_name(const ctl_row_t *row, const char *worker, char *buf,
    size_t size)
{
    size_t             len = strlen(worker);
    ctl_t             *ctl = row->ctl;
    bk_worker_info_t   w;

    snprintf(buf, size, "%s", worker);

    if (strcmp(row->worker, worker) == 0
        || ctl->host->worker_find(ctl->host, ctl_pool(ctl), CTL_STR(buf), &w)
           != 0)
    {
        return;
    }

    if (len > size - CTL_ID_LEN - 2) {
        len = size - CTL_ID_LEN - 2;
    }

    snprintf(buf, size, "%.*s.%s", (int) len, worker, row->id);
}


void
ctl_model_stale(ctl_row_t *row, const char *why)
{
    char               endpoint[CTL_ENDPOINT_MAX + 1];
    char               tls_name[CTL_NAME_MAX + 1];
    ctl_t             *ctl = row->ctl;
    bk_err_t           err;
    bk_worker_info_t   w;

    if (!row->fresh) {
        return;
    }

    row->fresh = 0;

    if (ctl->host->worker_find(ctl->host, ctl_pool(ctl),
                               CTL_STR(row->worker), &w) != 0)
    {
        return;
    }

    snprintf(endpoint, sizeof(endpoint), "%.*s", (int) w.endpoint.len,
             w.endpoint.data);
    snprintf(tls_name, sizeof(tls_name), "%.*s", (int) w.tls_name.len,
             w.tls_name.data);

    if (ctl_model_say(ctl, row->worker, endpoint, tls_name, why,
                      BK_WORKER_STARTING, &err) != 0)
    {
        ctl->host->log(ctl->host, BK_LOG_ERROR, "worker %s: %s", row->worker,
                       err.text);
    }
}


void
ctl_model_end(ctl_row_t *row, const ctl_answer_t *answer)
{
    int               rc;
    ctl_t            *ctl = row->ctl;
    bk_err_t          err;
    bk_alloc_info_t   a;

    row->fresh = 0;
    row->own_end = 1;

    if (row->in_model) {
        rc = ctl->host->alloc_end(ctl->host, row->hash, answer->state,
                                  CTL_STR(answer->text), &err);

    } else {
        memset(&a, 0, sizeof(a));
        a.hash = row->hash;
        a.pool = ctl_pool(ctl);
        a.reason = CTL_STR(answer->text);
        a.state = answer->state;
        a.expires_ms = row->not_after_ms;

        rc = ctl->host->alloc_put(ctl->host, &a, &err);
        row->in_model = rc == 0;
    }

    if (rc != 0) {
        ctl->host->log(ctl->host, BK_LOG_ERROR, "allocation %s: %s", row->id,
                       err.text);
    }
}


void
ctl_model_forget(ctl_row_t *row)
{
    row->own_end = 1;
    ctl_model_delete(row->ctl, row->worker);
}


static int
ctl_model_say(ctl_t *ctl, const char *name, const char *endpoint,
    const char *tls_name, const char *message, int state, bk_err_t *err)
{
    bk_worker_info_t  w;

    memset(&w, 0, sizeof(w));
    w.pool = ctl_pool(ctl);
    w.name = CTL_STR(name);
    w.endpoint = CTL_STR(endpoint);
    w.tls_name = CTL_STR(tls_name);
    w.message = CTL_STR(message);
    w.state = state;

    return ctl->host->worker_put(ctl->host, &w, err);
}


static void
ctl_model_delete(ctl_t *ctl, const char *name)
{
    if (name[0] != '\0') {
        (void) ctl->host->worker_delete(ctl->host, ctl_pool(ctl),
                                        CTL_STR(name), NULL);
    }
}


int
ctl_model_tls_name(const char *pattern, const char *pool, const char *worker,
    char *buf, size_t size)
{
    int          len;
    size_t       n = 0;
    const char  *slash = strchr(pool, '/');

    while (*pattern != '\0') {

        if (strncmp(pattern, "{namespace}", 11) == 0) {
            len = snprintf(buf + n, size - n, "%.*s", (int) (slash - pool),
                           pool);
            pattern += 11;

        } else if (strncmp(pattern, "{pool}", 6) == 0) {
            len = snprintf(buf + n, size - n, "%s", slash + 1);
            pattern += 6;

        } else if (strncmp(pattern, "{worker}", 8) == 0) {
            len = snprintf(buf + n, size - n, "%s", worker);
            pattern += 8;

        } else {
            len = snprintf(buf + n, size - n, "%c", *pattern++);
        }

        n += (size_t) len;

        if (n >= size) {
            return -1;
        }
    }

    buf[n] = '\0';

    return 0;
}
