/*
 * What api.c and api_setup.c share: one request that is under way.  Nobody
 * else includes this.
 */

#ifndef BK_API_INT_H_INCLUDED
#define BK_API_INT_H_INCLUDED

#include <curl/curl.h>

#include "bkctl.h"


typedef struct {
    char                    *data;
    size_t                   len, alloc;
    int                      too_large;
    int                      ended;     /* line() wanted no more */
    int64_t                  asked_ms;  /* by the wall clock */
    CURL                    *easy;
    struct curl_slist       *headers;
    char                    *body;
    char                    *url;
    char                     error[CURL_ERROR_SIZE];
    const char              *endpoint;
    const bk_args_t         *args;
    const bk_api_request_t  *req;
    bk_api_reply_t          *reply;
} bk_api_t;


/* Everything up to the request itself; -1 with the reply failed. */
int bk_api_setup(bk_api_t *a);

/* What curl calls. */
size_t bk_api_write(char *data, size_t size, size_t n, void *arg);
size_t bk_api_header(char *data, size_t size, size_t n, void *arg);

#endif /* BK_API_INT_H_INCLUDED */
