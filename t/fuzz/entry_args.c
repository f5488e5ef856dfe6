/*
 * FUZZ_SOURCES: docker/entry/args.c
 * FUZZ_CFLAGS: -Idocker/entry
 */

/*
 * The arguments of the gateway's image, one a line; the first line is
 * BUILDKIT_WORKER_TLS_NAME when it is not empty.  What is taken is put into
 * nginx' and plugin-host's configuration: nothing of it may end a word or a
 * string there, or begin a variable.
 */

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"


#define FUZZ_ARGS  40


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_value(const char *s);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int            argc;
    char          *text, *line, *next, *argv[FUZZ_ARGS + 2];
    entry_args_t   args;

    text = malloc(size + 1);
    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';

    next = text;
    line = strsep(&next, "\n");

    if (line[0]) {
        setenv("BUILDKIT_WORKER_TLS_NAME", line, 1);

    } else {
        unsetenv("BUILDKIT_WORKER_TLS_NAME");
    }

    argv[0] = "gateway";

    for (argc = 1; next && argc <= FUZZ_ARGS; argc++) {
        argv[argc] = strsep(&next, "\n");

        /* prints on stdout */

        if (strstr(argv[argc], "-h")) {
            argv[argc] = "";
        }
    }

    argv[argc] = NULL;

    if (entry_args(&args, argc, argv) == 0) {
        fuzz_value(args.pool_name);
        fuzz_value(args.pool_namespace);
        fuzz_value(args.listen_addr);
        fuzz_value(args.metrics_addr);
        fuzz_value(args.controller_endpoint);
        fuzz_value(args.server_cert);
        fuzz_value(args.server_key);
        fuzz_value(args.ca_cert);
        fuzz_value(args.worker_tls);
        assert(strchr(args.pool_name, '/') == NULL);
        assert(args.server_cert[0] == '/' && args.worker_tls[0] == '/');

        if (args.worker_tls_name) {
            fuzz_value(args.worker_tls_name);
        }
    }

    free(text);

    return 0;
}


static void
fuzz_value(const char *s)
{
    size_t  len;

    len = strlen(s);

    assert(len > 0 && len <= 1000);
    assert(strpbrk(s, " \t\r\n;\"'\\$#<>|") == NULL);

    for ( ; *s; s++) {
        assert((unsigned char) *s > ' ' && (unsigned char) *s < 0x7f);
    }
}


void
entry_log(const char *fmt, ...)
{
    (void) fmt;
}
