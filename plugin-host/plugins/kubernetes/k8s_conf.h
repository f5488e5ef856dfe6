/* What k8s_conf.c, k8s_conf_file.c and k8s_conf_pod.c share; nobody else
 * includes this. */

#ifndef K8S_CONF_H_INCLUDED
#define K8S_CONF_H_INCLUDED

#include <stdbool.h>

#include "bk_yaml.h"
#include "k8s_int.h"


struct k8s_conf_s {
    char      *server;          /* "https://host:port/prefix", no slash at
                                   its end */
    char      *namespace;
    char      *server_name;     /* NULL: the server's */
    char      *ca_file;         /* NULL: ca; that empty: the system's */
    char      *cert_file;
    char      *key_file;
    char      *token_file;
    bk_str_t   ca, cert, key;   /* PEM */
    char      *token;
};


/* A kubeconfig, as it is written. */

typedef struct {
    char  *server;
    char  *ca;
    char  *ca_data;
    char  *server_name;
    bool   insecure;
    bool   plain;               /* disable-compression: we do not compress */
} k8s_cluster_t;

typedef struct {
    char  *token;
    char  *token_file;
    char  *cert;
    char  *cert_data;
    char  *key;
    char  *key_data;
} k8s_user_t;

typedef struct {
    char  *cluster;
    char  *user;
    char  *namespace;
} k8s_which_t;

typedef struct {
    char           *name;
    k8s_cluster_t   cluster;
} k8s_named_cluster_t;

typedef struct {
    char        *name;
    k8s_user_t   user;
} k8s_named_user_t;

typedef struct {
    char         *name;
    k8s_which_t   context;
} k8s_named_context_t;

typedef struct {
    char                 *api_version;
    char                 *kind;
    char                 *current;
    k8s_named_cluster_t  *clusters;
    unsigned              clusters_count;
    k8s_named_user_t     *users;
    unsigned              users_count;
    k8s_named_context_t  *contexts;
    unsigned              contexts_count;
} k8s_doc_t;

typedef struct {
    const char  *path;          /* borrowed */
    bk_yaml_t   *yaml;
    k8s_doc_t   *doc;
} k8s_file_t;


int k8s_file_read(k8s_file_t *f, const char *path, bk_err_t *err);
int k8s_file_parse(k8s_file_t *f, const char *path, const char *text,
    size_t len, bk_err_t *err);
void k8s_file_free(k8s_file_t *f);      /* wipes what is secret */

/* -1 and an error that names it: key is there, and we cannot do it */
int k8s_file_refused(const k8s_file_t *f, const char *at, const char *key,
    bk_err_t *err);

k8s_conf_t *k8s_conf_new(void);
/* *out: without a slash at its end, to be freed; or what is wrong with it */
const char *k8s_conf_url(const char *url, char **out);
/* Of base64, what must be PEM; at: its place. */
int k8s_conf_data(const k8s_file_t *f, const char *at, const char *data,
    bk_str_t *out, bk_err_t *err);
/* Are its files there, with in them what should be? */
int k8s_conf_check(const k8s_conf_t *c, bk_err_t *err);

#endif /* K8S_CONF_H_INCLUDED */
