/*
 * A binary heap of things that are due at a time: expiry of allocations and
 * the end of keeping ended ones.  Intrusive: the item knows its place, so
 * that it is changed and removed in O(log n), at 8 bytes an item.  (One
 * libevent timer for each of 100,000 allocations would cost ten times that.)
 */

#ifndef BK_HEAP_H_INCLUDED
#define BK_HEAP_H_INCLUDED

#include <stddef.h>
#include <stdint.h>


/* Embedded in what is due.  at: 0 and not in a heap to begin with. */
typedef struct {
    uint64_t  due_ms;
    size_t    at;           /* place + 1; 0: not in the heap */
} bk_heap_item_t;

typedef struct {
    bk_heap_item_t  **items;
    size_t            n;
    size_t            size;
} bk_heap_t;

/* Puts the item in, or moves it to its new time. */
void bk_heap_set(bk_heap_t *h, bk_heap_item_t *item, uint64_t due_ms);
/* Does nothing when it is not in. */
void bk_heap_clear(bk_heap_t *h, bk_heap_item_t *item);
/* The earliest, or NULL. */
bk_heap_item_t *bk_heap_top(const bk_heap_t *h);
void bk_heap_done(bk_heap_t *h);

#endif /* BK_HEAP_H_INCLUDED */
