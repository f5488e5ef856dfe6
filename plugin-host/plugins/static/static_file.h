/*
 * static.yaml: its form, and what must fit before any of it is taken.
 * Read by static.c; knows neither the host nor its model.
 */

#ifndef BK_STATIC_FILE_H_INCLUDED
#define BK_STATIC_FILE_H_INCLUDED

#include "bk_plugin.h"
#include "bk_yaml.h"


typedef struct {
    char      *name;
    char      *endpoint;
    char      *tls_name;
    char      *arch;
} static_worker_t;

typedef struct {
    char             *name;
    char             *sharing;      /* true, false or a number */
    int               shared;       /* the same as in bk_pool_info_t */
    static_worker_t  *workers;
    unsigned          workers_count;
} static_pool_t;

typedef struct {
    char      *token;           /* wiped and empty after the check */
    char      *token_hash;
    char      *key_hash;
    char      *pool;
    char      *worker;
    char      *expires;
    char      *reason;
    int        state;
} static_alloc_t;

typedef struct {
    static_pool_t   *pools;
    unsigned         pools_count;
    static_alloc_t  *allocations;
    unsigned         allocations_count;
} static_doc_t;

/* What was worked out of an allocation's strings. */
typedef struct {
    uint8_t   hash[32];
    uint8_t   key_hash[32];
    int       bound;
    uint64_t  expires_ms;
    unsigned  line;             /* its place in the list */
    unsigned  full;             /* the table had no room for it */
} static_entry_t;

typedef struct {
    bk_yaml_t       *yaml;
    static_doc_t    *doc;
    static_entry_t  *entries;   /* one for each allocation */
} static_file_t;


/* Reads and checks everything; *f is filled or untouched. */
int static_file_read(static_file_t *f, const char *path, bk_err_t *err);
int static_file_parse(static_file_t *f, const char *path, const char *text,
    size_t len, bk_err_t *err);
void static_file_free(static_file_t *f);

#endif /* BK_STATIC_FILE_H_INCLUDED */
