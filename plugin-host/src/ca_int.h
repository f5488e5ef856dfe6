/* What the files ca*.c share; nobody else includes this but a unit test. */

#ifndef BK_CA_INT_H_INCLUDED
#define BK_CA_INT_H_INCLUDED

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <time.h>

#include "ca.h"


/* As many certificates lead from the present one to older ones; see
 * BK_CA_PATHLEN in ca_cert.c.  Those of an issuer may come more often: they
 * stay trusted, but what is new leads to the latest few alone. */
#define BK_CA_VOUCH_MAX  4
#define BK_CA_OLD_MAX    16
#define BK_CA_CERTS_MAX  1024       /* in one text */
#define BK_CA_DAY_MS     (UINT64_C(24) * 3600 * 1000)

/* What a peer may hold that was issued before this was written down: the
 * two years of a worker's certificate. */
#define BK_CA_UNKNOWN_MS  (730 * BK_CA_DAY_MS)


/* A key pair that signs.  All NULL: none. */
typedef struct {
    X509        *cert;
    EVP_PKEY    *key;           /* NULL: known by its certificate alone */
    char        *trust;         /* PEM: what a peer must trust */
    char        *chain;         /* PEM: intermediates above cert, or "" */
} bk_signer_t;

/* One that signed before: trusted as long as what it issued is in use. */
typedef struct {
    bk_signer_t  signer;        /* without its key */
    char        *cross;         /* PEM: the successor's key, signed by this
                                   one; NULL: it could not vouch for it */
    uint64_t     replaced_ms;
    uint64_t     until_ms;      /* nothing that it issued is good later */
} bk_ca_old_t;

typedef struct {
    const char   *name;         /* "gateway" or "worker" */
    bk_signer_t   now;
    bk_ca_old_t   old[BK_CA_OLD_MAX];   /* the oldest first */
    unsigned      nold;

    /* signs in place of now until nginx trusts that: where the newest old
       one could not vouch for it */
    bk_signer_t   late;

    char         *trust;        /* PEM: now's, and those of the old ones */
    char         *chain;        /* PEM: what follows a certificate */

    uint64_t      until_ms;     /* the latest end of what now issued */
    uint64_t      saved_ms;     /* not later than this, says the file */

    const bk_ca_files_t *issuer;    /* NULL: our own authority */
    char          trouble[512]; /* of the issuer's files; "": none */
    unsigned      known:1;      /* there was a file about it */
    unsigned      own:1;        /* of it: the pair was our own */
    unsigned      seen:1;       /* of it: now is from there */
} bk_authority_t;

struct bk_ca_s {
    bk_authority_t   gateway;
    bk_authority_t   worker;
    bk_ca_conf_t     conf;
    char            *dir;       /* the state folder */
    char            *names;     /* of the gateway, comma-separated */
    int64_t          ahead_s;   /* of the real time, for tests */
    unsigned         pending:1; /* nginx has not read what it should */
    unsigned         changed:1; /* its files, since it was told */
    unsigned         due:1;     /* somebody has to reload it; not we */
    unsigned         steady:1;  /* not starting: nginx' files, which a start
                                   makes again, are not waited for */
    uint64_t         ends_ms[2];    /* of gateway.pem and upstream.pem */

    bk_ca_watch_t   *watch;

    /* of the last bk_ca_issue(): what bk_cert_t borrows */
    char            *cert_pem;
    char            *key_pem;
    size_t           key_len;
    unsigned char   *spki;
};


/* ca.c */
uint64_t bk_ca_now_ms(const bk_ca_t *ca);

/* ca_issue.c */
bk_authority_t *bk_ca_of(bk_ca_t *ca, int kind);
/* own: for nginx, replaced with the authority, so it holds up nothing. */
int bk_ca_make(bk_ca_t *ca, const bk_cert_request_t *req, int own,
    bk_cert_t *out, bk_err_t *err);

/* ca_tls.c: the files that nginx reads */
int bk_ca_tls(bk_ca_t *ca, bk_err_t *err);
/* Tells whoever reloads nginx, if something changed since. */
void bk_ca_tell(bk_ca_t *ca);

/* ca_key.c: quickly for P-256 */
/* PKCS#8 in PEM, secret: bk_ca_burn() it; NULL: it cannot be */
char *bk_ca_key_pem(EVP_PKEY *key, size_t *len);
/* SubjectPublicKeyInfo; its length, or 0 and less; free() it */
int bk_ca_key_spki(EVP_PKEY *key, unsigned char **der);
/* As X509_set_pubkey(), but X509_get0_pubkey() of cert may then be NULL: it
 * is to be written, not used */
int bk_ca_key_into(X509 *cert, EVP_PKEY *key);
/* 1: what it signs is verified with the certificate */
int bk_ca_key_fits(X509 *cert, EVP_PKEY *key);

/* ca_store.c */
int bk_authority_open(bk_ca_t *ca, bk_authority_t *a, const char *name,
    bk_err_t *err);
/* sync: with fsync, which blocks */
int bk_authority_save(bk_ca_t *ca, bk_authority_t *a, int sync,
    bk_err_t *err);
void bk_authority_free(bk_authority_t *a);
/* files of ca/ were written */
void bk_authority_stored(const bk_ca_t *ca);
/* "STATE/ca/NAME" and end, into PATH_MAX bytes. */
char *bk_ca_path(const bk_ca_t *ca, const bk_authority_t *a, const char *end,
    char *buf);

/* ca_own.c */
/* After a kill, before the pair is read; what is known of it is in. */
int bk_own_recover(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err);
int bk_own_read(bk_ca_t *ca, bk_authority_t *a, bk_signer_t *out,
    bk_err_t *err);
int bk_own_new_pair(const char *name, bk_signer_t *out, bk_err_t *err);
/* Writes a pair beside the present one; puts it in place; or drops it. */
int bk_own_prepare(bk_ca_t *ca, bk_authority_t *a, const bk_signer_t *next,
    bk_err_t *err);
int bk_own_install(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err);
void bk_own_forget(bk_ca_t *ca, bk_authority_t *a);

/* ca_switch.c */
/* Takes next over as what signs; the one before becomes old.  Saves. */
int bk_authority_switch(bk_ca_t *ca, bk_authority_t *a, bk_signer_t *next,
    bk_err_t *err);
int bk_authority_compile(bk_authority_t *a);
/* 409: its old one signs until nginx is reloaded, and is needed for that. */
int bk_authority_late(const bk_authority_t *a, bk_err_t *err);
/* Nobody vouches for what signs now: nginx shows what it had. */
int bk_authority_held(const bk_ca_t *ca, const bk_authority_t *a);
/* Drops the old ones whose time is over; 1: something was. */
int bk_authority_drop(bk_ca_t *ca, bk_authority_t *a);
int bk_signer_may_vouch(const bk_signer_t *s);
void bk_signer_clear(bk_signer_t *s);

/* ca_external.c */
int bk_ca_external(bk_ca_t *ca, const char *name, const bk_ca_files_t *files,
    bk_signer_t *out, bk_err_t *err);
/* May it sign?  what: how cert and key are called, where it may not. */
int bk_signer_check(const bk_ca_files_t *what, bk_signer_t *s, bk_err_t *err);
/* Two authorities with one root are none: a client could be a gateway. */
int bk_ca_apart(const char *trust, const char *other, bk_err_t *err);

/* ca_watch.c */
bk_ca_watch_t *bk_ca_watch_new(bk_ca_t *ca, struct event_base *base);
void bk_ca_watch_free(bk_ca_watch_t **w);
/* Reads the issuers' files, and takes what is new. */
void bk_ca_reread(bk_ca_t *ca);

/* ca_cert.c */
EVP_PKEY *bk_ca_key(void);
int bk_ca_key_ok(const EVP_PKEY *key);
X509 *bk_ca_self(const char *name, EVP_PKEY *key, bk_err_t *err);
/* constraints: of OpenSSL's little language */
X509 *bk_ca_root(bk_str_t cn, const char *constraints, EVP_PKEY *key,
    bk_err_t *err);
/* of's name and key, signed by by. */
X509 *bk_ca_cross(const bk_signer_t *by, X509 *of, bk_err_t *err);
X509 *bk_ca_sign(const bk_signer_t *by, const bk_cert_request_t *req,
    EVP_PKEY *key, bk_err_t *err);
EVP_PKEY *bk_ca_requested(const bk_cert_request_t *req, bk_err_t *err);

/* ca_names.c: comma-separated */
int bk_ca_names(X509 *cert, bk_str_t names, bk_err_t *err);

/* ca_pem.c; NULL for what is none */
X509 *bk_ca_pem_cert(const char *text);
STACK_OF(X509) *bk_ca_pem_certs(const char *text);
EVP_PKEY *bk_ca_pem_key(const char *text);
char *bk_ca_cert_pem(X509 *cert);
char *bk_ca_certs_pem(const STACK_OF(X509) *certs, int from);
uint64_t bk_ca_end_ms(const X509 *cert);
/* "...: what OpenSSL says", for a 500. */
int bk_ca_fail(bk_err_t *err, const char *what);
/* Text that was secret. */
void bk_ca_burn(char *text);

/* ca_file.c: 0, or -1 with *err; _read() gives 404 NoFile.  follow: a
 * symbolic link is good. */
int bk_ca_dir(const char *path, bk_err_t *err);
int bk_ca_read(const char *path, int follow, char **text, bk_err_t *err);
/* Whole or not at all; what flags say. */
#define BK_CA_REPLACE  1        /* else an existing file is kept: 409 */
#define BK_CA_SYNC     2        /* on the disk, by whatever name */
#define BK_CA_SYNC_DIR 4        /* and by its name */
int bk_ca_write(const char *path, const char *text, unsigned mode,
    unsigned flags, bk_err_t *err);
int bk_ca_move(const char *from, const char *to, bk_err_t *err);

#endif /* BK_CA_INT_H_INCLUDED */
