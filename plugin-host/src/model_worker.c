/*
 * Facts about workers: see model.h.  A worker carries its allocations along:
 * what its new state means for them is decided here and nowhere else.
 */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "model_int.h"


static int bk_model_worker_fill(bk_table_worker_data_t *data,
    const bk_worker_info_t *info, bk_err_t *err);
static int bk_model_worker_addr(bk_table_worker_data_t *data, bk_str_t s,
    bk_err_t *err);
static int bk_model_worker_name_ok(bk_str_t name);
static size_t bk_model_worker_text(char *dst, size_t size, bk_str_t s);
static int bk_model_worker_moved(const bk_table_worker_data_t *was,
    const bk_table_worker_data_t *is);
static void bk_model_worker_carry(bk_model_t *m, bk_worker_t *w,
    int old_state, int moved);


int
bk_model_worker_put(bk_model_t *m, const void *owner,
    const bk_worker_info_t *info, bk_err_t *err)
{
    int                      is_new, moved, old_state;
    bk_pool_t               *p;
    bk_owner_t              *o = bk_model_owner(m, owner);
    bk_worker_t             *w;
    bk_table_worker_data_t   data;

    p = bk_model_pool_get(m, info->pool);
    if (p == NULL) {
        return bk_err_set(err, 404, "PoolNotFound", "there is no pool %.*s",
                          (int) info->pool.len, info->pool.data);
    }

    if (bk_model_worker_fill(&data, info, err) != 0) {
        return -1;
    }

    data.pool = p->ref;

    w = bk_model_worker_get(p, info->name);
    is_new = (w == NULL);

    if (is_new) {
        w = bk_model_worker_make(p, info->name.data, info->name.len);

    } else if (bk_model_may(o, w->owner, "the worker", err) != 0) {
        return -1;
    }

    data.gen = w->data.gen;

    if (!is_new && memcmp(&data, &w->data, sizeof(data)) == 0) {
        w->owner = o;
        w->mark = o->mark;
        return 0;
    }

    old_state = w->data.state;
    moved = !is_new && bk_model_worker_moved(&w->data, &data);

    bk_model_enter(m);

    /* before the table says the new address: no byte may go there for them */
    if (moved) {
        bk_model_worker_carry(m, w, old_state, 1);
    }

    if (bk_table_worker_put(m->table, &data, &w->ref, err) != 0) {
        if (is_new) {
            HASH_DEL(p->workers, w);
            bk_model_worker_unref(w);
        }

        bk_model_leave(m);
        return -1;
    }

    w->data = data;
    w->owner = o;
    w->mark = o->mark;
    bk_model_worker_endpoint(&data, w->endpoint, sizeof(w->endpoint));

    bk_model_note(m, NULL, w, NULL, old_state, 0);
    bk_model_worker_carry(m, w, old_state, 0);
    bk_model_leave(m);

    return 0;
}


int
bk_model_worker_delete(bk_model_t *m, const void *owner, bk_str_t pool,
    bk_str_t name, bk_err_t *err)
{
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w = p != NULL ? bk_model_worker_get(p, name) : NULL;

    if (w == NULL) {
        return bk_err_set(err, 404, "WorkerNotFound",
                          "there is no worker %.*s in pool %.*s",
                          (int) name.len, name.data, (int) pool.len,
                          pool.data);
    }

    if (bk_model_may(bk_model_owner(m, owner), w->owner, "the worker", err)
        != 0)
    {
        return -1;
    }

    bk_model_enter(m);
    bk_model_worker_remove(m, w, NULL);
    bk_model_leave(m);

    return 0;
}


int
bk_model_worker_want(bk_model_t *m, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err)
{
    int           was;
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w = p != NULL ? bk_model_worker_get(p, name) : NULL;

    if (w == NULL) {
        return bk_err_set(err, 404, "WorkerNotFound",
                          "there is no worker %.*s in pool %.*s",
                          (int) name.len, name.data, (int) pool.len,
                          pool.data);
    }

    if (w->owner == NULL || m->conf.want == NULL) {
        return bk_err_set(err, 503, "NoOwner", "no plugin has claimed worker "
                          "%.*s so far", (int) name.len, name.data);
    }

    was = w->wanted;
    w->wanted = wanted ? 1 : 0;
    w->refs++;

    if (m->conf.want(w->owner->id, pool, name, wanted, err, m->conf.data)
        != 0)
    {
        w->wanted = (uint8_t) was;
        bk_model_worker_unref(w);
        return -1;
    }

    bk_model_worker_unref(w);

    return 0;
}


bk_worker_t *
bk_model_worker_get(const bk_pool_t *p, bk_str_t name)
{
    bk_worker_t  *w;

    if (name.len == 0) {
        return NULL;
    }

    HASH_FIND(hh, p->workers, name.data, name.len, w);

    return w;
}


bk_worker_t *
bk_model_worker_make(bk_pool_t *p, const char *name, size_t len)
{
    bk_worker_t  *w;

    w = calloc(1, sizeof(bk_worker_t));
    if (w == NULL) {
        abort();
    }

    memcpy(w->data.name, name, len);
    w->data.name_len = (uint16_t) len;
    w->ref.index = BK_TABLE_NONE;
    w->refs = 1;
    w->pool = p;
    p->refs++;

    HASH_ADD_KEYPTR(hh, p->workers, w->data.name, len, w);

    return w;
}


/* why: NULL: what the worker said last, if it failed. */

void
bk_model_worker_remove(bk_model_t *m, bk_worker_t *w, const char *why)
{
    int          state = w->data.state;
    bk_alloc_t  *a;

    if (why == NULL) {
        why = state == BK_WORKER_FAILED && w->data.message_len
              ? w->data.message : "its worker was removed";
    }

    while ((a = w->allocs) != NULL) {
        bk_model_alloc_finish(m, a, BK_ALLOC_FAILED, why);
    }

    bk_table_worker_delete(m->table, w->ref);
    bk_model_note(m, NULL, w, NULL, state, 1);

    HASH_DEL(w->pool->workers, w);
    w->gone = 1;
    bk_model_worker_unref(w);
}


void
bk_model_worker_unref(bk_worker_t *w)
{
    if (--w->refs == 0) {
        bk_model_pool_unref(w->pool);
        free(w);
    }
}


void
bk_model_worker_info(const bk_worker_t *w, bk_worker_info_t *out)
{
    const bk_table_worker_data_t  *d = &w->data;

    memset(out, 0, sizeof(bk_worker_info_t));
    out->pool = (bk_str_t) { w->pool->name, w->pool->name_len };
    out->name = (bk_str_t) { d->name, d->name_len };
    out->endpoint = (bk_str_t) { w->endpoint, strlen(w->endpoint) };
    out->tls_name = (bk_str_t) { d->tls_name, d->tls_name_len };
    out->arch = (bk_str_t) { d->arch, d->arch_len };
    out->message = (bk_str_t) { d->message, d->message_len };
    out->state = d->state;
    out->allocations = w->live;
    out->wanted = w->wanted;
}


void
bk_model_worker_endpoint(const bk_table_worker_data_t *d, char *buf,
    size_t size)
{
    char  addr[INET6_ADDRSTRLEN];

    buf[0] = '\0';

    if (d->port == 0) {
        return;
    }

    if (d->family == BK_TABLE_INET6) {
        inet_ntop(AF_INET6, d->addr, addr, sizeof(addr));
        snprintf(buf, size, "[%s]:%u", addr, d->port);

    } else {
        inet_ntop(AF_INET, d->addr, addr, sizeof(addr));
        snprintf(buf, size, "%s:%u", addr, d->port);
    }
}


static int
bk_model_worker_fill(bk_table_worker_data_t *data,
    const bk_worker_info_t *info, bk_err_t *err)
{
    int  up;

    memset(data, 0, sizeof(bk_table_worker_data_t));

    if (!bk_model_worker_name_ok(info->name)) {
        return bk_err_set(err, 400, "BadWorkerName", "a worker's name is 1 to "
                          "253 letters, digits, '-', '_' and '.'");
    }

    if (info->state <= BK_WORKER_FREE || info->state >= BK_WORKER_STATES) {
        return bk_err_set(err, 400, "BadState", "%d is no state of a worker",
                          info->state);
    }

    if (info->tls_name.len >= BK_TABLE_TLS_NAME_LEN
        || (info->tls_name.len != 0
            && memchr(info->tls_name.data, '\0', info->tls_name.len) != NULL))
    {
        return bk_err_set(err, 400, "BadTlsName",
                          "the TLS name of worker %.*s is longer than %d bytes "
                          "or has a NUL", (int) info->name.len,
                          info->name.data, BK_TABLE_TLS_NAME_LEN - 1);
    }

    up = info->state == BK_WORKER_READY || info->state == BK_WORKER_DRAINING;

    if (up && (info->endpoint.len == 0 || info->tls_name.len == 0)) {
        return bk_err_set(err, 400, "NoEndpoint", "worker %.*s is up but has "
                          "no %s", (int) info->name.len, info->name.data,
                          info->endpoint.len == 0 ? "endpoint" : "TLS name");
    }

    if (info->endpoint.len != 0
        && bk_model_worker_addr(data, info->endpoint, err) != 0)
    {
        return -1;
    }

    data->state = (uint8_t) info->state;
    data->name_len = (uint16_t) info->name.len;
    memcpy(data->name, info->name.data, info->name.len);

    data->tls_name_len = (uint16_t)
        bk_model_worker_text(data->tls_name, BK_TABLE_TLS_NAME_LEN,
                             info->tls_name);
    data->message_len = (uint16_t)
        bk_model_worker_text(data->message, BK_TABLE_MESSAGE_LEN,
                             info->message);
    data->arch_len = (uint16_t)
        bk_model_worker_text(data->arch, BK_TABLE_ARCH_LEN, info->arch);

    return 0;
}


static int
bk_model_worker_addr(bk_table_worker_data_t *data, bk_str_t s, bk_err_t *err)
{
    char           buf[64], *host, *port, *end;
    unsigned long  n;

    if (s.len >= sizeof(buf)) {
        goto failed;
    }

    memcpy(buf, s.data, s.len);
    buf[s.len] = '\0';
    host = buf;

    port = strrchr(buf, ':');
    if (port == NULL || strlen(buf) != s.len) {
        goto failed;
    }

    *port++ = '\0';

    if (*host == '[') {
        end = strchr(++host, ']');
        if (end == NULL || end[1] != '\0') {
            goto failed;
        }

        *end = '\0';
        data->family = BK_TABLE_INET6;

        if (inet_pton(AF_INET6, host, data->addr) != 1) {
            goto failed;
        }

    } else {
        data->family = BK_TABLE_INET;

        if (inet_pton(AF_INET, host, data->addr) != 1) {
            goto failed;
        }
    }

    if (*port < '1' || *port > '9') {
        goto failed;
    }

    n = strtoul(port, &end, 10);
    if (*end != '\0' || n > 65535) {
        goto failed;
    }

    data->port = (uint16_t) n;

    return 0;

failed:

    return bk_err_set(err, 400, "BadEndpoint", "\"%.*s\" is no endpoint: it "
                      "must be a numeric ADDRESS:PORT or [ADDRESS]:PORT",
                      (int) (s.len < 80 ? s.len : 80), s.data);
}


static int
bk_model_worker_name_ok(bk_str_t name)
{
    size_t         i;
    unsigned char  c;

    if (name.len == 0 || name.len > 253) {
        return 0;
    }

    for (i = 0; i < name.len; i++) {
        c = (unsigned char) name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
        {
            return 0;
        }
    }

    return 1;
}


/* Cut to fit, at a UTF-8 boundary; control bytes become spaces. */

static size_t
bk_model_worker_text(char *dst, size_t size, bk_str_t s)
{
    size_t  i, len = s.len;

    if (len >= size) {
        for (len = size - 1; len > 0 && ((unsigned char) s.data[len] & 0xc0)
                                        == 0x80; len--)
        {
            /* void */
        }
    }

    for (i = 0; i < len; i++) {
        dst[i] = (unsigned char) s.data[i] < 0x20 || s.data[i] == 0x7f
                 ? ' ' : s.data[i];
    }

    return len;
}


/* Was it up, and is what is up now another one? */

static int
bk_model_worker_moved(const bk_table_worker_data_t *was,
    const bk_table_worker_data_t *is)
{
    if ((was->state != BK_WORKER_READY && was->state != BK_WORKER_DRAINING)
        || is->state == BK_WORKER_FAILED)
    {
        return 0;
    }

    return was->port != is->port || was->family != is->family
           || memcmp(was->addr, is->addr, sizeof(is->addr)) != 0
           || strcmp(was->tls_name, is->tls_name) != 0;
}


static void
bk_model_worker_carry(bk_model_t *m, bk_worker_t *w, int old_state, int moved)
{
    const char  *why;
    bk_alloc_t  *a, *tmp;

    if (moved || w->data.state == BK_WORKER_FAILED) {
        why = moved ? "its worker was replaced by another one"
                    : w->data.message_len ? w->data.message
                                          : "its worker failed";

        DL_FOREACH_SAFE(w->allocs, a, tmp) {
            /* one that waits for its worker waits for the new one as well */
            if (!moved || a->state == BK_ALLOC_READY
                || a->state == BK_ALLOC_DRAINING)
            {
                bk_model_alloc_finish(m, a, BK_ALLOC_FAILED, why);
            }
        }

        return;
    }

    if (w->data.state == old_state) {
        return;
    }

    DL_FOREACH_SAFE(w->allocs, a, tmp) {
        if (w->data.state == BK_WORKER_READY && a->state == BK_ALLOC_STARTING)
        {
            bk_model_alloc_state(m, a, BK_ALLOC_READY);

        } else if ((w->data.state == BK_WORKER_STARTING
                    || w->data.state == BK_WORKER_STOPPED)
                   && a->state == BK_ALLOC_READY)
        {
            bk_model_alloc_state(m, a, BK_ALLOC_STARTING);
        }
    }
}
