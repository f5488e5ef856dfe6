/*
 * What the files of the read-only endpoints share: pieces of JSON, and who
 * is connected.
 */

#ifndef BK_API_H_INCLUDED
#define BK_API_H_INCLUDED

#include <jansson.h>

#include "host.h"


json_t *bk_api_time(uint64_t ms);       /* null for 0 */
json_t *bk_api_str(bk_str_t s);
/* takes json */
void bk_api_send(bk_request_t *r, int status, json_t *json);

/* api_session.c */

/* bk_session_pt: counts into an object by pool, for connections() */
int bk_api_count_session(const bk_session_info_t *s, void *data);
json_t *bk_api_connections(json_t *used, bk_str_t pool);
/* of an allocation, by id: those that wait or are live */
int bk_api_connected(bk_core_t *core, const char *id);

#endif /* BK_API_H_INCLUDED */
