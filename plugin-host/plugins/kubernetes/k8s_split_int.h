/* Between k8s_split.c and k8s_split_read.c; nobody else includes this. */

#ifndef K8S_SPLIT_INT_H_INCLUDED
#define K8S_SPLIT_INT_H_INCLUDED

#include "k8s.h"


#define K8S_SPLIT_KEEP  (256 * 1024)    /* a buffer that is not given back */
#define K8S_SPLIT_KEY   16              /* longer than any that is looked for */


typedef struct {
    char    *text;
    size_t   len;
    size_t   room;
    int      nul;               /* a U+0000 was replaced */
} k8s_split_buf_t;

/* where in the array "items" a list is */
typedef enum {
    K8S_ITEMS_BEFORE = 0,
    K8S_ITEMS_FIRST,            /* an item or the end */
    K8S_ITEMS_NEXT,             /* a comma or the end */
    K8S_ITEMS_COMMA,            /* an item */
    K8S_ITEMS_AFTER
} k8s_split_items_e;

struct k8s_split_s {
    k8s_object_pt       fn;
    k8s_same_pt         same;           /* or NULL */
    void               *data;
    int                 list;
    int                 failed;

    int                 depth;          /* of brackets, in all of the input */
    int                 cut;            /* depth from which nothing is copied,
                                           0: all is */
    int                 string;         /* in a string */
    int                 escape;         /* behind a backslash ... */
    int                 hex;            /* ... digits that are to come */
    int                 zero;           /* ... those so far were 0 */

    int                 in;             /* in an object that is handed out */
    int                 met;            /* names of k8s_split_path that it is
                                           in */
    int                 skip;           /* it is not handed out after all */
    size_t              head;           /* where its metadata begin */
    k8s_split_buf_t     one;            /* that */
    k8s_split_buf_t     rest;           /* of a list: all but its items */
    k8s_split_items_e   items;
    int                 value;          /* behind a ':', where keys count */
    char                key[K8S_SPLIT_KEY];     /* the last one's begin */
    size_t              nkey;
    int                 over;           /* of a list: its end was seen */
};


/* -1: err says why */
int k8s_split_add(k8s_split_t *s, const char *p, size_t n, bk_err_t *err);
/* its end was seen */
int k8s_split_object(k8s_split_t *s, bk_err_t *err);
/* the end of its metadata: 1: it is known, and the rest need not be copied */
int k8s_split_known(const k8s_split_t *s);

#endif /* K8S_SPLIT_INT_H_INCLUDED */
