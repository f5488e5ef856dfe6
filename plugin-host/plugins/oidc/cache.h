/*
 * Verified tokens: SHA-256 of the token -> identity, until it expires.
 * Bounded by number and by bytes; the one that was not asked for the longest
 * goes first.  Holds no token.
 */

#ifndef BK_OIDC_CACHE_H_INCLUDED
#define BK_OIDC_CACHE_H_INCLUDED

#include "bk_plugin.h"


typedef struct oidc_cache_s  oidc_cache_t;

oidc_cache_t *oidc_cache_new(size_t max, size_t max_bytes);
void oidc_cache_free(oidc_cache_t **c);
size_t oidc_cache_count(const oidc_cache_t *c);

/* id is copied; it is found before until_ms.  One of the same hash is
 * replaced. */
void oidc_cache_put(oidc_cache_t *c, const uint8_t hash[32],
    const bk_identity_t *id, uint64_t until_ms, const void *owner);

/* 0 and *id, borrowed until the next call; -1: not there. */
int oidc_cache_get(oidc_cache_t *c, const uint8_t hash[32], uint64_t now_ms,
    bk_identity_t *id);

/* What this owner put; NULL: all. */
void oidc_cache_forget(oidc_cache_t *c, const void *owner);

#endif /* BK_OIDC_CACHE_H_INCLUDED */
