/*
 * The report: what one nginx worker process counts and whom it serves, a file
 * of its own in the folder of buildkit_report.
 *
 * This header is the layout and nothing else: no functions, no dependencies.
 * plugin-host/doc/report.md is its other half (offsets, protocol, failure
 * cases); a test compares the two.  A change of any size, offset or meaning
 * is a new BK_REPORT_MAGIC, here and in the document, in one commit.
 *
 * Only the process whose pid is in the name and in the header writes the
 * file; plugin-host reads it, adds the counters of a process that is gone to
 * its totals (a file of the same layout without sessions) and removes it.
 *
 * Counters only grow.  Times called *_ms are Unix time in milliseconds.
 */

#ifndef BK_REPORT_H_INCLUDED
#define BK_REPORT_H_INCLUDED

#include <stdint.h>


/* The last character is the layout version. */
#define BK_REPORT_MAGIC         "BKREPRT1"
#define BK_REPORT_MAGIC_LEN     8
#define BK_REPORT_ENDIAN        0x01020304u

/*
 * File names: "nginx-PID-TICKS-N.report" and plugin-host's "totals.report".
 * With its start ticks a pid is that process and no other; N is generation.
 * So the file of a process that is gone is in nobody's way.  A file is made
 * under its name and BK_REPORT_NEW, then renamed: half a one is never seen.
 */
#define BK_REPORT_PREFIX        "nginx-"
#define BK_REPORT_SUFFIX        ".report"
#define BK_REPORT_NEW           ".new"
#define BK_REPORT_BAD           ".bad"  /* what plugin-host sets aside */
#define BK_REPORT_TOTALS        "totals.report"

#define BK_REPORT_POOLS         257     /* row 0: no pool, or no room */
#define BK_REPORT_MAX_SESSIONS  65536

#define BK_REPORT_NAME_LEN      256     /* worker name, 255 bytes and NUL */
#define BK_REPORT_POOL_LEN      320
#define BK_REPORT_ID_LEN        16      /* 12 hex digits and NULs */
#define BK_REPORT_CLIENT_LEN    64      /* "address:port" and NULs */

/* Histograms: upper bounds in milliseconds; the last bucket has none. */
#define BK_REPORT_BUCKETS       16
#define BK_REPORT_BOUNDS                                                      \
    { 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000, 30000, 60000,    \
      300000 }


/* Why a connection was refused, was not held on, or never got so far. */
#define BK_REFUSED_NONE          0
#define BK_REFUSED_CERTIFICATE   1      /* missing, untrusted, expired ... */
#define BK_REFUSED_NO_TOKEN      2      /* a good one without an allocation */
#define BK_REFUSED_UNKNOWN       3      /* no such allocation, after grace */
#define BK_REFUSED_KEY           4      /* right token, wrong key: attack */
#define BK_REFUSED_POOL          5      /* of another pool */
#define BK_REFUSED_EXPIRED       6
#define BK_REFUSED_RELEASED      7
#define BK_REFUSED_REVOKED       8
#define BK_REFUSED_FAILED        9
#define BK_REFUSED_DRAINING      10
#define BK_REFUSED_QUEUED        11     /* still, after buildkit_wait */
#define BK_REFUSED_STARTING      12     /* still, after buildkit_wait */
#define BK_REFUSED_WORKER        13     /* gone, or does not answer */
#define BK_REFUSED_TABLE         14     /* none, after grace */
#define BK_REFUSED_CONNECTIONS   15     /* too many of one allocation */
#define BK_REFUSED_HELD          16     /* too many held of one address */
#define BK_REFUSED_SHUTDOWN      17     /* this process ends */
#define BK_REFUSED_CUT           18     /* of one that was just cut here */
#define BK_REFUSED_TIMEOUT       19     /* said nothing for too long */
#define BK_REFUSED_LOOKUP        20     /* nobody said whether there is one */
#define BK_REFUSED               21

#define BK_REFUSED_NAMES                                                      \
    { "none", "certificate", "no_token", "unknown", "key", "pool", "expired", \
      "released", "revoked", "failed", "draining", "queued", "starting",      \
      "worker", "table", "connections", "held", "shutdown", "cut", "timeout", \
      "lookup" }

/* Why a live connection was cut. */
#define BK_CUT_NONE              0
#define BK_CUT_EXPIRED           1
#define BK_CUT_RELEASED          2
#define BK_CUT_REVOKED           3
#define BK_CUT_FAILED            4      /* the table says: worker lost */
#define BK_CUT_WORKER            5      /* the worker closed amid a build */
#define BK_CUT_SILENCE           6      /* buildkit_silence */
#define BK_CUT_SHUTDOWN          7      /* nginx ends */
#define BK_CUT_GONE              8      /* allocation not in the table */
#define BK_CUT_MOVED             9      /* has another worker now */
#define BK_CUT_TIMEOUT           10     /* no request within the time */
#define BK_CUT                   11

#define BK_CUT_NAMES                                                          \
    { "none", "expired", "released", "revoked", "failed", "worker",           \
      "silence", "shutdown", "gone", "moved", "timeout" }

/* Why a TLS handshake with a client did not end well. */
#define BK_HANDSHAKE_NONE        0
#define BK_HANDSHAKE_CLOSED      1      /* the client went away */
#define BK_HANDSHAKE_TIMEOUT     2
#define BK_HANDSHAKE_TLS         3      /* no TLS, no common version ... */
#define BK_HANDSHAKE_CERTIFICATE 4      /* with ssl_verify_client on */
#define BK_HANDSHAKE_LIMIT       5      /* too many from one address */
#define BK_HANDSHAKE             6

#define BK_HANDSHAKE_NAMES                                                    \
    { "none", "closed", "timeout", "tls", "certificate", "limit" }

/* Where a session is. */
#define BK_PHASE_FREE            0      /* the record holds nothing */
#define BK_PHASE_HELD            1      /* waits for its worker */
#define BK_PHASE_CONNECTING      2      /* to the worker */
#define BK_PHASE_LIVE            3
#define BK_PHASE_REFUSED         4      /* gets its answer, or got it */
#define BK_PHASE_CUT             5
#define BK_PHASES                6

#define BK_PHASE_NAMES                                                        \
    { "free", "held", "connecting", "live", "refused", "cut" }

/* What the client is after, as far as it can be told (wire.md). */
#define BK_KIND_UNKNOWN          0      /* has not asked for anything yet */
#define BK_KIND_LOOK             1      /* buildx ls, create, inspect */
#define BK_KIND_OTHER            2
#define BK_KIND_BUILD            3      /* has opened a Session */
#define BK_KINDS                 4

#define BK_KIND_NAMES            { "unknown", "look", "other", "build" }

/* Session flags. */
#define BK_SESSION_EXPIRING      0x01   /* ends soon: a warning was logged */


typedef struct {
    char      magic[BK_REPORT_MAGIC_LEN];
    uint32_t  header_size;
    uint32_t  endian;           /* BK_REPORT_ENDIAN as the writer stores it */
    uint64_t  total_size;       /* of the file, bytes */
    uint32_t  pool_size;        /* sizeof(bk_report_pool_t) */
    uint32_t  session_size;     /* sizeof(bk_report_session_t) */
    uint32_t  npools;           /* BK_REPORT_POOLS */
    uint32_t  nsessions;        /* 0 in totals */
    uint64_t  pools_offset;
    uint64_t  sessions_offset;

    /* Whose it is: a pid may come again, with its start time it does not. */
    uint64_t  pid;
    uint64_t  start_ticks;      /* field 22 of /proc/PID/stat; 0: unknown */
    char      boot[40];         /* /proc/sys/kernel/random/boot_id, NULs */

    /* In totals: the file that was added last, in case it is still there. */
    uint64_t  folded_pid;
    uint64_t  folded_ticks;
    char      folded_boot[40];

    uint64_t  pid_ns;           /* inode of /proc/self/ns/pid; 0: unknown */
    uint64_t  generation;       /* 1; +1 for each file after a lost one */
    uint64_t  folded_generation;
    uint8_t   reserved0[8];

    /* All below changes while readers look: 64-bit atomic words. */
    uint64_t  start_ms;
    uint64_t  heartbeat_ms;     /* about once a second */
    uint64_t  exiting;          /* 1: takes no new connections any more */
    uint64_t  held;             /* sessions, now */
    uint64_t  live;             /* sessions, now */
    uint64_t  lost;             /* sessions that got no record: all taken */
    uint64_t  handshake[8];     /* BK_HANDSHAKE_*: failures */
    uint64_t  dead_clients;     /* found dead by keepalive or time-out */
    uint64_t  dead_workers;
    uint64_t  nused;            /* no session is behind this index */
    uint8_t   reserved1[176];
} bk_report_header_t;


typedef struct {
    uint64_t  bucket[BK_REPORT_BUCKETS];    /* not cumulative */
    uint64_t  sum_ms;
} bk_report_hist_t;


/*
 * name is written once, before used; the rest are 64-bit atomic words.  Each
 * connection is accepted in one row, and ends there as one of routed, refused
 * or gone; cut is for routed ones.
 */
typedef struct {
    uint64_t          used;         /* 1: the row has its name */
    char              name[BK_REPORT_POOL_LEN];
    uint64_t          accepted;     /* connections that were looked at */
    uint64_t          held;         /* ... that had to wait */
    uint64_t          routed;       /* ... whose worker answered */
    uint64_t          gone;         /* ... that left before either end */
    uint64_t          looks;        /* streams answered while held */
    uint64_t          retries;      /* attempts that were not the first */
    uint64_t          bytes_up;     /* to workers */
    uint64_t          bytes_down;   /* from workers */
    uint64_t          refused[24];  /* BK_REFUSED_* */
    uint64_t          cut[16];      /* BK_CUT_* */
    bk_report_hist_t  hold;         /* of those held: how long in all */
    bk_report_hist_t  connect;      /* TCP and TLS towards the worker */
    uint8_t           reserved[104];
} bk_report_pool_t;


/*
 * A live session.  seq is odd while the fields up to worker change: a reader
 * copies them twice and takes them when both copies are the same and seq is
 * even.  The words behind worker change on their own at any time.
 */
typedef struct {
    uint64_t  seq;
    uint64_t  start_ms;
    uint64_t  phase_ms;         /* since when it is in this phase */
    uint64_t  expires_ms;       /* of the allocation; 0: never */
    uint32_t  pool;             /* index of its row */
    uint8_t   phase;            /* BK_PHASE_* */
    uint8_t   kind;             /* BK_KIND_* */
    uint8_t   flags;            /* BK_SESSION_* */
    uint8_t   reason;           /* BK_REFUSED_* or BK_CUT_*, by phase */
    char      allocation[BK_REPORT_ID_LEN];
    char      client[BK_REPORT_CLIENT_LEN];
    char      worker[BK_REPORT_NAME_LEN];
    uint64_t  bytes_up;
    uint64_t  bytes_down;
    uint64_t  last_ms;          /* last byte in either direction */
    uint64_t  hold_ms;          /* how long it was held, when it is over */
    uint8_t   reserved[40];
} bk_report_session_t;


#define BK_REPORT_ASSERT(what)  _Static_assert(what, #what)

BK_REPORT_ASSERT(sizeof(bk_report_header_t) == 512);
BK_REPORT_ASSERT(sizeof(bk_report_hist_t) == 136);
BK_REPORT_ASSERT(sizeof(bk_report_pool_t) == 1088);
BK_REPORT_ASSERT(sizeof(bk_report_session_t) == 448);

BK_REPORT_ASSERT(__builtin_offsetof(bk_report_header_t, pid) == 56);
BK_REPORT_ASSERT(__builtin_offsetof(bk_report_header_t, start_ms) == 200);
BK_REPORT_ASSERT(__builtin_offsetof(bk_report_pool_t, accepted) == 328);
BK_REPORT_ASSERT(__builtin_offsetof(bk_report_session_t, bytes_up) == 376);

#endif /* BK_REPORT_H_INCLUDED */
