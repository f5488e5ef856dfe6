/*
 * One token: see controller.h.
 *
 * However many connections bring it, it is asked about once at a time, and
 * what came of it holds for a while.  How long, is a question of safety: the
 * controller tells nobody when an allocation ends, and the address of a Pod
 * that is gone is another Pod's soon.  So a token that nobody uses is not
 * believed for longer than "keep"; one whose connections live (its worker is
 * the same process, then) is asked about every "refresh", and goes on being
 * used while the controller cannot be asked.  What is not believed is STARTING
 * in the table: live connections go on, new ones are held until it has been
 * asked about.
 */

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "controller.h"


/* a row that nobody asked about for so long, and that is nobody's, goes */
#define CTL_ROW_IDLE_MS   30000

/* so long before it expires it is asked about: it may have been renewed */
#define CTL_ROW_SOON_MS   10000

/* what is not known yet, and what went wrong, is looked at no sooner again */
#define CTL_ROW_AGAIN_MS  1000


static ctl_row_t *ctl_row_new(ctl_t *ctl, const uint8_t *hash);
static void ctl_row_token(ctl_row_t *row, const bk_lookup_ask_t *ask);
static int ctl_row_cached(const ctl_row_t *row, uint64_t now);
static int ctl_row_verdict(const ctl_row_t *row);
static void ctl_row_wait(ctl_row_t *row, uint64_t client);
static void ctl_row_tell(ctl_row_t *row, int verdict);
static void ctl_row_known(ctl_row_t *row, const ctl_answer_t *answer);
static int ctl_row_ours(const ctl_t *ctl, const char *pool);
static int ctl_row_used(const ctl_row_t *row, uint64_t *idle_ms);
static void ctl_row_look(ctl_row_t *row, uint64_t now);
static int ctl_row_expires(const ctl_row_t *row, uint64_t expires_ms,
    uint64_t now);
static void ctl_row_refresh(ctl_row_t *row);


void
ctl_row_ask(ctl_t *ctl, uint64_t client, const bk_lookup_ask_t *ask)
{
    int               there;
    uint8_t           hash[BK_LOOKUP_HASH_LEN];
    uint64_t          now = ctl->host->monotonic_ms(ctl->host);
    ctl_row_t        *row;
    bk_alloc_info_t   alloc;

    if (EVP_Digest(ask->token, ask->token_len, hash, NULL, EVP_sha256(), NULL)
        != 1)
    {
        abort();
    }

    ctl->asks++;

    row = ctl_row_find(ctl, hash);
    there = ctl->host->alloc_find(ctl->host, hash, &alloc) == 0;

    /* somebody else's, or over: the table says it */
    if (there && (row == NULL || bk_alloc_ended(alloc.state))) {
        ctl_door_answer(ctl, client, hash, BK_LOOKUP_KNOWN, "");
        return;
    }

    if (row == NULL) {
        if (HASH_COUNT(ctl->rows) >= CTL_ROWS_MAX) {
            ctl_door_answer(ctl, client, hash, BK_LOOKUP_TROUBLE,
                            "too many allocations are asked about");
            return;
        }

        row = ctl_row_new(ctl, hash);
    }

    ctl_row_token(row, ask);
    row->asked_ms = now;

    if (ctl_row_cached(row, now)) {
        ctl_door_answer(ctl, client, hash, ctl_row_verdict(row), row->text);
        return;
    }

    if (row->fetch == NULL && ctl->fetching >= CTL_FETCHES_MAX) {
        ctl_door_answer(ctl, client, hash, BK_LOOKUP_TROUBLE,
                        "too many questions wait for the controller");
        return;
    }

    ctl_row_wait(row, client);

    if (row->fetch == NULL) {
        ctl_api_lookup(row);
    }
}


void
ctl_row_inherit(ctl_t *ctl, const bk_alloc_info_t *alloc)
{
    ctl_row_t  *row = ctl_row_new(ctl, alloc->hash);

    row->not_after_ms = alloc->expires_ms;
    row->in_model = 1;
    row->state = alloc->state;
    snprintf(row->worker, sizeof(row->worker), "%.*s",
             (int) alloc->worker.len, alloc->worker.data);
}


ctl_row_t *
ctl_row_find(ctl_t *ctl, const uint8_t *hash)
{
    ctl_row_t  *row;

    HASH_FIND(hh, ctl->rows, hash, BK_LOOKUP_HASH_LEN, row);

    return row;
}


static ctl_row_t *
ctl_row_new(ctl_t *ctl, const uint8_t *hash)
{
    size_t      i;
    ctl_row_t  *row;

    row = calloc(1, sizeof(ctl_row_t));
    if (row == NULL) {
        abort();
    }

    row->ctl = ctl;
    memcpy(row->hash, hash, BK_LOOKUP_HASH_LEN);

    for (i = 0; i < CTL_ID_LEN / 2; i++) {
        snprintf(row->id + 2 * i, 3, "%02x", hash[i]);
    }

    HASH_ADD(hh, ctl->rows, hash, BK_LOOKUP_HASH_LEN, row);

    return row;
}


void
ctl_row_free(ctl_row_t **rp)
{
    ctl_row_t  *row = *rp;

    *rp = NULL;

    if (row->fetch != NULL) {
        bk_fetch_cancel(&row->fetch);
        row->ctl->fetching--;
    }

    ctl_row_tell(row, BK_LOOKUP_TROUBLE);
    HASH_DEL(row->ctl->rows, row);

    if (row->token != NULL) {
        explicit_bzero(row->token, strlen(row->token));
        free(row->token);
    }

    free(row);
}


static void
ctl_row_token(ctl_row_t *row, const bk_lookup_ask_t *ask)
{
    if (row->not_after_ms < ask->not_after_ms) {
        row->not_after_ms = ask->not_after_ms;
    }

    if (row->token != NULL) {
        return;
    }

    row->token = strndup(ask->token, ask->token_len);
    if (row->token == NULL) {
        abort();
    }
}


/* Is there an answer already that still holds? */

static int
ctl_row_cached(const ctl_row_t *row, uint64_t now)
{
    if (row->fresh) {
        return 1;
    }

    if (row->checked_ms == 0) {
        return 0;
    }

    switch (row->said) {

    case ctl_said_unknown_e:
    case ctl_said_pool_e:
        return now - row->checked_ms < row->ctl->conf.unknown_ms;

    case ctl_said_known_e:

        /* it is known but not ready; if it was ready, it is to be asked */
        return row->state != BK_ALLOC_READY && row->state != BK_ALLOC_DRAINING
               && now - row->checked_ms < CTL_ROW_AGAIN_MS;

    case ctl_said_trouble_e:
        return now - row->checked_ms < CTL_ROW_AGAIN_MS;

    default:
        return 0;
    }
}


static int
ctl_row_verdict(const ctl_row_t *row)
{
    if (row->fresh) {
        return BK_LOOKUP_KNOWN;
    }

    switch (row->said) {

    case ctl_said_unknown_e:
        return BK_LOOKUP_UNKNOWN;

    case ctl_said_pool_e:
        return BK_LOOKUP_POOL;

    case ctl_said_trouble_e:
        return BK_LOOKUP_TROUBLE;

    default:
        return BK_LOOKUP_KNOWN;
    }
}


static void
ctl_row_wait(ctl_row_t *row, uint64_t client)
{
    ctl_wait_t  *w;

    LL_FOREACH(row->waits, w) {
        if (w->client == client) {
            return;
        }
    }

    w = calloc(1, sizeof(ctl_wait_t));
    if (w == NULL) {
        abort();
    }

    w->client = client;
    LL_PREPEND(row->waits, w);
}


static void
ctl_row_tell(ctl_row_t *row, int verdict)
{
    ctl_wait_t  *w;

    while ((w = row->waits) != NULL) {
        LL_DELETE(row->waits, w);
        ctl_door_answer(row->ctl, w->client, row->hash, verdict, row->text);
        free(w);
    }
}


void
ctl_row_answered(ctl_row_t *row, const ctl_answer_t *answer)
{
    ctl_t  *ctl = row->ctl;

    row->fetch = NULL;
    ctl->fetching--;
    row->checked_ms = ctl->host->monotonic_ms(ctl->host);
    row->said = answer->said;
    snprintf(row->text, sizeof(row->text), "%s", answer->text);

    switch (answer->said) {

    case ctl_said_known_e:
        ctl_row_known(row, answer);
        break;

    case ctl_said_ended_e:
        ctl_model_end(row, answer);
        row->text[0] = '\0';
        break;

    case ctl_said_unknown_e:

        /* whatever it was: its connections end with the worker */
        ctl_model_stale(row, "the controller does not know it any more");
        break;

    default:

        /* in use: its worker is there; else it stays as it is, not believed */
        break;
    }

    ctl->lookups[row->said]++;
    ctl_row_tell(row, ctl_row_verdict(row));
}


static void
ctl_row_known(ctl_row_t *row, const ctl_answer_t *answer)
{
    ctl_t     *ctl = row->ctl;
    bk_err_t   err;

    row->text[0] = '\0';

    if (!ctl_row_ours(ctl, answer->pool)) {
        row->said = ctl_said_pool_e;
        snprintf(row->text, sizeof(row->text), "%.190s", answer->pool);
        ctl_model_stale(row, "it is of another pool");
        return;
    }

    row->state = answer->state;

    if (ctl_model_put(row, answer, &err) == 0) {
        return;
    }

    ctl->host->log(ctl->host, BK_LOG_ERROR, "allocation %s: %s", row->id,
                   err.text);

    row->said = ctl_said_trouble_e;
    snprintf(row->text, sizeof(row->text), "%.200s", err.text);
    bk_err_clean(row->text);
}


/* The Go project's answers say the name alone, ours namespace/name. */

static int
ctl_row_ours(const ctl_t *ctl, const char *pool)
{
    return strcmp(pool, ctl->conf.pool) == 0 || strcmp(pool, ctl->name) == 0;
}


void
ctl_row_sweep(ctl_t *ctl)
{
    uint64_t    now = ctl->host->monotonic_ms(ctl->host);
    ctl_row_t  *row, *tmp;

    HASH_ITER(hh, ctl->rows, row, tmp) {
        ctl_row_look(row, now);
    }
}


static void
ctl_row_look(ctl_row_t *row, uint64_t now)
{
    int               used;
    ctl_t            *ctl = row->ctl;
    uint64_t          idle_ms;
    bk_alloc_info_t   alloc;

    if (!row->in_model) {
        if (row->fetch == NULL && now - row->asked_ms >= CTL_ROW_IDLE_MS
            && now - row->checked_ms >= CTL_ROW_IDLE_MS)
        {
            ctl_row_free(&row);
        }

        return;
    }

    if (ctl->host->alloc_find(ctl->host, row->hash, &alloc) != 0
        || bk_alloc_ended(alloc.state))
    {
        ctl_model_forget(row);
        ctl_row_free(&row);
        return;
    }

    /* whether it is used or not: one that has ended stays ended */

    if (ctl_row_expires(row, alloc.expires_ms, now)) {
        ctl_row_refresh(row);
    }

    if (!row->fresh) {
        return;
    }

    used = ctl_row_used(row, &idle_ms);

    if (!used) {
        if (idle_ms >= ctl->conf.keep_ms
            && now - row->checked_ms >= ctl->conf.keep_ms)
        {
            ctl_model_stale(row, "the controller is asked about it again");
        }

        return;
    }

    if (now - row->checked_ms >= ctl->conf.refresh_ms) {
        ctl_row_refresh(row);
    }
}


static int
ctl_row_expires(const ctl_row_t *row, uint64_t expires_ms, uint64_t now)
{
    const bk_host_t  *h = row->ctl->host;

    return row->renewable && expires_ms != 0
           && expires_ms < h->now_ms(h) + CTL_ROW_SOON_MS
           && now - row->checked_ms >= 2 * CTL_ROW_AGAIN_MS;
}


static void
ctl_row_refresh(ctl_row_t *row)
{
    if (row->fetch == NULL && row->token != NULL
        && row->ctl->fetching < CTL_FETCHES_MAX)
    {
        ctl_api_lookup(row);
    }
}


/* Are there connections to its worker?  Else, since when not. */

static int
ctl_row_used(const ctl_row_t *row, uint64_t *idle_ms)
{
    ctl_t            *ctl = row->ctl;
    uint64_t          now = ctl->host->now_ms(ctl->host);
    bk_worker_use_t   use;

    *idle_ms = UINT64_MAX;

    if (ctl->host->worker_use(ctl->host, ctl_pool(ctl), CTL_STR(row->worker),
                              &use, sizeof(use)) != 0)
    {
        return 0;
    }

    if (use.last_used_ms != 0) {
        *idle_ms = now > use.last_used_ms ? now - use.last_used_ms : 0;
    }

    return use.connections > 0;
}
