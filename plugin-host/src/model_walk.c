/*
 * Walks over all allocations, a few at each turn of the loop: see model.h.
 *
 * The hash keeps them in the order of their coming.  A walk holds the next
 * one and the last one of those that were there when it began; whoever is
 * removed makes the walks that hold it step aside.
 */

#include <string.h>

#include "model_int.h"


void
bk_model_walk_begin(bk_model_t *m, bk_alloc_walk_t *w)
{
    memset(w, 0, sizeof(bk_alloc_walk_t));

    if (m->allocs == NULL) {
        return;
    }

    w->model = m;
    w->at = m->allocs;
    w->last = ELMT_FROM_HH(m->allocs->hh.tbl, m->allocs->hh.tbl->tail);
    DL_APPEND(m->walks, w);
}


int
bk_model_walk(bk_alloc_walk_t *w, size_t max, bk_alloc_pt fn, void *data)
{
    int               rc = 0;
    bk_alloc_t       *a;
    bk_alloc_info_t   info;

    while (w->model != NULL && max-- > 0 && rc == 0) {
        a = w->at;
        bk_model_alloc_info(a, &info);

        if (a == w->last) {
            bk_model_walk_end(w);

        } else {
            w->at = a->hh.next;
        }

        rc = fn(&info, data);
    }

    return w->model != NULL;
}


void
bk_model_walk_end(bk_alloc_walk_t *w)
{
    if (w->model != NULL) {
        DL_DELETE(w->model->walks, w);
        w->model = NULL;
    }
}


/* Before it leaves the hash. */

void
bk_model_walk_aside(bk_model_t *m, bk_alloc_t *a)
{
    bk_alloc_walk_t  *w, *next;

    for (w = m->walks; w != NULL; w = next) {
        next = w->next;

        if (w->at == a && w->last == a) {
            bk_model_walk_end(w);

        } else if (w->at == a) {
            w->at = a->hh.next;

        } else if (w->last == a) {
            w->last = a->hh.prev;
        }
    }
}
