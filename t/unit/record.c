/*
 * The allocator's records from within: names of any length, ids, who is on
 * which worker, idempotency.  Prints TAP.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* first: it chooses the hash */
#include "../../plugin-host/plugins/allocator/record.c"
#include "../../plugin-host/plugins/allocator/queue.c"
#include "../../plugin-host/plugins/allocator/queue_fair.c"
#include "../../plugin-host/plugins/allocator/queue_tree.c"
#include "../../plugin-host/plugins/allocator/queue_user.c"


#define BK_SEATS  1000


static int            n, bad;
static bk_queue_t    *q;
static bk_records_t  *rs;


static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++n, what);
    bad += !good;
}


static bk_record_t *
make(bk_home_t *home, const char *owner, uint8_t first, uint8_t sixth)
{
    uint8_t  hash[BK_TABLE_HASH_LEN];

    memset(hash, 7, sizeof(hash));
    hash[0] = first;
    hash[5] = sixth;

    return bk_record_new(rs, hash, home, bk_queue_user(q, owner, "rule", 0));
}


/* Pods of one set have names of one length that begin alike. */

static void
test_names(bk_home_t *home)
{
    int       i;
    char      name[64];
    unsigned  longest, j;

    for (i = 0; i < BK_SEATS; i++) {
        (void) snprintf(name, sizeof(name), "buildkit-worker-%016d", i);
        bk_record_seat(home, name);
    }

    ok(strlen(name) == BK_TABLE_HASH_LEN
       && HASH_COUNT(home->seats) == BK_SEATS,
       "workers whose names are as long as a digest");
    longest = 0;

    for (j = 0; j < home->seats->hh.tbl->num_buckets; j++) {
        longest = home->seats->hh.tbl->buckets[j].count > longest
                  ? home->seats->hh.tbl->buckets[j].count : longest;
    }

    ok(longest <= 20, "... are found without a walk along all of them");
    ok(bk_record_seat_find(home, (bk_str_t) { name, strlen(name) })
       == bk_record_seat(home, name), "... each by its name");
}


static void
test_ids(bk_home_t *home)
{
    size_t        found;
    bk_record_t  *a, *b, *c;

    a = make(home, "a", 1, 1);
    b = make(home, "a", 1, 2);
    c = make(home, "b", 2, 1);
    ok(bk_records_count(rs) == 3 && home->live == 3, "three records");
    ok(bk_record_find(rs, b->hash) == b, "found by the digest");
    ok(bk_record_prefix(rs, b->hash, 6, &found) == b && found == 1,
       "... by an id");
    (void) bk_record_prefix(rs, a->hash, 5, &found);
    ok(found == 2, "... and what fits two is two");
    (void) bk_record_prefix(rs, (const uint8_t *) "\377\7\7\7\7\7", 6,
                            &found);
    ok(found == 0, "... or none");
    bk_record_remove(rs, b);
    ok(bk_record_find(rs, a->hash) == a && bk_records_count(rs) == 2,
       "one that ended is not listed");
    bk_record_remove(rs, a);
    bk_record_remove(rs, c);
}


static void
test_seats(bk_home_t *home)
{
    bk_seat_t    *seat;
    bk_record_t  *a;

    seat = bk_record_seat(home, "w1");
    a = make(home, "a", 1, 1);
    a->untrusted = 1;
    bk_record_sit(a, seat);
    ok(seat->live == 1 && seat->reserved == 1, "reserved");
    bk_record_modelled(a);
    ok(seat->live == 1 && seat->reserved == 0, "... until the model counts it");
    bk_record_ref(a);
    bk_record_remove(rs, a);
    ok(seat->live == 0 && a->seat == NULL && a->ended,
       "its end frees its worker, though something is under way");
    bk_record_unref(&a);
    bk_record_seat_gone(seat);
    ok(bk_record_seat(home, "w1")->untrusted && !seat->trusted,
       "whom a worker had is kept when it goes");
    bk_record_seat_gone(bk_record_seat(home, "w2"));
    ok(bk_record_seat_find(home, (bk_str_t) { "w2", 2 }) == NULL,
       "... one that had nobody is forgotten");
}


static void
test_again(bk_home_t *home)
{
    bk_record_t  *a, *b;

    a = make(home, "a", 1, 1);
    b = make(home, "b", 2, 1);
    bk_record_key(rs, a, "k");
    bk_record_key(rs, b, "k");
    ok(bk_record_again(rs, "a", "x/y", "k") == a
       && bk_record_again(rs, "b", "x/y", "k") == b,
       "a key is of an identity");
    ok(bk_record_again(rs, "a", "x/z", "k") == NULL
       && bk_record_again(rs, "ax/y", "", "k") == NULL
       && bk_record_again(rs, "a", "x/", "yk") == NULL,
       "... and of a pool");
    bk_record_unkey(rs, a);
    ok(bk_record_again(rs, "a", "x/y", "k") == NULL, "... until it ends");
    bk_record_remove(rs, a);
    bk_record_remove(rs, b);
    ok(q->users == NULL && rs->idems == NULL, "nothing is left of them");
}


int
main(void)
{
    bk_home_t  *home;

    q = bk_queue_new(600000);
    rs = bk_records_new(q);
    home = bk_record_home(rs, "x/y");

    test_names(home);
    test_ids(home);
    test_seats(home);
    test_again(home);

    bk_records_free(&rs);
    bk_queue_free(&q);

    printf("1..%d\n", n);

    return bad != 0;
}
