
/*
 * A mapped file that loses its pages: reading one raises SIGBUS, which would
 * end the process and every build in it.
 *
 * zone.c and report_file.c say which ranges these are.  A fault inside gets
 * zero pages in the file's place and a mark, so that the interrupted read
 * goes on and whoever asked for it throws the result away.  Any other SIGBUS
 * goes to whom it was for.
 */


#include "ngx_stream_buildkit_module.h"


static void ngx_stream_buildkit_fault_handler(int signo, siginfo_t *info,
    void *context);


/* a signal handler can reach what belongs to the process, not to a cycle */
static ngx_stream_buildkit_range_t  *ngx_stream_buildkit_fault_ranges;
static struct sigaction              ngx_stream_buildkit_fault_old;
static ngx_uint_t                    ngx_stream_buildkit_fault_caught;


void
ngx_stream_buildkit_fault_catch(ngx_log_t *log)
{
    struct sigaction  sa;

    if (ngx_stream_buildkit_fault_caught) {
        return;
    }

    ngx_memzero(&sa, sizeof(struct sigaction));

    sa.sa_sigaction = ngx_stream_buildkit_fault_handler;
    sa.sa_flags = SA_SIGINFO;
    sigemptyset(&sa.sa_mask);

    if (sigaction(SIGBUS, &sa, &ngx_stream_buildkit_fault_old) == -1) {
        ngx_log_error(NGX_LOG_ERR, log, ngx_errno, "sigaction(SIGBUS) failed");
        return;
    }

    ngx_stream_buildkit_fault_caught = 1;
}


void
ngx_stream_buildkit_fault_watch(ngx_stream_buildkit_range_t *range)
{
    range->bad = 0;
    range->next = ngx_stream_buildkit_fault_ranges;
    ngx_stream_buildkit_fault_ranges = range;
}


void
ngx_stream_buildkit_fault_forget(ngx_stream_buildkit_range_t *range)
{
    ngx_stream_buildkit_range_t  **rp;

    for (rp = &ngx_stream_buildkit_fault_ranges; *rp; rp = &(*rp)->next) {
        if (*rp == range) {
            *rp = range->next;
            return;
        }
    }
}


static void
ngx_stream_buildkit_fault_handler(int signo, siginfo_t *info, void *context)
{
    int                           err;
    void                         *p;
    u_char                       *addr, *end;
    ngx_stream_buildkit_range_t  *range;

    err = errno;
    addr = info->si_addr;

    for (range = ngx_stream_buildkit_fault_ranges; range; range = range->next)
    {
        end = range->base + range->size;

        if (addr < range->base || addr >= end) {
            continue;
        }

        /* what follows is gone as well: files are cut at their end */

        addr -= (uintptr_t) addr % ngx_pagesize;

        p = mmap(addr, end - addr,
                 range->writable ? PROT_READ|PROT_WRITE : PROT_READ,
                 MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);

        if (p != MAP_FAILED) {
            range->bad = 1;
            errno = err;
            return;
        }
    }

    /* happens again when this returns, with the handler that was there */

    (void) sigaction(SIGBUS, &ngx_stream_buildkit_fault_old, NULL);
    errno = err;
}
