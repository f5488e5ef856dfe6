/*
 * What wait.c and follow.c share: one wait for a worker.  Nobody else
 * includes this.
 */

#ifndef BK_WAIT_INT_H_INCLUDED
#define BK_WAIT_INT_H_INCLUDED

#include "bkctl.h"


typedef struct {
    const bk_args_t *args;
    bk_progress_t    progress;
    json_t          *body;
    json_t          *answer;    /* NULL: there is no allocation */
    int64_t          skew_ms;
    uint64_t         end;       /* times are monotonic */
    uint64_t         why_at;
    uint64_t         look_at;
    uint64_t         pause;
    unsigned         tries;
    unsigned         lines;     /* of the stream that is watched */
    int              changed;   /* ... said so */
    int              met;       /* the API has answered */
    int              away;      /* ... but did not just now */
    int              patient;   /* the call waits, not we */
    int              blind;     /* it cannot be watched */
    int              over;      /* nothing to wait for any more */
    int              fd;
    int            (*stop)(void *data);
    void            *data;
    bk_api_reply_t   r;         /* the last that failed */
    char             pool[700];
    char             key[48];
} bk_wait_t;


/* wait.c */

uint64_t bk_wait_left(const bk_wait_t *w);
/* Shows progress; not 0: stop. */
int bk_wait_tick(void *data);
int bk_wait_stop(void *data);
/* As long as the wait lasts; -1: stop. */
int bk_wait_sleep(bk_wait_t *w, uint64_t ms);
/* How long to pause after a failure, the more the longer it lasts. */
uint64_t bk_wait_pause(bk_wait_t *w);
/* The API did not answer, or does again. */
void bk_wait_away(bk_wait_t *w, const bk_api_reply_t *r);
void bk_wait_back(bk_wait_t *w);

/* follow.c */

/* Until w->answer is ready, over, or the wait is; BK_EXIT_*, w->r says why. */
int bk_follow(bk_wait_t *w);

#endif /* BK_WAIT_INT_H_INCLUDED */
