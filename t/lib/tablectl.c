/*
 * A route table's writer for tests: reads commands from stdin, answers each
 * with one line, "ok ..." or "error ...".  End of input is "quit".  A new
 * table is being filled until "live".
 *
 *     tablectl PATH ALLOCATIONS WORKERS POOLS
 *
 *     pool NAME [shared]
 *     worker POOL NAME ADDR:PORT|- TLSNAME|- STATE[/ARCH] [message...]
 *     alloc HASHHEX|token:TOKEN POOL WORKER|- STATE EXPIRES [key=HEX] [reason]
 *     end HASH STATE [reason...]
 *     remove HASH
 *     del-worker POOL NAME
 *     del-pool NAME
 *     heartbeat, live, stats, quit
 *
 * EXPIRES is Unix time in milliseconds, 0 for never, or +MS from now.  A
 * pool, worker or alloc that is there is changed in place.  When the table
 * cannot be opened, the reason goes to stderr and the exit status is 1.
 */

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bk_table_read.h"
#include "table.h"


#define CTL_LINE   4096
#define CTL_WORDS  8


typedef struct {
    bk_table_ref_t        ref;
    bk_table_pool_data_t  data;
} ctl_pool_t;


typedef struct {
    bk_table_ref_t          ref;
    bk_table_worker_data_t  data;
} ctl_worker_t;


typedef struct {
    const char  *name;
    int        (*run)(char **words, int n);
    int          min;       /* words after the name */
    int          max;       /* the last one takes the rest of the line */
} ctl_command_t;


static int ctl_pool(char **w, int n);
static int ctl_worker(char **w, int n);
static int ctl_alloc(char **w, int n);
static int ctl_end(char **w, int n);
static int ctl_remove(char **w, int n);
static int ctl_del_worker(char **w, int n);
static int ctl_del_pool(char **w, int n);
static int ctl_heartbeat(char **w, int n);
static int ctl_live(char **w, int n);
static int ctl_stats(char **w, int n);

static int ctl_pool_found(bk_table_ref_t ref,
    const bk_table_pool_data_t *pool, void *data);
static int ctl_worker_found(bk_table_ref_t ref,
    const bk_table_worker_data_t *worker, void *data);
static ctl_pool_t *ctl_pool_find(const char *name);
static ctl_worker_t *ctl_worker_find(const char *pool, const char *name);
static int ctl_address(const char *text, bk_table_worker_data_t *w);
static int ctl_state(const char *name, const char *const *names, int n);
static int ctl_hash(const char *text, uint8_t *hash);
static int ctl_hex(const char *text, uint8_t *out);
static int ctl_view(const char *path);
static void ctl_line(char *line);
static uint64_t ctl_now(void);
static int ctl_error(const char *what);


static const char *const  ctl_worker_states[BK_WORKER_STATES] = {
    "free", "stopped", "starting", "ready", "draining", "failed"
};

static const char *const  ctl_alloc_states[BK_ALLOC_STATES] = {
    "free", "queued", "starting", "ready", "draining", "expired", "released",
    "revoked", "failed"
};

static const ctl_command_t  ctl_commands[] = {
    { "pool", ctl_pool, 1, 2 },
    { "worker", ctl_worker, 5, 6 },
    { "alloc", ctl_alloc, 5, 6 },
    { "end", ctl_end, 2, 3 },
    { "remove", ctl_remove, 1, 1 },
    { "del-worker", ctl_del_worker, 2, 2 },
    { "del-pool", ctl_del_pool, 1, 1 },
    { "heartbeat", ctl_heartbeat, 0, 0 },
    { "live", ctl_live, 0, 0 },
    { "stats", ctl_stats, 0, 0 },
    { NULL, NULL, 0, 0 }
};

static bk_table_t       *ctl_table;
static bk_table_view_t   ctl_reader;
static ctl_pool_t       *ctl_pools;
static ctl_worker_t     *ctl_workers;
static uint32_t          ctl_npools, ctl_nworkers;


int
main(int argc, char **argv)
{
    char               line[CTL_LINE];
    bk_err_t           err;
    bk_table_conf_t    conf;
    bk_table_opened_t  opened;

    if (argc < 5) {
        fprintf(stderr, "usage: tablectl PATH ALLOCATIONS WORKERS POOLS\n");
        return 2;
    }

    memset(&conf, 0, sizeof(bk_table_conf_t));
    conf.path = argv[1];
    conf.allocations = (uint32_t) strtoul(argv[2], NULL, 10);
    conf.workers = (uint32_t) strtoul(argv[3], NULL, 10);
    conf.pools = (uint32_t) strtoul(argv[4], NULL, 10);

    if (bk_table_open(&ctl_table, &conf, &opened, &err) != 0) {
        fprintf(stderr, "tablectl: %s: %s\n", err.reason, err.text);
        return 1;
    }

    if (ctl_view(conf.path) != 0) {
        return 1;
    }

    ctl_pools = calloc(conf.pools, sizeof(ctl_pool_t));
    ctl_workers = calloc(conf.workers, sizeof(ctl_worker_t));

    if (ctl_pools == NULL || ctl_workers == NULL) {
        abort();
    }

    bk_table_pool_each(ctl_table, ctl_pool_found, NULL);
    bk_table_worker_each(ctl_table, ctl_worker_found, NULL);

    setvbuf(stdout, NULL, _IOLBF, 0);

    while (fgets(line, sizeof(line), stdin) != NULL) {

        line[strcspn(line, "\r\n")] = '\0';

        if (strcmp(line, "quit") == 0) {
            printf("ok\n");
            break;
        }

        ctl_line(line);
    }

    bk_table_close(&ctl_table);
    munmap((void *) (uintptr_t) ctl_reader.base, ctl_reader.size);
    free(ctl_pools);
    free(ctl_workers);

    return 0;
}


static void
ctl_line(char *line)
{
    int                   n;
    char                 *p, *words[CTL_WORDS];
    const ctl_command_t  *cmd;

    p = line;
    words[0] = strsep(&p, " ");

    for (cmd = ctl_commands; cmd->name != NULL; cmd++) {
        if (strcmp(cmd->name, words[0]) == 0) {
            break;
        }
    }

    if (cmd->name == NULL) {
        ctl_error("unknown command");
        return;
    }

    for (n = 0; p != NULL && n < cmd->max; n++) {

        if (n + 1 == cmd->max) {
            words[n] = p;
            p = NULL;

        } else {
            words[n] = strsep(&p, " ");
        }
    }

    if (n < cmd->min || p != NULL) {
        ctl_error("wrong number of words");
        return;
    }

    cmd->run(words, n);
}


static int
ctl_pool(char **w, int n)
{
    bk_err_t        err;
    unsigned        flags;
    ctl_pool_t     *p, *slot;
    bk_table_ref_t  ref;

    flags = n > 1 && strcmp(w[1], "shared") == 0 ? BK_POOL_SHARED : 0;
    p = ctl_pool_find(w[0]);

    ref.index = BK_TABLE_NONE;
    ref.gen = 0;

    if (p != NULL) {
        ref = p->ref;
    }

    if (bk_table_pool_put(ctl_table, w[0], flags, &ref, &err) != 0) {
        return ctl_error(err.text);
    }

    if (p == NULL) {
        slot = &ctl_pools[ctl_npools++];
        memset(slot, 0, sizeof(ctl_pool_t));
        slot->ref = ref;
        snprintf(slot->data.name, sizeof(slot->data.name), "%s", w[0]);
    }

    return printf("ok %u\n", ref.index);
}


static int
ctl_worker(char **w, int n)
{
    int                     state;
    char                   *arch;
    bk_err_t                err;
    ctl_pool_t             *p;
    ctl_worker_t           *slot;
    bk_table_ref_t          ref;
    bk_table_worker_data_t  d;

    memset(&d, 0, sizeof(bk_table_worker_data_t));

    arch = strchr(w[4], '/');

    if (arch != NULL) {
        *arch++ = '\0';
        snprintf(d.arch, sizeof(d.arch), "%s", arch);
        d.arch_len = (uint16_t) strlen(d.arch);
    }

    p = ctl_pool_find(w[0]);
    state = ctl_state(w[4], ctl_worker_states, BK_WORKER_STATES);

    if (p == NULL || state < 1 || ctl_address(w[2], &d) != 0) {
        return ctl_error("bad pool, state or address");
    }

    if (strcmp(w[3], "-") == 0) {
        w[3][0] = '\0';
    }

    d.state = (uint8_t) state;
    d.pool = p->ref;
    snprintf(d.name, sizeof(d.name), "%s", w[1]);
    snprintf(d.tls_name, sizeof(d.tls_name), "%s", w[3]);
    snprintf(d.message, sizeof(d.message), "%s", n > 5 ? w[5] : "");
    d.name_len = (uint16_t) strlen(d.name);
    d.tls_name_len = (uint16_t) strlen(d.tls_name);
    d.message_len = (uint16_t) strlen(d.message);

    slot = ctl_worker_find(w[0], w[1]);

    ref.index = BK_TABLE_NONE;
    ref.gen = 0;

    if (slot != NULL) {
        ref = slot->ref;
    }

    if (bk_table_worker_put(ctl_table, &d, &ref, &err) != 0) {
        return ctl_error(err.text);
    }

    if (slot == NULL) {
        slot = &ctl_workers[ctl_nworkers++];
    }

    slot->ref = ref;
    slot->data = d;

    return printf("ok %u\n", ref.index);
}


static int
ctl_alloc(char **w, int n)
{
    int                state;
    char              *reason;
    uint8_t            key[BK_TABLE_HASH_LEN], key_hash[BK_TABLE_HASH_LEN];
    uint8_t           *bound;
    bk_err_t           err;
    uint32_t           index;
    ctl_pool_t        *p;
    ctl_worker_t      *worker;
    bk_table_found_t   found;
    bk_table_alloc_t   a;

    memset(&a, 0, sizeof(bk_table_alloc_t));

    p = ctl_pool_find(w[1]);
    worker = strcmp(w[2], "-") == 0 ? NULL : ctl_worker_find(w[1], w[2]);
    state = ctl_state(w[3], ctl_alloc_states, BK_ALLOC_STATES);

    if (p == NULL || state < 1
        || (worker == NULL && strcmp(w[2], "-") != 0)
        || ctl_hash(w[0], key) != 0)
    {
        return ctl_error("bad token, pool, worker or state");
    }

    a.state = (uint8_t) state;
    a.changed_ms = ctl_now();
    a.expires_ms = strtoull(w[4], NULL, 10)
                   + (w[4][0] == '+' ? a.changed_ms : 0);
    a.pool = p->ref;
    a.worker.index = BK_TABLE_NONE;

    if (worker != NULL) {
        a.worker = worker->ref;
    }

    reason = n > 5 ? w[5] : NULL;
    bound = NULL;

    if (reason != NULL && strncmp(reason, "key=", 4) == 0) {

        if (strcspn(reason, " ") != 4 + 64 || ctl_hex(reason + 4, key_hash)) {
            return ctl_error("bad key");
        }

        bound = key_hash;
        reason = reason[4 + 64] ? reason + 4 + 64 + 1 : NULL;
    }

    if (bk_table_lookup(&ctl_reader, key, &found) == BK_TABLE_OK) {
        bk_table_alloc_update(ctl_table, found.index, &a, reason);
        return printf("ok %u\n", found.index);
    }

    if (bk_table_alloc_insert(ctl_table, key, bound, &a, reason, &index, &err)
        != 0)
    {
        return ctl_error(err.text);
    }

    return printf("ok %u\n", index);
}


static int
ctl_end(char **w, int n)
{
    int               state;
    uint8_t           key[BK_TABLE_HASH_LEN];
    bk_table_found_t  found;

    state = ctl_state(w[1], ctl_alloc_states, BK_ALLOC_STATES);

    if (state < 1 || ctl_hash(w[0], key) != 0) {
        return ctl_error("bad token or state");
    }

    if (bk_table_lookup(&ctl_reader, key, &found) != BK_TABLE_OK) {
        return ctl_error("no such allocation");
    }

    found.alloc.state = (uint8_t) state;
    found.alloc.changed_ms = ctl_now();
    bk_table_alloc_update(ctl_table, found.index, &found.alloc,
                          n > 2 ? w[2] : NULL);

    return printf("ok %u\n", found.index);
}


static int
ctl_remove(char **w, int n)
{
    uint8_t           key[BK_TABLE_HASH_LEN];
    bk_table_found_t  found;

    (void) n;

    if (ctl_hash(w[0], key) != 0
        || bk_table_lookup(&ctl_reader, key, &found) != BK_TABLE_OK)
    {
        return ctl_error("no such allocation");
    }

    bk_table_alloc_remove(ctl_table, found.index);

    return printf("ok %u\n", found.index);
}


static int
ctl_del_worker(char **w, int n)
{
    ctl_worker_t  *worker;

    (void) n;

    worker = ctl_worker_find(w[0], w[1]);

    if (worker == NULL) {
        return ctl_error("no such worker");
    }

    bk_table_worker_delete(ctl_table, worker->ref);
    *worker = ctl_workers[--ctl_nworkers];

    return printf("ok\n");
}


static int
ctl_del_pool(char **w, int n)
{
    ctl_pool_t  *p;

    (void) n;

    p = ctl_pool_find(w[0]);

    if (p == NULL) {
        return ctl_error("no such pool");
    }

    bk_table_pool_delete(ctl_table, p->ref);
    *p = ctl_pools[--ctl_npools];

    return printf("ok\n");
}


static int
ctl_heartbeat(char **w, int n)
{
    (void) w;
    (void) n;

    bk_table_heartbeat(ctl_table, ctl_now());

    return printf("ok\n");
}


static int
ctl_live(char **w, int n)
{
    (void) w;
    (void) n;

    bk_table_live(ctl_table);

    return printf("ok\n");
}


static int
ctl_stats(char **w, int n)
{
    bk_table_stats_t  s;

    (void) w;
    (void) n;

    bk_table_stats(ctl_table, &s);

    return printf("ok entries=%u ended=%u workers=%u pools=%u texts=%u "
                  "refused=%llu bytes=%llu\n", s.entries_used,
                  s.entries_ended, s.workers_used, s.pools_used, s.texts_used,
                  (unsigned long long) s.texts_refused,
                  (unsigned long long) s.bytes);
}


static int
ctl_pool_found(bk_table_ref_t ref, const bk_table_pool_data_t *pool,
    void *data)
{
    (void) data;

    ctl_pools[ctl_npools].ref = ref;
    ctl_pools[ctl_npools++].data = *pool;

    return 0;
}


static int
ctl_worker_found(bk_table_ref_t ref, const bk_table_worker_data_t *worker,
    void *data)
{
    (void) data;

    ctl_workers[ctl_nworkers].ref = ref;
    ctl_workers[ctl_nworkers++].data = *worker;

    return 0;
}


static ctl_pool_t *
ctl_pool_find(const char *name)
{
    uint32_t  i;

    for (i = 0; i < ctl_npools; i++) {
        if (strcmp(ctl_pools[i].data.name, name) == 0) {
            return &ctl_pools[i];
        }
    }

    return NULL;
}


static ctl_worker_t *
ctl_worker_find(const char *pool, const char *name)
{
    uint32_t     i;
    ctl_pool_t  *p;

    p = ctl_pool_find(pool);

    for (i = 0; p != NULL && i < ctl_nworkers; i++) {
        if (ctl_workers[i].data.pool.index == p->ref.index
            && ctl_workers[i].data.pool.gen == p->ref.gen
            && strcmp(ctl_workers[i].data.name, name) == 0)
        {
            return &ctl_workers[i];
        }
    }

    return NULL;
}


/* "1.2.3.4:5", "[::1]:5" or "-" for none. */
static int
ctl_address(const char *text, bk_table_worker_data_t *w)
{
    char    host[64];
    char   *colon;
    long    port;

    if (strcmp(text, "-") == 0) {
        return 0;
    }

    snprintf(host, sizeof(host), "%s", text);
    colon = strrchr(host, ':');

    if (colon == NULL || colon == host) {
        return -1;
    }

    *colon = '\0';
    port = strtol(colon + 1, NULL, 10);

    if (port < 1 || port > 65535) {
        return -1;
    }

    w->port = (uint16_t) port;

    if (host[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        w->family = BK_TABLE_INET6;
        return inet_pton(AF_INET6, host + 1, w->addr) == 1 ? 0 : -1;
    }

    w->family = BK_TABLE_INET;

    return inet_pton(AF_INET, host, w->addr) == 1 ? 0 : -1;
}


static int
ctl_state(const char *name, const char *const *names, int n)
{
    int  i;

    for (i = 1; i < n; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return i;
        }
    }

    return -1;
}


static int
ctl_hash(const char *text, uint8_t *hash)
{
    if (strncmp(text, "token:", 6) == 0) {
        SHA256((const unsigned char *) text + 6, strlen(text + 6), hash);
        return 0;
    }

    return strlen(text) == 64 ? ctl_hex(text, hash) : -1;
}


static int
ctl_hex(const char *text, uint8_t *out)
{
    int       i;
    unsigned  byte;

    for (i = 0; i < BK_TABLE_HASH_LEN; i++) {

        if (!isxdigit((unsigned char) text[i * 2])
            || sscanf(text + i * 2, "%2x", &byte) != 1)
        {
            return -1;
        }

        out[i] = (uint8_t) byte;
    }

    return 0;
}


/* Looks as any reader does, to find what there is. */
static int
ctl_view(const char *path)
{
    int          fd;
    void        *base;
    const char  *bad;
    struct stat  st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        perror(path);
        return -1;
    }

    base = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);

    if (base == MAP_FAILED) {
        perror(path);
        return -1;
    }

    bad = bk_table_view_init(&ctl_reader, base, (uint64_t) st.st_size);

    if (bad != NULL) {
        fprintf(stderr, "%s %s\n", path, bad);
        return -1;
    }

    return 0;
}


static uint64_t
ctl_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


static int
ctl_error(const char *what)
{
    return printf("error %s\n", what);
}
