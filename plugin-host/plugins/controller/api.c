/*
 * Requests to the controller: see controller.h.  Nothing here blocks; how
 * many go there at a time is up to fetch.c, the others wait in it.
 */

#include <stdio.h>
#include <string.h>

#include "controller.h"


#define CTL_API_TRIES     5         /* of a release */
#define CTL_API_ENDS_MAX  1000
#define CTL_API_WARN_MS   60000


/* a release under way */
struct ctl_end_s {
    ctl_end_t   *prev, *next;
    ctl_t       *ctl;
    bk_fetch_t  *fetch;
    bk_timer_t  *again;
    unsigned     tries;
    char         id[CTL_ID_LEN + 1];
    char         token[BK_LOOKUP_TOKEN_LEN + 1];
};


static bk_fetch_t *ctl_api_post(ctl_t *ctl, const char *what,
    const char *token, bk_fetch_pt done, void *data);
static void ctl_api_looked(void *data, long status, const char *body,
    size_t len, const char *error);
static void ctl_api_health(ctl_t *ctl, const ctl_answer_t *answer);
static void ctl_api_end(void *data);
static void ctl_api_ended(void *data, long status, const char *body,
    size_t len, const char *error);
static void ctl_api_end_free(ctl_end_t *e);


void
ctl_api_lookup(ctl_row_t *row)
{
    row->ctl->fetching++;
    row->fetch = ctl_api_post(row->ctl, "lookup", row->token, ctl_api_looked,
                              row);
}


/* The alphabet of tokens needs no escapes: door.c sees to that. */

static bk_fetch_t *
ctl_api_post(ctl_t *ctl, const char *what, const char *token,
    bk_fetch_pt done, void *data)
{
    char             body[BK_LOOKUP_TOKEN_LEN + 32], *url;
    bk_fetch_t      *fetch;
    bk_fetch_req_t   req;

    if (asprintf(&url, "%s/api/v1/workers/%s", ctl->conf.endpoint, what) < 0) {
        abort();
    }

    memset(&req, 0, sizeof(req));
    req.url = url;
    req.accept = "application/json";
    req.body = body;
    req.body_len = (size_t) snprintf(body, sizeof(body), "{\"token\":\"%s\"}",
                                     token);
    req.insecure = strncmp(url, "http:", 5) == 0;
    req.limit = CTL_ANSWER_MAX;
    req.timeout_ms = ctl->conf.timeout_ms;

    if (ctl->conf.ca_file[0] != '\0') {
        req.ca_file = ctl->conf.ca_file;
    }

    if (ctl->conf.bearer_file[0] != '\0'
        && (!req.insecure || ctl->local || ctl->conf.bearer_http))
    {
        req.bearer_file = ctl->conf.bearer_file;
    }

    fetch = bk_fetch(ctl->fetcher, &req, done, data);

    explicit_bzero(body, sizeof(body));
    free(url);

    return fetch;
}


static void
ctl_api_looked(void *data, long status, const char *body, size_t len,
    const char *error)
{
    ctl_row_t     *row = data;
    ctl_answer_t   answer;

    ctl_answer_read(status, body, len, error, row->ctl->local, &answer);
    ctl_api_health(row->ctl, &answer);
    ctl_row_answered(row, &answer);
}


static void
ctl_api_health(ctl_t *ctl, const ctl_answer_t *answer)
{
    int        up = answer->said != ctl_said_trouble_e;
    uint64_t   now = ctl->host->monotonic_ms(ctl->host);

    if (up && !ctl->up && ctl->complained_ms != 0) {
        ctl->host->log(ctl->host, BK_LOG_INFO, "controller %s answers again",
                       ctl->conf.endpoint);
        ctl->complained_ms = 0;
    }

    if (!up && (ctl->complained_ms == 0
                || now - ctl->complained_ms >= CTL_API_WARN_MS))
    {
        ctl->host->log(ctl->host, BK_LOG_WARN, "controller %s cannot be asked "
                       "about allocations: %s", ctl->conf.endpoint,
                       answer->text);
        ctl->complained_ms = now;
    }

    ctl->up = up;
}


void
ctl_api_release(ctl_t *ctl, const ctl_row_t *row)
{
    ctl_end_t  *e;

    if (ctl->nends == CTL_API_ENDS_MAX) {
        ctl->host->log(ctl->host, BK_LOG_WARN, "allocation %s is not given "
                       "back: too many are", row->id);
        ctl->releases[1]++;
        return;
    }

    e = calloc(1, sizeof(ctl_end_t));
    if (e == NULL) {
        abort();
    }

    e->ctl = ctl;
    memcpy(e->id, row->id, sizeof(e->id));
    snprintf(e->token, sizeof(e->token), "%s", row->token);
    e->again = ctl->host->timer_new(ctl->host, ctl_api_end, e);

    DL_APPEND(ctl->ends, e);
    ctl->nends++;
    ctl_api_end(e);
}


static void
ctl_api_end(void *data)
{
    ctl_end_t  *e = data;

    e->tries++;
    e->fetch = ctl_api_post(e->ctl, "release", e->token, ctl_api_ended, e);
}


/* It is over there anyway, at the latest when it expires. */

static void
ctl_api_ended(void *data, long status, const char *body, size_t len,
    const char *error)
{
    int            done;
    ctl_t         *ctl;
    ctl_end_t     *e = data;
    ctl_answer_t   answer;

    ctl = e->ctl;
    e->fetch = NULL;
    done = status == 200 || status == 204 || status == 404 || status == 410;

    if (!done && (status == 0 || status == 429 || status >= 500)
        && e->tries < CTL_API_TRIES)
    {
        ctl->host->timer_set(e->again, UINT64_C(500) << e->tries);
        return;
    }

    if (done) {
        ctl->host->log(ctl->host, BK_LOG_INFO, "allocation %s was given back "
                       "to the controller", e->id);

    } else {
        /* its words, whatever they would mean for a look-up */
        ctl_answer_read(status == 200 ? 500 : status, body, len, error,
                        ctl->local, &answer);
        ctl->host->log(ctl->host, BK_LOG_WARN, "allocation %s cannot be given "
                       "back to the controller: %s", e->id, answer.text);
    }

    ctl->releases[!done]++;
    ctl_api_end_free(e);
}


static void
ctl_api_end_free(ctl_end_t *e)
{
    ctl_t  *ctl = e->ctl;

    DL_DELETE(ctl->ends, e);
    ctl->nends--;

    if (e->fetch != NULL) {
        bk_fetch_cancel(&e->fetch);
    }

    ctl->host->timer_free(&e->again);
    explicit_bzero(e, sizeof(ctl_end_t));
    free(e);
}


void
ctl_api_free(ctl_t *ctl)
{
    while (ctl->ends != NULL) {
        ctl_api_end_free(ctl->ends);
    }

    bk_fetcher_free(&ctl->fetcher);
}
