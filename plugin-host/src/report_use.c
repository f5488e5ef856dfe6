/*
 * Who is used: the real connections of each worker, for idle times.
 *
 * Real is who waits for it, dials it or is connected to it, and has asked
 * for more than a list: a look (buildx ls, inspect) neither wakes a worker
 * nor keeps it.
 */

#include <string.h>

#include "model.h"
#include "report_int.h"


/* names of workers come and go: those unused for a day are forgotten */
#define BK_REPORT_USE_KEEP  (UINT64_C(24) * 3600 * 1000)


static int bk_report_real(const bk_report_session_t *s);
static bk_report_use_t *bk_report_use_find(bk_reports_t *r, bk_str_t pool,
    bk_str_t worker, int make);


void
bk_report_use_count(bk_reports_t *r)
{
    uint32_t                    i;
    uint64_t                    now = bk_model_now_ms();
    const char                 *pool;
    bk_report_use_t            *u;
    bk_report_file_t           *f;
    const bk_report_session_t  *s;

    for (u = r->uses; u != NULL; u = u->hh.next) {
        u->connections = 0;
        u->builds = 0;
    }

    for (f = r->files; f != NULL; f = f->hh.next) {
        for (i = 0; i < f->copy.nsessions; i++) {
            s = &f->copy.sessions[i];

            if (!bk_report_real(s)) {
                continue;
            }

            pool = f->copy.pools[s->pool].name;
            u = bk_report_use_find(r,
                    (bk_str_t) { pool, strlen(pool) },
                    (bk_str_t) { s->worker, strlen(s->worker) }, 1);

            u->connections++;
            u->builds += s->kind == BK_KIND_BUILD;
            u->last_ms = now;
        }
    }
}


static int
bk_report_real(const bk_report_session_t *s)
{
    return (s->phase == BK_PHASE_HELD || s->phase == BK_PHASE_CONNECTING
            || s->phase == BK_PHASE_LIVE)
           && (s->kind == BK_KIND_OTHER || s->kind == BK_KIND_BUILD)
           && s->worker[0] != '\0';
}


/* After the sessions were counted: whoever is told may ask for them. */

void
bk_report_use_tell(bk_reports_t *r)
{
    uint64_t          now = bk_model_now_ms();
    bk_report_use_t  *u, *next;

    for (u = r->uses; u != NULL; u = next) {
        next = u->hh.next;

        if (u->connections != u->told) {
            u->told = u->connections;

            if (r->conf.use != NULL) {
                r->conf.use((bk_str_t) { u->key, u->pool_len },
                            (bk_str_t) { u->key + u->pool_len + 1,
                                         u->key_len - u->pool_len - 1 },
                            r->conf.data);
            }

        } else if (u->connections == 0
                   && now > u->last_ms + BK_REPORT_USE_KEEP)
        {
            HASH_DEL(r->uses, u);
            free(u);
        }
    }
}


void
bk_reports_use(bk_reports_t *r, bk_str_t pool, bk_str_t worker,
    bk_worker_use_t *use)
{
    bk_report_use_t  *u;

    memset(use, 0, sizeof(bk_worker_use_t));

    u = r != NULL ? bk_report_use_find(r, pool, worker, 0) : NULL;

    if (u != NULL) {
        use->connections = u->connections;
        use->builds = u->builds;
        use->last_used_ms = u->connections ? bk_model_now_ms() : u->last_ms;
    }
}


static bk_report_use_t *
bk_report_use_find(bk_reports_t *r, bk_str_t pool, bk_str_t worker, int make)
{
    char              key[BK_REPORT_POOL_LEN + BK_REPORT_NAME_LEN];
    size_t            len = pool.len + 1 + worker.len;
    bk_report_use_t  *u;

    if (pool.len >= BK_REPORT_POOL_LEN || worker.len >= BK_REPORT_NAME_LEN) {
        return NULL;
    }

    memcpy(key, pool.data, pool.len);
    key[pool.len] = '\0';
    memcpy(key + pool.len + 1, worker.data, worker.len);

    HASH_FIND(hh, r->uses, key, (unsigned) len, u);

    if (u == NULL && make) {
        u = calloc(1, sizeof(bk_report_use_t) + len);
        if (u == NULL) {
            abort();
        }

        memcpy(u->key, key, len);
        u->key_len = (unsigned) len;
        u->pool_len = (unsigned) pool.len;
        HASH_ADD_KEYPTR(hh, r->uses, u->key, (unsigned) len, u);
    }

    return u;
}


void
bk_report_use_free(bk_reports_t *r)
{
    bk_report_use_t  *u, *next;

    for (u = r->uses; u != NULL; u = next) {
        next = u->hh.next;
        HASH_DEL(r->uses, u);
        free(u);
    }
}
