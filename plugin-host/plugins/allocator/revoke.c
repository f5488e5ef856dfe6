/*
 * Revoke: an operator ends an allocation by its id, and says why.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


/* What an id or its longer forms matched in the model. */
typedef struct {
    const char  *id;
    size_t       len;
    int          found;
    uint8_t      hash[BK_TABLE_HASH_LEN];
} bk_match_t;


static int bk_revoke_reason(bk_allocator_t *a, bk_request_t *r, const
    bk_request_info_t *info, char *reason, bk_err_t *err);
static int bk_revoke_match(const bk_alloc_info_t *alloc, void *data);
static int bk_revoke_find(bk_allocator_t *a, bk_str_t id, uint8_t *hash,
    bk_err_t *err);


void
bk_revoke_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              id[BK_ID_LEN + 1], reason[BK_TABLE_TEXT_LEN];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_row_t          row;
    unsigned          live;
    bk_count_t        count;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_revoke_reason(a, r, info, reason, &err) != 0
        || bk_revoke_find(a, info->param, hash, &err) != 0
        || bk_routes_known(a, hash, &row, &err) != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    live = bk_ending_count(a, bk_token_id(hash, id), &count);

    if (row.state >= BK_ALLOC_EXPIRED) {
        if (row.state != BK_ALLOC_REVOKED) {
            (void) bk_routes_over(&row, &err);
            err.hint[0] = '\0';
            h->http_fail(r, &err);
            return;
        }

        /* twice is once */
        memcpy(reason, row.reason, sizeof(reason));

    } else if (bk_allocator_end(a, hash, BK_ALLOC_REVOKED, reason, &err)
               != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    h->log(h, BK_LOG_INFO, "allocation %s: revoked by %.*s: %s",
           bk_token_id(hash, id), (int) info->client.len, info->client.data,
           reason);

    bk_ending_begin(a, r, id, reason, live);
}


static int
bk_revoke_reason(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, char *reason, bk_err_t *err)
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
        bk_str_copy(reason, BK_TABLE_TEXT_LEN,
                    BK_STR("revoked by an operator"));
    }

    return 0;
}


static int
bk_revoke_match(const bk_alloc_info_t *alloc, void *data)
{
    bk_match_t *m = data;

    char    hex[2 * BK_TABLE_HASH_LEN + 1];
    size_t  i;

    for (i = 0; i < (m->len + 1) / 2; i++) {
        (void) snprintf(hex + 2 * i, 3, "%02x", alloc->hash[i]);
    }

    if (memcmp(hex, m->id, m->len) == 0) {
        memcpy(m->hash, alloc->hash, BK_TABLE_HASH_LEN);
        m->found++;
    }

    return m->found > 1;
}


/* The journal has an index; the model also knows those of other plugins. */

static int
bk_revoke_find(bk_allocator_t *a, bk_str_t id, uint8_t *hash,
    bk_err_t *err)
{
    int         n;
    char        text[2 * BK_TABLE_HASH_LEN + 1];
    uint8_t     prefix[BK_ID_LEN / 2];
    size_t      i;
    unsigned    byte;
    bk_row_t    row;
    bk_match_t  m;

    bk_str_copy(text, sizeof(text), id);

    if (id.len < BK_ID_LEN || id.len >= sizeof(text)
        || strspn(text, "0123456789abcdef") != id.len)
    {
        return bk_fail(err, 400, "BadId", "bkctl allocations lists them",
                       "an allocation's id is %d lower-case hex digits",
                       BK_ID_LEN);
    }

    for (i = 0; i < sizeof(prefix); i++) {
        (void) sscanf(text + 2 * i, "%2x", &byte);
        prefix[i] = (uint8_t) byte;
    }

    m = (bk_match_t) { .id = text, .len = id.len };

    n = bk_journal_prefix(a->journal, prefix, sizeof(prefix), &row, err);

    if (n == -1) {
        return -1;
    }

    if (n == 1 && id.len == BK_ID_LEN) {
        m.found = 1;
        memcpy(m.hash, row.hash, BK_TABLE_HASH_LEN);

    } else {
        (void) a->host->alloc_each(a->host, BK_STR(""), bk_revoke_match, &m);
    }

    if (m.found == 0) {
        return bk_routes_unknown(err);
    }

    if (m.found > 1) {
        return bk_fail(err, 409, "Ambiguous",
                       "give more digits of the token's SHA-256",
                       "several allocations have the id %s", text);
    }

    memcpy(hash, m.hash, BK_TABLE_HASH_LEN);
    return 0;
}
