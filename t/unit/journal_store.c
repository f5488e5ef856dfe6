/*
 * Rows of the journal as a store has them: what is written is read as it was,
 * and what somebody made of it by hand is refused.  Prints TAP.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin-host/plugins/allocator/journal_store.h"


static int  checks, bad;


static void
ok(int good, const char *name)
{
    checks++;
    bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", checks, name);
}


static void
fill(bk_row_t *row)
{
    memset(row, 0, sizeof(*row));
    memset(row->hash, 7, sizeof(row->hash));
    memset(row->nonce, 0xa5, sizeof(row->nonce));
    memset(row->spki, 's', 91);
    row->spki_len = 91;
    strcpy(row->pool, "default/demo");
    strcpy(row->worker, "w1");
    strcpy(row->job_id, "job \"1\"");
    strcpy(row->client, "127.0.0.1:1");
    strcpy(row->owner, "ci:octo/app");
    strcpy(row->rule, "main");
    strcpy(row->cache_key, "octo/app \xc3\xa4");
    strcpy(row->arch, "arm64");
    strcpy(row->idempotency, "key");
    row->metadata = "{\"a\":\"b\"}";
    row->created_ms = 1000;
    row->changed_ms = 2000;
    row->expires_ms = 3600000;
    row->ttl_ms = 90500;
    row->max_ttl_ms = 7200000;
    row->concurrency = UINT32_MAX;
    row->priority = -5;
    row->untrusted = 1;
    row->answered = 1;
    row->state = BK_ALLOC_READY;
}


/* As a store would hand it out; record: in place of its own. */

static bk_kept_t *
through(const bk_row_t *row, const char *record, bk_err_t *err)
{
    char         *text;
    uint8_t       key_hash[BK_TABLE_HASH_LEN];
    bk_kept_t    *kept;
    bk_stored_t   stored;

    text = bk_kept_record(row);
    bk_sha256(row->spki, row->spki_len, key_hash);
    bk_kept_stored(row, key_hash, text, &stored);

    if (record != NULL) {
        stored.record = bk_str(record);
    }

    kept = bk_kept_read(&stored, err);
    free(text);

    return kept;
}


static void
test_round(void)
{
    char        *text;
    size_t       i;
    bk_err_t     err;
    bk_row_t     in, out;
    bk_kept_t   *kept, *other;

    fill(&in);
    kept = through(&in, NULL, &err);
    ok(kept != NULL, "what was written is read");

    if (kept == NULL) {
        return;
    }

    bk_kept_row(kept, in.hash, &out);
    ok(out.metadata != NULL && strcmp(out.metadata, in.metadata) == 0,
       "... its metadata");
    out.metadata = in.metadata;
    ok(memcmp(&in, &out, sizeof(in)) == 0, "... and all of it as it was");

    strcpy(in.worker, "w2");
    other = bk_kept_new(&in);
    ok(bk_kept_news(kept, other), "another worker is news");
    free(other);
    strcpy(in.worker, "w1");
    in.changed_ms++;
    other = bk_kept_new(&in);
    ok(!bk_kept_news(kept, other), "when it was written is none");
    free(other);
    free(kept);

    /* as long as all may be */
    memset(in.spki, 0xff, sizeof(in.spki));
    in.spki_len = sizeof(in.spki);

    for (i = 0; i < BK_CACHE_KEY_MAX; i++) {
        in.cache_key[i] = '"';
    }

    for (i = 0; i < BK_JOB_ID_MAX; i++) {
        in.idempotency[i] = '\\';
    }

    text = bk_kept_record(&in);
    ok(strlen(text) < BK_STORE_RECORD_MAX, "the longest one has its place");
    free(text);
    kept = through(&in, NULL, &err);
    ok(kept != NULL, "... and is read");
    free(kept);
}


static void
test_refused(void)
{
    char         text[600];
    size_t       i;
    bk_err_t     err;
    bk_row_t     row;
    bk_kept_t   *kept;

    static const struct {
        const char  *name;
        const char  *record;
    } cases[] = {
        { "none", "" },
        { "no JSON", "{\"nonce\"" },
        { "no object", "[1]" },
        { "without a nonce", "{\"clientKey\":\"AAAA\"}" },
        { "without a key", "{\"nonce\":\"%s\"}" },
        { "a short nonce", "{\"nonce\":\"a5\",\"clientKey\":\"AAAA\"}" },
        { "a key of something else",
          "{\"nonce\":\"%s\",\"clientKey\":\"AAAA\"}" },
        { "a key that is no base64",
          "{\"nonce\":\"%s\",\"clientKey\":\"A*AA\"}" },
        { "a key of a number", "{\"nonce\":\"%s\",\"clientKey\":1}" },
        { "a ttl of a number",
          "{\"nonce\":\"%s\",\"clientKey\":\"AAAA\",\"ttl\":1}" },
        { "a ttl below zero",
          "{\"nonce\":\"%s\",\"clientKey\":\"AAAA\",\"ttl\":\"-1s\"}" },
        { "a priority that is too large", "{\"nonce\":\"%s\","
          "\"clientKey\":\"AAAA\",\"priority\":99999999999}" },
        { "a nonce twice", "{\"nonce\":\"%s\",\"nonce\":\"\"}" },
        { "an arch that is too long", "{\"nonce\":\"%s\",\"clientKey\":"
          "\"AAAA\",\"arch\":\"aaaaaaaaaaaaaaaaaaaa\"}" }
    };

    fill(&row);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&err, 0, sizeof(err));
        (void) snprintf(text, sizeof(text), cases[i].record,
                        "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5");
        kept = through(&row, text, &err);
        ok(kept == NULL && strcmp(err.reason, "BadRow") == 0, cases[i].name);
        free(kept);
    }

    row.state = BK_ALLOC_REVOKED;
    kept = through(&row, "", &err);
    ok(kept != NULL && kept->state == BK_ALLOC_REVOKED,
       "one that has ended needs no record");
    free(kept);
    row.state = BK_ALLOC_STATES;
    ok(through(&row, NULL, &err) == NULL, "a state that there is not");
    row.state = BK_ALLOC_READY;
    row.pool[0] = '\0';
    ok(through(&row, NULL, &err) == NULL, "of no pool");
}


int
main(void)
{
    test_round();
    test_refused();

    printf("1..%d\n", checks);

    return bad != 0;
}
