/*
 * Tokens, their hashes and ids; times as the API writes them.
 *
 * A token is 32 bytes in base64url: the HMAC of a random nonce, so that it
 * can be made once more for a caller who did not get its answer.  It exists
 * in the request, in the answer and nowhere else: everything keyed by it is
 * keyed by its SHA-256, and the id that people see is the first 12 hex
 * digits of that.
 */

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allocator.h"


#define BK_TOKEN_RAW  32


static void bk_token_text(const uint8_t raw[BK_TOKEN_RAW + 1],
    char token[BK_TOKEN_LEN + 1]);


static const char  bk_token_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";


/* One byte more than there are, so that the last group is whole. */

static void
bk_token_text(const uint8_t raw[BK_TOKEN_RAW + 1],
    char token[BK_TOKEN_LEN + 1])
{
    char      *p;
    size_t     i;
    uint32_t   v;

    p = token;

    for (i = 0; i < BK_TOKEN_RAW + 1; i += 3) {
        v = (uint32_t) raw[i] << 16 | (uint32_t) raw[i + 1] << 8 | raw[i + 2];

        *p++ = bk_token_alphabet[v >> 18];
        *p++ = bk_token_alphabet[v >> 12 & 63];
        *p++ = bk_token_alphabet[v >> 6 & 63];

        if (p < token + BK_TOKEN_LEN) {
            *p++ = bk_token_alphabet[v & 63];
        }
    }

    *p = '\0';

    OPENSSL_cleanse(&v, sizeof(v));
}


int
bk_token_nonce(uint8_t *nonce)
{
    return RAND_bytes(nonce, BK_NONCE_LEN) == 1 ? 0 : -1;
}


/* HMAC-SHA256: who knows only the journal cannot make it. */

void
bk_token_make(const uint8_t *secret, const uint8_t *nonce,
    char token[BK_TOKEN_LEN + 1])
{
    uint8_t   raw[BK_TOKEN_RAW + 1];
    unsigned  len;

    memset(raw, 0, sizeof(raw));

    if (HMAC(EVP_sha256(), secret, BK_SECRET_LEN, nonce, BK_NONCE_LEN, raw,
             &len) == NULL)
    {
        abort();
    }

    bk_token_text(raw, token);
    OPENSSL_cleanse(raw, sizeof(raw));
}


int
bk_token_valid(const char *token, size_t len)
{
    return len > 0 && len <= BK_TOKEN_MAX
           && strspn(token, bk_token_alphabet) == len;
}


void
bk_sha256(const void *data, size_t len, uint8_t *hash)
{
    int  rc;

    rc = EVP_Digest(data, len, hash, NULL, EVP_sha256(), NULL);

    if (rc != 1) {
        abort();
    }
}


void
bk_token_hash(const char *token, size_t len, uint8_t *hash)
{
    bk_sha256(token, len, hash);
}


char *
bk_token_id(const uint8_t *hash, char id[BK_ID_LEN + 1])
{
    int  i;

    for (i = 0; i < BK_ID_LEN / 2; i++) {
        (void) snprintf(id + 2 * i, 3, "%02x", hash[i]);
    }

    return id;
}


int
bk_token_prefix(const char *id, uint8_t prefix[BK_ID_LEN / 2])
{
    int       i;
    unsigned  byte;

    if (strspn(id, "0123456789abcdef") != BK_ID_LEN) {
        return -1;
    }

    for (i = 0; i < BK_ID_LEN / 2; i++) {
        (void) sscanf(id + 2 * i, "%2x", &byte);
        prefix[i] = (uint8_t) byte;
    }

    return 0;
}


void
bk_wipe(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}


char *
bk_time_format(uint64_t ms, char *buf, size_t size)
{
    time_t     t;
    struct tm  tm;

    t = (time_t) (ms / 1000);

    if (gmtime_r(&t, &tm) == NULL
        || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        buf[0] = '\0';
    }

    return buf;
}


const char *
bk_state_name(int state)
{
    static const char  *names[BK_ALLOC_STATES] = {
        "free", "queued", "starting", "ready", "draining",
        "expired", "released", "revoked", "failed"
    };

    assert(state >= 0 && state < BK_ALLOC_STATES);

    return names[state];
}


/* FREE: there is no such worker any more */

const char *
bk_worker_state(int state)
{
    static const char  *names[BK_WORKER_STATES] = {
        "gone", "stopped", "starting", "ready", "draining", "failed"
    };

    assert(state >= 0 && state < BK_WORKER_STATES);

    return names[state];
}


bk_str_t
bk_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


void
bk_str_copy(char *dst, size_t size, bk_str_t s)
{
    size_t  n;

    n = s.len < size ? s.len : size - 1;

    if (n > 0) {
        memcpy(dst, s.data, n);
    }

    dst[n] = '\0';
}


char *
bk_strdup(const char *s)
{
    char  *copy;

    copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
