/*
 * The folder's only header: what bkctl's files share.
 *
 * bkctl.c holds the table of verbs and dispatches, args.c the table of flags,
 * cmd_<verb>.c one verb each.  api.c is the only user of libcurl, out.c the
 * only one that knows of terminals, creds.c the only one that writes files.
 * Tokens and keys pass through json_t and files; they are never printed, but
 * for the API's own JSON where the user asked for it, and never in argv.
 */

#ifndef BK_BKCTL_H_INCLUDED
#define BK_BKCTL_H_INCLUDED

#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>


/* Exit codes: contracts.md, "bkctl". */
#define BK_EXIT_OK           0
#define BK_EXIT_FAILED       1
#define BK_EXIT_USAGE        2
#define BK_EXIT_DENIED       3
#define BK_EXIT_CAPACITY     4
#define BK_EXIT_UNREACHABLE  5
#define BK_EXIT_NOT_STARTED  125

#define BK_ENDPOINT_DEFAULT  "unix:/run/buildkit-gateway/api.sock"
#define BK_TABLE_DEFAULT     "/dev/shm/buildkit.table"

#define BK_METADATA_MAX      64
#define BK_TOKEN_MAX         256

/* What the allocator waits when it is not told; see doc/api.md. */
#define BK_WAIT_DEFAULT_MS   60000

/* Architectures of one build. */
#define BK_NODES_MAX         8


/* Which verbs take a flag: a verb has a set of these. */
#define BK_TAKES_API         0x0001     /* talks to the API */
#define BK_TAKES_ALLOCATE    0x0002     /* what an allocation may ask for */
#define BK_TAKES_OUT         0x0004
#define BK_TAKES_JSON        0x0008
#define BK_TAKES_TOKEN       0x0010
#define BK_TAKES_TTL         0x0020
#define BK_TAKES_REASON      0x0040
#define BK_TAKES_TABLE       0x0080
#define BK_TAKES_FILTER      0x0100     /* --pool of a list */
#define BK_TAKES_NAMES       0x0200
#define BK_TAKES_COMMAND     0x0400     /* all after -- is not ours */
#define BK_TAKES_SESSIONS    0x0800
#define BK_TAKES_DRAIN       0x1000
#define BK_TAKES_BEARER      0x2000     /* --token-file is the API's */
#define BK_TAKES_EXPLAIN     0x4000
#define BK_TAKES_WATCH       0x8000
#define BK_TAKES_CA          0x10000
#define BK_TAKES_LIVE        0x20000
#define BK_TAKES_ALIVE       0x40000    /* another --live */

typedef struct bk_args_s  bk_args_t;

typedef struct {
    const char  *name;
    const char  *operands;      /* for the usage line */
    const char  *summary;       /* one line of "bkctl help" */
    const char  *details;       /* paragraphs of "bkctl VERB --help" */
    unsigned     takes;         /* BK_TAKES_* */
    int          min, max;      /* operands; max -1: any number */
    int        (*run)(const bk_args_t *args);
} bk_verb_t;

struct bk_args_s {
    const bk_verb_t   *verb;

    /* Flags, or the environment's or a default; NULL where there is none.
       All are borrowed from argv and the environment. */
    const char        *endpoint;
    const char        *pool;
    const char        *nspace;
    const char        *ttl;
    const char        *job_id;
    const char        *arch;
    const char        *cache_key;
    const char        *wait;
    const char        *out;
    const char        *token_file;      /* of an allocation */
    const char        *api_token_file;
    const char        *oidc;            /* "github" */
    const char        *audience;
    const char        *idempotency_key;
    const char        *about;           /* --verb */
    const char        *reason;
    const char        *table;
    const char        *allocation;
    const char        *worker;
    const char        *metadata[BK_METADATA_MAX];   /* "key=value" */
    int                nmetadata;
    int                json;
    int                names;
    int                watch;
    int                undo;
    int                live;
    const char        *authority;
    int                force;
    int                patient;     /* --wait, with or without a time */
    int                help;

    int                argc;    /* operands */
    char             **argv;    /* NULL-terminated */
};


/* bkctl.c */

extern const bk_verb_t  bk_verbs[];     /* ended by a NULL name */

const bk_verb_t *bk_verb_find(const char *name);


/* args.c, args_text.c */

#define BK_ARGS_WORD_MAX  31        /* longer ones are like nothing */

typedef struct {
    const char  *name;          /* without the dashes */
    const char  *value;         /* what it takes, for help; NULL: a switch */
    int          type;
    unsigned     takes;         /* verbs that have one of these */
    size_t       offset;        /* in bk_args_t */
    const char  *env;           /* NULL: none */
    const char  *help;
} bk_flag_t;

extern const bk_flag_t  bk_flags[];     /* ended by a NULL name */

/* 0, or -1 after the usage error was printed.  argv[0] is the verb. */
int bk_args_parse(bk_args_t *args, const bk_verb_t *verb, int argc,
    char **argv);
void bk_args_help(FILE *f, const bk_verb_t *verb);
/* Whether flag f is one of verb's. */
int bk_args_takes(const bk_verb_t *verb, const bk_flag_t *f);
/*
 * A number that is small when two words are alike; the caller offers the
 * word when bk_args_alike() says so.
 */
int bk_args_alike(const char *a, const char *b);
/* The flag of verb that was meant, or NULL. */
const char *bk_args_like(const bk_verb_t *verb, const char *name, size_t len);
/* An allocation's id, or more digits of the hash. */
int bk_id_like(const char *s);
/* 0, or -1 after the usage error was printed. */
int bk_args_id(const bk_verb_t *verb, const char *id);
/* Prints "bkctl: <text>" and where help is; returns BK_EXIT_USAGE. */
int bk_args_usage(const bk_verb_t *verb, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));


/* api.c, api_setup.c: one request at a time, on a connection of its own. */

typedef struct {
    const char   *method;
    const char   *path;         /* "/api/v1/..." */
    const char   *url;          /* NULL; or all of it, not the API's */
    const char   *bearer;       /* NULL: auth.c knows */
    const json_t *body;         /* NULL: none */
    int           own;          /* the body says who may: a token is in it */
    unsigned      timeout_ms;   /* for all of it; 0: the usual 30 s */
    /*
     * Called about once a second, and whenever fd (unless -1) can be read;
     * anything but 0 ends the request.
     */
    int           fd;
    int         (*tick)(void *data);
    /*
     * An answer of success that comes line by line: called for each, without
     * its end; anything but 0 ends the request, which is no failure.  The
     * reply has no json then.
     */
    int         (*line)(void *data, const char *line, size_t len);
    void         *data;
} bk_api_request_t;

/* Whether the same request may well succeed in a moment. */
#define BK_AGAIN_NEVER   0
#define BK_AGAIN_KNOWN   1      /* if the API has been heard of before */
#define BK_AGAIN_ALWAYS  2

typedef struct {
    int           exit;         /* BK_EXIT_* that fits the outcome */
    long          status;       /* HTTP; 0: no answer at all */
    int           aborted;      /* tick() wanted the end */
    int           sent;         /* there was a connection */
    int           nobody;       /* ... nor anybody who listens there */
    int           again;        /* BK_AGAIN_* */
    int           bearer;       /* there was a token in it */
    json_t       *json;         /* NULL when there was none */
    long          retry_after;  /* seconds; -1: not said */
    int64_t       skew_ms;      /* the API's clock - ours, to the second */
    char          reason[64];   /* of the API's error */
    char          why[100];     /* "connection refused" */
    char          error[640];
    char          hint[400];
} bk_api_reply_t;

/* Returns r->exit.  The reply is the caller's: bk_reply_free(). */
int bk_api_call(const bk_args_t *args, const bk_api_request_t *req,
    bk_api_reply_t *r);
/* Percent-encodes a value; caller frees. */
char *bk_api_escape(const char *s);


/* auth.c */

/*
 * The bearer token for a request, NULL where there is none; the caller frees
 * and wipes it.  own: as in bk_api_request_t, then it is never a failure.
 */
int bk_auth_bearer(const bk_args_t *args, int own, bk_api_reply_t *r,
    char **bearer);


/* reply.c */

/* Fills in an error; returns -1. */
int bk_reply_fail(bk_api_reply_t *r, int code, const char *hint,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same from the JSON of an answer that is no success. */
void bk_reply_refused(bk_api_reply_t *r, const char *endpoint);
/* Prints the error and its hint; returns r->exit. */
int bk_reply_complain(const bk_api_reply_t *r);
void bk_reply_free(bk_api_reply_t *r);


/* out.c */

void bk_out_error(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
void bk_out_hint(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
void bk_out_note(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/* Control bytes become '?': what comes from elsewhere is only text. */
char *bk_out_clean(char *s);
/* The same for the rest of a string that is not ours to change; static. */
const char *bk_out_text(const json_t *object, const char *key);

/* A string of an object, "" when it is missing or not one. */
const char *bk_out_string(const json_t *object, const char *key);
long long bk_out_number(const json_t *object, const char *key);

int bk_out_json(const json_t *json);
/* 0, or BK_EXIT_FAILED when stdout could not be written. */
int bk_out_flush(void);
int bk_out_tty(void);           /* stdout is a terminal */

/* A table: header first, rows, then print; cells are copied. */
typedef struct bk_rows_s  bk_rows_t;

bk_rows_t *bk_rows_new(int columns);
void bk_rows_add(bk_rows_t *rows, const char *const *cells);
void bk_rows_print(const bk_rows_t *rows);
void bk_rows_free(bk_rows_t **rows);

/* "waiting for a worker of pool default/demo ... 3s" on stderr */
typedef struct {
    char      text[400];
    char      why[200];     /* ": <why>" follows, when it is known */
    uint64_t  start_ms;
    uint64_t  next_ms;
    int       shown;
} bk_progress_t;

void bk_progress_start(bk_progress_t *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void bk_progress_tick(bk_progress_t *p);
/* A new one is shown at once where lines are printed. */
void bk_progress_why(bk_progress_t *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Shows it at once. */
void bk_progress_now(bk_progress_t *p);
/* "12s": since the start, whole seconds */
char *bk_progress_took(const bk_progress_t *p, char *buf, size_t size);
void bk_progress_end(bk_progress_t *p);


/* units.c */

/* Monotonic and Unix time in milliseconds. */
uint64_t bk_now_ms(void);
int64_t bk_unix_ms(void);
/* RFC 3339 to Unix milliseconds; -1 when it is not one. */
int64_t bk_time_parse(const char *s);
/* "2026-11-21T08:00:00Z (in 59m)"; buf has 64 bytes at least. */
char *bk_time_relative(const char *rfc3339, char *buf, size_t size);
char *bk_time_short(const char *rfc3339, char *buf, size_t size);
/* "1.5G" */
char *bk_bytes_short(long long n, char *buf, size_t size);
char *bk_time_format(int64_t unix_ms, char *buf, size_t size);


/* creds.c */

/*
 * Writes ca.pem, cert.pem, key.pem and alloc.json of an answer into dir, each
 * 0600 and put in place by rename.  dir is made (0700) when it is missing.
 * Parts that the answer lacks are left as they are.  0, or -1 after the error
 * was printed.
 */
int bk_creds_write(const char *dir, const json_t *answer);
/* Removes these files and the directory. */
void bk_creds_remove(const char *dir);
/* Makes a directory for a short time; 0 or -1 (printed). */
int bk_creds_tempdir(char *path, size_t size);
/* The directory's absolute path, which must exist. */
int bk_creds_absolute(const char *dir, char path[PATH_MAX]);

typedef struct {
    char     token[BK_TOKEN_MAX + 1];
    char     id[13];            /* first 12 hex digits of SHA-256(token) */
    char     dir[PATH_MAX];     /* of alloc.json; "": a bare token */
    json_t  *alloc;             /* alloc.json's content, or NULL */
} bk_token_t;

/* Finds the token as release and renew do; BK_EXIT_* (printed). */
int bk_token_read(const bk_args_t *args, bk_token_t *t);
void bk_token_free(bk_token_t *t);
/* id must have room for 13 bytes. */
void bk_token_id(const char *token, char *id);


/* alloc.c, wait.c: what allocate, env, run, buildctl and build share. */

/*
 * Asks for an allocation, waits until it has a worker that is ready, goes on
 * over an API that goes away meanwhile, shows progress.  *answer is the
 * API's JSON.  fd and stop as in bk_api_request_t (-1, NULL: nothing to
 * watch); what stop() ends is given back.  BK_EXIT_*, printed.
 */
int bk_alloc_new(const bk_args_t *args, int fd, int (*stop)(void *data),
    void *data, json_t **answer, int64_t *skew_ms);
/* The same for verbs without a session; 128 + N when signal N ended it. */
int bk_alloc_guarded(const bk_args_t *args, json_t **answer);
/* The request's body; exits where a flag is not UTF-8. */
json_t *bk_alloc_body(const bk_args_t *args);
int bk_alloc_release(const bk_args_t *args, const char *token,
    unsigned timeout_ms, bk_api_reply_t *r);
/* timeout_ms 0: the usual one */
int bk_alloc_renew(const bk_args_t *args, const char *token,
    unsigned timeout_ms, int fd, int (*stop)(void *data), void *data,
    bk_api_reply_t *r);
/* How it is, and how many of its connections are held and live; timeout_ms
 * as above. */
int bk_alloc_lookup(const bk_args_t *args, const char *token,
    unsigned timeout_ms, int fd, int (*stop)(void *data), void *data,
    bk_api_reply_t *r);
/* The address that clients use: "tcp://host:port". */
const char *bk_alloc_endpoint(const json_t *answer);
const char *bk_alloc_id(const json_t *answer, char id[13]);
/* Whether its worker can be used; an API that says nothing means yes. */
int bk_alloc_ready(const json_t *answer);
/* A line on stderr where it cannot yet. */
void bk_alloc_warn(const json_t *answer);
/* "namespace/pool" of the flags. */
char *bk_alloc_pool(const bk_args_t *args, char *buf, size_t size);


/* why.c: what a wait is for, in words. */

/* Sets the progress's why from the list of the pool's workers. */
void bk_why_workers(bk_progress_t *p, const json_t *workers);
/* "place 3, about 40s (WAITSFOR)"; "" where the answer says no place. */
char *bk_why_place(const json_t *answer, char *buf, size_t size);
/* The same, put into the progress; 0: it says none. */
int bk_why_queued(bk_progress_t *p, const json_t *answer);


/*
 * signals.c: signals that end bkctl come through a descriptor.  Those that
 * are ignored already (nohup) stay so.  -1 after the error was printed.
 */
int bk_signals_open(sigset_t *old);
/* The signal that came, 0: none; to be called when fd can be read. */
int bk_signals_take(int fd);
void bk_signals_close(int *fd, const sigset_t *old);
/* As a signal does it, so that a script that waits for us sees it. */
int bk_signals_die(int signo);


/* session.c, node.c, renewal.c, vigil.c: a command that runs in allocations. */

typedef struct bk_session_s  bk_session_t;

/* One allocation of it. */
typedef struct {
    bk_session_t     *s;
    bk_args_t         args;             /* with its own --arch and key */
    json_t           *answer;
    char              dir[PATH_MAX];    /* credentials */
    char              id[13];
    char              key[160];         /* idempotency */
    char              wait[32];         /* what is left of --wait */
    int64_t           skew_ms;

    /* times are monotonic; 0: never again */
    uint64_t          renew_at;
    uint64_t          renew_pause;      /* after a failure; ms */
    char              renew_error[640]; /* what was said last */
    uint64_t          look_at;
    uint64_t          held_ms;          /* since when a connection waits */
    uint64_t          say_at;           /* again, if nothing changes */
    char              said[400];        /* what it waits for */
    char              epitaph[800];     /* the last line, when it failed */
} bk_node_t;

struct bk_session_s {
    const bk_args_t  *args;
    bk_node_t        *nodes[BK_NODES_MAX];
    int               n;
    int               sigfd;
    sigset_t          oldmask;
    pid_t             child;            /* 0: none runs */
    int               status;           /* as waitpid() gave it */
    int               interrupted;      /* a signal came while none ran */
    int               still;            /* no renewal just now */
    uint64_t          wait_end;         /* for all of them together */
    uint64_t          born_ms;          /* of the command */
};

/* Before anything else; bk_session_close() is due then, whatever comes. */
int bk_session_begin(bk_session_t *s, const bk_args_t *args);
/*
 * One more allocation, with its files; arch NULL: that of the flags.  NULL
 * after the error was printed.  The first one's are in the environment.
 */
bk_node_t *bk_session_add(bk_session_t *s, const char *arch);
/* Both, for one allocation; 0 or an exit code. */
int bk_session_open(bk_session_t *s, const bk_args_t *args);
/*
 * Runs argv to its end, renewing meanwhile; its exit status, 128 + n for a
 * signal, 125 when it could not be started.
 */
int bk_session_run(bk_session_t *s, char *const *argv);
/*
 * Runs argv with stdout and stderr kept back; shown if it fails, under the
 * name of what.  One that takes longer than timeout_ms is killed.
 */
int bk_session_quiet(bk_session_t *s, char *const *argv, const char *what,
    unsigned timeout_ms);
/* Releases and removes the files.  Call it even when open() failed. */
void bk_session_close(bk_session_t *s);

/* For the requests of a session: takes its signals; not 0: give up. */
int bk_session_busy(void *data);
/* The same while one more is waited for; those that are there are renewed. */
int bk_session_adding(void *data);
/* node.c: releases, removes the files. */
void bk_node_end(bk_node_t *node);

/* renewal.c: sets renew_at; renews, and sets it again */
void bk_renewal_schedule(bk_node_t *node);
void bk_renewal_run(bk_node_t *node, int (*stop)(void *data));
/* ms until it expires, at least 0; -1: it does not */
int64_t bk_renewal_left(const bk_node_t *node);

/*
 * vigil.c: how the allocation is doing while a command runs, in look_at;
 * and, when it failed, whether that was the allocation's fault.
 */
void bk_vigil_begin(bk_node_t *node);
void bk_vigil_look(bk_node_t *node);
void bk_vigil_end(bk_node_t *node, int rc);

/* platform.c: what the arguments of a build say about platforms. */

typedef struct {
    char  arch[32];             /* of a worker */
    char  platforms[400];       /* comma-separated, that it builds */
} bk_platform_t;

typedef struct {
    bk_platform_t   v[BK_NODES_MAX];
    int             n;          /* 0: nothing is said */
    char            target[200];    /* --target; "": the last stage */
} bk_platforms_t;

/* 0, or -1 after the error was printed; in the order of arch. */
int bk_platforms_read(bk_platforms_t *p, int argc, char *const *argv);
/* What no worker of the pool can do goes to one that is there. */
void bk_platforms_fit(bk_platforms_t *p, const bk_args_t *args);


/* program.c */

/* Where a program is: env names a variable that wins over PATH; NULL. */
char *bk_program_find(const char *env, const char *name);
/* A list of strings that grows: for argv. */
typedef struct {
    char   **v;
    size_t   n;
} bk_argv_t;

void bk_argv_add(bk_argv_t *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void bk_argv_copy(bk_argv_t *to, const bk_argv_t *from);
void bk_argv_free(bk_argv_t *a);


/* map.c */

typedef struct {
    const char  *path;
    void        *base;          /* NULL: the file is empty */
    size_t       size;
} bk_map_t;

/*
 * Calls fn with the mapping; a file that shrinks meanwhile is an error, not
 * a SIGBUS.  Returns fn's result, or -1 with error filled.
 */
int bk_map_read(const char *path, int (*fn)(const bk_map_t *m, void *data),
    void *data, char *error, size_t size);


/* routes.c: the route table, read without plugin-host. */

/* 0, or -1 with error filled.  entries: 0 leaves the routes out. */
int bk_routes_read(const bk_args_t *args, int entries, json_t **json,
    char *error, size_t size);
/* One line about the table as a whole (cmd_routes.c). */
void bk_routes_line(const json_t *json);


/* list.c */

/* A GET that complains by itself. */
int bk_list_get(const bk_args_t *args, const char *path, json_t **json);

int bk_list(const bk_args_t *args, const char *path,
    void (*print)(const bk_args_t *args, const json_t *array));
/* A list, or an object with one list in it; NULL: neither. */
const json_t *bk_list_array(const json_t *json);
void bk_list_pools(const bk_args_t *args, const json_t *array);
void bk_list_workers(const bk_args_t *args, const json_t *array);
void bk_list_allocations(const bk_args_t *args, const json_t *array);


/* cmd_<verb>.c */

int bk_cmd_allocate(const bk_args_t *args);
int bk_cmd_allocations(const bk_args_t *args);
int bk_cmd_backup(const bk_args_t *args);
int bk_cmd_build(const bk_args_t *args);
int bk_cmd_buildctl(const bk_args_t *args);
int bk_cmd_ca(const bk_args_t *args);
int bk_cmd_completion(const bk_args_t *args);
int bk_cmd_drain(const bk_args_t *args);
int bk_cmd_env(const bk_args_t *args);
int bk_cmd_explain(const bk_args_t *args);
int bk_cmd_help(const bk_args_t *args);
int bk_cmd_pools(const bk_args_t *args);
int bk_cmd_release(const bk_args_t *args);
int bk_cmd_renew(const bk_args_t *args);
int bk_cmd_revoke(const bk_args_t *args);
int bk_cmd_routes(const bk_args_t *args);
int bk_cmd_run(const bk_args_t *args);
int bk_cmd_sessions(const bk_args_t *args);
int bk_cmd_status(const bk_args_t *args);
int bk_cmd_version(const bk_args_t *args);
int bk_cmd_workers(const bk_args_t *args);

#endif /* BK_BKCTL_H_INCLUDED */
