/*
 * Interned reasons: each distinct text is once in the table, counted by the
 * entries that refer to it.  The counts and the hash are in our memory only;
 * a take-over rebuilds them from the entries.
 *
 * A slot's generation is even while its text is whole and odd while it is
 * being written, so references (always even) never match a half text.  Free
 * slots are used again in the order in which they were freed: a reader that
 * read an entry just before it went still finds the words.
 */

#include <assert.h>

#include "table_priv.h"

#define uthash_fatal(msg)  abort()
#include <uthash.h>


/* One for each slot; in the hash while refs > 0. */
typedef struct {
    uint32_t        refs;
    int             hashed;
    UT_hash_handle  hh;
} bk_table_text_node_t;


struct bk_table_texts_s {
    bk_table_text_t       *slots;   /* in the mapping */
    bk_table_text_node_t  *nodes;
    bk_table_text_node_t  *hash;
    uint32_t              *ring;    /* free slots, first in, first out */
    uint32_t               n;
    uint32_t               head;
    uint32_t               nfree;
    uint64_t               refused;
    uint64_t               base;    /* first generation of a virgin slot */
};


static size_t bk_table_text_cut(const char *reason);
static void bk_table_text_put(bk_table_texts_t *x, uint32_t index,
    const char *reason, size_t len);
static void bk_table_text_hash(bk_table_texts_t *x, uint32_t index);


void
bk_table_texts_new(bk_table_t *t)
{
    bk_table_texts_t  *x;

    x = bk_table_calloc(1, sizeof(bk_table_texts_t));

    x->n = t->view.ntexts;
    x->slots = (bk_table_text_t *) (t->base
                                    + ((const uint8_t *) t->view.texts
                                       - t->view.base));
    x->nodes = bk_table_calloc(x->n, sizeof(bk_table_text_node_t));
    x->ring = bk_table_calloc(x->n, sizeof(uint32_t));
    x->base = (t->gen_base | 1) == 0xffffffffu ? 2 : (t->gen_base | 1) + 1;

    t->texts = x;
}


void
bk_table_texts_free(bk_table_t *t)
{
    bk_table_texts_t  *x = t->texts;

    if (x == NULL) {
        return;
    }

    HASH_CLEAR(hh, x->hash);

    free(x->nodes);
    free(x->ring);
    free(x);

    t->texts = NULL;
}


bk_table_ref_t
bk_table_text_intern(bk_table_t *t, const char *reason)
{
    size_t                 len;
    uint32_t               index;
    bk_table_ref_t         ref;
    bk_table_texts_t      *x = t->texts;
    bk_table_text_node_t  *node;

    ref.index = BK_TABLE_NONE;
    ref.gen = 0;

    if (reason == NULL || reason[0] == '\0') {
        return ref;
    }

    len = bk_table_text_cut(reason);

    HASH_FIND(hh, x->hash, reason, len, node);

    if (node == NULL) {

        if (x->nfree == 0) {
            x->refused++;
            return ref;
        }

        index = x->ring[x->head];
        x->head = (x->head + 1) % x->n;
        x->nfree--;

        bk_table_text_put(x, index, reason, len);
        bk_table_text_hash(x, index);
        node = &x->nodes[index];
    }

    node->refs++;

    ref.index = (uint32_t) (node - x->nodes);
    ref.gen = (uint32_t) x->slots[ref.index].gen;

    return ref;
}


void
bk_table_text_unref(bk_table_t *t, bk_table_ref_t ref)
{
    bk_table_texts_t      *x = t->texts;
    bk_table_text_node_t  *node;

    if (ref.index == BK_TABLE_NONE || ref.index >= x->n) {
        return;
    }

    node = &x->nodes[ref.index];

    assert(node->refs > 0);

    if (--node->refs > 0) {
        return;
    }

    if (node->hashed) {
        HASH_DELETE(hh, x->hash, node);
        node->hashed = 0;
    }

    x->ring[(x->head + x->nfree) % x->n] = ref.index;
    x->nfree++;
}


int
bk_table_text_adopt(bk_table_t *t, bk_table_ref_t ref)
{
    char               text[BK_TABLE_TEXT_LEN];
    bk_table_texts_t  *x = t->texts;

    if (ref.index == BK_TABLE_NONE) {
        return 0;
    }

    if (ref.gen == 0 || ref.gen & 1
        || bk_table_read_text(&t->view, ref, text) != BK_TABLE_OK
        || text[0] == '\0')
    {
        return -1;
    }

    if (x->nodes[ref.index].refs++ == 0) {
        bk_table_text_hash(x, ref.index);
    }

    return 0;
}


void
bk_table_texts_ready(bk_table_t *t)
{
    uint32_t           i;
    bk_table_texts_t  *x = t->texts;

    for (i = 0; i < x->n; i++) {
        if (x->nodes[i].refs == 0) {
            x->ring[x->nfree++] = i;
        }
    }
}


const char *
bk_table_text_get(const bk_table_t *t, bk_table_ref_t ref)
{
    const bk_table_texts_t  *x = t->texts;

    if (ref.index >= x->n || x->nodes[ref.index].refs == 0) {
        return NULL;
    }

    return x->slots[ref.index].text;
}


void
bk_table_texts_stats(const bk_table_t *t, bk_table_stats_t *stats)
{
    stats->texts = t->texts->n;
    stats->texts_used = t->texts->n - t->texts->nfree;
    stats->texts_refused = t->texts->refused;
}


/* The length to keep: what fits, without half a UTF-8 character. */
static size_t
bk_table_text_cut(const char *reason)
{
    size_t  len;

    len = strnlen(reason, BK_TABLE_TEXT_LEN);

    if (len < BK_TABLE_TEXT_LEN) {
        return len;
    }

    len = BK_TABLE_TEXT_LEN - 1;

    while (len > 1 && ((unsigned char) reason[len] & 0xc0) == 0x80) {
        len--;
    }

    return len;
}


static void
bk_table_text_put(bk_table_texts_t *x, uint32_t index, const char *reason,
    size_t len)
{
    uint64_t           gen;
    bk_table_text_t   *slot = &x->slots[index];
    _Alignas(8) char   text[BK_TABLE_TEXT_LEN];

    memset(text, 0, BK_TABLE_TEXT_LEN);
    memcpy(text, reason, len);

    gen = slot->gen == 0 ? x->base : (slot->gen | 1) + 1;

    if ((uint32_t) gen == 0) {
        gen += 2;
    }

    bk_table_store(&slot->gen, gen - 1);
    bk_table_store_words(slot->text, text, BK_TABLE_TEXT_LEN);
    bk_table_store(&slot->gen, gen);
}


static void
bk_table_text_hash(bk_table_texts_t *x, uint32_t index)
{
    size_t                 len;
    const char            *text = x->slots[index].text;
    bk_table_text_node_t  *node;

    len = strlen(text);

    /* a table from elsewhere might hold the same words twice */
    HASH_FIND(hh, x->hash, text, len, node);

    if (node == NULL) {
        node = &x->nodes[index];
        HASH_ADD_KEYPTR(hh, x->hash, text, len, node);
        node->hashed = 1;
    }
}
