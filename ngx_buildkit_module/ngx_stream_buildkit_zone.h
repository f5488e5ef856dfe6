
/*
 * What zone.c and zone_read.c share: a mapped table.
 */


#ifndef _NGX_STREAM_BUILDKIT_ZONE_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_ZONE_H_INCLUDED_


#include "ngx_stream_buildkit_module.h"


typedef enum {
    ngx_stream_buildkit_zone_open_e = 0,
    ngx_stream_buildkit_zone_layout_e,
    ngx_stream_buildkit_zone_state_e,
    ngx_stream_buildkit_zone_fault_e,
    ngx_stream_buildkit_zone_entry_e,
    ngx_stream_buildkit_zone_errors_e
} ngx_stream_buildkit_zone_error_e;


struct ngx_stream_buildkit_zone_s {
    bk_table_view_t                    view;
    ngx_stream_buildkit_range_t        range;    /* base NULL: not mapped */

    dev_t                              dev;
    ino_t                              ino;
    uid_t                              uid;

    uint64_t                           serial;   /* +1 with each mapping */
    uint64_t                           seen;     /* as check() saw it last */
    uint64_t                           revision;
    uint64_t                           additions;
    uint64_t                           state;

    ngx_str_t                          path;
    ngx_msec_t                         check;
    ngx_log_t                         *log;

    ngx_msec_t                         tried;    /* when it was opened last */
    ngx_stream_buildkit_zone_error_e   error;    /* why it is not mapped */
    ngx_err_t                          err;
    const char                        *reason;
    time_t                             logged[
                                          ngx_stream_buildkit_zone_errors_e];

    unsigned                           was_tried:1;
    unsigned                           complained:1;
};


/* zone.c; NGX_OK: there is a live table to read */
ngx_int_t ngx_stream_buildkit_zone_ready(ngx_stream_buildkit_zone_t *zone);
/* NGX_ERROR, and why: its pages are gone */
ngx_int_t ngx_stream_buildkit_zone_fault(ngx_stream_buildkit_zone_t *zone);
void ngx_stream_buildkit_zone_complain(ngx_stream_buildkit_zone_t *zone);


#endif /* _NGX_STREAM_BUILDKIT_ZONE_H_INCLUDED_ */
