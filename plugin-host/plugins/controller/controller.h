/*
 * Plugin controller: the gateway of somebody else's controller, whose API has
 * POST /api/v1/workers/lookup.  What the files share.
 *
 *     door.c    the socket: nginx's questions, our answers
 *     row.c     one token: asked about, known, and how long that holds
 *     model.c   what is known as facts of the host
 *     http.c    what is ended here
 *     api.c     requests to the controller
 *     answer.c  what it says, taken apart
 *
 * A token lives here in memory only, in its row, and is wiped with it; it goes
 * to the controller and nowhere else.
 */

#ifndef CONTROLLER_H_INCLUDED
#define CONTROLLER_H_INCLUDED

#include <stdlib.h>

#define uthash_fatal(msg)  abort()
#include <uthash.h>
#include <utlist.h>

#include "bk_err.h"
#include "bk_fetch.h"
#include "bk_lookup.h"
#include "bk_plugin.h"
#include "bk_table.h"


#define CTL_ID_LEN        12
#define CTL_NAME_MAX      253       /* of a worker, and of its TLS name */
#define CTL_ENDPOINT_MAX  63        /* "[ADDRESS]:PORT" */
#define CTL_ROWS_MAX      20000
#define CTL_FETCHES_MAX   2000      /* under way and waiting to be */
#define CTL_ANSWER_MAX    (64 * 1024)

#define CTL_STR(s)  ((bk_str_t) { (s), strlen(s) })


typedef struct ctl_s         ctl_t;
typedef struct ctl_row_s     ctl_row_t;
typedef struct ctl_client_s  ctl_client_t;
typedef struct ctl_end_s     ctl_end_t;


/* How it ended up: what is counted. */
typedef enum {
    ctl_said_known_e = 0,
    ctl_said_unknown_e,
    ctl_said_ended_e,
    ctl_said_pool_e,        /* it is another pool's */
    ctl_said_trouble_e,
    ctl_said_n
} ctl_said_e;


/* An answer of the controller; strings are NUL-terminated. */
typedef struct {
    ctl_said_e  said;
    int         state;              /* BK_ALLOC_*: of known and ended */
    uint64_t    expires_ms;         /* 0: it does not say */
    char        worker[CTL_NAME_MAX + 1];       /* empty: none yet */
    char        endpoint[CTL_ENDPOINT_MAX + 1]; /* empty: not ready */
    char        tls_name[CTL_NAME_MAX + 1];     /* empty: it does not say */
    char        pool[256];
    char        text[BK_LOOKUP_TEXT_LEN];       /* why; clean, or empty */
} ctl_answer_t;


/* A process that waits for what comes of a row. */
typedef struct ctl_wait_s  ctl_wait_t;

struct ctl_wait_s {
    ctl_wait_t  *next;
    uint64_t     client;            /* its number */
};


struct ctl_row_s {
    UT_hash_handle  hh;
    ctl_t          *ctl;
    uint8_t         hash[BK_LOOKUP_HASH_LEN];
    char            id[CTL_ID_LEN + 1];
    char           *token;          /* secret; NULL: of an earlier run */
    bk_fetch_t     *fetch;          /* it is being asked about */
    ctl_wait_t     *waits;
    uint64_t        not_after_ms;   /* of its certificate; Unix time */
    uint64_t        asked_ms;       /* by a gateway, last; monotonic */
    uint64_t        checked_ms;     /* by the controller; 0: never */
    ctl_said_e      said;           /* the last answer, when it was checked */
    unsigned        in_model:1;     /* the host has it, with a worker */
    unsigned        fresh:1;        /* the model lets it be dialled */
    unsigned        own_end:1;      /* it is us who end it */
    unsigned        renewable:1;    /* the controller says when it expires */
    int             state;          /* BK_ALLOC_*, as the controller says */
    char            worker[CTL_NAME_MAX + 1];   /* as the model calls it */
    char            text[BK_LOOKUP_TEXT_LEN];
};


typedef struct {
    char      *endpoint;            /* "https://HOST:PORT[/PREFIX]" */
    char      *pool;                /* "namespace/name" */
    char      *socket;
    char      *group;               /* empty: nobody else */
    char      *ca_file;             /* these three: empty: none */
    char      *bearer_file;
    char      *tls_name;            /* pattern */
    uint64_t   timeout_ms;
    uint64_t   keep_ms;
    uint64_t   refresh_ms;
    uint64_t   unknown_ms;
    int        bearer_http;
    int        release;
} ctl_conf_t;


struct ctl_s {
    const bk_host_t  *host;
    ctl_conf_t        conf;
    const char       *name;         /* of the pool, without its namespace */
    int               local;        /* the controller is on this machine */
    bk_fetcher_t     *fetcher;
    bk_timer_t       *sweep;
    ctl_row_t        *rows;         /* hash by SHA-256(token) */
    unsigned          fetching;     /* rows with a fetch */
    ctl_end_t        *ends;         /* releases under way */
    unsigned          nends;

    int               fd;           /* the socket; -1 */
    bk_watch_t       *watch;
    ctl_client_t     *clients;
    unsigned          nclients;
    uint64_t          last_client;

    int               up;           /* the controller answers */
    uint64_t          complained_ms;
    uint64_t          asks;
    uint64_t          bad_asks;
    uint64_t          lookups[ctl_said_n];
    uint64_t          releases[2];  /* good, bad */
};


/* controller.c */
bk_str_t ctl_pool(const ctl_t *ctl);

/* door.c: makes the socket and serves it.  free: also where open failed. */
int ctl_door_open(ctl_t *ctl, bk_err_t *err);
void ctl_door_free(ctl_t *ctl);
/* to one of its clients, if that is still there */
void ctl_door_answer(ctl_t *ctl, uint64_t client, const uint8_t *hash,
    int verdict, const char *text);

/* row.c.  ask: a gateway asks; the token is copied. */
void ctl_row_ask(ctl_t *ctl, uint64_t client, const bk_lookup_ask_t *ask);
/* a row of an earlier run, whose token is not known */
void ctl_row_inherit(ctl_t *ctl, const bk_alloc_info_t *alloc);
ctl_row_t *ctl_row_find(ctl_t *ctl, const uint8_t *hash);
/* each second */
void ctl_row_sweep(ctl_t *ctl);
void ctl_row_free(ctl_row_t **row);
/* from api.c: what came of it */
void ctl_row_answered(ctl_row_t *row, const ctl_answer_t *answer);

/* model.c.  put: 0, or -1 and why the host did not take it. */
int ctl_model_start(ctl_t *ctl, bk_err_t *err);
int ctl_model_put(ctl_row_t *row, const ctl_answer_t *answer, bk_err_t *err);
/* it must be asked about before it is dialled again */
void ctl_model_stale(ctl_row_t *row, const char *why);
void ctl_model_end(ctl_row_t *row, const ctl_answer_t *answer);
/* its worker goes, once the allocation has ended or is gone */
void ctl_model_forget(ctl_row_t *row);
/* the TLS name of a worker that does not bring one; -1: too long */
int ctl_model_tls_name(const char *pattern, const char *pool,
    const char *worker, char *buf, size_t size);

/* http.c: routes, where they are free */
int ctl_http_open(ctl_t *ctl, bk_err_t *err);

/* api.c.  lookup: ends with ctl_row_answered(), never from within. */
void ctl_api_lookup(ctl_row_t *row);
/* gives the allocation back, as long as that takes; the token is copied */
void ctl_api_release(ctl_t *ctl, const ctl_row_t *row);
void ctl_api_free(ctl_t *ctl);

/*
 * answer.c: status 0: error says what happened; local: addresses of this
 * machine are fine for workers.  Never fails: what is no good is trouble.
 */
void ctl_answer_read(long status, const char *body, size_t len,
    const char *error, int local, ctl_answer_t *out);

#endif /* CONTROLLER_H_INCLUDED */
