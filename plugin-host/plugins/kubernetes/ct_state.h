/*
 * What the files ct_state*.c share: those files of the host's state folder that
 * replicas have in common, as the data of a Secret (a name and base64 for
 * each).  They are secrets: nothing of them is logged.
 */

#ifndef CT_STATE_H_INCLUDED
#define CT_STATE_H_INCLUDED

#include <jansson.h>

#include "ct.h"


struct ct_state_s {
    const bk_host_t  *host;
    k8s_t            *k8s;
    ct_t             *ct;           /* NULL: the host is not started */
    char             *ns;
    char             *dir;
    k8s_req_t        *req;
    bk_timer_t       *timer;
    json_t           *obj;          /* as we read or wrote it last */
    unsigned          tries;        /* in a row */
    unsigned          preparing:1;
    unsigned          changed:1;    /* the host's files, since */
    char              said[128];    /* to the log, in a row */
    char              lease[40];    /* its version, as it was seen last */
    uint64_t          lease_ms;     /* since when; monotonic */
};

/* --- ct_state.c ----------------------------------------------------------- */

/* writes obj with local's files in it: that version, or not at all */
void ct_state_replace(ct_state_t *s, json_t *obj, json_t *local);
/* it is prepared, or failed: for good, while it prepares */
void ct_state_ready(ct_state_t *s);
void ct_state_fail(ct_state_t *s, bk_err_t *err);
/* it is tried again in a while */
void ct_state_again(ct_state_t *s, const char *why);
/* writes local as a new Secret */
void ct_state_create(ct_state_t *s, json_t *local);
/* of a Secret */
json_t *ct_state_data(json_t *obj);
const char *ct_state_meta(json_t *obj, const char *key);


/* --- ct_state_open.c ------------------------------------------------------ */

/* the host waits for what is in it */
void ct_state_open(ct_state_t *s, json_t *obj);
/* there is none: it is made, unless somebody leads, who has it */
void ct_state_first(ct_state_t *s);
/* all that is to be shared is in the folder after it */
int ct_state_fill(ct_state_t *s, bk_err_t *err);


/* --- ct_state_data.c ------------------------------------------------------ */

#define CT_STATE_FILE_MAX  (256 * 1024)

#define CT_STATE_SECRET      "allocator.secret"
#define CT_STATE_SECRET_LEN  32

typedef struct {
    const char  *key;           /* of the Secret */
    const char  *path;          /* below the state folder */
    int          trust;         /* what is known of an authority */
} ct_state_file_t;

#define CT_STATE_FILES  7

extern const ct_state_file_t  ct_state_files[CT_STATE_FILES];

char *ct_state_encode(const char *text, size_t len);
/* NULL: it is none, or of more than CT_STATE_FILE_MAX bytes */
unsigned char *ct_state_decode(json_t *value, size_t *len);
void ct_state_wipe(void *text, size_t len);     /* frees */

/* Is it what we wrote there once?  What we do not know is no harm.  400
 * BadState: something is missing, too long, or no base64. */
int ct_state_check(json_t *data, bk_err_t *err);

#define CT_STATE_OTHER   0
#define CT_STATE_ISSUED  1      /* they differ in that alone */
#define CT_STATE_SAME    2

int ct_state_compare(json_t *a, json_t *b);

/* Are all of data there?  Without one of them the folder is not newer. */
int ct_state_has(json_t *local, json_t *data);

/* key: NAME-trust.json; is that authority our own? */
int ct_state_own(json_t *data, const char *key);


/* --- ct_state_file.c ------------------------------------------------------ */

/* What is there of them.  NULL: one cannot be read. */
json_t *ct_state_local(const char *dir, bk_err_t *err);

/* Puts them into the folder, and nothing else of this kind is left there.
 * The mark is gone: ct_state_mark() when they are known to be it. */
int ct_state_take(const char *dir, json_t *data, bk_err_t *err);

/* As before, but only of how long something of an authority may be in use. */
int ct_state_take_issued(const char *dir, json_t *data, bk_err_t *err);

/* Of the allocator; made where there is none. */
int ct_state_secret(const char *dir, bk_err_t *err);

/*
 * The mark says which version of which Secret the folder's files are of, or
 * were before the host changed them.  It is among them, so that it goes where
 * they go.
 */
int ct_state_mark(const char *dir, const char *uid, const char *version,
    bk_err_t *err);
int ct_state_marked(const char *dir, const char *uid, const char *version);
/* the next start takes the Secret's, whatever is here */
void ct_state_unmark(const char *dir);

#endif /* CT_STATE_H_INCLUDED */
