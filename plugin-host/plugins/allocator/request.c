/*
 * What a caller asks for: the fields of an allocate request, checked one by
 * one before anything is done about them.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"
#include "journal_wait.h"


#define BK_CSR_MAX  16384


static int bk_request_times(bk_allocator_t *a, json_t *root, bk_waiter_t *w,
    bk_err_t *err);


/* "demo" in "default", or a name with a slash as it is. */

int
bk_request_pool_name(json_t *root, char pool[BK_TABLE_POOL_LEN],
    bk_err_t *err)
{
    int   n;
    char  name[BK_TABLE_POOL_LEN], space[BK_TABLE_POOL_LEN];

    if (bk_json_string(root, "poolName", BK_TABLE_POOL_LEN - 1, name, err)
        == -1
        || bk_json_string(root, "namespace", 63, space, err) == -1)
    {
        return -1;
    }

    if (name[0] == '\0') {
        return bk_fail(err, 400, "MissingField", "bkctl pools lists the pools",
                       "\"poolName\" is missing");
    }

    if (strchr(name, '/') != NULL) {
        n = snprintf(pool, BK_TABLE_POOL_LEN, "%s", name);

    } else {
        n = snprintf(pool, BK_TABLE_POOL_LEN, "%s/%s",
                     space[0] == '\0' ? "default" : space, name);
    }

    if (n < 0 || n >= BK_TABLE_POOL_LEN) {
        return bk_fail(err, 400, "TooLong", NULL,
                       "the name of the pool is too long");
    }

    return 0;
}


int
bk_request_read(bk_allocator_t *a, json_t *root, bk_waiter_t *w,
    bk_err_t *err)
{
    char             key[BK_JOB_ID_MAX + 1];
    bk_pool_info_t   pool;

    if (bk_request_pool_name(root, w->row.pool, err) != 0
        || bk_json_string(root, "jobId", BK_JOB_ID_MAX, w->row.job_id, err)
           == -1
        || bk_json_string(root, "arch", sizeof(w->arch) - 1, w->arch, err)
           == -1
        || bk_json_string(root, "idempotencyKey", BK_JOB_ID_MAX,
                          w->row.idempotency, err) == -1
        /* affinity comes later; its type is checked already */
        || bk_json_string(root, "cacheKey", BK_JOB_ID_MAX, key, err) == -1
        || bk_json_text(root, "csr", BK_CSR_MAX, &w->csr, err) == -1
        || bk_json_metadata(root, "metadata", &w->metadata, err) == -1
        || bk_request_times(a, root, w, err) != 0)
    {
        return -1;
    }

    w->row.metadata = w->metadata;

    if (a->host->pool_find(a->host, bk_str(w->row.pool), &pool) != 0) {
        return bk_fail(err, 404, "PoolNotFound",
                       "bkctl pools lists them; namespace is \"default\" "
                       "unless it is given", "there is no pool %s",
                       w->row.pool);
    }

    return 0;
}


static int
bk_request_times(bk_allocator_t *a, json_t *root, bk_waiter_t *w,
    bk_err_t *err)
{
    w->ttl_ms = a->default_ttl_ms;
    w->wait_ms = a->default_wait_ms;

    if (bk_json_duration(root, "ttl", &w->ttl_ms, err) == -1
        || bk_json_duration(root, "wait", &w->wait_ms, err) == -1)
    {
        return -1;
    }

    if (w->ttl_ms < BK_SECOND || w->ttl_ms > a->max_ttl_ms) {
        return bk_fail(err, 400, "BadTtl",
                       "renew an allocation that is needed longer",
                       "\"ttl\" must be between 1s and %llus",
                       (unsigned long long) (a->max_ttl_ms / BK_SECOND));
    }

    if (w->wait_ms > a->max_wait_ms) {
        w->wait_ms = a->max_wait_ms;
    }

    return 0;
}


/*
 * The token of an earlier call is not kept, so its answer cannot be given
 * again: the second caller is told, and gets no second worker.
 */

int
bk_request_idempotent(bk_allocator_t *a, const bk_waiter_t *w,
    bk_err_t *err)
{
    int           n;
    char          id[BK_ID_LEN + 1];
    bk_row_t      row;
    bk_waiter_t  *other;

    static const char  hint[] =
        "use the answer of the first call, or release or revoke that "
        "allocation";

    if (w->row.idempotency[0] == '\0') {
        return 0;
    }

    TAILQ_FOREACH(other, &a->waiters, link) {
        if (strcmp(other->row.idempotency, w->row.idempotency) == 0
            && strcmp(other->row.pool, w->row.pool) == 0)
        {
            return bk_fail(err, 409, "Duplicate", hint,
                           "a call with this idempotencyKey is waiting");
        }
    }

    n = bk_wait_idempotent(a->journal, w->row.pool, w->row.idempotency,
                              &row, err);

    if (n == 1) {
        return bk_fail(err, 409, "Duplicate", hint,
                       "allocation %s was made with this idempotencyKey and "
                       "lives", bk_token_id(row.hash, id));
    }

    return n;
}
