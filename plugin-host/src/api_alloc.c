/*
 * GET /api/v1/allocations, and one of them where no plugin serves that.
 *
 * There may be 100,000: who asks gets them in parts, a few at each turn of the
 * loop, as fast as he reads.  The list holds what was there when he asked and
 * is there still, each as it is when it is written.
 */

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "api_text.h"
#include "bk_err.h"


#define BK_ALLOCS_PART   200            /* at a turn: less than 1 ms */
#define BK_ALLOCS_LOOK   2000           /* with those that he does not see */
#define BK_ALLOCS_AHEAD  (256 * 1024)   /* bytes that he has not read */
#define BK_ALLOCS_LATER  5              /* ms until we look again */

/* one allocation, with each byte of its strings escaped */
#define BK_ALLOCS_ROOM                                                        \
    (1024 + 6 * (BK_TABLE_POOL_LEN + BK_TABLE_NAME_LEN + BK_TABLE_TEXT_LEN))


/* A list that is being written. */
typedef struct {
    bk_core_t         *core;
    bk_request_t      *r;
    struct event      *turn;
    bk_alloc_walk_t    walk;
    size_t             left;        /* of this part */
    size_t             pool_len;
    char               pool[BK_TABLE_POOL_LEN + 1];     /* empty: of all */
    bk_api_view_t      view;
    bk_text_t          text;
    unsigned           any:1;
} bk_allocs_t;


/* One that is looked for. */
typedef struct {
    const char        *id;
    bk_core_t         *core;
    bk_api_view_t      view;
    bk_text_t          text;
} bk_alloc_one_t;


static void bk_allocs_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_allocs_part(bk_allocs_t *l);
static int bk_allocs_add(const bk_alloc_info_t *a, void *data);
static void bk_allocs_put(bk_text_t *t, bk_core_t *core,
    const bk_alloc_info_t *a);
static void bk_allocs_turn(evutil_socket_t fd, short what, void *data);
static void bk_allocs_write(bk_allocs_t *l);
static void bk_allocs_gone(bk_request_t *r, void *data);
static void bk_allocs_free(bk_allocs_t *l);
static void bk_alloc_one_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_alloc_one_find(const bk_alloc_info_t *a, void *data);


int
bk_api_alloc_routes(bk_core_t *core, bk_err_t *err)
{
    if (bk_httpd_route_for(core->httpd, BK_HTTP_API, "GET",
                           "/api/v1/allocations", BK_VERB_LIST,
                           bk_allocs_http, core, BK_HTTP_DEFAULT, err)
        != 0)
    {
        return -1;
    }

    return bk_httpd_route_for(core->httpd, BK_HTTP_API, "GET",
                              "/api/v1/allocations/*", BK_VERB_LIST,
                              bk_alloc_one_http, core, BK_HTTP_DEFAULT, err);
}


static void
bk_allocs_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char          buf[400];
    bk_str_t      pool;
    bk_core_t    *core = data;
    bk_allocs_t  *l;

    (void) info;

    l = calloc(1, sizeof(bk_allocs_t));
    if (l == NULL) {
        abort();
    }

    l->core = core;
    l->r = r;
    bk_api_view(&l->view, core, r);

    if (bk_api_filter(&l->view, r, buf, sizeof(buf), &pool) != 0) {
        bk_allocs_free(l);
        return;
    }

    /* that of a pool which there is: it fits */
    memcpy(l->pool, pool.len > 0 ? pool.data : "", pool.len);
    l->pool_len = pool.len;
    bk_model_walk_begin(core->model, &l->walk);

    if (!bk_allocs_part(l)) {
        bk_httpd_reply(r, 200, "application/json",
                       (bk_str_t) { l->text.data, l->text.len });
        bk_allocs_free(l);
        return;
    }

    l->turn = evtimer_new(core->base, bk_allocs_turn, l);
    if (l->turn == NULL) {
        abort();
    }

    bk_httpd_on_gone(r, bk_allocs_gone, l);
    bk_httpd_stream_begin(r, 200, "application/json");
    bk_allocs_write(l);
}


/* 1: there is more. */

static int
bk_allocs_part(bk_allocs_t *l)
{
    l->text.len = 0;
    l->left = BK_ALLOCS_PART;

    if (bk_model_walk(&l->walk, BK_ALLOCS_LOOK, bk_allocs_add, l)) {
        return 1;
    }

    bk_text_room(&l->text, 4);
    bk_text_put(&l->text, l->any ? "]" : "[]");

    return 0;
}


static int
bk_allocs_add(const bk_alloc_info_t *a, void *data)
{
    bk_allocs_t  *l = data;

    if ((l->pool_len > 0
         && (a->pool.len != l->pool_len
             || memcmp(a->pool.data, l->pool, l->pool_len) != 0))
        || !bk_api_sees_alloc(&l->view, a))
    {
        return 0;
    }

    bk_text_room(&l->text, 4);
    bk_text_put(&l->text, l->any ? ",{" : "[{");
    bk_allocs_put(&l->text, l->core, a);
    bk_text_put(&l->text, "}");
    l->any = 1;

    return --l->left == 0;
}


/* Its members, and room for a few bytes more. */

static void
bk_allocs_put(bk_text_t *t, bk_core_t *core, const bk_alloc_info_t *a)
{
    char         id[BK_API_ID_LEN + 1];
    const char  *state, *whose;

    bk_api_id(a, id);
    state = bk_alloc_state_name(a->state);
    whose = bk_model_alloc_whose(core->model, a->hash, NULL);

    bk_text_room(t, BK_ALLOCS_ROOM + 6 * strlen(whose));
    bk_text_str(t, "\"id\":", (bk_str_t) { id, BK_API_ID_LEN });
    bk_text_utf8(t, ",\"pool\":", a->pool);
    bk_text_utf8(t, ",\"worker\":", a->worker);
    bk_text_str(t, ",\"state\":", (bk_str_t) { state, strlen(state) });
    bk_text_utf8(t, ",\"reason\":", a->reason);
    bk_text_time(t, ",\"expiresAt\":", a->expires_ms);
    bk_text_time(t, ",\"changedAt\":", a->changed_ms);
    bk_text_put(t, a->key_hash != NULL ? ",\"keyBound\":true"
                                       : ",\"keyBound\":false");
    bk_text_utf8(t, ",\"owner\":", (bk_str_t) { whose, strlen(whose) });
}


static void
bk_allocs_turn(evutil_socket_t fd, short what, void *data)
{
    int              more;
    bk_allocs_t     *l = data;
    struct timeval   later = { 0, BK_ALLOCS_LATER * 1000 };

    (void) fd;
    (void) what;

    if (bk_httpd_stream_waiting(l->r) > BK_ALLOCS_AHEAD) {
        evtimer_add(l->turn, &later);
        return;
    }

    more = bk_allocs_part(l);
    bk_allocs_write(l);

    if (!more) {
        bk_httpd_stream_end(l->r);
        bk_allocs_free(l);
    }
}


/* The part, and the next one at another turn. */

static void
bk_allocs_write(bk_allocs_t *l)
{
    struct timeval  now = { 0, 0 };

    /* there is room: BK_ALLOCS_AHEAD is far below what a stream takes */
    (void) bk_httpd_stream_write(l->r, (bk_str_t) { l->text.data,
                                                    l->text.len });
    evtimer_add(l->turn, &now);
}


static void
bk_allocs_gone(bk_request_t *r, void *data)
{
    (void) r;

    bk_allocs_free(data);
}


static void
bk_allocs_free(bk_allocs_t *l)
{
    if (l->turn != NULL) {
        event_free(l->turn);
    }

    bk_api_view_done(&l->view);
    bk_model_walk_end(&l->walk);
    bk_text_free(&l->text);
    free(l);
}


static void
bk_alloc_one_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char             id[BK_API_ID_LEN + 1];
    bk_err_t         err;
    bk_core_t       *core = data;
    bk_alloc_one_t   one = { .id = id, .core = core };

    if (info->param.len == BK_API_ID_LEN) {
        memcpy(id, info->param.data, BK_API_ID_LEN);
        id[BK_API_ID_LEN] = '\0';

        bk_api_view(&one.view, core, r);
        bk_model_alloc_each(core->model, (bk_str_t) { NULL, 0 },
                            bk_alloc_one_find, &one);
        bk_api_view_done(&one.view);
    }

    if (one.text.len > 0) {
        bk_text_int(&one.text, ",\"connections\":",
                    (uint64_t) bk_api_connected(core, id));
        bk_text_put(&one.text, "}");
        bk_httpd_reply(r, 200, "application/json",
                       (bk_str_t) { one.text.data, one.text.len });
        bk_text_free(&one.text);
        return;
    }

    bk_err_set(&err, 404, "AllocationNotFound",
               "there is no allocation with this id");
    bk_err_hint(&err, "an id has %d hex digits; bkctl allocations lists them",
                BK_API_ID_LEN);
    bk_httpd_fail(r, &err);
}


static int
bk_alloc_one_find(const bk_alloc_info_t *a, void *data)
{
    char             id[BK_API_ID_LEN + 1];
    bk_alloc_one_t  *one = data;

    bk_api_id(a, id);

    if (strcmp(id, one->id) != 0 || !bk_api_sees_alloc(&one->view, a)) {
        return 0;
    }

    bk_text_room(&one->text, BK_ALLOCS_ROOM);
    bk_text_put(&one->text, "{");
    bk_allocs_put(&one->text, one->core, a);
    bk_text_room(&one->text, 64);

    return 1;
}
