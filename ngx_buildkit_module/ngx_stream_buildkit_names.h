
/*
 * What names.c and names_cert.c share: a folder that says which names there
 * are (bk_names.h), as this process knows it.
 */


#ifndef _NGX_STREAM_BUILDKIT_NAMES_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_NAMES_H_INCLUDED_


#include "ngx_stream_buildkit_module.h"

#include "bk_names.h"


typedef struct ngx_stream_buildkit_cert_s  ngx_stream_buildkit_cert_t;


struct ngx_stream_buildkit_names_s {
    ngx_stream_buildkit_names_t  *next;     /* bmcf->names */

    ngx_str_t                     path;     /* of the folder */
    ngx_str_t                     file;     /* of the text in it */
    ngx_log_t                    *log;

    /* the text that was read last, good or not */
    dev_t                         dev;
    ino_t                         ino;
    off_t                         size;
    struct timespec               mtime;
    unsigned                      read:1;
    const char                   *what;     /* trouble that was logged */
    ngx_err_t                     err;      /* the same */

    /* the last good one; text NULL: there was none */
    char                         *text;
    bk_name_t                    *names;
    ngx_uint_t                    n;
    bk_names_str_t                class_name;

    /* names_cert.c: those that were asked for */
    ngx_rbtree_t                  certs;
    ngx_rbtree_node_t             sentinel;
    ngx_queue_t                   used;     /* latest first */
    ngx_uint_t                    ncerts;
};


/*
 * names.c: the line of a name as clients send it, NULL: none; host, of
 * BK_NAMES_HOST_MAX bytes, gets it as it was looked for.
 */
const bk_name_t *ngx_stream_buildkit_names_find(
    ngx_stream_buildkit_names_t *names, const char *sni, ngx_str_t *host);

/* names_cert.c */
void ngx_stream_buildkit_names_cert_create(
    ngx_stream_buildkit_names_t *names);
/* there are other names than before */
void ngx_stream_buildkit_names_cert_sweep(
    ngx_stream_buildkit_names_t *names);
void ngx_stream_buildkit_names_cert_free(ngx_stream_buildkit_names_t *names);
/* for each handshake; arg: the folder */
int ngx_stream_buildkit_names_cert(ngx_ssl_conn_t *ssl_conn, void *arg);


#endif /* _NGX_STREAM_BUILDKIT_NAMES_H_INCLUDED_ */
