/* A binary heap of due times: see heap.h. */

#include <stdlib.h>

#include "heap.h"


static void bk_heap_up(bk_heap_t *h, size_t i);
static void bk_heap_down(bk_heap_t *h, size_t i);
static void bk_heap_place(bk_heap_t *h, size_t i, bk_heap_item_t *item);


void
bk_heap_set(bk_heap_t *h, bk_heap_item_t *item, uint64_t due_ms)
{
    item->due_ms = due_ms;

    if (item->at != 0) {
        bk_heap_up(h, item->at - 1);
        bk_heap_down(h, item->at - 1);
        return;
    }

    if (h->n == h->size) {
        h->size = h->size ? h->size * 2 : 64;
        h->items = realloc(h->items, h->size * sizeof(bk_heap_item_t *));
        if (h->items == NULL) {
            abort();
        }
    }

    bk_heap_place(h, h->n++, item);
    bk_heap_up(h, item->at - 1);
}


void
bk_heap_clear(bk_heap_t *h, bk_heap_item_t *item)
{
    size_t           i;
    bk_heap_item_t  *last;

    if (item->at == 0) {
        return;
    }

    i = item->at - 1;
    item->at = 0;
    last = h->items[--h->n];

    if (last == item) {
        return;
    }

    bk_heap_place(h, i, last);
    bk_heap_up(h, i);
    bk_heap_down(h, last->at - 1);
}


bk_heap_item_t *
bk_heap_top(const bk_heap_t *h)
{
    return h->n ? h->items[0] : NULL;
}


void
bk_heap_done(bk_heap_t *h)
{
    free(h->items);
    h->items = NULL;
    h->n = h->size = 0;
}


static void
bk_heap_up(bk_heap_t *h, size_t i)
{
    bk_heap_item_t  *item = h->items[i];

    while (i > 0 && h->items[(i - 1) / 2]->due_ms > item->due_ms) {
        bk_heap_place(h, i, h->items[(i - 1) / 2]);
        i = (i - 1) / 2;
    }

    bk_heap_place(h, i, item);
}


static void
bk_heap_down(bk_heap_t *h, size_t i)
{
    size_t           c;
    bk_heap_item_t  *item = h->items[i];

    while ((c = i * 2 + 1) < h->n) {
        if (c + 1 < h->n && h->items[c + 1]->due_ms < h->items[c]->due_ms) {
            c++;
        }

        if (h->items[c]->due_ms >= item->due_ms) {
            break;
        }

        bk_heap_place(h, i, h->items[c]);
        i = c;
    }

    bk_heap_place(h, i, item);
}


static void
bk_heap_place(bk_heap_t *h, size_t i, bk_heap_item_t *item)
{
    h->items[i] = item;
    item->at = i + 1;
}
