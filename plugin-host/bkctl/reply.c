/*
 * What becomes of an answer: an exit code, one sentence and a hint.
 *
 * Everything in it may come from elsewhere, so it is cleaned before anybody
 * shows it.
 */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


static const char *bk_reply_hint(const bk_api_reply_t *r, int code);


void
bk_reply_refused(bk_api_reply_t *r, const char *endpoint)
{
    int          code;
    const char  *hint;

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
        || strcmp(r->reason, "QueueFull") == 0
        || strcmp(r->reason, "TableFull") == 0)
    {
        code = BK_EXIT_CAPACITY;
    }

    r->again = ((r->status == 503 || r->status == 429)
                && r->retry_after >= 0)
               || code == BK_EXIT_UNREACHABLE
               ? BK_AGAIN_ALWAYS : BK_AGAIN_NEVER;

    if (*bk_out_string(r->json, "error") == '\0') {
        bk_reply_fail(r, code, bk_reply_hint(r, code),
                      "the API at %s answered %ld without saying why",
                      endpoint, r->status);
        return;
    }

    hint = bk_out_string(r->json, "hint");
    bk_reply_fail(r, code, *hint || code != BK_EXIT_DENIED
                  ? hint : bk_reply_hint(r, code),
                  "%s", bk_out_string(r->json, "error"));
}


/* Where the API gives none. */

static const char *
bk_reply_hint(const bk_api_reply_t *r, int code)
{
    if (code != BK_EXIT_DENIED) {
        return "is BKCTL_ENDPOINT the gateway's API? its log says more";
    }

    if (r->status == 403) {
        return "\"bkctl explain --pool POOL\" says which rule decides; ask "
               "who runs the gateway";
    }

    if (r->bearer) {
        return "the token that was sent is not taken: is it of the right "
               "issuer and audience, and not too old?";
    }

    if (getenv("GITHUB_ACTIONS")) {
        return "in a GitHub workflow: --oidc github, and \"permissions: "
               "id-token: write\" for the job";
    }

    if (getenv("GITLAB_CI")) {
        return "in a GitLab job: \"id_tokens: BKCTL_TOKEN: aud: ...\"";
    }

    return "set BKCTL_TOKEN or give --token-file, or ask who runs the gateway";
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
