
/*
 * When a process that is to end runs out of time: clients must be told before
 * nginx drops what is left, as nginx itself tells nobody.
 *
 * worker_shutdown_timeout counts from a reload as well, and then cuts what
 * the reload was not to touch.  buildkit_shutdown_timeout counts when nginx
 * quits only: a process that is told to end knows by a page, which the master
 * has before it makes the first process, whether its configuration was
 * replaced by another one.  Where it was not, nginx quits, which it tells the
 * processes of older configurations: nginx signals them no second time.
 */


#include "ngx_stream_buildkit_module.h"


/* so long before the end clients are told */
#define NGX_STREAM_BUILDKIT_QUIT_TOLD  1500


typedef struct {
    ngx_atomic_t  configured;   /* how many configurations there have been */
    ngx_atomic_t  replaced;     /* the number of the last that is not used */
    ngx_atomic_t  since;        /* nginx quits, ngx_msec_t; 0: it does not */
} ngx_stream_buildkit_quit_t;


static void ngx_stream_buildkit_quit_replaced(void *data);
static void ngx_stream_buildkit_quit_noticed(
    ngx_stream_buildkit_main_conf_t *bmcf);
static ngx_uint_t ngx_stream_buildkit_quit_due(ngx_msec_t since,
    ngx_msec_t timeout);
static ngx_msec_t ngx_stream_buildkit_quit_age(ngx_msec_t since);


/* of the master and of all that it makes; NULL: there is no memory for it */

static ngx_stream_buildkit_quit_t  *ngx_stream_buildkit_quit;


ngx_int_t
ngx_stream_buildkit_quit_create(ngx_conf_t *cf,
    ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_stream_buildkit_quit_replaced;
    cln->data = bmcf;

    return NGX_OK;
}


/* a configuration is going to be used; in the master */

void
ngx_stream_buildkit_quit_init(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_log_t *log)
{
    void  *page;

    if (ngx_stream_buildkit_quit == NULL) {
        page = mmap(NULL, sizeof(ngx_stream_buildkit_quit_t),
                    PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0);

        if (page == MAP_FAILED) {
            ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                          "mmap() failed: there will be no "
                          "buildkit_shutdown_timeout");
            return;
        }

        ngx_stream_buildkit_quit = page;
    }

    bmcf->number = ++ngx_stream_buildkit_quit->configured;
}


/* with its memory, which the master frees before it tells its processes */

static void
ngx_stream_buildkit_quit_replaced(void *data)
{
    ngx_stream_buildkit_main_conf_t  *bmcf = data;

    /* zero: was never used */

    if (ngx_process == NGX_PROCESS_MASTER && bmcf->number) {
        ngx_stream_buildkit_quit->replaced = bmcf->number;
    }
}


/* no process is made while nginx quits: it was that one which was told to */

void
ngx_stream_buildkit_quit_start(ngx_stream_buildkit_main_conf_t *bmcf)
{
    if (bmcf->number) {
        ngx_stream_buildkit_quit->since = 0;
    }
}


/* a process that has nothing to wait for ends before its next tick */

void
ngx_stream_buildkit_quit_exit(ngx_stream_buildkit_main_conf_t *bmcf)
{
    if (ngx_exiting && !ngx_terminate) {
        ngx_stream_buildkit_quit_noticed(bmcf);
    }
}


static void
ngx_stream_buildkit_quit_noticed(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_stream_buildkit_quit_t  *quit;

    quit = ngx_stream_buildkit_quit;

    if (bmcf->number && quit->replaced < bmcf->number) {
        (void) ngx_atomic_cmp_set(&quit->since, 0,
                                  ngx_max(ngx_current_msec, 1));
    }
}


/* each tick; 1, and then always: it is out of time */

ngx_uint_t
ngx_stream_buildkit_quit_tick(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_msec_t        since, timeout, age;
    ngx_core_conf_t  *ccf;

    if (!ngx_exiting || bmcf->ending) {
        return bmcf->ending;
    }

    if (bmcf->exiting == 0) {
        bmcf->exiting = ngx_max(ngx_current_msec, 1);
        ngx_stream_buildkit_quit_noticed(bmcf);
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    if (ngx_stream_buildkit_quit_due(bmcf->exiting, ccf->shutdown_timeout)) {
        return 1;
    }

    since = bmcf->number ? ngx_stream_buildkit_quit->since : 0;

    if (since == 0
        || !ngx_stream_buildkit_quit_due(since, bmcf->shutdown_timeout))
    {
        return 0;
    }

    age = ngx_stream_buildkit_quit_age(since);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "buildkit: nginx was told to quit %Mms ago: live "
                  "connections are cut", age);

    /* what is left then nginx drops itself, as at its own time-out */

    timeout = ccf->shutdown_timeout;

    ccf->shutdown_timeout = bmcf->shutdown_timeout > age
                            ? bmcf->shutdown_timeout - age : 1;
    ngx_set_shutdown_timer((ngx_cycle_t *) ngx_cycle);

    ccf->shutdown_timeout = timeout;

    return 1;
}


static ngx_uint_t
ngx_stream_buildkit_quit_due(ngx_msec_t since, ngx_msec_t timeout)
{
    return timeout
           && ngx_stream_buildkit_quit_age(since)
              + NGX_STREAM_BUILDKIT_QUIT_TOLD >= timeout;
}


/* another process may have noticed at a time that is yet to come here */

static ngx_msec_t
ngx_stream_buildkit_quit_age(ngx_msec_t since)
{
    ngx_msec_int_t  age;

    age = (ngx_msec_int_t) (ngx_current_msec - since);

    return ngx_max(age, 0);
}
