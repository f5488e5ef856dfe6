/*
 * What becomes of an answer: an exit code, one sentence and a hint.
 *
 * Everything in it may come from elsewhere, so it is cleaned before anybody
 * shows it.
 */

#include <stdarg.h>
#include <string.h>

#include "bkctl.h"


void
bk_reply_refused(bk_api_reply_t *r, const char *endpoint)
{
    int  code;

    switch (r->status) {
    case 401:
    case 403:
        code = BK_EXIT_DENIED;
        break;
    case 502:       /* a proxy speaks for an API that is not there */
    case 504:
        code = BK_EXIT_UNREACHABLE;
        break;
    default:
        code = BK_EXIT_FAILED;
    }

    snprintf(r->reason, sizeof(r->reason), "%s",
             bk_out_text(r->json, "reason"));

    if (strcmp(r->reason, "NoCapacity") == 0
        || strcmp(r->reason, "TableFull") == 0)
    {
        code = BK_EXIT_CAPACITY;
    }

    if (*bk_out_string(r->json, "error") == '\0') {
        bk_reply_fail(r, code,
                      code == BK_EXIT_DENIED
                      ? "set BKCTL_TOKEN, or ask who runs the gateway"
                      : "is BKCTL_ENDPOINT the gateway's API? its log says "
                        "more",
                      "the API at %s answered %ld without saying why",
                      endpoint, r->status);
        return;
    }

    bk_reply_fail(r, code, bk_out_string(r->json, "hint"), "%s",
                  bk_out_string(r->json, "error"));
}


int
bk_reply_fail(bk_api_reply_t *r, int code, const char *hint, const char *fmt,
    ...)
{
    va_list  ap;

    r->exit = code;

    va_start(ap, fmt);
    vsnprintf(r->error, sizeof(r->error), fmt, ap);
    va_end(ap);

    snprintf(r->hint, sizeof(r->hint), "%s", hint);
    bk_out_clean(r->error);
    bk_out_clean(r->hint);

    return -1;
}


int
bk_reply_complain(const bk_api_reply_t *r)
{
    bk_out_error("%s", r->error);

    if (r->hint[0]) {
        bk_out_hint("%s", r->hint);
    }

    return r->exit;
}


void
bk_reply_free(bk_api_reply_t *r)
{
    json_decref(r->json);
    r->json = NULL;
}
