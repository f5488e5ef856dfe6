/*
 * What plugins may call: bk_host_t, made of the model, the HTTP server, the
 * authorities and the loop.  Thin: each function is a translation.  See
 * bk_plugin.h for what they mean; HTTP is in host_http.c, timers
 * and watches in host_timer.c, stores in host_store.c, pools' gateways and the
 * host's own life in host_pool.c.
 */

#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "host.h"
#include "identity.h"
#include "log.h"
#include "slow.h"
#include "stats.h"


static void
bk_host_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    bk_log_v(level, bk_inst(h)->label, fmt, args);
    va_end(args);
}


static uint64_t
bk_host_now_ms(const bk_host_t *h)
{
    (void) h;

    return bk_model_now_ms();
}


static uint64_t
bk_host_monotonic(const bk_host_t *h)
{
    (void) h;

    return bk_host_monotonic_ms();
}


static int
bk_host_pool_put(const bk_host_t *h, const bk_pool_info_t *p, bk_err_t *err)
{
    return bk_model_pool_put(bk_inst(h)->core->model, bk_inst(h), p, err);
}


static int
bk_host_pool_delete(const bk_host_t *h, bk_str_t name, bk_err_t *err)
{
    return bk_model_pool_delete(bk_inst(h)->core->model, bk_inst(h), name,
                                err);
}


static int
bk_host_worker_put(const bk_host_t *h, const bk_worker_info_t *w,
    bk_err_t *err)
{
    return bk_model_worker_put(bk_inst(h)->core->model, bk_inst(h), w, err);
}


static int
bk_host_worker_delete(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    bk_err_t *err)
{
    return bk_model_worker_delete(bk_inst(h)->core->model, bk_inst(h), pool,
                                  name, err);
}


static int
bk_host_alloc_put(const bk_host_t *h, const bk_alloc_info_t *a,
    bk_err_t *err)
{
    return bk_model_alloc_put(bk_inst(h)->core->model, bk_inst(h), a, err);
}


static int
bk_host_alloc_end(const bk_host_t *h, const uint8_t *hash, int state,
    bk_str_t reason, bk_err_t *err)
{
    return bk_model_alloc_end(bk_inst(h)->core->model, hash, state, reason,
                              err);
}


static void
bk_host_snapshot_begin(const bk_host_t *h)
{
    bk_plugin_inst_t  *p = bk_inst(h);

    if (p->starting) {
        bk_model_expect(p->core->model, p);
    }

    bk_model_snapshot_begin(p->core->model, p);
}


static void
bk_host_snapshot_commit(const bk_host_t *h)
{
    bk_model_snapshot_commit(bk_inst(h)->core->model, bk_inst(h));
}


static int
bk_host_pool_find(const bk_host_t *h, bk_str_t name, bk_pool_info_t *out)
{
    return bk_model_pool_find(bk_inst(h)->core->model, name, out);
}


static int
bk_host_worker_find(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    bk_worker_info_t *out)
{
    return bk_model_worker_find(bk_inst(h)->core->model, pool, name, out);
}


static int
bk_host_alloc_find(const bk_host_t *h, const uint8_t *hash,
    bk_alloc_info_t *out)
{
    return bk_model_alloc_find(bk_inst(h)->core->model, hash, out);
}


static int
bk_host_pool_each(const bk_host_t *h, bk_pool_pt fn, void *data)
{
    return bk_model_pool_each(bk_inst(h)->core->model, fn, data);
}


static int
bk_host_worker_each(const bk_host_t *h, bk_str_t pool, bk_worker_pt fn,
    void *data)
{
    return bk_model_worker_each(bk_inst(h)->core->model, pool, fn, data);
}


static int
bk_host_alloc_each(const bk_host_t *h, bk_str_t pool, bk_alloc_pt fn,
    void *data)
{
    return bk_model_alloc_each(bk_inst(h)->core->model, pool, fn, data);
}


static int
bk_host_worker_want(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    int wanted, bk_err_t *err)
{
    return bk_model_worker_want(bk_inst(h)->core->model, pool, name, wanted,
                                err);
}


static int
bk_host_cert_issue(const bk_host_t *h, const bk_cert_request_t *req,
    bk_cert_t *out, bk_err_t *err)
{
    return bk_ca_issue(bk_inst(h)->core->ca, req, out, err);
}


static int
bk_host_authority_make(const bk_host_t *h, bk_str_t cn, bk_str_t key,
    bk_cert_t *out, bk_err_t *err)
{
    return bk_ca_authority(bk_inst(h)->core->ca, cn, key, out, err);
}


static int
bk_host_cert_issue_by(const bk_host_t *h, bk_str_t cert, bk_str_t key,
    const bk_cert_request_t *req, bk_cert_t *out, bk_err_t *err)
{
    return bk_ca_issue_by(bk_inst(h)->core->ca, cert, key, req, out, err);
}


static bk_str_t
bk_host_state_dir(const bk_host_t *h)
{
    const char  *s = bk_inst(h)->core->conf->state;

    return (bk_str_t) { s, strlen(s) };
}


static bk_str_t
bk_host_gateway_endpoint(const bk_host_t *h)
{
    const char  *s = bk_inst(h)->core->conf->endpoint;

    return (bk_str_t) { s, strlen(s) };
}


static void
bk_host_stopped(const bk_host_t *h)
{
    bk_plugins_stopped(bk_inst(h));
}


static void
bk_host_stats(const bk_host_t *h, bk_stat_pt fn, void *data)
{
    bk_core_t  *core;

    core = bk_inst(h)->core;

    bk_stats_each(core, fn, data);
    bk_plugins_stats(core->plugins, fn, data);
}


static int
bk_host_worker_use(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    bk_worker_use_t *out, size_t size)
{
    bk_core_t         *core = bk_inst(h)->core;
    bk_worker_use_t    use;
    bk_worker_info_t   info;

    if (bk_model_worker_find(core->model, pool, name, &info) != 0) {
        return -1;
    }

    bk_reports_use(core->reports, pool, name, &use);
    bk_model_worker_full(core->model, pool, name, &use.disk_permille,
                         &use.inode_permille);

    memset(out, 0, size);
    memcpy(out, &use, size < sizeof(use) ? size : sizeof(use));

    return 0;
}


static int
bk_host_session_each(const bk_host_t *h, bk_session_pt fn, void *data)
{
    return bk_reports_each(bk_inst(h)->core->reports, fn, data);
}


static int
bk_host_worker_drain(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    int drained, bk_str_t reason, bk_err_t *err)
{
    return bk_model_worker_drain(bk_inst(h)->core->model, pool, name, drained,
                                 reason, err);
}


static int
bk_host_worker_disk(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    uint32_t disk_permille, uint32_t inode_permille)
{
    int         rc;
    bk_core_t  *core = bk_inst(h)->core;

    rc = bk_model_worker_disk(core->model, bk_inst(h), pool, name,
                              disk_permille, inode_permille);

    if (rc == 1) {
        bk_plugins_use(pool, name, core);
    }

    return rc == -1 ? -1 : 0;
}


static int
bk_host_alloc_owner(const bk_host_t *h, const uint8_t *hash, bk_str_t name,
    int untrusted)
{
    return bk_model_alloc_owner(bk_inst(h)->core->model, bk_inst(h), hash,
                                name, untrusted);
}


static const bk_host_t  bk_host_template = {
    BK_ABI_MAJOR,
    BK_ABI_MINOR,
    sizeof(bk_host_t),
    0,
    NULL,

    bk_host_log,

    bk_host_now_ms,
    bk_host_monotonic,
    bk_host_timer_new,
    bk_host_timer_set,
    bk_host_timer_clear,
    bk_host_timer_free,
    bk_host_watch_new,
    bk_host_watch_set,
    bk_host_watch_free,

    bk_host_pool_put,
    bk_host_pool_delete,
    bk_host_worker_put,
    bk_host_worker_delete,
    bk_host_alloc_put,
    bk_host_alloc_end,

    bk_host_snapshot_begin,
    bk_host_snapshot_commit,

    bk_host_pool_find,
    bk_host_worker_find,
    bk_host_alloc_find,
    bk_host_pool_each,
    bk_host_worker_each,
    bk_host_alloc_each,

    bk_host_worker_want,

    bk_host_http_route,
    bk_httpd_reply,
    bk_httpd_fail,
    bk_httpd_on_gone,
    bk_httpd_query,
    bk_httpd_header,

    bk_host_cert_issue,
    bk_host_state_dir,
    bk_host_gateway_endpoint,

    bk_host_stopped,

    bk_host_stats,
    bk_host_worker_use,
    bk_host_session_each,
    bk_host_worker_drain,

    bk_identity_answer,
    bk_host_http_route_for,
    bk_host_http_identity,
    bk_host_http_allowed,
    bk_httpd_stream_begin,
    bk_httpd_stream_write,
    bk_httpd_stream_end,
    bk_host_audit,
    bk_host_worker_disk,
    bk_host_alloc_owner,

    bk_host_store_open,
    bk_host_store_put,
    bk_host_store_worker,
    bk_host_store_each,
    bk_host_store_workers,
    bk_host_store_is,
    bk_host_store_told,

    bk_host_prepared,
    bk_host_pool_gateway,
    bk_host_pool_gateway_of,
    bk_host_quit,
    bk_host_state_make,
    bk_host_state_read,

    bk_host_pool_labels,
    bk_host_pool_labels_of,

    bk_host_authority_make,
    bk_host_cert_issue_by
};


void
bk_host_api(bk_host_t *host, bk_plugin_inst_t *p)
{
    *host = bk_host_template;
    host->priv = p;
}
