/*
 * Facts about workers: see model.h.  A worker carries its allocations along:
 * what its new state means for them is decided here and nowhere else.
 */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "model_int.h"


static int bk_model_worker_moved(const bk_table_worker_data_t *was,
    const bk_table_worker_data_t *is);
static void bk_model_worker_keep(bk_worker_t *w,
    const bk_table_worker_data_t *said);
static void bk_model_worker_carry(bk_model_t *m, bk_worker_t *w,
    int old_state, int moved);


int
bk_model_worker_put(bk_model_t *m, const void *owner,
    const bk_worker_info_t *info, bk_err_t *err)
{
    int                      claimed, is_new, rc = 0;
    uint32_t                 mark;
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

    /* before observers are told: they may ask for it, or remove it */
    claimed = (w->owner != o);
    mark = w->mark;
    w->owner = o;
    w->mark = o->mark;
    w->refs++;

    if (is_new || memcmp(&data, bk_model_worker_said(w), sizeof(data)) != 0) {
        rc = bk_model_worker_say(m, w, &data, err);
    }

    if (rc == 0) {
        if (claimed) {
            bk_model_drain_claimed(m, w);
        }

    } else if (is_new) {
        HASH_DEL(p->workers, w);
        w->refs--;

    } else {
        w->mark = mark;
    }

    bk_model_worker_unref(w);

    return rc;
}


int
bk_model_worker_say(bk_model_t *m, bk_worker_t *w,
    const bk_table_worker_data_t *said, bk_err_t *err)
{
    int                      moved, old_state = w->data.state;
    bk_table_worker_data_t   data = *said;

    bk_model_drain_show(w, &data);
    moved = bk_model_worker_moved(&w->data, &data);

    if (memcmp(&data, &w->data, sizeof(data)) == 0) {
        bk_model_worker_keep(w, said);
        return 0;
    }

    bk_model_enter(m);

    /* before the table says the new address: no byte may go there for them */
    if (moved) {
        bk_model_worker_carry(m, w, old_state, 1);
    }

    if (bk_table_worker_put(m->table, &data, &w->ref, err) != 0) {
        bk_model_leave(m);
        return -1;
    }

    w->data = data;
    bk_model_worker_keep(w, said);
    bk_model_worker_endpoint(&data, w->endpoint, sizeof(w->endpoint));

    bk_model_note(m, NULL, w, NULL, old_state, 0);
    bk_model_worker_carry(m, w, old_state, 0);
    bk_model_leave(m);

    return 0;
}


/* Of most they are the same, and there may be many workers. */

static void
bk_model_worker_keep(bk_worker_t *w, const bk_table_worker_data_t *said)
{
    if (memcmp(said, &w->data, sizeof(bk_table_worker_data_t)) == 0) {
        free(w->said);
        w->said = NULL;
        return;
    }

    if (w->said == NULL) {
        w->said = malloc(sizeof(bk_table_worker_data_t));
        if (w->said == NULL) {
            abort();
        }
    }

    *w->said = *said;
}


const bk_table_worker_data_t *
bk_model_worker_said(const bk_worker_t *w)
{
    return w->said != NULL ? w->said : &w->data;
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

    if (wanted && w->drained) {
        return bk_model_drain_refuse(w, err);
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


/* Not a fact for the table: only placement asks for it. */

int
bk_model_worker_disk(bk_model_t *m, const void *owner, bk_str_t pool,
    bk_str_t name, uint32_t disk_permille, uint32_t inode_permille)
{
    uint16_t      disk, inodes;
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w = p != NULL ? bk_model_worker_get(p, name) : NULL;

    if (w == NULL || w->owner == NULL || w->owner->id != owner) {
        return -1;
    }

    disk = disk_permille < 1000 ? (uint16_t) disk_permille : 1000;
    inodes = inode_permille < 1000 ? (uint16_t) inode_permille : 1000;

    if (w->disk == disk && w->inodes == inodes) {
        return 0;
    }

    w->disk = disk;
    w->inodes = inodes;

    return 1;
}


void
bk_model_worker_full(bk_model_t *m, bk_str_t pool, bk_str_t name,
    uint32_t *disk_permille, uint32_t *inode_permille)
{
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w = p != NULL ? bk_model_worker_get(p, name) : NULL;

    *disk_permille = w != NULL ? w->disk : 0;
    *inode_permille = w != NULL ? w->inodes : 0;
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
        free(w->drain_text);
        free(w->said);
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
