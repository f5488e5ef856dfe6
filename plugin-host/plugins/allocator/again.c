/*
 * The answer of an earlier call once more: the same allocation, the same
 * token, and a certificate for another key, since nobody keeps the first.
 *
 * The token is not kept either.  It is made again, of the row's nonce and
 * the secret of the state folder, which both are needed for that.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


/* A key that is being written. */
struct bk_rekey_s {
    bk_allocator_t  *a;
    bk_record_t     *rec;
    bk_call_t       *call;      /* NULL: it went away */
    uint8_t          key_hash[BK_TABLE_HASH_LEN];
};


static int bk_again_token(bk_call_t *c, const bk_record_t *rec,
    bk_err_t *err);
static void bk_again_written(void *data, const bk_err_t *err);
static int bk_again_model(const bk_rekey_t *k, bk_err_t *err);


void
bk_again(bk_call_t *c, bk_record_t *rec)
{
    char             id[BK_ID_LEN + 1];
    bk_err_t         err;
    bk_rekey_t      *k;
    bk_allocator_t  *a;

    a = c->a;
    err = (bk_err_t) { 0 };

    if (bk_again_token(c, rec, &err) != 0
        || bk_make_cert(c, rec->expires_ms, &err) != 0)
    {
        bk_call_fail(&c, &err);
        return;
    }

    k = calloc(1, sizeof(bk_rekey_t));

    if (k == NULL) {
        abort();
    }

    k->a = a;
    k->rec = rec;
    k->call = c;
    c->rekey = k;
    bk_record_ref(rec);
    bk_sha256(c->spki, c->spki_len, k->key_hash);

    bk_call_attach(c, rec);
    bk_call_wait(c);

    a->host->log(a->host, BK_LOG_INFO, "allocation %s: asked for again by "
                 "%s, new key", bk_token_id(rec->hash, id), c->client);

    bk_journal_rekey(a->journal, rec->hash, c->spki, c->spki_len,
                     bk_again_written, k);
}


static int
bk_again_token(bk_call_t *c, const bk_record_t *rec, bk_err_t *err)
{
    char     id[BK_ID_LEN + 1];
    uint8_t  hash[BK_TABLE_HASH_LEN];

    bk_token_make(c->a->secret, rec->nonce, c->token);
    bk_token_hash(c->token, BK_TOKEN_LEN, hash);

    if (memcmp(hash, rec->hash, sizeof(hash)) == 0) {
        return 0;
    }

    /* of an older version, or the secret's file was lost */
    return bk_fail(err, 409, "Duplicate",
                   "use the answer of the first call, or release or revoke "
                   "that allocation",
                   "allocation %s was made with this idempotencyKey and "
                   "lives, and its token cannot be made again",
                   bk_token_id(rec->hash, id));
}


static void
bk_again_written(void *data, const bk_err_t *err)
{
    bk_rekey_t *k = data;

    bk_err_t      e;
    bk_call_t    *c;
    bk_record_t  *rec;

    c = k->call;
    rec = k->rec;

    if (c != NULL) {
        c->rekey = NULL;
    }

    if (err == NULL && !rec->ended && bk_again_model(k, &e) != 0) {
        err = &e;
    }

    if (err != NULL && c != NULL) {
        bk_call_fail(&c, err);
        bk_settle_rest(k->a, rec);

    } else {
        bk_settle(k->a, rec);
    }

    bk_record_unref(&k->rec);
    free(k);
}


static int
bk_again_model(const bk_rekey_t *k, bk_err_t *err)
{
    char              pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];
    bk_record_t      *rec;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = k->a->host;
    rec = k->rec;

    if (rec->ask != NULL) {
        memcpy(rec->ask->key_hash, k->key_hash, sizeof(k->key_hash));
    }

    if (rec->pending != NULL) {
        memcpy(rec->pending->key_hash, k->key_hash, sizeof(k->key_hash));
    }

    if (h->alloc_find(h, rec->hash, &info) != 0
        || info.state >= BK_ALLOC_EXPIRED)
    {
        return 0;
    }

    /* what is handed out is the model's, and about to change */
    bk_str_copy(pool, sizeof(pool), info.pool);
    bk_str_copy(worker, sizeof(worker), info.worker);

    info.hash = rec->hash;
    info.key_hash = k->key_hash;
    info.pool = bk_str(pool);
    info.worker = bk_str(worker);
    info.reason = BK_STR("");

    if (info.state == BK_ALLOC_DRAINING) {
        /* drained or not is not ours to say: it would stay so */
        info.state = BK_ALLOC_READY;
    }

    return h->alloc_put(h, &info, err);
}


void
bk_again_forget(bk_rekey_t *k)
{
    k->call = NULL;
}
