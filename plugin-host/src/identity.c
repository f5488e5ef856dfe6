/*
 * Who asks?  See identity.h.
 *
 * A query belongs to the plugin that has it until that answers, also when
 * nobody waits for the answer any more: the client went away, or the time was
 * up.  Such a one has no token left, and counts against what a plugin may
 * have open, so that one that never answers costs a bounded amount of memory.
 */

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "bk_err.h"
#include "host.h"
#include "identity.h"
#include "log.h"
#include "slow.h"


struct bk_query_s {
    bk_query_t        *prev, *next;     /* of the plugin's */
    bk_plugins_t      *plugins;
    bk_plugin_inst_t  *at;              /* who has it */
    struct event      *deadline;
    bk_identity_pt     done;            /* NULL: nobody waits any more */
    void              *data;
    bk_who_t          *who;             /* the answer, and so on */
    bk_err_t           err;
    char              *bearer;
    size_t             bearer_len;
    char              *client;
    unsigned           asking:1;        /* within identify() */
    unsigned           answered:1;
    unsigned           pass:1;          /* "not mine" */
};


static int bk_identity_run(bk_query_t *q);
static bk_plugin_inst_t *bk_identity_next(bk_query_t *q);
static void bk_identity_nobody(bk_query_t *q, bk_err_t *err);
static void bk_identity_take(bk_query_t *q, const bk_identity_t *id,
    const bk_err_t *err);
static void bk_identity_late(evutil_socket_t fd, short what, void *data);
static void bk_identity_done(bk_query_t *q, bk_who_t *who,
    const bk_err_t *err);
static void bk_identity_wipe(bk_query_t *q);
static void bk_identity_leave(bk_query_t *q);
static void bk_identity_free(bk_query_t *q);
static char *bk_identity_copy(bk_str_t s);
static int bk_identity_text(bk_str_t s, size_t max);


bk_query_t *
bk_identity_ask(bk_plugins_t *ps, bk_str_t bearer, bk_str_t client,
    bk_identity_pt done, void *data)
{
    bk_query_t  *q;

    q = calloc(1, sizeof(bk_query_t));
    if (q == NULL) {
        abort();
    }

    q->plugins = ps;
    q->done = done;
    q->data = data;
    q->bearer = bk_identity_copy(bearer);
    q->bearer_len = bearer.len;
    q->client = bk_identity_copy(client);

    if (bk_identity_run(q)) {
        bk_identity_free(q);
        return NULL;
    }

    return q;
}


/* Until one keeps it (0), or it is done (1): the caller then frees it. */

static int
bk_identity_run(bk_query_t *q)
{
    uint64_t           since;
    bk_err_t           err;
    struct timeval     tv = { BK_IDENTITY_WAIT_S, 0 };
    bk_credentials_t   c;

    for ( ;; ) {
        q->at = bk_identity_next(q);

        if (q->at == NULL) {
            bk_identity_nobody(q, &err);
            bk_identity_done(q, NULL, &err);
            return 1;
        }

        if (q->at->nqueries >= BK_IDENTITY_QUERIES) {
            bk_err_set(&err, 503, "IdentityBusy", "plugin %s has too many "
                       "credentials to look at", q->at->label);
            bk_identity_done(q, NULL, &err);
            return 1;
        }

        q->answered = 0;
        q->pass = 0;
        q->asking = 1;
        DL_APPEND(q->at->queries, q);
        q->at->nqueries++;

        c.bearer = (bk_str_t) { q->bearer, q->bearer_len };
        c.client = (bk_str_t) { q->client, strlen(q->client) };

        since = bk_host_monotonic_ms();
        q->at->p.identify(q->at->ctx, q, &c);
        bk_host_slow(q->at->label, "identify", since);

        q->asking = 0;

        if (!q->answered) {
            break;
        }

        bk_identity_leave(q);

        if (!q->pass) {
            bk_identity_done(q, q->who, &q->err);
            return 1;
        }
    }

    if (q->deadline == NULL && q->done != NULL) {
        q->deadline = evtimer_new(q->at->core->base, bk_identity_late, q);
        if (q->deadline == NULL || evtimer_add(q->deadline, &tv) != 0) {
            abort();
        }
    }

    return 0;
}


/*
 * 401 is for good: who gets it does not come again.  Who might have known the
 * token has left before us.
 */

static void
bk_identity_nobody(bk_query_t *q, bk_err_t *err)
{
    bk_plugin_inst_t  *p;

    for (p = bk_plugins_first(q->plugins); p != NULL; p = p->next) {
        if (p->p.identify != NULL && (!p->started || p->stopping)) {
            bk_err_set(err, 503, "ShuttingDown", "plugin-host is stopping");
            bk_err_hint(err, "try again in a moment");
            return;
        }
    }

    bk_err_set(err, 401, "Unauthenticated",
               "nobody here knows the bearer token");
    bk_err_hint(err, "it must come from an issuer that the configuration of "
                "plugin-host lists, for example under plugin oidc");
}


static bk_plugin_inst_t *
bk_identity_next(bk_query_t *q)
{
    bk_plugin_inst_t  *p;

    p = q->at != NULL ? q->at->next : bk_plugins_first(q->plugins);

    for ( /* void */ ; p != NULL; p = p->next) {
        if (p->p.identify != NULL && p->started && !p->stopping) {
            return p;
        }
    }

    return NULL;
}


void
bk_identity_answer(bk_query_t *q, const bk_identity_t *id,
    const bk_err_t *err)
{
    q->answered = 1;

    /* nobody waits for it */
    if (q->done == NULL) {
        bk_identity_leave(q);
        bk_identity_free(q);
        return;
    }

    bk_identity_take(q, id, err);

    if (q->asking) {
        return;
    }

    bk_identity_leave(q);

    if (q->pass && !bk_identity_run(q)) {
        return;
    }

    bk_identity_done(q, q->who, &q->err);
    bk_identity_free(q);
}


/* What a plugin says is checked as what a stranger says. */

static void
bk_identity_take(bk_query_t *q, const bk_identity_t *id, const bk_err_t *err)
{
    memset(&q->err, 0, sizeof(bk_err_t));

    if (id == NULL && err == NULL) {
        q->pass = 1;
        return;
    }

    if (id != NULL) {
        q->who = bk_who_new(id, &q->err);

        if (q->who == NULL) {
            bk_err_prefix(&q->err, "plugin %s", q->at->label);
        }

        if (q->who == NULL && q->err.code == 500) {
            bk_log_err(BK_LOG_ERROR, "identity", &q->err);
        }

        return;
    }

    bk_err_set(&q->err, err->code, "Unauthenticated", "%.*s",
               (int) strnlen(err->text, sizeof(err->text)), err->text);
    bk_err_hint(&q->err, "%.*s", (int) strnlen(err->hint, sizeof(err->hint)),
                err->hint);

    if (err->reason[0] != '\0') {
        memcpy(q->err.reason, err->reason, sizeof(q->err.reason) - 1);
    }

    if (err->code != 401 && err->code != 403 && err->code != 503) {
        q->err.code = 503;
    }
}


/* The plugin still has it, and frees it by its answer. */

static void
bk_identity_late(evutil_socket_t fd, short what, void *data)
{
    bk_err_t     err;
    bk_query_t  *q = data;

    (void) fd;
    (void) what;

    bk_err_set(&err, 503, "IdentityTimeout", "plugin %s did not say within "
               "%d s whose token this is", q->at->label, BK_IDENTITY_WAIT_S);
    bk_err_hint(&err, "try again; see the log of plugin-host");
    bk_log_err(BK_LOG_WARN, "identity", &err);

    bk_identity_done(q, NULL, &err);
}


static void
bk_identity_done(bk_query_t *q, bk_who_t *who, const bk_err_t *err)
{
    void            *data = q->data;
    bk_identity_pt   done = q->done;

    bk_identity_wipe(q);

    if (done != NULL) {
        done(who, err, data);
    }
}


/* Nobody waits any more: what is secret goes at once. */

static void
bk_identity_wipe(bk_query_t *q)
{
    q->done = NULL;
    explicit_bzero(q->bearer, q->bearer_len);

    if (q->deadline != NULL) {
        event_free(q->deadline);
        q->deadline = NULL;
    }
}


void
bk_identity_drop(bk_query_t *q)
{
    bk_identity_wipe(q);
}


void
bk_identity_stopped(bk_plugin_inst_t *p)
{
    bk_err_t     err;
    bk_query_t  *q;

    while ((q = p->queries) != NULL) {
        bk_identity_leave(q);

        bk_err_set(&err, 503, "ShuttingDown", "plugin-host is stopping");
        bk_err_hint(&err, "try again in a moment");
        bk_identity_done(q, NULL, &err);
        bk_identity_free(q);
    }
}


static void
bk_identity_leave(bk_query_t *q)
{
    DL_DELETE(q->at->queries, q);
    q->at->nqueries--;
}


static void
bk_identity_free(bk_query_t *q)
{
    bk_who_unref(&q->who);
    free(q->bearer);
    free(q->client);
    free(q);
}


bk_who_t *
bk_who_new(const bk_identity_t *id, bk_err_t *err)
{
    char       *name, *source;
    json_t     *claims;
    bk_who_t   *who;

    if (!bk_identity_text(id->source, BK_IDENTITY_SOURCE_MAX)
        || !bk_identity_text(id->name, BK_IDENTITY_NAME_MAX)
        || id->name.len <= id->source.len + 1
        || memcmp(id->name.data, id->source.data, id->source.len) != 0
        || id->name.data[id->source.len] != ':')
    {
        bk_err_set(err, 500, "BadIdentity", "an identity's name must be "
                   "SOURCE:USER, without control characters, at most %d "
                   "bytes", BK_IDENTITY_NAME_MAX);
        return NULL;
    }

    if (id->source.len == 4 && memcmp(id->source.data, "unix", 4) == 0) {
        bk_err_set(err, 500, "BadIdentity",
                   "the source \"unix\" is that of the host alone");
        return NULL;
    }

    if (id->until_ms != 0 && id->until_ms <= bk_model_now_ms()) {
        bk_err_set(err, 401, "Expired", "the credential's time is over");
        return NULL;
    }

    claims = id->claims.len <= BK_IDENTITY_CLAIMS_MAX
             ? json_loadb(id->claims.data, id->claims.len,
                          JSON_REJECT_DUPLICATES, NULL)
             : NULL;

    if (!json_is_object(claims)) {
        json_decref(claims);
        bk_err_set(err, 500, "BadIdentity", "claims must be one JSON object "
                   "of at most %d bytes, no key twice",
                   BK_IDENTITY_CLAIMS_MAX);
        return NULL;
    }

    name = bk_identity_copy(id->name);
    source = bk_identity_copy(id->source);
    who = bk_who_make(name, source, claims);
    who->until_ms = id->until_ms;
    free(name);
    free(source);

    return who;
}


bk_who_t *
bk_who_make(const char *name, const char *source, json_t *claims)
{
    bk_who_t  *who;

    who = calloc(1, sizeof(bk_who_t));
    if (who == NULL) {
        abort();
    }

    who->refs = 1;
    who->claims = claims;
    who->name = strdup(name);
    who->source = strdup(source);
    who->text = json_dumps(claims, JSON_COMPACT);

    if (who->name == NULL || who->source == NULL || who->text == NULL) {
        abort();
    }

    return who;
}


bk_who_t *
bk_who_ref(bk_who_t *who)
{
    who->refs++;

    return who;
}


void
bk_who_unref(bk_who_t **wp)
{
    bk_who_t  *who = *wp;

    *wp = NULL;

    if (who == NULL || --who->refs > 0) {
        return;
    }

    json_decref(who->claims);
    bk_access_forget(who->memo);
    free(who->name);
    free(who->source);
    free(who->text);
    free(who);
}


static char *
bk_identity_copy(bk_str_t s)
{
    char  *copy = malloc(s.len + 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';

    return copy;
}


/* UTF-8 without control characters: it goes into logs, JSON and terminals. */

static int
bk_identity_text(bk_str_t s, size_t max)
{
    size_t   i;
    json_t  *json;

    if (s.len == 0 || s.len > max) {
        return 0;
    }

    for (i = 0; i < s.len; i++) {
        if ((unsigned char) s.data[i] < 0x20 || s.data[i] == 0x7f) {
            return 0;
        }
    }

    json = json_stringn(s.data, s.len);
    json_decref(json);

    return json != NULL;
}
