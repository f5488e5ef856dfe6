/* Between ct_write.c, ct_turn.c and ct_answer.c; nobody else includes this. */

#ifndef CT_JOB_H_INCLUDED
#define CT_JOB_H_INCLUDED

#include "ct.h"


#define CT_READ_TRIES  6        /* after a write whose end is not known */

struct ct_job_s {
    ct_job_t    *prev, *next;   /* of its object */
    int          how;           /* CT_CREATE ... CT_DELETE */
    int          asked;         /* somebody waits for it: CT_PLACE, CT_PATCH */
    int          running;       /* it was sent, and is not answered */
    int          behind;        /* others were before it */
    int          sent;          /* at least once */
    int          unknown;       /* what became of it? */
    unsigned     tries;         /* that somebody else was faster in */
    unsigned     reads;         /* that failed, after that */
    ct_make_pt   make;
    ct_done_pt   done;
    void        *data;
    json_t      *body;          /* or NULL: make() makes it */
    char         hash[65];      /* of a CT_APPLY */
    bk_err_t     err;           /* of one that is unknown */
};

/* What was applied last. */
struct ct_applied_s {
    char         hash[65];
    char         uid[40];
    char         version[40];
    json_int_t   generation;    /* 0: its kind has none */
    uint64_t     at_ms;
};


/* to ct_answer.c */
void ct_answer(void *data, const k8s_answer_t *a);
void ct_answer_read(void *data, const k8s_answer_t *a);
/* it failed; back-off */
void ct_answer_fail(ct_obj_t *o, ct_job_t *job, const bk_err_t *err,
    unsigned retry_after);

/* to ct_write.c: its turn; it is over */
void ct_write_step(ct_obj_t *o);
void ct_write_end(ct_obj_t *o, ct_job_t *job, const bk_err_t *err);
/* to ct_turn.c: when its time has come: retry_ms */
void ct_turn_later(ct_obj_t *o);

#endif /* CT_JOB_H_INCLUDED */
