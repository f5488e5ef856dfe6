/*
 * A stand-in worker: a TLS server that demands a client certificate of its
 * CA, says nothing until the client has sent something, then answers
 * "worker NAME\n" and echoes what it is sent.
 *
 *   worker --name N --listen ADDR:PORT --cert F --key F --ca F [--alpn no]
 *          [--mode echo|name|sink|mute|close]
 *
 * Prints "ready PORT" on stdout.  Reads commands from stdin, answers each
 * with a line: "stats" (counters as name=value), "peer" (the last client's
 * subject), "quit".  Ends when stdin does, so it never outlives its test.
 * One thread, epoll.
 */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_server.h"


#define WORKER_BUFFER  16384

typedef enum {
    WORKER_ECHO,                /* name, then everything back */
    WORKER_NAME,                /* name, then read and drop */
    WORKER_SINK,                /* read and drop */
    WORKER_MUTE,                /* handshake, then neither read nor write */
    WORKER_CLOSE                /* close at the client's first bytes */
} worker_mode_e;

typedef struct {
    server_conn_t  io;
    int            greeted;
    size_t         pos, len;    /* what is still to be written of buffer */
    char           buffer[WORKER_BUFFER + 320];
} worker_conn_t;

typedef struct {
    server_t        server;
    int             alpn;
    worker_mode_e   mode;
    char            peer[512];

    unsigned long   accepted, handshakes, resumed, failed, h2, no_alpn;
    unsigned long   read, written, closed;
} worker_t;


static void worker_accept(server_t *s);
static void worker_command(server_t *s);
static void worker_answer(worker_t *w, const char *command);
static void worker_established(worker_t *w, worker_conn_t *c);
static int worker_flush(worker_t *w, worker_conn_t *c);
static int worker_read(worker_t *w, worker_conn_t *c);
static void worker_handle(server_t *s, void *conn);
static void worker_close(worker_t *w, worker_conn_t *c);


static const struct option  worker_options[] = {
    { "name",   required_argument, NULL, 'n' },
    { "listen", required_argument, NULL, 'l' },
    { "cert",   required_argument, NULL, 'c' },
    { "key",    required_argument, NULL, 'k' },
    { "ca",     required_argument, NULL, 'a' },
    { "alpn",   required_argument, NULL, 'A' },
    { "mode",   required_argument, NULL, 'm' },
    { NULL, 0, NULL, 0 }
};

static const char  *worker_modes[] = {
    "echo", "name", "sink", "mute", "close"
};


int
main(int argc, char **argv)
{
    int            c, i;
    worker_t       w;
    server_t      *s;
    struct rlimit  rl;

    memset(&w, 0, sizeof(w));
    w.alpn = 1;
    s = &w.server;

    while ((c = getopt_long(argc, argv, "", worker_options, NULL)) != -1) {
        switch (c) {
        case 'n': s->name = optarg; break;
        case 'l': s->listen = optarg; break;
        case 'c': s->cert = optarg; break;
        case 'k': s->key = optarg; break;
        case 'a': s->ca = optarg; break;
        case 'A': w.alpn = strcmp(optarg, "no") != 0; break;
        case 'm':
            for (i = WORKER_ECHO; i <= WORKER_CLOSE; i++) {
                if (strcmp(optarg, worker_modes[i]) == 0) {
                    w.mode = (worker_mode_e) i;
                }
            }
            break;
        default: return 2;
        }
    }

    if (!s->name || !s->listen || !s->cert || !s->key || !s->ca
        || strlen(s->name) > 255)
    {
        fprintf(stderr, "worker: --name --listen --cert --key --ca\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN);

    rl.rlim_cur = rl.rlim_max = 65536;
    setrlimit(RLIMIT_NOFILE, &rl);

    server_tls(s);

    if (w.alpn) {
        server_alpn(s);
    }

    s->accept = worker_accept;
    s->command = worker_command;
    s->handle = worker_handle;
    server_run(s);
}


static void
worker_accept(server_t *s)
{
    while (server_accept(s, sizeof(worker_conn_t)) != NULL) {
        ((worker_t *) s)->accepted++;
    }
}


static void
worker_command(server_t *s)
{
    char        *line, *next;
    ssize_t      n;
    static char  text[256];

    n = read(STDIN_FILENO, text, sizeof(text) - 1);
    if (n <= 0) {
        exit(0);
    }

    text[n] = '\0';

    for (line = text; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        *next = '\0';
        worker_answer((worker_t *) s, line);
    }

    fflush(stdout);
}


static void
worker_answer(worker_t *w, const char *command)
{
    if (strcmp(command, "quit") == 0) {
        exit(0);
    }

    if (strcmp(command, "peer") == 0) {
        printf("%s\n", w->peer);
        return;
    }

    if (strcmp(command, "stats") == 0) {
        printf("accepted=%lu handshakes=%lu resumed=%lu failed=%lu h2=%lu"
               " no_alpn=%lu read=%lu written=%lu closed=%lu\n",
               w->accepted, w->handshakes, w->resumed, w->failed, w->h2,
               w->no_alpn, w->read, w->written, w->closed);
        return;
    }

    printf("error unknown command\n");
}


static void
worker_established(worker_t *w, worker_conn_t *c)
{
    X509                 *cert;
    unsigned int          len;
    const unsigned char  *alpn;

    c->io.established = 1;
    w->handshakes++;

    if (SSL_session_reused(c->io.ssl)) {
        w->resumed++;
    }

    SSL_get0_alpn_selected(c->io.ssl, &alpn, &len);
    if (len == 2 && memcmp(alpn, "h2", 2) == 0) {
        w->h2++;

    } else {
        w->no_alpn++;
    }

    cert = SSL_get0_peer_certificate(c->io.ssl);
    if (cert != NULL) {
        X509_NAME_oneline(X509_get_subject_name(cert), w->peer,
                          sizeof(w->peer));
    }
}


/* 1: all is written, 0: later, -1: the connection is over. */

static int
worker_flush(worker_t *w, worker_conn_t *c)
{
    int  n;

    while (c->pos < c->len) {
        n = SSL_write(c->io.ssl, c->buffer + c->pos, (int) (c->len - c->pos));
        if (n <= 0) {
            return tls_again(w->server.epoll, c->io.ssl, n, c);
        }

        w->written += (unsigned long) n;
        c->pos += (size_t) n;
    }

    c->pos = c->len = 0;

    return 1;
}


static int
worker_read(worker_t *w, worker_conn_t *c)
{
    int     n;
    size_t  room;

    /* the greeting goes before what is echoed */
    room = c->greeted ? 0 : 300;

    n = SSL_read(c->io.ssl, c->buffer + room, WORKER_BUFFER);
    if (n <= 0) {
        return tls_again(w->server.epoll, c->io.ssl, n, c);
    }

    w->read += (unsigned long) n;

    if (w->mode == WORKER_SINK) {
        return 1;
    }

    if (w->mode == WORKER_CLOSE) {
        return -1;
    }

    if (!c->greeted) {
        c->greeted = 1;
        c->len = (size_t) snprintf(c->buffer, room, "worker %s\n",
                                   w->server.name);

        if (w->mode == WORKER_ECHO) {
            memmove(c->buffer + c->len, c->buffer + room, (size_t) n);
            c->len += (size_t) n;
        }

    } else if (w->mode == WORKER_ECHO) {
        c->len = (size_t) n;
    }

    return 1;
}


static void
worker_handle(server_t *s, void *conn)
{
    int             rc;
    worker_t       *w;
    worker_conn_t  *c;

    w = (worker_t *) s;
    c = conn;

    if (!c->io.established) {
        rc = SSL_do_handshake(c->io.ssl);

        if (rc == 1) {
            worker_established(w, c);

        } else if (tls_again(s->epoll, c->io.ssl, rc, c) == 0) {
            return;

        } else {
            w->failed++;
            worker_close(w, c);
            return;
        }
    }

    if (w->mode == WORKER_MUTE) {
        tls_watch(s->epoll, EPOLL_CTL_MOD, c->io.fd, EPOLLET, c);
        return;
    }

    do {
        rc = worker_flush(w, c);
        if (rc == 1) {
            rc = worker_read(w, c);
        }
    } while (rc == 1);

    if (rc == -1) {
        worker_close(w, c);
    }
}


static void
worker_close(worker_t *w, worker_conn_t *c)
{
    w->closed++;
    server_close(c);
}
