/*
 * BuildKitOIDCConfig objects of the controller's namespace: issuers of OpenID
 * Connect whose tokens its API takes.  All good ones are written into one
 * file, STATE/oidc.yaml, which plugin oidc reads; status says what became of
 * each.  Every controller writes its file, the leader the status.
 */

#ifndef CT_OIDC_H_INCLUDED
#define CT_OIDC_H_INCLUDED

#include "ct.h"


#define CT_OIDC_FILE    "oidc.yaml"
#define CT_OIDC_CA      "oidc-ca-"          /* NAME.pem */
#define CT_OIDC_MAX     256                 /* what plugin oidc takes */
#define CT_OIDC_NAME    63
#define CT_OIDC_TEXT    1024
#define CT_OIDC_CA_MAX  (64 * 1024)


typedef struct ct_oidc_s  ct_oidc_t;

/* ct lives longer */
ct_oidc_t *ct_oidc_new(ct_t *ct);
void ct_oidc_free(ct_oidc_t **o);


/* --- ct_oidc_file.c: knows neither the host nor the API server ------------ */

/*
 * What an object makes of an entry of the file: a JSON object (JSON is YAML),
 * or NULL: *err says why, and reason is that of its condition.  dir: where
 * caBundle is, when it has one.
 */
json_t *ct_oidc_issuer(json_t *obj, const char *dir, bk_err_t *err);
/* the whole file, of a JSON array of those; the caller frees */
char *ct_oidc_text(json_t *issuers);
int ct_oidc_write(const char *dir, const char *name, const char *text,
    bk_err_t *err);


/* --- ct_oidc_status.c ----------------------------------------------------- */

typedef struct ct_oidc_obj_s  ct_oidc_obj_t;

struct ct_oidc_obj_s {
    UT_hash_handle   hh;
    json_t          *obj;
    bk_err_t         bad;           /* code 0: it is in the file */
    int              disabled;
    int              used;          /* plugin oidc has it */
    int              keys;          /* and its keys */
    int              failed;        /* and could not get them, so far */
    char             said[48];      /* to the log: the reason */
    char             name[];
};

/* dir: where the file is */
json_t *ct_oidc_status(const ct_oidc_obj_t *c, const char *dir);
int ct_oidc_is(const ct_oidc_obj_t *c, json_t *status);

#endif /* CT_OIDC_H_INCLUDED */
