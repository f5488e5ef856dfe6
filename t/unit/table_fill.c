/*
 * The writer accounts for every slot: full is full, a freed entry can be had
 * again, nothing leaks, nothing moves, however long it goes on; and the two
 * buckets of a token are never both full before the entries are used up.
 *
 *     table_fill [ENTRIES [OPERATIONS]]       (default 200000 2000000)
 *
 * The last part is the proof for the geometry (three entries for a bucket of
 * eight words): in the state that endless churn leads to, the share of full
 * buckets is so small that it cannot be seen; it is computed from the shares
 * that can.  Prints TAP.
 */

#include "table_test.h"


static void tt_small(void);
static void tt_churn(uint32_t n, uint32_t operations);
static uint32_t tt_check(const bk_table_view_t *v, const uint64_t *key,
    const uint32_t *index, uint32_t n);
static void tt_load(const bk_table_view_t *v, uint32_t n);


int
main(int argc, char **argv)
{
    uint32_t  n, operations;

    n = argc > 1 ? (uint32_t) strtoul(argv[1], NULL, 10) : 200000;
    operations = argc > 2 ? (uint32_t) strtoul(argv[2], NULL, 10) : 2000000;

    tt_begin();

    tt_small();
    tt_remove();
    tt_churn(n, operations);

    return tt_end();
}


/* Every size from 1 to 40, three times over, all entries each time. */
static void
tt_small(void)
{
    uint32_t          i, n, round, index[40];
    uint64_t          key, seen;
    bk_err_t          err;
    bk_table_t       *t;
    bk_table_stats_t  s;

    key = 0;

    for (n = 1; n <= 40; n++) {
        t = tt_new(n, 1, 1);

        for (round = 0; round < 3; round++) {
            seen = 0;

            for (i = 0; i < n; i++) {
                index[i] = tt_insert(t, key++, BK_ALLOC_READY, NULL, &err);

                if (index[i] >= n || seen & (UINT64_C(1) << index[i])) {
                    goto failed;
                }

                seen |= UINT64_C(1) << index[i];
            }

            if (tt_insert(t, key++, BK_ALLOC_READY, NULL, &err)
                != BK_TABLE_NONE || err.code != 503
                || strcmp(err.reason, "TableFull") != 0)
            {
                goto failed;
            }

            for (i = 0; i < n; i++) {
                bk_table_alloc_remove(t, index[i]);
            }
        }

        bk_table_stats(t, &s);

        if (s.entries_used != 0) {
            goto failed;
        }

        bk_table_close(&t);
        tt_remove();
    }

    ok(1, "tables of 1 to 40 entries: filled, full, emptied, three times");

    return;

failed:

    ok(0, "a table of %u entries", n);
    bk_table_close(&t);
    tt_remove();
}


static void
tt_churn(uint32_t n, uint32_t operations)
{
    uint32_t          i, k, *index;
    uint64_t         *key, next;
    bk_err_t          err;
    bk_table_t       *t;
    bk_table_view_t   v;
    bk_table_stats_t  s;

    t = tt_new(n, 16, 4);
    ok(tt_map(&v) == NULL, "a table of %u entries", n);

    index = calloc(n, sizeof(uint32_t));
    key = calloc(n, sizeof(uint64_t));

    if (index == NULL || key == NULL) {
        abort();
    }

    for (next = 0; next < n; next++) {
        key[next] = next;
        index[next] = tt_insert(t, next, BK_ALLOC_READY, NULL, &err);

        if (index[next] == BK_TABLE_NONE) {
            break;
        }
    }

    ok(next == n, "filled to the last entry");
    ok(tt_insert(t, next, BK_ALLOC_READY, NULL, &err) == BK_TABLE_NONE
       && err.code == 503 && strcmp(err.reason, "TableFull") == 0
       && strstr(err.text, "all of its") != NULL && err.hint[0] != '\0',
       "one more: 503 TableFull, which says what to do");
    ok(tt_check(&v, key, index, n) == 0, "all are found where they were put");

    /* always full: one goes, another takes its place */

    for (k = 0; k < operations; k++) {
        i = (uint32_t) (tt_mix((UINT64_C(1) << 60) + k) % n);
        bk_table_alloc_remove(t, index[i]);

        key[i] = next++;
        index[i] = tt_insert(t, key[i], BK_ALLOC_READY, NULL, &err);

        if (index[i] == BK_TABLE_NONE) {
            note("operation %u: %s", k, err.text);
            break;
        }
    }

    ok(k == operations, "%u times one went and another came", operations);
    ok(tt_check(&v, key, index, n) == 0, "all are found where they were put");
    ok(tt_insert(t, next, BK_ALLOC_READY, NULL, &err) == BK_TABLE_NONE,
       "it is as full as before");

    tt_load(&v, n);

    for (i = 0; i < n; i++) {
        bk_table_alloc_remove(t, index[i]);
    }

    bk_table_stats(t, &s);
    ok(s.entries_used == 0 && s.texts_used == 0, "emptied: nothing is in use");

    for (i = 0; i < n; i++) {
        if (tt_insert(t, i, BK_ALLOC_READY, NULL, &err) == BK_TABLE_NONE) {
            break;
        }
    }

    ok(i == n, "and filled again");

    tt_unmap(&v);
    bk_table_close(&t);
    free(index);
    free(key);
}


/* How many of the keys are not found in their entry. */
static uint32_t
tt_check(const bk_table_view_t *v, const uint64_t *key,
    const uint32_t *index, uint32_t n)
{
    uint32_t          i, lost;
    bk_table_found_t  f;

    lost = 0;

    for (i = 0; i < n; i++) {
        lost += bk_table_lookup(v, tt_key(key[i]), &f) != BK_TABLE_OK
                || f.index != index[i]
                || f.alloc.expires_ms != 1000 + key[i];
    }

    return lost;
}


/*
 * s(i) is the share of buckets with i words or more.  A bucket gets its i-th
 * word when both buckets of a key hold i - 1 already, so in the long run
 * s(i) is about 3 * s(i-1)^2 / i, and an insert finds no room with
 * probability s(8)^2.
 */
static void
tt_load(const bk_table_view_t *v, uint32_t n)
{
    double    s[BK_TABLE_BUCKET_SLOTS + 1];
    uint32_t  b, i, used, count[BK_TABLE_BUCKET_SLOTS + 1];

    memset(count, 0, sizeof(count));

    for (b = 0; b < v->nbuckets; b++) {
        used = 0;

        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            used += v->buckets[b].slot[i] != 0;
        }

        for (i = 0; i <= used; i++) {
            count[i]++;
        }
    }

    for (i = 0; i <= BK_TABLE_BUCKET_SLOTS; i++) {
        s[i] = (double) count[i] / v->nbuckets;
        note("buckets with %u words or more: %.3g", i, s[i]);
    }

    /* from six on, what is seen is chance: go on by the formula */

    s[7] = 3 * s[6] * s[6] / 7;
    s[8] = 3 * s[7] * s[7] / 8;

    note("computed: 7 words %.3g, 8 words %.3g, no room %.3g", s[7], s[8],
         s[8] * s[8]);

    ok(n < 10000 || (s[6] > 0 && s[6] < 0.01),
       "few buckets hold six words");
    ok(count[8] == 0, "none is full");
    ok(s[8] * s[8] < 1e-18,
       "an insert finds both buckets full less than once in 10^18 times");
}
