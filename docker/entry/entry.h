/*
 * The first process of the gateway's image.
 *
 * With BUILDKIT_GATEWAY_CONF in its environment it runs nginx with that
 * configuration, and a companion beside it has the routes.  Otherwise it
 * takes the arguments and mounts of a gateway of smrt-devops/
 * buildkit-controller, writes the configuration of both programs, and runs
 * plugin-host and nginx.
 *
 *   entry.c   what is started and what is done when it ends; signals
 *   args.c    arguments, as Go's flag package takes them
 *   folder.c  where both, the table and sockets are
 *   conf.c    the two configurations, of templates
 *   seen.c    have mounted files changed?  nginx reads certificates once
 */

#ifndef ENTRY_H_INCLUDED
#define ENTRY_H_INCLUDED

#include <stdint.h>


#define ENTRY_PATH  256

/* owned by argv */
typedef struct {
    const char  *pool_name;
    const char  *pool_namespace;
    const char  *listen_addr;
    const char  *metrics_addr;
    const char  *controller_endpoint;
    const char  *server_cert;
    const char  *server_key;
    const char  *ca_cert;
    const char  *worker_tls;            /* folder */
    const char  *worker_tls_name;       /* NULL: chains are verified, names
                                           are not */
} entry_args_t;


/* 0, or -1 when they are wrong, which it says on stderr; 1: help was asked
 * for and printed.  Nothing of what it takes can end a word or a string of the
 * configurations. */
int entry_args(entry_args_t *args, int argc, char **argv);

/* the folder, or NULL; locked until this process ends, and without the traces
 * of the one before */
const char *entry_folder(void);

/* folder: where both files are written, and what they have under way */
int entry_conf(const entry_args_t *args, const char *templates,
    const char *folder);

/* a number that changes when a file below these folders does */
uint64_t entry_seen(const char *const *folders, unsigned n);

void entry_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif /* ENTRY_H_INCLUDED */
