/*
 * What the files of the process plugin share.
 *
 * process.c is the plugin, worker.c the life of one worker, spawn.c makes
 * the process and its folder, adopt.c knows a process again after our own
 * restart, probe.c asks it whether it works, keep.c has enough of them running
 * and their disks not too full.  Nothing waits: a process is
 * watched through its pidfd, a probe is a state machine on the host's loop.
 */

#ifndef BK_PROCESS_H_INCLUDED
#define BK_PROCESS_H_INCLUDED

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bk_err.h"
#include "bk_plugin.h"
#include "bk_table.h"


#define BK_PATH_MAX      4096
#define BK_WORKERS_MAX   1024
#define BK_ARGS_MAX      256
#define BK_SHARED_MAX    100000     /* allocations of a worker */
#define BK_PROBE_TEXT    160

#define BK_SECOND        UINT64_C(1000)


typedef struct bk_process_s  bk_process_t;
typedef struct bk_worker_s   bk_worker_t;
typedef struct bk_probe_s    bk_probe_t;

/* error: NULL when the worker answered well */
typedef void (*bk_probe_pt)(void *data, const char *error);


enum {
    BK_PHASE_NONE = 0,      /* no process; perhaps one soon: w->tick */
    BK_PHASE_START,         /* runs, has not answered a probe yet */
    BK_PHASE_UP,
    BK_PHASE_DOWN           /* told to go; w->deadline kills it */
};


struct bk_worker_s {
    bk_process_t  *p;
    char           name[16];
    char           tls_name[BK_TABLE_TLS_NAME_LEN];
    char           dir[BK_PATH_MAX];
    char           message[BK_TABLE_MESSAGE_LEN];
    int            state;           /* BK_WORKER_*, as it was put */
    int            phase;
    int            wanted;

    pid_t          pid;
    uint64_t       started;         /* field 22 of /proc/PID/stat */
    int            pidfd;           /* -1: no process */
    int            child;           /* ours to reap */
    uint16_t       port;
    bk_watch_t    *exit;

    bk_timer_t    *tick;            /* next probe, or next start */
    bk_timer_t    *deadline;        /* of the start, or of the stop */
    bk_timer_t    *idle;
    int            idling;          /* idle is set */
    bk_probe_t    *probe;
    char           trouble[BK_PROBE_TEXT];  /* what the last probe said */
    unsigned       bad_probes;      /* in a row */
    unsigned       good;            /* probes answered since it started */
    unsigned       crashes;         /* in a row: the back-off */
    unsigned       port_tries;
    uint64_t       up_since;        /* monotonic */
    uint64_t       retry_at;        /* monotonic; not started before */

    uint32_t       disk;            /* how full, permille; 0: not known */
    uint32_t       inodes;
    uint32_t       disk_before;     /* it was pruned */
    uint64_t       free_wanted;     /* bytes, after it is */
    uint64_t       pruned_at;       /* monotonic; 0: never */
    int            to_prune;        /* it was started for that */
    bk_probe_t    *prune;           /* under way */
};


struct bk_process_s {
    const bk_host_t  *host;

    char              pool[BK_TABLE_POOL_LEN];
    char             *command[BK_ARGS_MAX + 1];
    size_t            ncommand;
    char             *args[BK_ARGS_MAX + 1];
    size_t            nargs;
    char              arch[BK_TABLE_ARCH_LEN];
    int               shared;           /* as in bk_pool_info_t */
    int               stop_children;
    uint64_t          nworkers;
    uint64_t          idle_ms;
    uint64_t          linger_ms;
    uint64_t          start_ms;
    uint64_t          probe_ms;
    uint64_t          min_warm;
    uint64_t          max_disk;         /* percent; 0: no limit */
    uint64_t          disk_ms;

    bk_timer_t       *look;             /* at all disks */
    bk_timer_t       *warm;             /* are enough of them running? */
    bk_worker_t      *workers;
    SSL_CTX          *tls;          /* the probes' */
    uint64_t          tls_until_ms;
    int               stopping;
};


/* What the run file of a worker says. */
typedef struct {
    pid_t     pid;
    uint64_t  started;
    uint16_t  port;
    int       ready;
    char      boot[64];
} bk_run_t;


/* process.c: tells the host, once the last process is gone */
void bk_process_stopped(bk_process_t *p);

/* text.c */
bk_str_t bk_str(const char *s);
/* cuts at a UTF-8 boundary, blanks for control bytes */
void bk_text_clean(char *dst, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int bk_text_write(const char *dir, const char *name, bk_str_t data,
    bk_err_t *err);
/* DIR/NAME; BK_PATH_MAX bytes */
const char *bk_text_path(char *path, const char *dir, const char *name);

/* worker.c */
void bk_worker_init(bk_process_t *p, bk_worker_t *w, unsigned number);
int bk_worker_begin(bk_worker_t *w, bk_err_t *err); /* adopts or puts */
void bk_worker_free(bk_worker_t *w);
void bk_worker_want(bk_worker_t *w, int wanted);
void bk_worker_used(bk_worker_t *w);    /* its allocations or connections
                                           changed */
void bk_worker_stop(bk_worker_t *w, const char *why);
const char *bk_worker_program(const bk_worker_t *w);
void bk_worker_put(bk_worker_t *w, int state, const char *message);
void bk_worker_start(bk_worker_t *w);
void bk_worker_retry(bk_worker_t *w);   /* starts it when it is time */
void bk_worker_failed(bk_worker_t *w, const char *message);
void bk_worker_kill(bk_worker_t *w, int signal_number);

/* worker_timer.c: what the three timers of a worker call */
void bk_worker_tick(void *data);
void bk_worker_deadline(void *data);
void bk_worker_idle(void *data);

int bk_worker_busy(bk_worker_t *w);     /* allocations or connections */

/* keep.c: warm workers, disks */
void bk_keep_begin(bk_process_t *p);
void bk_keep_end(bk_process_t *p);
void bk_keep_soon(bk_process_t *p);     /* fewer may run now */
int bk_keep_needed(const bk_worker_t *w);   /* not to be stopped when idle */
void bk_keep_measure(bk_worker_t *w);
int bk_keep_prune(bk_worker_t *w);      /* 1: it is pruned just now */

/* spawn.c: fills pid, started, pidfd, port */
int bk_spawn_folder(bk_worker_t *w, bk_err_t *err);
int bk_spawn(bk_worker_t *w, bk_err_t *err);

/* output.c: the worker's log */
#define BK_OUTPUT_FILE   "log"
/* what stands below this line is from the last start */
#define BK_OUTPUT_START  "--- started by buildkit-plugin-host"
void bk_output_last(const bk_worker_t *w, char *line, size_t size);
void bk_output_trim(const bk_worker_t *w);

/* adopt.c */
int bk_adopt_start_time(pid_t pid, uint64_t *started);
void bk_adopt_boot(char boot[64]);
size_t bk_adopt_format(const bk_run_t *run, char *text, size_t size);
void bk_adopt_note(bk_worker_t *w, int ready);      /* writes the run file */
void bk_adopt_forget(bk_worker_t *w);
/* 1: it runs and w knows it; 0: there was none; -1: it is gone */
int bk_adopt(bk_worker_t *w, int *ready);
/* stops what is left of a worker that is not configured any more */
void bk_adopt_retire(bk_worker_t *w);
/* says in words how it ended, and reaps it */
void bk_adopt_ended(bk_worker_t *w, char *text, size_t size, int *taken);

/* probe.c: one at a time for each worker; never calls back at once */
int bk_probe_setup(bk_process_t *p, bk_err_t *err);
bk_probe_t *bk_probe_start(bk_process_t *p, const char *tls_name,
    uint16_t port, uint64_t timeout_ms, bk_probe_pt done, void *data);
/* the same, but asks it to remove what was not used for longest, until so
 * many bytes are free; 0: all that is not in use */
bk_probe_t *bk_probe_prune(bk_process_t *p, const char *tls_name,
    uint16_t port, uint64_t free_bytes, uint64_t timeout_ms, bk_probe_pt done,
    void *data);
void bk_probe_free(bk_probe_t **probe);

#endif /* BK_PROCESS_H_INCLUDED */
