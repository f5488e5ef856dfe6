/*
 * Reasons in the route table: one copy of the same words, counted; no room is
 * no disaster; a reader with a stale reference gets the old words or none.
 * Prints TAP.
 */

#include "table_test.h"


#define TT_TEXTS  1024      /* of a small table */


static uint32_t tt_used(bk_table_t *t);
static void tt_cut(bk_table_t *t, const bk_table_view_t *v);
static void tt_exhaust(bk_table_t *t, const bk_table_view_t *v);


int
main(void)
{
    char                text[BK_TABLE_TEXT_LEN];
    bk_err_t            err;
    uint32_t            a, b, i;
    bk_table_t         *t;
    bk_table_ref_t      stale;
    bk_table_view_t     v;
    bk_table_alloc_t    alloc;
    bk_table_found_t    f;

    tt_begin();
    t = tt_new(2000, 1, 1);
    ok(tt_map(&v) == NULL, "a reader accepts the table");

    a = tt_insert(t, 1, BK_ALLOC_FAILED, "worker w1 died", &err);
    b = tt_insert(t, 2, BK_ALLOC_FAILED, "worker w1 died", &err);
    ok(tt_used(t) == 1 && strcmp(tt_reason(&v, 2), "worker w1 died") == 0,
       "two with the same words share a text");

    bk_table_lookup(&v, tt_key(1), &f);
    stale = f.alloc.text;

    bk_table_alloc_remove(t, a);
    ok(tt_used(t) == 1 && strcmp(tt_reason(&v, 2), "worker w1 died") == 0,
       "it stays for the second");

    alloc = tt_alloc(BK_ALLOC_REVOKED, 2);
    bk_table_alloc_update(t, b, &alloc, "revoked");
    ok(tt_used(t) == 1 && strcmp(tt_reason(&v, 2), "revoked") == 0,
       "other words take another text");
    ok(bk_table_read_text(&v, stale, text) == BK_TABLE_OK
       && strcmp(text, "worker w1 died") == 0,
       "who came just before still reads the old words");

    /* all other slots are used once, then the first freed comes round */

    for (i = 0; i < TT_TEXTS; i++) {
        snprintf(text, sizeof(text), "text %u", i);
        bk_table_alloc_update(t, b, &alloc, text);

        if (strcmp(tt_reason(&v, 2), text) != 0) {
            break;
        }

        if (bk_table_read_text(&v, stale, text) == BK_TABLE_OK
            && strcmp(text, "worker w1 died") != 0)
        {
            break;
        }
    }

    ok(i == TT_TEXTS, "a stale reference is never given other words");
    ok(bk_table_read_text(&v, stale, text) == BK_TABLE_MISS
       && text[0] == '\0', "in the end it is a miss");

    bk_table_alloc_update(t, b, &alloc, NULL);
    ok(tt_used(t) == 0 && tt_reason(&v, 2)[0] == '\0', "no reason, no text");
    bk_table_alloc_remove(t, b);

    tt_cut(t, &v);
    tt_exhaust(t, &v);

    tt_unmap(&v);
    bk_table_close(&t);

    return tt_end();
}


/* Long reasons are cut between characters. */
static void
tt_cut(bk_table_t *t, const bk_table_view_t *v)
{
    char         text[600];
    bk_err_t     err;
    uint32_t     i, index;
    const char  *got;

    memset(text, 'a', sizeof(text));
    text[BK_TABLE_TEXT_LEN - 1] = '\0';
    index = tt_insert(t, 10, BK_ALLOC_FAILED, text, &err);
    ok(strcmp(tt_reason(v, 10), text) == 0, "the longest text is whole");
    bk_table_alloc_remove(t, index);

    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    index = tt_insert(t, 10, BK_ALLOC_FAILED, text, &err);
    ok(strlen(tt_reason(v, 10)) == BK_TABLE_TEXT_LEN - 1, "longer is cut");
    bk_table_alloc_remove(t, index);

    /* three-byte characters: 61 of them fit into 183 bytes; then shifted */

    for (i = 0; i < 3; i++) {
        memset(text, 'a', i);
        text[i] = '\0';

        while (strlen(text) < 300) {
            strcat(text, "\xe2\x82\xac");
        }

        index = tt_insert(t, 10, BK_ALLOC_FAILED, text, &err);
        got = tt_reason(v, 10);
        ok(strlen(got) == i + (183 - i) / 3 * 3
           && strncmp(got, text, strlen(got)) == 0,
           "cut between characters, offset %u", i);
        bk_table_alloc_remove(t, index);
    }
}


static void
tt_exhaust(bk_table_t *t, const bk_table_view_t *v)
{
    char              text[32];
    bk_err_t          err;
    uint32_t          i, index[TT_TEXTS + 10];
    bk_table_stats_t  s;

    for (i = 0; i < TT_TEXTS + 10; i++) {
        snprintf(text, sizeof(text), "reason %u", i);
        index[i] = tt_insert(t, 1000 + i, BK_ALLOC_FAILED, text, &err);
    }

    bk_table_stats(t, &s);
    ok(s.texts_used == TT_TEXTS && s.texts_refused == 10,
       "ten found no room, and are counted");
    ok(tt_state(v, 1000 + TT_TEXTS) == BK_ALLOC_FAILED
       && tt_reason(v, 1000 + TT_TEXTS)[0] == '\0',
       "the allocation is there, without a reason");
    ok(strcmp(tt_reason(v, 1000), "reason 0") == 0
       && strcmp(tt_reason(v, 1000 + TT_TEXTS - 1), "reason 1023") == 0,
       "the others have theirs");

    i = tt_insert(t, 5, BK_ALLOC_FAILED, "reason 7", &err);
    ok(strcmp(tt_reason(v, 5), "reason 7") == 0,
       "words that are there can still be used");
    bk_table_alloc_remove(t, i);

    for (i = 0; i < TT_TEXTS + 10; i++) {
        bk_table_alloc_remove(t, index[i]);
    }

    ok(tt_used(t) == 0, "all are free again");
}


static uint32_t
tt_used(bk_table_t *t)
{
    bk_table_stats_t  s;

    bk_table_stats(t, &s);

    return s.texts_used;
}
