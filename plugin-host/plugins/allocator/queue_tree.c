/*
 * The order of a queue: a treap whose nodes know how many there are below
 * them, so that a position in a queue of ten thousand costs no walk.
 *
 * The dice are thrown by whoever makes the entry, so that the shape does not
 * depend on what callers choose.
 */

#include "queue.h"


static void bk_tree_fit(bk_queue_entry_t *e);
static void bk_tree_split(bk_queue_entry_t *root, const bk_queue_entry_t *at,
    bk_queue_entry_t **left, bk_queue_entry_t **right);
static bk_queue_entry_t *bk_tree_join(bk_queue_entry_t *left,
    bk_queue_entry_t *right);


int
bk_tree_before(const bk_queue_entry_t *a, const bk_queue_entry_t *b)
{
    if (a->aged != b->aged) {
        return a->aged;
    }

    if (!a->aged) {
        if (a->priority != b->priority) {
            return a->priority > b->priority;
        }

        if (a->tag != b->tag) {
            return a->tag < b->tag;
        }
    }

    return a->seq < b->seq;
}


static void
bk_tree_fit(bk_queue_entry_t *e)
{
    e->size = 1 + (e->left != NULL ? e->left->size : 0)
              + (e->right != NULL ? e->right->size : 0);
}


static void
bk_tree_split(bk_queue_entry_t *root, const bk_queue_entry_t *at,
    bk_queue_entry_t **left, bk_queue_entry_t **right)
{
    if (root == NULL) {
        *left = NULL;
        *right = NULL;
        return;
    }

    if (bk_tree_before(root, at)) {
        bk_tree_split(root->right, at, &root->right, right);
        *left = root;

    } else {
        bk_tree_split(root->left, at, left, &root->left);
        *right = root;
    }

    bk_tree_fit(root);
}


static bk_queue_entry_t *
bk_tree_join(bk_queue_entry_t *left, bk_queue_entry_t *right)
{
    if (left == NULL || right == NULL) {
        return left == NULL ? right : left;
    }

    if (left->dice > right->dice) {
        left->right = bk_tree_join(left->right, right);
        bk_tree_fit(left);
        return left;
    }

    right->left = bk_tree_join(left, right->left);
    bk_tree_fit(right);

    return right;
}


void
bk_tree_insert(bk_queue_entry_t **root, bk_queue_entry_t *e)
{
    bk_queue_entry_t  *left, *right;

    e->left = NULL;
    e->right = NULL;
    e->size = 1;

    bk_tree_split(*root, e, &left, &right);
    *root = bk_tree_join(bk_tree_join(left, e), right);
}


/* e is in it. */

void
bk_tree_remove(bk_queue_entry_t **root, bk_queue_entry_t *e)
{
    while (*root != e) {
        (*root)->size--;
        root = bk_tree_before(e, *root) ? &(*root)->left : &(*root)->right;
    }

    *root = bk_tree_join(e->left, e->right);
}


bk_queue_entry_t *
bk_tree_first(bk_queue_entry_t *root)
{
    while (root != NULL && root->left != NULL) {
        root = root->left;
    }

    return root;
}


size_t
bk_tree_rank(const bk_queue_entry_t *root, const bk_queue_entry_t *e)
{
    size_t  n;

    n = 0;

    while (root != NULL) {
        if (root == e || !bk_tree_before(root, e)) {
            root = root->left;

        } else {
            n += 1 + (root->left != NULL ? root->left->size : 0);
            root = root->right;
        }
    }

    return n;
}
