/*
 * What a caller may see of pools, workers, allocations and connections.  See
 * api.h.  Rules are asked once for each pool, not for each thing in it.
 */

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "bk_err.h"
#include "gate.h"


#define BK_VIEW_POOL     1
#define BK_VIEW_ALL      2
#define BK_VIEW_TRUSTED  4      /* he would get such allocations himself */


static int bk_api_view_own(bk_api_view_t *v, const bk_alloc_info_t *a);
static int bk_api_view_pool(bk_api_view_t *v, bk_str_t pool);
static int bk_api_view_mine(const bk_alloc_info_t *a, void *data);


void
bk_api_view(bk_api_view_t *v, bk_core_t *core, const bk_request_t *r)
{
    memset(v, 0, sizeof(bk_api_view_t));
    v->core = core;
    v->who = core->gate != NULL ? bk_gate_who(r) : NULL;
    v->pools = json_object();
}


void
bk_api_view_done(bk_api_view_t *v)
{
    json_decref(v->pools);
    json_decref(v->mine);
    v->pools = NULL;
    v->mine = NULL;
}


int
bk_api_sees_pool(bk_api_view_t *v, bk_str_t pool)
{
    return bk_api_view_pool(v, pool) != 0;
}


int
bk_api_sees_all(bk_api_view_t *v, bk_str_t pool)
{
    return bk_api_view_pool(v, pool) & BK_VIEW_ALL;
}


int
bk_api_sees_alloc(bk_api_view_t *v, const bk_alloc_info_t *a)
{
    return bk_api_sees_all(v, a->pool) || bk_api_view_own(v, a);
}


/*
 * A name may be that of trusted jobs and of a fork's: what the former have is
 * for those whom a rule would give such a one.
 */

static int
bk_api_view_own(bk_api_view_t *v, const bk_alloc_info_t *a)
{
    int          untrusted;
    const char  *whose;

    whose = bk_model_alloc_whose(v->core->model, a->hash, &untrusted);

    return strcmp(whose, v->who->name) == 0
           && (untrusted || bk_api_view_pool(v, a->pool) & BK_VIEW_TRUSTED);
}


/* A refused connection may have no pool: only who sees all pools sees it. */

int
bk_api_sees_session(bk_api_view_t *v, bk_str_t pool, bk_str_t id)
{
    char  key[BK_API_ID_LEN + 1];

    if (bk_api_sees_all(v, pool)) {
        return 1;
    }

    if (v->mine == NULL) {
        v->mine = json_object();
        bk_model_alloc_each(v->core->model, (bk_str_t) { NULL, 0 },
                            bk_api_view_mine, v);
    }

    if (id.len != BK_API_ID_LEN) {
        return 0;
    }

    memcpy(key, id.data, BK_API_ID_LEN);
    key[BK_API_ID_LEN] = '\0';

    return json_object_get(v->mine, key) != NULL;
}


int
bk_api_filter(bk_api_view_t *v, bk_request_t *r, char *buf, size_t size,
    bk_str_t *pool)
{
    bk_err_t         err;
    bk_pool_info_t   found;

    pool->data = NULL;
    pool->len = 0;

    if (bk_httpd_query(r, "pool", buf, size) != 0) {
        return 0;
    }

    pool->data = buf;
    pool->len = strlen(buf);

    if (bk_model_pool_find(v->core->model, *pool, &found) == 0
        && bk_api_sees_pool(v, *pool))
    {
        return 0;
    }

    bk_err_set(&err, 404, "PoolNotFound", "there is no pool %s", buf);
    bk_err_hint(&err, "bkctl pools lists them; a name is namespace/name");
    bk_httpd_fail(r, &err);

    return -1;
}


static int
bk_api_view_mine(const bk_alloc_info_t *a, void *data)
{
    char            id[BK_API_ID_LEN + 1];
    bk_api_view_t  *v = data;

    if (bk_api_view_own(v, a)) {
        bk_api_id(a, id);
        json_object_set_new(v->mine, id, json_true());
    }

    return 0;
}


static int
bk_api_view_pool(bk_api_view_t *v, bk_str_t pool)
{
    int                  n = 0;
    char                 name[BK_TABLE_POOL_LEN + 1];
    json_t              *known;
    bk_decision_t        d;
    const bk_access_t   *a = v->core->access;
    size_t               i;

    static const int  gets[] = { BK_VERB_ALLOCATE, BK_VERB_CERTS };

    if (v->core->gate == NULL) {
        return BK_VIEW_ALL;
    }

    if (v->who == NULL || pool.len > BK_TABLE_POOL_LEN) {
        return 0;
    }

    memcpy(name, pool.len > 0 ? pool.data : "", pool.len);
    name[pool.len] = '\0';
    known = json_object_get(v->pools, name);

    if (known != NULL) {
        return (int) json_integer_value(known);
    }

    if (bk_access_decide(a, v->who, BK_VERB_LIST, pool, &d, NULL) == 0) {
        n = BK_VIEW_POOL|BK_VIEW_ALL;
    }

    for (i = 0; i < sizeof(gets) / sizeof(gets[0]); i++) {
        if (bk_access_decide(a, v->who, gets[i], pool, &d, NULL) == 0) {
            n |= d.untrusted ? BK_VIEW_POOL : BK_VIEW_POOL|BK_VIEW_TRUSTED;
        }
    }

    if (n == 0
        && bk_access_decide(a, v->who, BK_VERB_WAKE, pool, &d, NULL) == 0)
    {
        n = BK_VIEW_POOL;
    }

    json_object_set_new(v->pools, name, json_integer(n));

    return n;
}


void
bk_api_id(const bk_alloc_info_t *a, char *id)
{
    snprintf(id, BK_API_ID_LEN + 1, "%02x%02x%02x%02x%02x%02x", a->hash[0],
             a->hash[1], a->hash[2], a->hash[3], a->hash[4], a->hash[5]);
}
