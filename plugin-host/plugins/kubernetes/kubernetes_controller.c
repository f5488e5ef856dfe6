/*
 * Plugin kubernetes: what the host asks of role controller.  In role gateway
 * nothing is kept and nobody is wanted.
 */

#include "bk_err.h"
#include "kubernetes.h"


static void kubernetes_no_store(bk_store_pt done, void *data);


int
kubernetes_want(void *ctx, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err)
{
    kubernetes_t  *k = ctx;

    return k->ct != NULL ? ct_worker_want(k->ct, pool, name, wanted, err) : 0;
}


void
kubernetes_event(void *ctx, const bk_event_t *event)
{
    kubernetes_t  *k = ctx;

    if (k->ct != NULL) {
        ct_worker_event(k->ct, event);
    }
}


void
kubernetes_state_changed(void *ctx)
{
    kubernetes_t  *k = ctx;

    if (k->ct != NULL) {
        ct_state_changed(k->state, k->ct);
        ct_pool_trust_changed(k->ct);
        ct_api_changed(k->api);
    }
}


void
kubernetes_put(void *ctx, const bk_stored_t *row, bk_store_pt done,
    void *data)
{
    kubernetes_t  *k = ctx;

    if (k->ct != NULL) {
        ct_store_put(k->ct, row, done, data);

    } else {
        kubernetes_no_store(done, data);
    }
}


void
kubernetes_put_worker(void *ctx, const bk_stored_worker_t *w,
    bk_store_pt done, void *data)
{
    kubernetes_t  *k = ctx;

    if (k->ct != NULL) {
        ct_store_worker(k->ct, w, done, data);

    } else {
        kubernetes_no_store(done, data);
    }
}


int
kubernetes_each(void *ctx, bk_stored_pt fn, void *data)
{
    kubernetes_t  *k = ctx;

    return k->ct != NULL ? ct_store_each(k->ct, fn, data) : 0;
}


int
kubernetes_workers(void *ctx, bk_stored_worker_pt fn, void *data)
{
    kubernetes_t  *k = ctx;

    return k->ct != NULL ? ct_store_workers(k->ct, fn, data) : 0;
}


/* The host calls it later. */

static void
kubernetes_no_store(bk_store_pt done, void *data)
{
    bk_err_t  err;

    (void) bk_err_set(&err, 503, "StoreNotReady", "plugin kubernetes keeps "
                      "nothing in role gateway");
    done(data, &err);
}
