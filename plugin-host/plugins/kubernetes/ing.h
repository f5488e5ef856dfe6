/*
 * The companion as an ingress controller (role gateway with ingressClass):
 * Ingress objects of that class say which host is which pool's, and Secrets
 * that they name have the hosts' certificates; nginx reads what comes of it
 * from a folder (bk_names.h, directive buildkit_names).
 *
 *   ing.c        its life, its watches, when it is done all over
 *   ing_read.c   an Ingress object -> hosts, and what of it is not used
 *   ing_secret.c the Secrets that are named
 *   ing_cert.c   a Secret -> a certificate's file
 *   ing_kept.c   the certificates that hosts have until then
 *   ing_names.c  all objects -> lines
 *   ing_file.c   lines and certificates -> the folder
 *   ing_say.c    what is not used: log, numbers, Events
 *   ing_status.c status.loadBalancer, by the leader of all replicas
 *
 * Every change of an object makes all lines anew, some time later: there is no
 * order of events in which something old could stay.
 *
 * Whoever may write Ingress objects in one namespace is not trusted by another
 * one's: the older object has a host, and a bad rule costs nobody but itself.
 */

#ifndef ING_H_INCLUDED
#define ING_H_INCLUDED

#include "gw.h"


#define ING_OBJECTS   0         /* Ingress */
#define ING_POOLS     1         /* whose workers we can speak to */
#define ING_KINDS     2

#define ING_RULES     256       /* of an object; more are refused */
#define ING_NS_HOSTS  2048      /* of a namespace */
#define ING_FAULTS    32        /* of an object that are told */
#define ING_AFTER_MS  100       /* what changes meanwhile, at once */
#define ING_BUSY      10        /* at most this part of the time is for it */
#define ING_TICK_MS   15000     /* certificates expire; files go; retries */
#define ING_PLAIN     1         /* a pool's workers: without TLS */
#define ING_OTHER     2         /* ... with certificates of another issuer */
#define ING_PORT      1235      /* of a pool's Service */
#define ING_FILE_MAX  (64 + 4 + 1)  /* a certificate's, with its NUL */


typedef struct ing_s         ing_t;
typedef struct ing_ns_s      ing_ns_t;
typedef struct ing_watch_s   ing_watch_t;
typedef struct ing_obj_s     ing_obj_t;
typedef struct ing_pool_s    ing_pool_t;
typedef struct ing_secret_s  ing_secret_t;
typedef struct ing_line_s    ing_line_t;
typedef struct ing_file_s    ing_file_t;
typedef struct ing_kept_s    ing_kept_t;
typedef struct ing_said_s    ing_said_t;


/* What is wrong in an object: err.reason is of a list (ing_say.c). */
typedef struct {
    bk_err_t   *all;
    size_t      n;
} ing_faults_t;

typedef struct {
    char  *host;                /* lower case, as bk_names.h has it */
    char  *pool;                /* namespace/name */
    char  *secret;              /* namespace/name, or NULL */
} ing_rule_t;

/* --- ing_read.c: only JSON in, checked values out ------------------------- */

typedef struct {
    ing_rule_t    *rules;
    size_t         nrules;
    ing_faults_t   faults;
} ing_read_t;

/* is it of that class? */
int ing_class_is(json_t *obj, const char *class_name);
void ing_read(json_t *obj, ing_read_t *out);
void ing_read_free(ing_read_t *r);
/* of a BuildKitPool: 0, ING_PLAIN, ING_OTHER */
int ing_read_workers(json_t *obj);
void ing_fault(ing_faults_t *f, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* --- ing_cert.c ------------------------------------------------------------ */

typedef struct {
    char      file[ING_FILE_MAX];   /* "": there is none, err says why */
    char     *pem;
    size_t    len;
    uint64_t  from_ms;          /* Unix time */
    uint64_t  until_ms;
    void     *cert;             /* X509 *, the first one */
    bk_err_t  err;
} ing_cert_t;

void ing_cert_read(json_t *secret, ing_cert_t *out);
void ing_cert_free(ing_cert_t *c);
/* is it for that host ("*.": any label)? */
int ing_cert_covers(const ing_cert_t *c, const char *host);

/* --- objects ---------------------------------------------------------------- */

struct ing_obj_s {
    UT_hash_handle   hh;
    ing_t           *ing;
    char            *key;       /* namespace/name */
    const char      *name;      /* in key */
    char            *ns;
    char            *uid;
    char            *version;
    uint64_t         created_ms;
    ing_read_t       read;
    ing_faults_t     faults;    /* of the lines, besides those */
    ing_said_t      *said;
    json_t          *balancer;  /* status.loadBalancer.ingress, or NULL */
    k8s_req_t       *req;       /* its status is being written */
    uint64_t         again_ms;  /* ... not before */
};

struct ing_pool_s {
    UT_hash_handle   hh;
    char            *key;       /* namespace/name */
    int              workers;   /* as ing_read_workers() says */
};

struct ing_secret_s {
    UT_hash_handle   hh;
    ing_t           *ing;
    char            *key;       /* namespace/name */
    char            *ns;
    const char      *name;      /* in key */
    char            *version;
    k8s_req_t       *req;       /* it is being read */
    uint64_t         read_ms;   /* monotonic; was last */
    uint64_t         due_ms;    /* is next */
    uint64_t         want;      /* ing_t.wants: a line has it */
    uint64_t         turn;      /* its file was looked at */
    int              known;     /* somebody has answered */
    int              there;     /* of the right type */
    int              denied;    /* we may not read it, now */
    int              failed;    /* ... could not; it was logged */
    ing_cert_t       cert;
};

struct ing_line_s {
    const char    *host;        /* an object's, or of ing_t.made */
    const char    *pool;
    const char    *arch;        /* "": any */
    const char    *named;       /* the Secret of the rule, or NULL */
    ing_secret_t  *secret;      /* NULL: see kept */
    char           kept[ING_FILE_MAX];  /* "": the default certificate */
};

struct ing_watch_s {
    ing_ns_t     *ns;
    int           kind;
    k8s_watch_t  *watch;
    int           synced;
    int           up;
};

struct ing_ns_s {
    ing_t         *ing;
    const char    *name;
    ing_watch_t    watches[ING_KINDS];
};

typedef struct {
    char      *class_name;      /* option ingressClass; "": none of this */
    char      *dir;             /* option names */
    char      *service;         /* option ingressService: NS/NAME, or "" */
    uint64_t   lease_ms;        /* 0: as usual */
} ing_conf_t;

struct ing_s {
    const bk_host_t   *host;
    k8s_t             *k8s;
    const ing_conf_t  *conf;
    ing_ns_t          *nss;
    size_t             nnss;
    bk_timer_t        *turn;
    bk_timer_t        *tick;
    bk_timer_t        *late;    /* NULL: it is */
    bk_timer_t        *again;   /* a Secret is read */
    int                set;     /* the turn is */
    uint64_t           took_ms; /* the last one */
    int                live;    /* lines are written */
    void             (*ready)(void *data);      /* NULL: it was called */
    void              *data;

    ing_obj_t         *objs;    /* hashes by key */
    ing_pool_t        *pools;
    ing_secret_t      *secrets;
    uint64_t           wants;
    unsigned           reads;   /* of Secrets, under way */

    ing_line_t        *lines;   /* as they were made last */
    size_t             nlines;
    char             **made;    /* hosts that no object has */
    size_t             nmade;
    size_t             nhosts;

    /* ing_file.c */
    ing_file_t        *files;   /* in the folder */
    uint64_t           turns;
    char              *text;    /* as it was written; NULL: not known */
    ing_kept_t        *kept;    /* what it says, if somebody has asked */
    char               trouble[256];    /* as it was logged */

    /* ing_say.c */
    bk_timer_t        *say;     /* what is so for a moment now */
    uint64_t          *refusals;
    size_t             bad;     /* objects with something wrong */
    uint64_t           log_ms;
    unsigned           logged;
    uint64_t           credit_ms;   /* Events are paid with that */
    unsigned           nevents; /* being written */
    uint64_t           dropped;

    /* ing_status.c */
    k8s_lease_t       *lease;   /* NULL: given back */
    k8s_lease_t       *released;
    unsigned           writes;  /* under way */
    int                leads;
    k8s_watch_t       *service;
    json_t            *address; /* what status is to be; NULL: not known */
    uint64_t           written;
};


/* ing.c: what is wrong with the options (400 BadOption) */
int ing_conf_check(const ing_conf_t *conf, bk_err_t *err);
/* namespaces are borrowed, as conf is; ready: once, when nginx has the first
 * names, or it takes too long */
ing_t *ing_new(const bk_host_t *host, k8s_t *k8s, const ing_conf_t *conf,
    char *const *namespaces, size_t n, void (*ready)(void *data), void *data);
/* gives the lease back, then done() */
void ing_stop(ing_t *ing, void (*done)(void *data), void *data);
void ing_free(ing_t **ing);
void ing_dirty(ing_t *ing);
void ing_stats(ing_t *ing, bk_stat_pt fn, void *data);

/* ing_names.c */
void ing_names(ing_t *ing);
char *ing_names_text(const ing_t *ing, const char *class_name);
void ing_names_free(ing_t *ing);

/* ing_kept.c: the one that a host of that pool's namespace has, or "" */
void ing_kept(ing_t *ing, const char *host, const char *pool,
    char cert[ING_FILE_MAX]);
void ing_kept_free(ing_t *ing);

/* ing_secret.c */
void ing_secret_want(ing_t *ing);
int ing_secret_waits(const ing_t *ing);
void ing_secret_soon(ing_obj_t *o);
void ing_secret_turn(void *data);
void ing_secret_free(ing_t *ing);

/* ing_file.c */
void ing_file_start(ing_t *ing);
void ing_file_write(ing_t *ing);
void ing_file_sweep(ing_t *ing);
void ing_file_free(ing_t *ing);

/* ing_say.c */
void ing_say_init(ing_t *ing);
void ing_say(ing_t *ing);
void ing_say_again(ing_t *ing);         /* we lead now */
void ing_say_forget(ing_obj_t *o);
void ing_say_stats(ing_t *ing, bk_stat_pt fn, void *data);
void ing_say_free(ing_t *ing);

/* ing_status.c */
void ing_status_start(ing_t *ing);
void ing_status_stop(ing_t *ing, void (*done)(void *data), void *data);
int ing_leads(const ing_t *ing);
void ing_status(ing_t *ing);
void ing_status_take(ing_obj_t *o, json_t *obj);
void ing_status_forget(ing_obj_t *o);
void ing_status_free(ing_t *ing);

#endif /* ING_H_INCLUDED */
