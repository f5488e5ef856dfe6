/*
 * Who is connected to a worker, as the gateways' Pods say: see ct.h.
 *
 * Whoever leads asks each of them every few seconds.  What one has said counts
 * until it says something else, for a minute when it says nothing, and as long
 * as its Pod is there when that is being deleted: its nginx answers nobody
 * then, but goes on with those that it has.
 *
 * One says who is connected to workers of its own namespace; that of a pool
 * which the configuration names (gateways) is believed of all.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_use.h"


#define CT_USE_MS       5000        /* between two questions to a Pod */
#define CT_USE_KEEP_MS  60000       /* of one that does not answer */
#define CT_USE_WAIT_MS  3000        /* for an answer */
#define CT_USE_AT_ONCE  32


static void ct_use_tick(void *data);
static void ct_use_ask(ct_uses_t *u);
static void ct_use_answer(void *data, long status, const char *body,
    size_t len, const char *error);
static void ct_use_bad(ct_front_t *f, const char *why);
static void ct_use_take(void *data, const ct_use_one_t *use);
static ct_used_t *ct_use_used(ct_uses_t *u, const char *key);
static void ct_use_forget(ct_front_t *f);
static void ct_use_changed(ct_uses_t *u);
static void ct_use_front_free(ct_front_t *f);


void
ct_use_start(ct_t *ct)
{
    ct_uses_t  *u;

    u = calloc(1, sizeof(ct_uses_t));
    if (u == NULL) {
        abort();
    }

    u->ct = ct;
    u->fetcher = bk_fetcher_new(ct->host);
    if (u->fetcher == NULL) {
        abort();
    }

    u->timer = ct->host->timer_new(ct->host, ct_use_tick, u);
    ct->host->timer_set(u->timer, 0);
    ct->uses = u;
}


void
ct_use_free(ct_t *ct)
{
    ct_used_t   *used, *utmp;
    ct_uses_t   *u = ct->uses;
    ct_front_t  *f, *tmp;

    if (u == NULL) {
        return;
    }

    ct->uses = NULL;

    HASH_ITER(hh, u->fronts, f, tmp) {
        HASH_DEL(u->fronts, f);
        ct_use_front_free(f);
    }

    HASH_ITER(hh, u->used, used, utmp) {
        HASH_DEL(u->used, used);
        free(used);
    }

    bk_fetcher_free(&u->fetcher);
    ct->host->timer_free(&u->timer);
    free(u);
}


int
ct_use(const ct_worker_t *w, bk_worker_use_t *out)
{
    ct_used_t       *used;
    ct_uses_t       *u = w->pool->ct->uses;
    ct_use_space_t  *s;

    memset(out, 0, sizeof(bk_worker_use_t));

    if (u == NULL || !u->looked) {
        return -1;
    }

    s = ct_use_space(u, w->key);

    if (u->unasked > 0 || (s != NULL && (s->unasked > 0 || s->many))) {
        return -1;
    }

    HASH_FIND_STR(u->used, w->key, used);

    if (used != NULL) {
        out->connections = used->connections > UINT32_MAX
                           ? UINT32_MAX : (uint32_t) used->connections;
        out->builds = used->builds > UINT32_MAX
                      ? UINT32_MAX : (uint32_t) used->builds;
        out->last_used_ms = used->connections > 0
                            ? u->ct->host->now_ms(u->ct->host)
                            : used->used_ms;
    }

    return 0;
}


/* --- who is asked --------------------------------------------------------- */

static void
ct_use_tick(void *data)
{
    uint64_t     now;
    ct_used_t   *used, *utmp;
    ct_uses_t   *u = data;
    ct_front_t  *f, *tmp;

    u->ct->host->timer_set(u->timer, CT_USE_MS / 5);

    if (!ct_leads(u->ct)) {
        return;
    }

    now = u->ct->host->monotonic_ms(u->ct->host);
    ct_use_begin(u);
    ct_use_find(u);
    ct_use_end(u);

    HASH_ITER(hh, u->fronts, f, tmp) {
        if (!f->seen) {
            HASH_DEL(u->fronts, f);
            ct_use_front_free(f);
            continue;
        }

        if (f->said_ms + CT_USE_KEEP_MS < now && !f->deleting) {
            ct_use_forget(f);
        }

        if (f->fetch == NULL && !f->queued && f->next_ms <= now) {
            ct_use_queue(f);
        }
    }

    ct_use_changed(u);

    HASH_ITER(hh, u->used, used, utmp) {
        if (used->refs == 0 && ct_worker_find(u->ct, used->key) == NULL) {
            HASH_DEL(u->used, used);
            free(used);
        }
    }

    u->looked = 1;
    ct_use_ask(u);
}


/* --- what they say -------------------------------------------------------- */

static void
ct_use_ask(ct_uses_t *u)
{
    char             url[OBJ_ADDRESS_MAX + 32];
    ct_front_t      *f;
    bk_fetch_req_t   req;

    while (u->running < CT_USE_AT_ONCE && (f = ct_use_next(u)) != NULL) {
        f->next_ms = u->ct->host->monotonic_ms(u->ct->host) + CT_USE_MS;

        snprintf(url, sizeof(url), "http://%s/connections", f->address);
        memset(&req, 0, sizeof(req));
        req.url = url;
        req.accept = "application/json";
        req.insecure = 1;
        req.limit = ct_use_limit(f);
        req.timeout_ms = CT_USE_WAIT_MS;

        u->running++;
        f->space->running++;
        f->fetch = bk_fetch(u->fetcher, &req, ct_use_answer, f);
    }
}


static void
ct_use_answer(void *data, long status, const char *body, size_t len,
    const char *error)
{
    char         why[64];
    bk_err_t     err;
    ct_front_t  *f = data;
    ct_uses_t   *u = f->uses;

    f->fetch = NULL;
    u->running--;
    f->space->running--;

    if (!f->asked) {
        /* those who waited for it */
        f->asked = 1;
        f->space->unasked--;

        if (f->wide && --u->unasked == 0) {
            ct_dirty_all(u->ct, NULL);

        } else if (f->space->unasked == 0) {
            ct_dirty_all(u->ct, f->space->name);
        }
    }

    if (status == 200) {
        ct_use_forget(f);
        f->said_ms = u->ct->host->monotonic_ms(u->ct->host);
        f->bad = 0;

        if (ct_use_read(body, len, ct_use_take, f, &err) != 0) {
            ct_use_bad(f, err.text);
        }

        ct_use_changed(u);

    } else {
        snprintf(why, sizeof(why), "HTTP status %ld", status);
        ct_use_bad(f, status != 0 ? why : error);
    }

    ct_use_ask(u);
}


/* Once: one that is being deleted does not answer any more. */

static void
ct_use_bad(ct_front_t *f, const char *why)
{
    ct_t  *ct = f->uses->ct;

    if (!f->bad && !f->deleting) {
        ct->host->log(ct->host, BK_LOG_INFO, "gateway's Pod %.*s does not say "
                      "who is connected: %s", (int) strcspn(f->key, " "),
                      f->key, why);
        f->bad = 1;
    }
}


/* Of workers that there are, of its own namespace where that is all that it
 * serves. */

static void
ct_use_take(void *data, const ct_use_one_t *use)
{
    char         key[2 * K8S_NAME_MAX + 2];
    uint64_t     now;
    ct_front_t  *f = data;
    ct_uses_t   *u = f->uses;
    ct_said_t   *said;

    if (!f->wide && strncmp(use->pool, f->key, f->ns + 1) != 0) {
        return;
    }

    if (snprintf(key, sizeof(key), "%.*s/%s", (int) strcspn(use->pool, "/"),
                 use->pool, use->worker)
        >= (int) sizeof(key))
    {
        return;
    }

    if (ct_worker_find(u->ct, key) == NULL) {
        return;
    }

    if (f->nsaid == f->room) {
        f->room = f->room * 2 + 16;
        f->said = realloc(f->said, f->room * sizeof(ct_said_t));
        if (f->said == NULL) {
            abort();
        }
    }

    said = &f->said[f->nsaid++];
    said->used = ct_use_used(u, key);
    said->connections = use->connections;
    said->builds = use->builds;
    said->used->refs++;
    said->used->connections += use->connections;
    said->used->builds += use->builds;
    said->used->changed = 1;

    now = u->ct->host->now_ms(u->ct->host);
    now -= use->connections > 0 ? 0 : use->idle_ms < now ? use->idle_ms : now;
    said->used->used_ms = now > said->used->used_ms ? now
                                                    : said->used->used_ms;
}


static ct_used_t *
ct_use_used(ct_uses_t *u, const char *key)
{
    ct_used_t  *used;

    HASH_FIND_STR(u->used, key, used);

    if (used == NULL) {
        used = calloc(1, sizeof(ct_used_t) + strlen(key) + 1);
        if (used == NULL) {
            abort();
        }

        strcpy(used->key, key);
        HASH_ADD_STR(u->used, key, used);
    }

    return used;
}


static void
ct_use_forget(ct_front_t *f)
{
    size_t      i;
    ct_used_t  *used;

    for (i = 0; i < f->nsaid; i++) {
        used = f->said[i].used;
        used->refs--;
        used->connections -= f->said[i].connections;
        used->builds -= f->said[i].builds;
        used->changed = 1;
    }

    f->nsaid = 0;
}


/* Whoever decides by it looks again; numbers that are as before are no
 * reason. */

static void
ct_use_changed(ct_uses_t *u)
{
    ct_used_t    *used;
    ct_worker_t  *w;

    for (used = u->used; used != NULL; used = used->hh.next) {
        if (!used->changed) {
            continue;
        }

        used->changed = 0;

        if (used->told == used->connections) {
            continue;
        }

        used->told = used->connections;
        w = ct_worker_find(u->ct, used->key);

        if (w != NULL) {
            ct_dirty_worker(w);
            ct_dirty_pool(w->pool);
        }
    }
}


static void
ct_use_front_free(ct_front_t *f)
{
    ct_uses_t  *u = f->uses;

    ct_use_forget(f);

    if (f->fetch != NULL) {
        u->running--;
        f->space->running--;
        bk_fetch_cancel(&f->fetch);
    }

    ct_use_leave(f);

    free(f->said);
    free(f);
}
