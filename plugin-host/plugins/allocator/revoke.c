/*
 * Revoke, and release by id: somebody ends an allocation without its token,
 * his own or one that a rule lets him end, and says why.
 */

#include <string.h>

#include "allocator.h"


static int bk_revoke_reason(bk_allocator_t *a, bk_request_t *r, const
    bk_request_info_t *info, const char *otherwise, char *reason,
    bk_err_t *err);
static void bk_revoke_end(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, int verb, int state,
    const char *otherwise);


/* DELETE /api/v1/allocations/ID */

void
bk_revoke_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_revoke_end(data, r, info, BK_VERB_REVOKE, BK_ALLOC_REVOKED,
                  "revoked by an operator");
}


/* POST /api/v1/allocations/ID/release */

void
bk_release_other_http(bk_request_t *r, const bk_request_info_t *info,
    void *data)
{
    bk_revoke_end(data, r, info, BK_VERB_RELEASE, BK_ALLOC_RELEASED, "");
}


static void
bk_revoke_end(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, int verb, int state,
    const char *otherwise)
{
    char              id[BK_ID_LEN + 1], reason[BK_TABLE_TEXT_LEN];
    char              name[BK_OWNER_MAX + 1];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_row_t          row;
    bk_identity_t     who;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_revoke_reason(a, r, info, otherwise, reason, &err) != 0
        || bk_own_find(a, r, info->param, verb, hash, &row, &err) != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    if (row.state >= BK_ALLOC_EXPIRED && row.state != state) {
        (void) bk_routes_over(&row, &err);
        err.hint[0] = '\0';
        h->http_fail(r, &err);
        return;
    }

    if (bk_over_unwritten(a, hash, &err)) {
        h->http_fail(r, &err);
        return;
    }

    if (row.state == state) {
        /* twice is once */
        bk_ending_again(a, r, hash, state, row.reason);
        return;
    }

    if (h->http_identity(r, &who) != 0) {
        who.name = BK_STR("");
    }

    h->log(h, BK_LOG_INFO, "allocation %s: %s by %.*s%s%.*s%s%s",
           bk_token_id(hash, id), bk_state_name(state), (int) who.name.len,
           who.name.data, who.name.len > 0 ? ", " : "",
           (int) info->client.len, info->client.data,
           reason[0] == '\0' ? "" : ": ", reason);

    bk_str_copy(name, sizeof(name), who.name);
    bk_journal_note(a->journal, hash, verb == BK_VERB_REVOKE ? "revoke"
                                                             : "release",
                    name, reason, h->now_ms(h));
    bk_ending_begin(a, r, hash, row.pool, state, reason);
}


static int
bk_revoke_reason(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, const char *otherwise, char *reason,
    bk_err_t *err)
{
    int      rc;
    char     query[4 * BK_TABLE_TEXT_LEN];
    json_t  *root;

    reason[0] = '\0';

    if (info->body.len > 0) {
        root = bk_json_read(info->body, err);

        if (root == NULL) {
            return -1;
        }

        rc = bk_json_string(root, "reason", BK_REASON_MAX, reason, err);
        json_decref(root);

        if (rc == -1) {
            return -1;
        }
    }

    if (reason[0] == '\0'
        && a->host->http_query(r, "reason", query, sizeof(query)) == 0)
    {
        if (strlen(query) > BK_REASON_MAX || !bk_text_valid(query)) {
            return bk_fail(err, 400, "BadValue", NULL,
                           "\"reason\" must have at most %d bytes and no "
                           "control characters", BK_REASON_MAX);
        }

        memcpy(reason, query, strlen(query) + 1);
    }

    if (reason[0] == '\0') {
        bk_str_copy(reason, BK_TABLE_TEXT_LEN, bk_str(otherwise));
    }

    return 0;
}
