/*
 * An allocation by its id, for somebody who asks about it: it must be his
 * own, or a rule must let him do that to others' in its pool.  Else he
 * learns nothing, not even that it is there: 404.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


/* What an id or its longer forms matched in the model. */
typedef struct {
    uint8_t   want[BK_TABLE_HASH_LEN];
    uint8_t   hash[BK_TABLE_HASH_LEN];
    size_t    digits;
    int       found;
} bk_match_t;


static int bk_own_may(bk_allocator_t *a, bk_request_t *r,
    const bk_row_t *row, int verb);
static int bk_own_trusted(bk_allocator_t *a, bk_request_t *r,
    const bk_row_t *row);
static int bk_own_id(bk_str_t id, bk_match_t *m, bk_err_t *err);
static int bk_own_matches(const bk_match_t *m, const uint8_t *hash);
static int bk_own_each(const bk_alloc_info_t *alloc, void *data);
static int bk_own_hash(bk_allocator_t *a, bk_match_t *m, bk_err_t *err);


int
bk_own_find(bk_allocator_t *a, bk_request_t *r, bk_str_t id, int verb,
    uint8_t *hash, bk_row_t *row, bk_err_t *err)
{
    int          n;
    bk_row_t     known;
    bk_match_t   m;

    if (bk_own_id(id, &m, err) != 0 || bk_own_hash(a, &m, err) != 0) {
        return -1;
    }

    if (m.found > 1) {
        return bk_fail(err, 409, "Ambiguous",
                       "give more digits of the token's SHA-256",
                       "several allocations have this id");
    }

    memcpy(hash, m.hash, BK_TABLE_HASH_LEN);

    if (m.found == 0 || bk_routes_known(a, hash, &known, err) != 0) {
        return bk_routes_unknown(err);
    }

    n = bk_journal_find(a->journal, hash, row, err);

    if (n == -1) {
        return -1;
    }

    if (n == 0) {
        *row = known;

    } else {
        /* the model is the truth for what it knows */
        memcpy(row->worker, known.worker, sizeof(row->worker));
        memcpy(row->reason, known.reason, sizeof(row->reason));
        row->expires_ms = known.expires_ms;
        row->changed_ms = known.changed_ms;
        row->state = known.state;
    }

    return bk_own_may(a, r, row, verb) ? 0 : bk_routes_unknown(err);
}


static int
bk_own_may(bk_allocator_t *a, bk_request_t *r, const bk_row_t *row, int verb)
{
    size_t            len;
    bk_identity_t     id;
    bk_decision_t     d;
    const bk_host_t  *h;

    h = a->host;
    len = strlen(row->owner);

    if (len > 0 && h->http_identity(r, &id) == 0 && id.name.len == len
        && memcmp(id.name.data, row->owner, len) == 0
        && bk_own_trusted(a, r, row))
    {
        return 1;
    }

    return h->http_allowed(r, verb, bk_str(row->pool), &d, sizeof(d), NULL)
           == 0;
}


/*
 * A name may be that of trusted jobs and of a fork's.  What the former have
 * is for those whom a rule would give such a one.
 */

static int
bk_own_trusted(bk_allocator_t *a, bk_request_t *r, const bk_row_t *row)
{
    size_t         i;
    bk_decision_t  d;

    static const int  verbs[] = { BK_VERB_ALLOCATE, BK_VERB_CERTS };

    for (i = 0; !row->untrusted && i < 2; i++) {
        if (a->host->http_allowed(r, verbs[i], bk_str(row->pool), &d,
                                  sizeof(d), NULL) == 0
            && !d.untrusted)
        {
            return 1;
        }
    }

    return row->untrusted;
}


static int
bk_own_id(bk_str_t id, bk_match_t *m, bk_err_t *err)
{
    char      text[2 * BK_TABLE_HASH_LEN + 2];
    size_t    i;
    unsigned  byte;

    memset(m, 0, sizeof(bk_match_t));
    memset(text, 0, sizeof(text));
    bk_str_copy(text, sizeof(text), id);

    if (id.len < BK_ID_LEN || id.len > 2 * BK_TABLE_HASH_LEN
        || strspn(text, "0123456789abcdef") != id.len)
    {
        return bk_fail(err, 400, "BadId", "bkctl allocations lists them",
                       "an allocation's id is %d lower-case hex digits",
                       BK_ID_LEN);
    }

    if (id.len % 2 != 0) {
        text[id.len] = '0';
    }

    for (i = 0; i < (id.len + 1) / 2; i++) {
        (void) sscanf(text + 2 * i, "%2x", &byte);
        m->want[i] = (uint8_t) byte;
    }

    m->digits = id.len;

    return 0;
}


static int
bk_own_matches(const bk_match_t *m, const uint8_t *hash)
{
    size_t  whole;

    whole = m->digits / 2;

    return memcmp(m->want, hash, whole) == 0
           && (m->digits % 2 == 0 || m->want[whole] == (hash[whole] & 0xf0));
}


static int
bk_own_each(const bk_alloc_info_t *alloc, void *data)
{
    bk_match_t *m = data;

    if (bk_own_matches(m, alloc->hash)) {
        memcpy(m->hash, alloc->hash, BK_TABLE_HASH_LEN);
        m->found++;
    }

    return m->found > 1;
}


/*
 * Our own live ones, then those of the journal, then whatever the model
 * has: those of other plugins are found by a walk.
 */

static int
bk_own_hash(bk_allocator_t *a, bk_match_t *m, bk_err_t *err)
{
    int           n;
    size_t        found;
    bk_row_t      row;
    bk_record_t  *rec;

    rec = bk_record_prefix(a->records, m->want, BK_ID_LEN / 2, &found);

    if (found == 1 && bk_own_matches(m, rec->hash)) {
        memcpy(m->hash, rec->hash, BK_TABLE_HASH_LEN);
        m->found = 1;
        return 0;
    }

    n = bk_journal_prefix(a->journal, m->want, BK_ID_LEN / 2, &row, err);

    if (n == -1) {
        return -1;
    }

    if (n == 1 && bk_own_matches(m, row.hash)) {
        memcpy(m->hash, row.hash, BK_TABLE_HASH_LEN);
        m->found = 1;
        return 0;
    }

    (void) a->host->alloc_each(a->host, BK_STR(""), bk_own_each, m);

    return 0;
}
