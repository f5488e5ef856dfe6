/* What fetch.c, fetch_part.c and fetch_set.c share; nobody else includes
 * this. */

#ifndef BK_FETCH_INT_H_INCLUDED
#define BK_FETCH_INT_H_INCLUDED

#include <curl/curl.h>

#include "bk_fetch.h"


struct bk_fetcher_s {
    const bk_host_t  *host;
    CURLM            *multi;
    bk_timer_t       *timer;
    bk_fetch_t       *first;
    bk_fetch_t       *current;      /* whose part() is called; cleared when
                                       it is freed meanwhile */
    unsigned          streams;
    unsigned          retry_after;
    int               parts;        /* some came */
};

struct bk_fetch_s {
    bk_fetcher_t       *owner;
    bk_fetch_t         *next;
    CURL               *easy;
    bk_fetch_part_pt    part;           /* of a stream only */
    bk_fetch_pt         done;
    void               *data;
    bk_timer_t         *timer;          /* of a stream: its silence */
    uint64_t            silence_ms;
    int                 heard;
    int                 good;           /* the stream began with 200 ... */
    int                 begun;          /* ... which is to be told */

    char               *body;           /* so far; of a stream: to hand out */
    size_t              len, size;
    size_t              limit;
    int                 too_long;

    /* of fetch_set.c */
    struct curl_slist  *headers;
    struct curl_slist  *connect;
    bk_str_t            post, ca, cert, key;    /* ours; wiped */
    size_t              sent;                   /* of post, when once */

    char                error[CURL_ERROR_SIZE];     /* curl's */
    char                refused[CURL_ERROR_SIZE];   /* ours */
};


/* --- fetch.c ------------------------------------------------------------ */

/* The end: done(), and it is gone. */
void bk_fetch_tell(bk_fetch_t *e, long status, const char *error);


/* --- fetch_part.c ------------------------------------------------------- */

/* CURLOPT_WRITEFUNCTION */
size_t bk_fetch_write(char *text, size_t size, size_t n, void *data);
/* the server has said something */
void bk_fetch_heard(bk_fetch_t *e);
/* a stream's timer */
void bk_fetch_silent(void *data);
/* Hands out what came. */
void bk_fetch_parts(bk_fetcher_t *f);


/* --- fetch_set.c -------------------------------------------------------- */

/* Makes of *req what curl is to do; -1: e->refused says why not. */
int bk_fetch_set(bk_fetch_t *e, const bk_fetch_req_t *req);
/* after curl has let go of it */
void bk_fetch_unset(bk_fetch_t *e);

#endif /* BK_FETCH_INT_H_INCLUDED */
