/*
 * Records of live allocations: see record.h.
 *
 * The table is keyed by the token's SHA-256, which needs no hashing: its
 * first bytes are the hash, so that an id (the first 6 bytes) is found in
 * the same table.  Names have a hash of their own, whatever their length.
 */

#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION(key, len, hashv)                                        \
    bk_record_hash(key, len, &(hashv))

#include "record.h"


struct bk_records_s {
    bk_queue_t   *queue;
    bk_record_t  *all;
    bk_idem_t    *idems;
    bk_home_t    *homes;
};


static void bk_record_hash(const void *key, size_t len, unsigned *hashv);
static unsigned bk_record_digest(const uint8_t *hash);
static void *bk_record_alloc(size_t size);
static bk_idem_t *bk_record_idem(const char *owner, const char *pool,
    const char *key);


/* Names, by FNV-1a. */

static void
bk_record_hash(const void *key, size_t len, unsigned *hashv)
{
    size_t          i;
    uint32_t        h;
    const uint8_t  *p = key;

    h = UINT32_C(2166136261);

    for (i = 0; i < len; i++) {
        h = (h ^ p[i]) * UINT32_C(16777619);
    }

    *hashv = h;
}


static unsigned
bk_record_digest(const uint8_t *hash)
{
    uint32_t  h;

    memcpy(&h, hash, sizeof(h));

    return h;
}


static void *
bk_record_alloc(size_t size)
{
    void  *p;

    p = calloc(1, size);

    if (p == NULL) {
        abort();
    }

    return p;
}


bk_records_t *
bk_records_new(bk_queue_t *queue)
{
    bk_records_t  *rs;

    rs = bk_record_alloc(sizeof(bk_records_t));
    rs->queue = queue;

    return rs;
}


void
bk_records_free(bk_records_t **rs)
{
    bk_home_t    *home, *next_home;
    bk_seat_t    *seat, *next_seat;
    bk_record_t  *rec, *next;

    if (*rs == NULL) {
        return;
    }

    HASH_ITER(hh, (*rs)->all, rec, next) {
        bk_record_remove(*rs, rec);
    }

    HASH_ITER(hh, (*rs)->homes, home, next_home) {
        HASH_ITER(hh, home->seats, seat, next_seat) {
            HASH_DEL(home->seats, seat);
            free(seat);
        }

        HASH_DEL((*rs)->homes, home);
        free(home);
    }

    free(*rs);
    *rs = NULL;
}


size_t
bk_records_count(const bk_records_t *rs)
{
    return HASH_COUNT(rs->all);
}


bk_home_t *
bk_record_home(bk_records_t *rs, const char *pool)
{
    size_t      len;
    bk_home_t  *home;

    len = strlen(pool);
    HASH_FIND(hh, rs->homes, pool, len, home);

    if (home == NULL) {
        home = bk_record_alloc(sizeof(bk_home_t) + len + 1);
        memcpy(home->name, pool, len + 1);
        home->queue = bk_queue_pool(rs->queue, home);
        HASH_ADD_KEYPTR(hh, rs->homes, home->name, len, home);
    }

    return home;
}


bk_home_t *
bk_record_home_find(bk_records_t *rs, bk_str_t pool)
{
    bk_home_t  *home;

    HASH_FIND(hh, rs->homes, pool.data, pool.len, home);

    return home;
}


bk_home_t *
bk_record_homes(bk_records_t *rs)
{
    return rs->homes;
}


bk_seat_t *
bk_record_seat(bk_home_t *home, const char *worker)
{
    size_t      len;
    bk_seat_t  *seat;

    len = strlen(worker);
    HASH_FIND(hh, home->seats, worker, len, seat);

    if (seat == NULL) {
        seat = bk_record_alloc(sizeof(bk_seat_t) + len + 1);
        memcpy(seat->name, worker, len + 1);
        seat->home = home;
        TAILQ_INIT(&seat->pendings);
        HASH_ADD_KEYPTR(hh, home->seats, seat->name, len, seat);
    }

    return seat;
}


bk_seat_t *
bk_record_seat_find(bk_home_t *home, bk_str_t worker)
{
    bk_seat_t  *seat;

    HASH_FIND(hh, home->seats, worker.data, worker.len, seat);

    return seat;
}


void
bk_record_seat_gone(bk_seat_t *seat)
{
    if (seat->live == 0 && !seat->trusted && !seat->untrusted
        && !seat->drained && TAILQ_EMPTY(&seat->pendings))
    {
        HASH_DEL(seat->home->seats, seat);
        free(seat);
    }
}


bk_record_t *
bk_record_new(bk_records_t *rs, const uint8_t *hash, bk_home_t *home,
    bk_queue_user_t *user)
{
    bk_record_t  *rec;

    rec = bk_record_alloc(sizeof(bk_record_t));
    memcpy(rec->hash, hash, BK_TABLE_HASH_LEN);
    rec->home = home;
    rec->user = user;
    rec->refs = 1;
    home->live++;

    HASH_ADD_BYHASHVALUE(hh, rs->all, hash, BK_TABLE_HASH_LEN,
                         bk_record_digest(hash), rec);

    return rec;
}


bk_record_t *
bk_record_find(bk_records_t *rs, const uint8_t *hash)
{
    bk_record_t  *rec;

    HASH_FIND_BYHASHVALUE(hh, rs->all, hash, BK_TABLE_HASH_LEN,
                          bk_record_digest(hash), rec);

    return rec;
}


bk_record_t *
bk_record_prefix(bk_records_t *rs, const uint8_t *prefix, size_t len,
    size_t *n)
{
    unsigned         bucket;
    bk_record_t     *found;
    UT_hash_handle  *hh;

    *n = 0;
    found = NULL;

    if (rs->all == NULL) {
        return NULL;
    }

    HASH_TO_BKT(bk_record_digest(prefix), rs->all->hh.tbl->num_buckets,
                bucket);

    for (hh = rs->all->hh.tbl->buckets[bucket].hh_head; hh != NULL;
         hh = hh->hh_next)
    {
        if (memcmp(hh->key, prefix, len) == 0) {
            found = ELMT_FROM_HH(rs->all->hh.tbl, hh);
            (*n)++;
        }
    }

    return found;
}


bk_record_t *
bk_record_next(bk_records_t *rs, bk_record_t *rec)
{
    return rec == NULL ? rs->all : rec->hh.next;
}


void
bk_record_remove(bk_records_t *rs, bk_record_t *rec)
{
    if (rec->ended) {
        return;
    }

    rec->ended = 1;
    bk_record_rise(rec);
    rec->home->live--;

    HASH_DEL(rs->all, rec);

    bk_record_unkey(rs, rec);
    bk_record_unref(&rec);
}


void
bk_record_ref(bk_record_t *rec)
{
    rec->refs++;
}


void
bk_record_unref(bk_record_t **rec)
{
    bk_record_t  *gone;

    gone = *rec;
    *rec = NULL;

    if (--gone->refs == 0) {
        bk_queue_user_unref(&gone->user);
        free(gone);
    }
}


void
bk_record_sit(bk_record_t *rec, bk_seat_t *seat)
{
    rec->seat = seat;
    rec->reserved = 1;
    seat->live++;
    seat->reserved++;

    if (rec->untrusted) {
        seat->untrusted = 1;

    } else {
        seat->trusted = 1;
    }
}


/* The model counts it from now on. */

void
bk_record_modelled(bk_record_t *rec)
{
    if (rec->reserved) {
        rec->reserved = 0;
        rec->seat->reserved--;
    }
}


void
bk_record_rise(bk_record_t *rec)
{
    bk_seat_t  *seat;

    seat = rec->seat;

    if (seat == NULL) {
        return;
    }

    bk_record_modelled(rec);
    seat->live--;
    rec->seat = NULL;
}


static bk_idem_t *
bk_record_idem(const char *owner, const char *pool, const char *key)
{
    size_t      a, b, c;
    bk_idem_t  *idem;

    a = strlen(owner) + 1;
    b = strlen(pool) + 1;
    c = strlen(key) + 1;

    idem = bk_record_alloc(sizeof(bk_idem_t) + a + b + c);
    memcpy(idem->key, owner, a);
    memcpy(idem->key + a, pool, b);
    memcpy(idem->key + a + b, key, c);
    idem->len = a + b + c;
    idem->at = a + b;

    return idem;
}


bk_record_t *
bk_record_again(bk_records_t *rs, const char *owner, const char *pool,
    const char *key)
{
    bk_idem_t  *idem, *found;

    idem = bk_record_idem(owner, pool, key);
    HASH_FIND(hh, rs->idems, idem->key, idem->len, found);
    free(idem);

    return found == NULL ? NULL : found->rec;
}


void
bk_record_key(bk_records_t *rs, bk_record_t *rec, const char *key)
{
    bk_idem_t  *idem;

    idem = bk_record_idem(bk_queue_user_owner(rec->user), rec->home->name,
                          key);
    idem->rec = rec;
    rec->idem = idem;
    HASH_ADD_KEYPTR(hh, rs->idems, idem->key, idem->len, idem);
}


/* Whoever comes with its key now gets another one. */

void
bk_record_unkey(bk_records_t *rs, bk_record_t *rec)
{
    if (rec->idem != NULL) {
        HASH_DEL(rs->idems, rec->idem);
        free(rec->idem);
        rec->idem = NULL;
    }
}
