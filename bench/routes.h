/*
 * The route table of sessions.c, and the clients of pki.c whose allocations it
 * holds.  The program is the only writer, so it knows when a change was made.
 * Other allocations are there to be changed without meaning anything.
 */

#ifndef BENCH_ROUTES_H_INCLUDED
#define BENCH_ROUTES_H_INCLUDED

#include <openssl/pem.h>
#include <openssl/sha.h>

#include "bench.h"
#include "table.h"


#define ROUTES_OTHERS   1000
#define ROUTES_POOL     "bench/sessions"
#define ROUTES_WORKERS  16


typedef struct {
    X509      *cert;
    EVP_PKEY  *key;
    uint32_t   index;           /* of its entry in the table */
    uint8_t    hash[BK_TABLE_HASH_LEN];
    uint8_t    key_hash[BK_TABLE_HASH_LEN];
} routes_token_t;


static void routes_hex(const char *hex, uint8_t *out);
static void routes_tokens(const char *dir);
static void routes_pem(const char *dir, uint32_t n);
static void routes_workers(const char *ports);
static void routes_table(const char *path, const char *ports,
    unsigned state);
static void routes_others(void);
static void routes_forget(void);
static void routes_set(uint32_t index, unsigned state, uint32_t worker,
    const char *reason);


static uint32_t         routes_ntokens, routes_nworkers;
static uint32_t         routes_other[ROUTES_OTHERS];    /* entries */
static bk_table_t      *routes_t;
static bk_table_ref_t   routes_pool;
static bk_table_ref_t   routes_worker[ROUTES_WORKERS];
static routes_token_t  *routes_token;


static void
routes_hex(const char *hex, uint8_t *out)
{
    unsigned  byte, i;

    for (i = 0; i < BK_TABLE_HASH_LEN; i++) {

        if (sscanf(hex + 2 * i, "%2x", &byte) != 1) {
            bench_die(0, "clients.txt holds no hash");
        }

        out[i] = (uint8_t) byte;
    }
}


/* Those that pki.c made. */
static void
routes_tokens(const char *dir)
{
    char               hex[80], path[BENCH_PATH], token[64];
    FILE              *fp;
    uint32_t           n;
    routes_token_t  *t;

    snprintf(path, sizeof(path), "%s/clients.txt", dir);

    fp = fopen(path, "r");
    routes_token = calloc(routes_ntokens, sizeof(routes_token_t));

    if (fp == NULL || routes_token == NULL) {
        bench_die(errno, "%s", path);
    }

    for (n = 0; n < routes_ntokens; n++) {

        if (fscanf(fp, "%*u %63s %79s", token, hex) != 2) {
            bench_die(0, "%s has less than %u clients", path,
                      routes_ntokens);
        }

        t = &routes_token[n];
        SHA256((const u_char *) token, strlen(token), t->hash);
        routes_hex(hex, t->key_hash);
        routes_pem(dir, n);
    }

    fclose(fp);
}


static void
routes_pem(const char *dir, uint32_t n)
{
    char               path[BENCH_PATH];
    FILE              *fp;
    routes_token_t  *t;

    snprintf(path, sizeof(path), "%s/client-%03u-both.pem", dir, n);

    fp = fopen(path, "r");

    if (fp == NULL) {
        bench_die(errno, "%s", path);
    }

    t = &routes_token[n];
    t->cert = PEM_read_X509(fp, NULL, NULL, NULL);
    t->key = PEM_read_PrivateKey(fp, NULL, NULL, NULL);

    fclose(fp);

    if (t->cert == NULL || t->key == NULL) {
        bench_die(0, "%s holds no certificate with its key", path);
    }
}


static void
routes_workers(const char *ports)
{
    bk_err_t                 err;
    const char              *p;
    bk_table_ref_t          *ref;
    bk_table_worker_data_t   w;

    static const uint8_t     loopback[] = { 127, 0, 0, 1 };

    for (p = ports; p != NULL && routes_nworkers < ROUTES_WORKERS;
         p = strchr(p, ','))
    {
        p += *p == ',';

        memset(&w, 0, sizeof(bk_table_worker_data_t));
        w.state = BK_WORKER_READY;
        w.family = BK_TABLE_INET;
        w.port = (uint16_t) atoi(p);
        w.pool = routes_pool;
        memcpy(w.addr, loopback, sizeof(loopback));

        ref = &routes_worker[routes_nworkers++];
        ref->index = BK_TABLE_NONE;
        ref->gen = 0;

        w.name_len = (uint16_t) snprintf(w.name, sizeof(w.name), "w%u",
                                         routes_nworkers);
        w.tls_name_len = (uint16_t) snprintf(w.tls_name, sizeof(w.tls_name),
                                             "w%u.workers.bench",
                                             routes_nworkers);

        if (bk_table_worker_put(routes_t, &w, ref, &err) != 0) {
            bench_die(0, "%s", err.text);
        }
    }
}


static void
routes_table(const char *path, const char *ports, unsigned state)
{
    bk_err_t           err;
    uint32_t           i, worker;
    routes_token_t  *t;
    bk_table_alloc_t   a;
    bk_table_conf_t    conf;
    bk_table_opened_t  opened;

    memset(&conf, 0, sizeof(bk_table_conf_t));
    conf.path = path;
    conf.allocations = routes_ntokens + ROUTES_OTHERS + 100;
    conf.workers = ROUTES_WORKERS;
    conf.pools = 4;

    routes_pool.index = BK_TABLE_NONE;

    if (bk_table_open(&routes_t, &conf, &opened, &err) != 0
        || bk_table_pool_put(routes_t, ROUTES_POOL, BK_POOL_SHARED,
                             &routes_pool, &err) != 0)
    {
        bench_die(0, "%s", err.text);
    }

    routes_workers(ports);

    for (i = 0; i < routes_ntokens; i++) {
        t = &routes_token[i];
        worker = i % routes_nworkers;

        memset(&a, 0, sizeof(bk_table_alloc_t));
        a.pool = routes_pool;
        a.text.index = BK_TABLE_NONE;
        a.worker.index = BK_TABLE_NONE;
        a.state = (uint8_t) state;

        /* half of those that wait have a worker that does not run yet */

        if (state == BK_ALLOC_READY) {
            a.worker = routes_worker[worker];

        } else if (i % 2) {
            a.state = BK_ALLOC_STARTING;
            a.worker = routes_worker[worker];
        }

        if (bk_table_alloc_insert(routes_t, t->hash, t->key_hash, &a, NULL,
                                  &t->index, &err) != 0)
        {
            bench_die(0, "%s", err.text);
        }
    }

    routes_others();
    bk_table_live(routes_t);
}


static void
routes_others(void)
{
    bk_err_t          err;
    uint8_t           hash[BK_TABLE_HASH_LEN];
    uint32_t          i;
    bk_table_alloc_t  a;

    memset(&a, 0, sizeof(bk_table_alloc_t));
    a.state = BK_ALLOC_READY;
    a.pool = routes_pool;
    a.text.index = BK_TABLE_NONE;
    a.worker = routes_worker[0];

    for (i = 0; i < ROUTES_OTHERS; i++) {
        SHA256((const u_char *) &i, sizeof(i), hash);

        if (bk_table_alloc_insert(routes_t, hash, NULL, &a, NULL,
                                  &routes_other[i], &err) != 0)
        {
            bench_die(0, "%s", err.text);
        }
    }
}


/* The table is empty afterwards, for whoever writes it next. */
static void
routes_forget(void)
{
    uint32_t  i;

    for (i = 0; i < routes_ntokens; i++) {
        bk_table_alloc_remove(routes_t, routes_token[i].index);
    }

    for (i = 0; i < ROUTES_OTHERS; i++) {
        bk_table_alloc_remove(routes_t, routes_other[i]);
    }

    for (i = 0; i < routes_nworkers; i++) {
        bk_table_worker_delete(routes_t, routes_worker[i]);
    }

    bk_table_pool_delete(routes_t, routes_pool);
    bk_table_close(&routes_t);
}


static void
routes_set(uint32_t index, unsigned state, uint32_t worker,
    const char *reason)
{
    struct timespec   ts;
    bk_table_alloc_t  a;

    clock_gettime(CLOCK_REALTIME, &ts);

    memset(&a, 0, sizeof(bk_table_alloc_t));
    a.state = (uint8_t) state;
    a.changed_ms = (uint64_t) ts.tv_sec * 1000
                   + (uint64_t) ts.tv_nsec / 1000000;
    a.pool = routes_pool;
    a.text.index = BK_TABLE_NONE;
    a.worker = routes_worker[worker];

    bk_table_alloc_update(routes_t, index, &a, reason);
}

#endif /* BENCH_ROUTES_H_INCLUDED */
