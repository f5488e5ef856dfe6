/*
 * What a caller may see of pools, workers, allocations and connections.  See
 * api.h.  Rules are asked once for each pool, not for each thing in it.
 */

#include <string.h>

#include "api.h"
#include "gate.h"


#define BK_VIEW_POOL  1
#define BK_VIEW_ALL   2


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
    return bk_api_view_pool(v, pool) == BK_VIEW_ALL;
}


int
bk_api_sees_alloc(bk_api_view_t *v, const bk_alloc_info_t *a)
{
    return bk_api_sees_all(v, a->pool)
           || strcmp(bk_model_alloc_whose(v->core->model, a->hash),
                     v->who->name)
              == 0;
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


static int
bk_api_view_mine(const bk_alloc_info_t *a, void *data)
{
    char            id[BK_API_ID_LEN + 1];
    bk_api_view_t  *v = data;

    if (strcmp(bk_model_alloc_whose(v->core->model, a->hash), v->who->name)
        == 0)
    {
        bk_api_id(a, id);
        json_object_set_new(v->mine, id, json_true());
    }

    return 0;
}


static int
bk_api_view_pool(bk_api_view_t *v, bk_str_t pool)
{
    int                  verb, n = 0;
    char                 name[BK_TABLE_POOL_LEN + 1];
    json_t              *known;
    bk_decision_t        d;
    const bk_access_t   *a = v->core->access;

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
        n = BK_VIEW_ALL;
    }

    for (verb = BK_VERB_ALLOCATE; n == 0 && verb <= BK_VERB_WAKE; verb++) {
        if (bk_access_decide(a, v->who, verb, pool, &d, NULL) == 0) {
            n = BK_VIEW_POOL;
        }
    }

    json_object_set_new(v->pools, name, json_integer(n));

    return n;
}
