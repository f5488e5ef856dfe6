/* The heap of due times against a plain search, with many random changes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"


#define N  500


static bk_heap_item_t  items[N];
static bk_heap_t       heap;


static uint64_t
least(void)
{
    int       i;
    uint64_t  min = ~0ull;

    for (i = 0; i < N; i++) {
        if (items[i].at != 0 && items[i].due_ms < min) {
            min = items[i].due_ms;
        }
    }

    return min;
}


int
main(void)
{
    int       i, n, bad = 0;
    uint64_t  last;

    srandom(7);

    for (n = 0; n < 200000 && bad == 0; n++) {
        i = (int) (random() % N);

        if (random() % 3 == 0) {
            bk_heap_clear(&heap, &items[i]);

        } else {
            bk_heap_set(&heap, &items[i], (uint64_t) (random() % 1000));
        }

        if (n % 50 == 0) {
            bad += bk_heap_top(&heap) == NULL
                   ? least() != ~0ull : bk_heap_top(&heap)->due_ms != least();
        }
    }

    printf("%sok 1 - the top is the earliest\n", bad ? "not " : "");

    for (last = 0; bk_heap_top(&heap) != NULL; /* void */ ) {
        bad += bk_heap_top(&heap)->due_ms < last;
        last = bk_heap_top(&heap)->due_ms;
        bk_heap_clear(&heap, bk_heap_top(&heap));
    }

    printf("%sok 2 - they come out in order\n", bad ? "not " : "");

    bk_heap_clear(&heap, &items[0]);
    printf("%sok 3 - what is not in is left alone\n1..3\n",
           heap.n == 0 ? "" : "not ");
    bk_heap_done(&heap);

    return bad ? 1 : 0;
}
