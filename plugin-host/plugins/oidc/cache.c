/* Verified tokens: see cache.h.  A chained hash table and one list by use. */

#include <stdlib.h>
#include <string.h>

#include "cache.h"


typedef struct oidc_entry_s  oidc_entry_t;

struct oidc_entry_s {
    oidc_entry_t   *chain;
    oidc_entry_t   *newer;
    oidc_entry_t   *older;
    const void     *owner;
    uint64_t        until_ms;
    bk_identity_t   id;         /* its strings are in text */
    size_t          bytes;
    uint8_t         hash[32];
    char            text[];
};

struct oidc_cache_s {
    oidc_entry_t  **buckets;
    size_t          mask;
    size_t          count;
    size_t          max;
    size_t          bytes;
    size_t          max_bytes;
    oidc_entry_t   *newest;
    oidc_entry_t   *oldest;
};


static oidc_entry_t **oidc_cache_slot(oidc_cache_t *c,
    const uint8_t hash[32]);
static void oidc_cache_remove(oidc_cache_t *c, oidc_entry_t *e);
static void oidc_cache_link(oidc_cache_t *c, oidc_entry_t *e);
static void oidc_cache_unlink(oidc_cache_t *c, oidc_entry_t *e);
static bk_str_t oidc_cache_copy(char **to, bk_str_t s);


oidc_cache_t *
oidc_cache_new(size_t max, size_t max_bytes)
{
    size_t         n = 16;
    oidc_cache_t  *c;

    while (n < max) {
        n *= 2;
    }

    c = calloc(1, sizeof(oidc_cache_t));
    if (c == NULL) {
        abort();
    }

    c->buckets = calloc(n, sizeof(oidc_entry_t *));
    if (c->buckets == NULL) {
        abort();
    }

    c->mask = n - 1;
    c->max = max;
    c->max_bytes = max_bytes;

    return c;
}


void
oidc_cache_free(oidc_cache_t **cp)
{
    oidc_cache_t  *c = *cp;

    if (c != NULL) {
        *cp = NULL;
        oidc_cache_forget(c, NULL);
        free(c->buckets);
        free(c);
    }
}


size_t
oidc_cache_count(const oidc_cache_t *c)
{
    return c->count;
}


void
oidc_cache_put(oidc_cache_t *c, const uint8_t hash[32],
    const bk_identity_t *id, uint64_t until_ms, const void *owner)
{
    char           *p;
    size_t          len;
    oidc_entry_t   *e, **slot;

    slot = oidc_cache_slot(c, hash);

    if (*slot != NULL) {
        oidc_cache_remove(c, *slot);
    }

    len = id->name.len + id->source.len + id->claims.len;

    if (c->max == 0 || sizeof(oidc_entry_t) + len > c->max_bytes) {
        return;
    }

    e = calloc(1, sizeof(oidc_entry_t) + len);
    if (e == NULL) {
        abort();
    }

    p = e->text;
    e->id.name = oidc_cache_copy(&p, id->name);
    e->id.source = oidc_cache_copy(&p, id->source);
    e->id.claims = oidc_cache_copy(&p, id->claims);
    e->id.until_ms = id->until_ms;
    e->until_ms = until_ms;
    e->owner = owner;
    e->bytes = sizeof(oidc_entry_t) + len;
    memcpy(e->hash, hash, 32);

    while (c->count >= c->max || c->bytes + e->bytes > c->max_bytes) {
        oidc_cache_remove(c, c->oldest);
    }

    slot = oidc_cache_slot(c, hash);
    *slot = e;
    c->count++;
    c->bytes += e->bytes;
    oidc_cache_link(c, e);
}


int
oidc_cache_get(oidc_cache_t *c, const uint8_t hash[32], uint64_t now_ms,
    bk_identity_t *id)
{
    oidc_entry_t  *e = *oidc_cache_slot(c, hash);

    if (e == NULL) {
        return -1;
    }

    if (now_ms >= e->until_ms) {
        oidc_cache_remove(c, e);
        return -1;
    }

    oidc_cache_unlink(c, e);
    oidc_cache_link(c, e);
    *id = e->id;

    return 0;
}


void
oidc_cache_forget(oidc_cache_t *c, const void *owner)
{
    oidc_entry_t  *e, *older;

    for (e = c->newest; e != NULL; e = older) {
        older = e->older;

        if (owner == NULL || e->owner == owner) {
            oidc_cache_remove(c, e);
        }
    }
}


/* Where it is, or would be.  The hash is one: any 8 bytes of it will do. */

static oidc_entry_t **
oidc_cache_slot(oidc_cache_t *c, const uint8_t hash[32])
{
    size_t          n;
    oidc_entry_t  **slot;

    memcpy(&n, hash, sizeof(n));

    for (slot = &c->buckets[n & c->mask]; *slot != NULL;
         slot = &(*slot)->chain)
    {
        if (memcmp((*slot)->hash, hash, 32) == 0) {
            break;
        }
    }

    return slot;
}


static void
oidc_cache_remove(oidc_cache_t *c, oidc_entry_t *e)
{
    oidc_entry_t  **slot = oidc_cache_slot(c, e->hash);

    *slot = e->chain;
    oidc_cache_unlink(c, e);
    c->count--;
    c->bytes -= e->bytes;
    free(e);
}


static void
oidc_cache_link(oidc_cache_t *c, oidc_entry_t *e)
{
    e->newer = NULL;
    e->older = c->newest;

    if (c->newest != NULL) {
        c->newest->newer = e;

    } else {
        c->oldest = e;
    }

    c->newest = e;
}


static void
oidc_cache_unlink(oidc_cache_t *c, oidc_entry_t *e)
{
    if (e->newer != NULL) {
        e->newer->older = e->older;

    } else {
        c->newest = e->older;
    }

    if (e->older != NULL) {
        e->older->newer = e->newer;

    } else {
        c->oldest = e->newer;
    }
}


static bk_str_t
oidc_cache_copy(char **to, bk_str_t s)
{
    bk_str_t  copy = { *to, s.len };

    if (s.len > 0) {
        memcpy(*to, s.data, s.len);
    }

    *to += s.len;

    return copy;
}
