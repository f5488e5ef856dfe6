/*
 * ?watch=1: a line of JSON at each change of an allocation, until it ends or
 * the client goes.
 *
 * A change of state is told at once, of the place in the queue at most once
 * a second; a blank line now and then keeps proxies from giving up.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


#define BK_WATCH_ALIVE  (15 * BK_SECOND)


static int bk_watch_whose(const bk_watcher_t *w);
static void bk_watch_gone(bk_request_t *r, void *data);
static int bk_watch_look(bk_watcher_t *w, int tick);
static int bk_watch_write(bk_watcher_t *w, const bk_row_t *row,
    uint64_t now);
static void bk_watch_end(bk_watcher_t *w);
static void bk_watch_free(bk_watcher_t *w);


void
bk_watch_begin(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash)
{
    bk_watcher_t     *w;
    const bk_host_t  *h;

    h = a->host;
    w = calloc(1, sizeof(bk_watcher_t));

    if (w == NULL) {
        abort();
    }

    w->a = a;
    w->r = r;
    memcpy(w->hash, hash, BK_TABLE_HASH_LEN);
    w->rec = bk_record_find(a->records, hash);

    if (w->rec != NULL) {
        bk_record_ref(w->rec);
        w->next = w->rec->watchers;
        w->rec->watchers = w;
        w->owner = bk_watch_whose(w);

        if (w->owner) {
            bk_lease_touch(a, w->rec);
        }
    }

    TAILQ_INSERT_TAIL(&a->watchers, w, link);

    h->http_on_gone(r, bk_watch_gone, w);
    h->http_stream_begin(r, 200, "application/x-ndjson");

    w->dirty = 1;

    if (bk_watch_look(w, 1) == 0) {
        h->timer_set(a->watch, BK_SECOND);
    }
}


/* An operator who looks on does not wait for a worker. */

static int
bk_watch_whose(const bk_watcher_t *w)
{
    bk_identity_t  id;
    const char    *owner;

    owner = bk_queue_user_owner(w->rec->user);

    return w->a->host->http_identity(w->r, &id) == 0
           && id.name.len == strlen(owner)
           && memcmp(id.name.data, owner, id.name.len) == 0;
}


int
bk_watch_wanted(const bk_record_t *rec)
{
    const bk_watcher_t  *w;

    for (w = rec->watchers; w != NULL; w = w->next) {
        if (w->owner) {
            return 1;
        }
    }

    return 0;
}


static void
bk_watch_gone(bk_request_t *r, void *data)
{
    (void) r;

    bk_watch_free(data);
}


/* From anywhere, also amid a change of the model: it is told later. */

void
bk_watch_changed(bk_allocator_t *a, bk_record_t *rec)
{
    bk_watcher_t  *w;

    for (w = rec->watchers; w != NULL; w = w->next) {
        w->dirty = 1;
    }

    if (rec->watchers != NULL && !a->stopping) {
        a->host->timer_set(a->watch, 0);
    }
}


void
bk_watch_fire(void *data)
{
    bk_allocator_t *a = data;

    uint64_t       now;
    bk_watcher_t  *w, *next;

    now = a->host->monotonic_ms(a->host);

    for (w = TAILQ_FIRST(&a->watchers); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);

        if (w->dirty || now - w->looked_ms >= BK_SECOND) {
            (void) bk_watch_look(w, !w->dirty);
        }
    }

    if (!TAILQ_EMPTY(&a->watchers)) {
        a->host->timer_set(a->watch, BK_SECOND);
    }
}


/* -1: it is over, w is gone. */

static int
bk_watch_look(bk_watcher_t *w, int tick)
{
    int               changed;
    size_t            position;
    uint64_t          now;
    bk_err_t          err;
    bk_row_t          row;
    bk_allocator_t   *a;
    bk_queue_entry_t *e;

    a = w->a;
    now = a->host->monotonic_ms(a->host);
    w->looked_ms = now;

    if (bk_routes_known(a, w->hash, &row, &err) != 0) {
        bk_watch_end(w);
        return -1;
    }

    e = w->rec == NULL || w->rec->ask == NULL ? NULL : &w->rec->ask->entry;
    position = e == NULL || e->class == NULL
               ? 0 : bk_queue_position(e, a->host->now_ms(a->host));

    changed = w->state != row.state || w->expires_ms != row.expires_ms
              || strcmp(w->worker, row.worker) != 0
              || (tick && position != w->position);
    w->dirty = 0;

    if (!changed && now - w->wrote_ms < BK_WATCH_ALIVE) {
        return 0;
    }

    if (!changed) {
        w->wrote_ms = now;

        if (a->host->http_stream_write(w->r, BK_STR("\n")) != 0) {
            bk_watch_end(w);
            return -1;
        }

        return 0;
    }

    w->state = row.state;
    w->expires_ms = row.expires_ms;
    w->position = position;
    memcpy(w->worker, row.worker, sizeof(w->worker));

    if (bk_watch_write(w, &row, now) != 0 || row.state >= BK_ALLOC_EXPIRED) {
        bk_watch_end(w);
        return -1;
    }

    return 0;
}


static int
bk_watch_write(bk_watcher_t *w, const bk_row_t *row, uint64_t now)
{
    int       rc;
    bk_buf_t  b;
    bk_row_t  full;

    b = (bk_buf_t) { NULL, 0, 0 };
    full = *row;

    if (w->rec != NULL) {
        bk_str_copy(full.owner, sizeof(full.owner),
                    bk_str(bk_queue_user_owner(w->rec->user)));
        bk_str_copy(full.rule, sizeof(full.rule),
                    bk_str(bk_queue_user_rule(w->rec->user)));
        full.created_ms = w->rec->created_ms;
        full.untrusted = w->rec->untrusted;
    }

    bk_show_members(w->a, &full, &b);
    bk_buf_add(&b, "}\n", 2);

    w->wrote_ms = now;
    rc = w->a->host->http_stream_write(w->r, (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);

    return rc;
}


static void
bk_watch_end(bk_watcher_t *w)
{
    w->a->host->http_stream_end(w->r);
    bk_watch_free(w);
}


static void
bk_watch_free(bk_watcher_t *w)
{
    bk_watcher_t  **p;

    if (w->rec != NULL) {
        for (p = &w->rec->watchers; *p != w; p = &(*p)->next) {
            /* void */
        }

        *p = w->next;
        bk_record_unref(&w->rec);
    }

    TAILQ_REMOVE(&w->a->watchers, w, link);
    free(w);
}


void
bk_watch_drop_all(bk_allocator_t *a)
{
    bk_watcher_t  *w;

    while ((w = TAILQ_FIRST(&a->watchers)) != NULL) {
        bk_watch_end(w);
    }
}
