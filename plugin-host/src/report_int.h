/*
 * What the files of the reader share.  Included by report*.c, and by the
 * tests that look inside.
 */

#ifndef BK_REPORT_INT_H_INCLUDED
#define BK_REPORT_INT_H_INCLUDED

#include <event2/event.h>

#define uthash_fatal(msg)  abort()
#include <stdlib.h>
#include <sys/types.h>
#include <uthash.h>

#include "report.h"


#define BK_REPORT_FILE_NAME  256

/* Anybody in the folder's group can make files there: what one look reads,
 * and what is kept of it, is limited for all of them together. */
#define BK_REPORTS_FILES     512
#define BK_REPORTS_RECORDS   262144


/* One file as it was read: checked, strings ended. */
typedef struct {
    bk_report_header_t    head;
    bk_report_pool_t     *pools;        /* BK_REPORT_POOLS of them */
    bk_report_session_t  *sessions;     /* those that were there, whole */
    uint32_t              nsessions;
    uint32_t              room;
    uint32_t              unlisted;     /* 1: more than *left, none is read */
    uint64_t             *left;         /* by all files; NULL: no matter */
} bk_report_copy_t;


typedef struct {
    UT_hash_handle    hh;
    char              name[BK_REPORT_FILE_NAME];
    bk_report_copy_t  copy;
    uint64_t          heartbeat_ms;     /* as it was when it changed last */
    unsigned          still;            /* looks since then */
    unsigned          read:1;           /* copy holds something */
    unsigned          seen:1;
    unsigned          folded:1;         /* is in the totals already */
    unsigned          aside:1;         /* it was bad, and was tried to be */
    unsigned          quiet:1;          /* said why it cannot be read */
} bk_report_file_t;


typedef struct {
    UT_hash_handle  hh;
    uint32_t        connections;
    uint32_t        builds;
    uint32_t        told;               /* connections as they were told */
    uint64_t        last_ms;
    unsigned        key_len;
    unsigned        pool_len;
    char            key[];              /* pool, NUL, worker */
} bk_report_use_t;


struct bk_reports_s {
    bk_reports_conf_t   conf;
    struct event       *timer;

    int                 dir;            /* -1: cannot be read */
    dev_t               dev;
    ino_t               ino;
    int                 lock;
    char                trouble[512];   /* that was said last */
    char                boot[40];
    uint64_t            pid_ns;
    uint64_t            read_ms;        /* monotonic */
    unsigned            walking;
    int                 blocked;        /* a fold could not be finished */
    int                 crowded;        /* more than BK_REPORTS_FILES */
    int                 limited;        /* ... of either, and it was said */
    uint64_t            left;           /* of BK_REPORTS_RECORDS */

    bk_report_file_t   *files;
    bk_report_use_t    *uses;
    bk_report_copy_t    totals;
    uint64_t            folded;
    uint64_t            bad;
};


/* report_file.c: reads and checks; -1: err says what is wrong, code 400 for
 * a file that no gateway wrote, 500 for one that cannot be read now */
int bk_report_read(int dir, const char *name, bk_report_copy_t *copy,
    bk_err_t *err);
int bk_report_read_fd(int fd, bk_report_copy_t *copy, bk_err_t *err);
void bk_report_copy_free(bk_report_copy_t *copy);

/* report_fold.c: the totals */
int bk_report_totals_load(bk_reports_t *r, bk_err_t *err);
/* adds a dead one to the totals and removes its file; finish() does so with
 * the one that the totals named already, before any other is added */
int bk_report_finish(bk_reports_t *r, bk_report_file_t *f, bk_err_t *err);
int bk_report_fold(bk_reports_t *r, bk_report_file_t *f, bk_err_t *err);
void bk_report_aside(bk_reports_t *r, const char *name, const char *why);
/* adds rows by name; what finds no room goes to row 0 */
void bk_report_add(bk_report_pool_t *to, const bk_report_pool_t *from);

/* report_alive.c */
void bk_report_here(bk_reports_t *r);   /* boot id, pid namespace */
int bk_report_alive(bk_reports_t *r, bk_report_file_t *f);

/* report_serve.c: says once that not all is listed */
void bk_reports_limited(bk_reports_t *r);

/* report_use.c */
void bk_report_use_count(bk_reports_t *r);
void bk_report_use_tell(bk_reports_t *r);
void bk_report_use_free(bk_reports_t *r);

#endif /* BK_REPORT_INT_H_INCLUDED */
