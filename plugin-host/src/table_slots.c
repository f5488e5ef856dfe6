/*
 * The route table's writer: pools and workers.  Both are arrays of slots with
 * two copies each and a generation that is raised when a slot is used again.
 * Called by model.c and, for a table that is copied, by table_repair.c.
 */

#include <assert.h>

#include "bk_err.h"
#include "table_priv.h"


static int bk_table_worker_clean(const bk_table_worker_data_t *data,
    bk_table_worker_data_t *clean, bk_err_t *err);


int
bk_table_pool_put(bk_table_t *t, const char *name, unsigned flags,
    bk_table_ref_t *ref, bk_err_t *err)
{
    size_t                len;
    uint32_t              i;
    bk_table_pool_t      *slot;
    bk_table_pool_data_t  new, old;

    len = strlen(name);

    if (len == 0 || len >= BK_TABLE_POOL_LEN) {
        return bk_err_set(err, 400, "PoolName",
                          "a pool's name has 1 to %d bytes, this one has %zu",
                          BK_TABLE_POOL_LEN - 1, len);
    }

    memset(&new, 0, sizeof(bk_table_pool_data_t));
    new.state = BK_POOL_USED;
    new.flags = (uint8_t) (flags & BK_POOL_SHARED);
    new.name_len = (uint16_t) len;
    memcpy(new.name, name, len);

    if (ref->index != BK_TABLE_NONE) {

        if (bk_table_read_pool(&t->view, *ref, &old) != BK_TABLE_OK) {
            return bk_err_set(err, 404, "PoolNotFound",
                              "pool %.200s is not in the route table", name);
        }

        new.gen = old.gen;

        if (memcmp(&new, &old, sizeof(bk_table_pool_data_t)) == 0) {
            return 0;
        }

        slot = &t->pools[ref->index];
        bk_table_flip(&slot->seq, slot->copy, &new, sizeof(new));
        bk_table_bump(&t->header->revision);

        return 0;
    }

    if (t->free_pools.n == 0) {
        bk_err_set(err, 503, "TableFull",
                   "the route table has no room for another pool: %u are "
                   "there", t->view.npools);
        return bk_err_hint(err, "raise table.pools");
    }

    i = t->free_pools.index[--t->free_pools.n];
    slot = &t->pools[i];

    new.gen = bk_table_next_gen(t, slot->copy[slot->seq & 1].gen);
    bk_table_flip(&slot->seq, slot->copy, &new, sizeof(new));
    bk_table_bump(&t->header->revision);

    ref->index = i;
    ref->gen = new.gen;

    return 0;
}


void
bk_table_pool_delete(bk_table_t *t, bk_table_ref_t ref)
{
    bk_table_pool_t      *slot;
    bk_table_pool_data_t  data;

    if (bk_table_read_pool(&t->view, ref, &data) != BK_TABLE_OK) {
        return;
    }

    memset(&data, 0, sizeof(bk_table_pool_data_t));
    data.gen = ref.gen;

    slot = &t->pools[ref.index];
    bk_table_flip(&slot->seq, slot->copy, &data, sizeof(data));

    t->free_pools.index[t->free_pools.n++] = ref.index;
    bk_table_bump(&t->header->revision);
}


int
bk_table_pool_each(bk_table_t *t, bk_table_pool_pt fn, void *data)
{
    int                    rc;
    uint32_t               i;
    bk_table_ref_t         ref;
    const bk_table_pool_t *slot;
    bk_table_pool_data_t   copy;

    for (i = 0; i < t->view.npools; i++) {
        slot = &t->pools[i];
        copy = slot->copy[slot->seq & 1];

        if (copy.state == BK_POOL_FREE) {
            continue;
        }

        ref.index = i;
        ref.gen = copy.gen;

        rc = fn(ref, &copy, data);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


int
bk_table_worker_put(bk_table_t *t, const bk_table_worker_data_t *data,
    bk_table_ref_t *ref, bk_err_t *err)
{
    uint32_t                i;
    bk_table_worker_t      *slot;
    bk_table_worker_data_t  new, old;

    if (bk_table_worker_clean(data, &new, err) != 0) {
        return -1;
    }

    if (ref->index != BK_TABLE_NONE) {

        if (bk_table_read_worker(&t->view, *ref, &old) != BK_TABLE_OK) {
            return bk_err_set(err, 404, "WorkerNotFound",
                              "worker %s is not in the route table",
                              new.name);
        }

        new.gen = old.gen;

        if (memcmp(&new, &old, sizeof(bk_table_worker_data_t)) == 0) {
            return 0;
        }

        slot = &t->workers[ref->index];
        bk_table_flip(&slot->seq, slot->copy, &new, sizeof(new));
        bk_table_bump(&t->header->revision);

        return 0;
    }

    if (t->free_workers.n == 0) {
        bk_err_set(err, 503, "TableFull",
                   "the route table has no room for another worker: %u are "
                   "there", t->view.nworkers);
        return bk_err_hint(err, "raise table.workers");
    }

    i = t->free_workers.index[--t->free_workers.n];
    slot = &t->workers[i];

    new.gen = bk_table_next_gen(t, slot->copy[slot->seq & 1].gen);
    bk_table_flip(&slot->seq, slot->copy, &new, sizeof(new));
    bk_table_bump(&t->header->revision);

    ref->index = i;
    ref->gen = new.gen;

    return 0;
}


void
bk_table_worker_delete(bk_table_t *t, bk_table_ref_t ref)
{
    bk_table_worker_t      *slot;
    bk_table_worker_data_t  data;

    if (bk_table_read_worker(&t->view, ref, &data) != BK_TABLE_OK) {
        return;
    }

    memset(&data, 0, sizeof(bk_table_worker_data_t));
    data.gen = ref.gen;

    slot = &t->workers[ref.index];
    bk_table_flip(&slot->seq, slot->copy, &data, sizeof(data));

    t->free_workers.index[t->free_workers.n++] = ref.index;
    bk_table_bump(&t->header->revision);
}


int
bk_table_worker_each(bk_table_t *t, bk_table_worker_pt fn, void *data)
{
    int                      rc;
    uint32_t                 i;
    bk_table_ref_t           ref;
    const bk_table_worker_t *slot;
    bk_table_worker_data_t   copy;

    for (i = 0; i < t->view.nworkers; i++) {
        slot = &t->workers[i];
        copy = slot->copy[slot->seq & 1];

        if (copy.state == BK_WORKER_FREE) {
            continue;
        }

        ref.index = i;
        ref.gen = copy.gen;

        rc = fn(ref, &copy, data);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


/*
 * A copy with zeroed padding that every reader accepts; refuses what
 * bk_table_read_worker() would call corrupt.
 */
static int
bk_table_worker_clean(const bk_table_worker_data_t *data,
    bk_table_worker_data_t *clean, bk_err_t *err)
{
    memset(clean, 0, sizeof(bk_table_worker_data_t));

    if (data->state == BK_WORKER_FREE || data->state >= BK_WORKER_STATES) {
        return bk_err_set(err, 400, "WorkerState",
                          "a worker cannot have state %u", data->state);
    }

    if (data->name_len == 0
        || data->name_len >= BK_TABLE_NAME_LEN
        || data->tls_name_len >= BK_TABLE_TLS_NAME_LEN
        || data->message_len >= BK_TABLE_MESSAGE_LEN
        || data->arch_len >= BK_TABLE_ARCH_LEN)
    {
        return bk_err_set(err, 400, "WorkerName",
                          "a worker's name has 1 to %d bytes, its TLS name at "
                          "most %d, its message %d, its architecture %d",
                          BK_TABLE_NAME_LEN - 1, BK_TABLE_TLS_NAME_LEN - 1,
                          BK_TABLE_MESSAGE_LEN - 1, BK_TABLE_ARCH_LEN - 1);
    }

    if (data->port == 0
        && (data->state == BK_WORKER_READY
            || data->state == BK_WORKER_DRAINING))
    {
        return bk_err_set(err, 400, "WorkerEndpoint",
                          "worker %.*s is ready but has no address",
                          (int) data->name_len, data->name);
    }

    /* without an address the family says nothing, but it must be one */

    clean->family = data->port == 0 && data->family == 0 ? BK_TABLE_INET
                                                         : data->family;

    if (clean->family != BK_TABLE_INET && clean->family != BK_TABLE_INET6) {
        return bk_err_set(err, 400, "WorkerEndpoint",
                          "worker %.*s has an address of an unknown family",
                          (int) data->name_len, data->name);
    }

    clean->state = data->state;
    clean->port = data->port;
    memcpy(clean->addr, data->addr,
           clean->family == BK_TABLE_INET ? 4 : sizeof(clean->addr));

    clean->pool = data->pool;
    clean->name_len = data->name_len;
    clean->tls_name_len = data->tls_name_len;
    clean->message_len = data->message_len;
    clean->arch_len = data->arch_len;

    memcpy(clean->name, data->name, data->name_len);
    memcpy(clean->tls_name, data->tls_name, data->tls_name_len);
    memcpy(clean->message, data->message, data->message_len);
    memcpy(clean->arch, data->arch, data->arch_len);

    return 0;
}
