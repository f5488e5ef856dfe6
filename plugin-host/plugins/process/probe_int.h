/* What probe.c (connection, TLS) and probe_call.c (the call) share. */

#ifndef BK_PROBE_INT_H_INCLUDED
#define BK_PROBE_INT_H_INCLUDED

#include <nghttp2/nghttp2.h>

#include "process.h"


#define BK_PROBE_MAX  65536     /* bytes of an answer */


enum {
    BK_PROBE_CONNECT = 0,
    BK_PROBE_TLS,
    BK_PROBE_CALL,
    BK_PROBE_OVER
};


struct bk_probe_s {
    bk_process_t     *p;
    bk_probe_pt       done;
    void             *data;
    int               fd;
    int               stage;
    int               write;        /* TLS wants to write */
    bk_watch_t       *watch;
    bk_timer_t       *timer;
    SSL              *ssl;
    nghttp2_session  *h2;
    char              name[BK_TABLE_TLS_NAME_LEN];
    char              status[8];    /* of HTTP */
    char              grpc[8];
    char              grpc_text[80];
    const char       *path;
    uint8_t           body[24];     /* one message of gRPC */
    size_t            body_len;
    size_t            max;          /* bytes of an answer */
    size_t            received;
    char              error[BK_PROBE_TEXT];
};


/* probe.c: why TLS failed, into b->error */
void bk_probe_tls_error(bk_probe_t *b, const char *what, int rc);

/* probe_call.c: 0: goes on when the socket is ready; else it is over */
int bk_probe_request(bk_probe_t *b);
int bk_probe_call(bk_probe_t *b);

#endif /* BK_PROBE_INT_H_INCLUDED */
