/*
 * What the files of the read-only endpoints share: pieces of JSON, and who
 * is connected.
 */

#ifndef BK_API_H_INCLUDED
#define BK_API_H_INCLUDED

#include <jansson.h>

#include "host.h"


json_t *bk_api_str(bk_str_t s);
/* takes json */
void bk_api_send(bk_request_t *r, int status, json_t *json);

/*
 * api_view.c: what the caller may see.  A pool: where a rule lets him list, or
 * get a worker; all in it: where one lets him list.  His own allocations
 * always, but for trusted ones of his name where he would get none.  What he may not see is not there: 404, never 403.
 */
typedef struct {
    bk_core_t       *core;
    const bk_who_t  *who;       /* NULL: there is no gate, all is seen */
    json_t          *pools;     /* decided so far */
    json_t          *mine;      /* ids of his allocations, NULL: not looked */
} bk_api_view_t;

void bk_api_view(bk_api_view_t *v, bk_core_t *core, const bk_request_t *r);
void bk_api_view_done(bk_api_view_t *v);
int bk_api_sees_pool(bk_api_view_t *v, bk_str_t pool);
int bk_api_sees_all(bk_api_view_t *v, bk_str_t pool);
int bk_api_sees_alloc(bk_api_view_t *v, const bk_alloc_info_t *a);
/* id of 12 digits, or empty */
int bk_api_sees_session(bk_api_view_t *v, bk_str_t pool, bk_str_t id);

/* ?pool=NAME, into buf; empty: of all.  -1 when the answer was given: there is
 * no such pool, or none that he may see */
int bk_api_filter(bk_api_view_t *v, bk_request_t *r, char *buf, size_t size,
    bk_str_t *pool);

#define BK_API_ID_LEN  12       /* hex digits of SHA-256(token) */

void bk_api_id(const bk_alloc_info_t *a, char *id);

/* api_alloc.c */
int bk_api_alloc_routes(bk_core_t *core, bk_err_t *err);

/* api_explain.c */
int bk_api_explain_routes(bk_core_t *core, bk_err_t *err);

/* api_session.c */

/* bk_session_pt: counts into an object by pool, for connections() */
int bk_api_count_session(const bk_session_info_t *s, void *data);
json_t *bk_api_connections(json_t *used, bk_str_t pool);
/* of an allocation, by id: those that wait or are live */
int bk_api_connected(bk_core_t *core, const char *id);

#endif /* BK_API_H_INCLUDED */
