/*
 * Which gateway's Pod is asked next, and how much it may say: see ct_use.h.
 *
 * Whoever may make Pods in a namespace may make many that look like gateways',
 * and answer slowly, or a lot, or not at all.  That is to cost nobody else's
 * namespace its turn, and us no more memory than its workers are worth.
 */

#include <string.h>

#include "ct_use.h"


#define CT_USE_RUNNING   8          /* of a namespace at once */
#define CT_USE_ANSWER    65536      /* bytes, and of each worker: */
#define CT_USE_ENTRY     512
#define CT_USE_COUNT_MS  5000


static ct_use_space_t *ct_use_named(const ct_uses_t *u, const char *name,
    size_t n);
static void ct_use_count(ct_uses_t *u);


ct_use_space_t *
ct_use_space(const ct_uses_t *u, const char *key)
{
    return ct_use_named(u, key, strcspn(key, "/"));
}


static ct_use_space_t *
ct_use_named(const ct_uses_t *u, const char *name, size_t n)
{
    ct_use_space_t  *s;

    HASH_FIND(hh, u->spaces, name, n, s);

    return s;
}


int
ct_use_enter(ct_front_t *f)
{
    ct_uses_t       *u = f->uses;
    ct_use_space_t  *s = ct_use_named(u, f->key, f->ns);

    if (s == NULL) {
        s = calloc(1, sizeof(ct_use_space_t) + f->ns + 1);
        if (s == NULL) {
            abort();
        }

        memcpy(s->name, f->key, f->ns);
        HASH_ADD_KEYPTR(hh, u->spaces, s->name, f->ns, s);
        DL_PREPEND(u->turns, s);
        u->count_ms = 0;
    }

    if (s->fronts >= CT_USE_FRONTS && !f->wide) {
        s->many = 1;
        return -1;
    }

    s->fronts++;
    s->unasked++;
    u->unasked += f->wide != 0;
    f->space = s;

    return 0;
}


void
ct_use_leave(ct_front_t *f)
{
    ct_uses_t       *u = f->uses;
    ct_use_space_t  *s = f->space;

    if (f->queued) {
        DL_DELETE2(s->queue, f, qprev, qnext);
        f->queued = 0;
    }

    s->unasked -= !f->asked;
    u->unasked -= f->wide && !f->asked;

    if (--s->fronts == 0) {
        HASH_DEL(u->spaces, s);
        DL_DELETE(u->turns, s);
        free(s);
    }
}


void
ct_use_queue(ct_front_t *f)
{
    f->queued = 1;
    DL_APPEND2(f->space->queue, f, qprev, qnext);
}


ct_front_t *
ct_use_next(ct_uses_t *u)
{
    unsigned         n;
    ct_front_t      *f;
    ct_use_space_t  *s;

    for (n = HASH_COUNT(u->spaces); n > 0; n--) {
        s = u->turns;
        DL_DELETE(u->turns, s);
        DL_APPEND(u->turns, s);
        f = s->queue;

        if (f != NULL && s->running < CT_USE_RUNNING) {
            DL_DELETE2(s->queue, f, qprev, qnext);
            f->queued = 0;
            return f;
        }
    }

    return NULL;
}


size_t
ct_use_limit(const ct_front_t *f)
{
    size_t  n = f->wide ? f->uses->workers : f->space->workers;

    n = CT_USE_ANSWER + n * CT_USE_ENTRY;

    return n < CT_USE_MAX ? n : CT_USE_MAX;
}


void
ct_use_begin(ct_uses_t *u)
{
    ct_use_space_t  *s;

    for (s = u->spaces; s != NULL; s = s->hh.next) {
        s->many = 0;
    }
}


void
ct_use_end(ct_uses_t *u)
{
    ct_use_space_t  *s;

    for (s = u->spaces; s != NULL; s = s->hh.next) {
        if (s->many && !s->told) {
            u->ct->host->log(u->ct->host, BK_LOG_WARN, "namespace %s has more "
                             "than %d Pods of gateways: no worker is stopped "
                             "there, as not all of them are asked", s->name,
                             CT_USE_FRONTS);
        }

        s->told = s->many;
    }

    ct_use_count(u);
}


static void
ct_use_count(ct_uses_t *u)
{
    uint64_t         now = u->ct->host->monotonic_ms(u->ct->host);
    ct_worker_t     *w;
    ct_use_space_t  *s;

    if (u->spaces == NULL || u->count_ms > now) {
        return;
    }

    u->count_ms = now + CT_USE_COUNT_MS;

    for (s = u->spaces; s != NULL; s = s->hh.next) {
        s->workers = 0;
    }

    u->workers = 0;

    for (w = u->ct->workers; w != NULL; w = w->hh.next) {
        u->workers++;
        s = ct_use_space(u, w->key);

        if (s != NULL) {
            s->workers++;
        }
    }
}
