/*
 * A crowd of clients for the soak test: connections at a steady rate, each
 * with a certificate of one of many allocations, each behaving in its own
 * way: asks and goes, stays and talks, builds, only looks, says nothing,
 * leaves at any moment.
 *
 *   swarm --addr ADDR:PORT --ca CA-CERT --ca-key KEY --slots N --parallel C
 *         --results FILE
 *
 * Commands from standard input, each answered with one line:
 *     new SLOT    a new token with a certificate: "ok SERIAL HASH SPKI-HASH"
 *     drop SLOT   no connection with it any more
 *     rate N      so many new connections a second
 *     stop        rate 0; answered when no connection is left
 * Each connection becomes a line of FILE: "SERIAL BEGAN NAMED ENDED KIND
 * RESULT [WORKER|STATUS|-] [TEXT]", times in Unix microseconds, NAMED when
 * the worker said its name (0: never).  RESULT is served, cut, refused, left
 * (by its own choice), closed, failed (in the handshake), late (30 s went by),
 * or wrong: bytes that no frame of ours or of the worker's has.
 * Ends when standard input does.  One thread, epoll.
 */

#include "swarm.h"
#include "swarm_h2.h"
#include "swarm_token.h"


static void swarm_options(swarm_t *s, int argc, char **argv);
static void swarm_setup(swarm_t *s);
static void swarm_command(swarm_t *s);
static void swarm_answer(swarm_t *s, const char *line);
static void swarm_tick(swarm_t *s);
static void swarm_begin(swarm_t *s, swarm_conn_t *c, swarm_slot_t *slot);
static void swarm_behave(swarm_conn_t *c);
static void swarm_leave(swarm_t *s, swarm_conn_t *c, const char *result);
static void swarm_gone(swarm_t *s, swarm_conn_t *c);
static int swarm_wait(swarm_t *s, swarm_conn_t *c, int rc);
static void swarm_handle(swarm_t *s, swarm_conn_t *c);
static int swarm_flush(swarm_t *s, swarm_conn_t *c);
static int swarm_read(swarm_t *s, swarm_conn_t *c);


static const char  *swarm_kinds[] = {
    "ask", "stay", "build", "look", "leave", "mute"
};

/* of a hundred connections */
static const int    swarm_share[] = { 66, 12, 6, 5, 10, 1 };

static const struct option  swarm_longopts[] = {
    { "addr",     required_argument, NULL, 'a' },
    { "ca",       required_argument, NULL, 'A' },
    { "ca-key",   required_argument, NULL, 'k' },
    { "slots",    required_argument, NULL, 's' },
    { "parallel", required_argument, NULL, 'p' },
    { "results",  required_argument, NULL, 'r' },
    { NULL, 0, NULL, 0 }
};


int
main(int argc, char **argv)
{
    int                 i, n;
    swarm_t             s;
    struct epoll_event  events[SWARM_EVENTS];

    swarm_options(&s, argc, argv);
    swarm_setup(&s);

    for ( ;; ) {
        n = epoll_wait(s.epoll, events, SWARM_EVENTS, SWARM_TICK_MS);

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == &s) {
                swarm_command(&s);

            } else {
                swarm_handle(&s, events[i].data.ptr);
            }
        }

        swarm_tick(&s);
    }
}


static int
swarm_below(int n)
{
    return (int) (random() % n);
}


static void
swarm_options(swarm_t *s, int argc, char **argv)
{
    int  c;

    memset(s, 0, sizeof(*s));

    while ((c = getopt_long(argc, argv, "", swarm_longopts, NULL)) != -1) {
        switch (c) {
        case 'a': s->addr = optarg; break;
        case 'A': s->ca = optarg; break;
        case 'k': s->ca_key = optarg; break;
        case 's': s->nslots = atoi(optarg); break;
        case 'p': s->parallel = atoi(optarg); break;
        case 'r': s->results = optarg; break;
        default: exit(2);
        }
    }

    if (!s->addr || !s->ca || !s->ca_key || !s->results || s->parallel < 1
        || s->nslots < 1 || s->nslots > SWARM_SLOTS)
    {
        fprintf(stderr, "swarm: --addr --ca --ca-key --slots --parallel"
                        " --results\n");
        exit(2);
    }
}


static void
swarm_setup(swarm_t *s)
{
    BIO  *bio;

    signal(SIGPIPE, SIG_IGN);
    srandom((unsigned) client_now());

    tls_raise_nofile();
    tls_address(s->addr, "--addr ADDR:PORT", &s->sin);

    bio = BIO_new_file(s->ca, "r");
    s->ca_cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);

    bio = BIO_new_file(s->ca_key, "r");
    s->ca_pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);

    if (s->ca_cert == NULL || s->ca_pkey == NULL) {
        tls_die(s->ca);
    }

    s->ctx = client_context(s->ca);
    tls_modes(s->ctx);

    s->out = fopen(s->results, "a");
    s->conns = calloc((size_t) s->parallel, sizeof(swarm_conn_t));
    s->epoll = epoll_create1(EPOLL_CLOEXEC);

    if (s->out == NULL || s->conns == NULL) {
        tls_die(s->results);
    }

    tls_watch(s->epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, s);
    setvbuf(s->out, NULL, _IOLBF, 0);
}


static void
swarm_command(swarm_t *s)
{
    char           *end;
    ssize_t         n;

    static char     text[4096];
    static size_t   len;

    n = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);

    if (n <= 0) {
        exit(0);
    }

    len += (size_t) n;
    text[len] = '\0';

    while ((end = strchr(text, '\n')) != NULL) {
        *end++ = '\0';
        swarm_answer(s, text);
        len -= (size_t) (end - text);
        memmove(text, end, len + 1);
    }

    fflush(stdout);
}


static void
swarm_answer(swarm_t *s, const char *line)
{
    int  n;

    if (sscanf(line, "new %d", &n) == 1 && n >= 0 && n < s->nslots) {
        swarm_new(s, n);

    } else if (sscanf(line, "drop %d", &n) == 1 && n >= 0 && n < s->nslots) {
        swarm_drop(s, n);
        printf("ok\n");

    } else if (sscanf(line, "rate %d", &n) == 1) {
        s->rate = n;
        s->due = client_now();
        printf("ok\n");

    } else if (strcmp(line, "stop") == 0) {
        s->rate = 0;
        s->stopping = 1;

    } else {
        printf("error unknown command\n");
    }
}


/* What is due: new connections, words, farewells. */

static void
swarm_tick(swarm_t *s)
{
    int            i;
    int64_t        now;
    swarm_conn_t  *c;
    swarm_slot_t  *slot;

    now = client_now();

    for (i = 0; i < s->parallel; i++) {
        c = &s->conns[i];

        if (!c->used) {
            if (s->rate == 0 || now < s->due) {
                continue;
            }

            /* what could not be had in time is not made up for */
            s->due += 1000000 / s->rate;
            s->due = s->due < now - 100000 ? now - 100000 : s->due;

            slot = &s->slots[swarm_below(s->nslots)];

            if (slot->serial) {
                swarm_begin(s, c, slot);
            }

        } else if (now - c->began > SWARM_LATE_US) {
            swarm_end(s, c, "late", NULL, NULL);

        } else if (c->leaves && now >= c->leaves) {
            swarm_leave(s, c, c->named ? "served" : "left");

        } else if (c->next && now >= c->next) {
            swarm_talk(c);
            swarm_handle(s, c);
        }
    }

    if (s->stopping && s->live == 0) {
        s->stopping = 0;
        fflush(s->out);
        printf("ok\n");
        fflush(stdout);
    }
}


static void
swarm_begin(swarm_t *s, swarm_conn_t *c, swarm_slot_t *slot)
{
    int                 one;
    struct sockaddr_in  from;

    memset(c, 0, sizeof(*c));
    c->used = 1;
    c->began = client_now();
    c->serial = slot->serial;
    s->live++;

    c->fd = client_socket();

    one = 1;
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));

    /* from many addresses: enough ports, and limits for each of its own */

    memset(&from, 0, sizeof(from));
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(0x7f000101 + (uint32_t)
                                 swarm_below(SWARM_ADDRS));

    if (bind(c->fd, (struct sockaddr *) &from, sizeof(from)) != 0) {
        tls_die("bind");
    }

    client_connect(c->fd, &s->sin);

    c->ssl = SSL_new(s->ctx);

    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1
        || SSL_use_certificate(c->ssl, slot->cert) != 1
        || SSL_use_PrivateKey(c->ssl, slot->key) != 1)
    {
        tls_die("SSL_new");
    }

    SSL_set_connect_state(c->ssl);
    swarm_behave(c);
    swarm_hello(c);

    c->events = EPOLLOUT;
    tls_watch(s->epoll, EPOLL_CTL_ADD, c->fd, c->events, c);

    if (c->kind == SWARM_LEAVE && c->step == SWARM_AT_CONNECT) {
        swarm_leave(s, c, "left");
    }
}


static void
swarm_behave(swarm_conn_t *c)
{
    int  i, n;

    n = swarm_below(100);

    for (i = 0; i < SWARM_KINDS - 1 && n >= swarm_share[i]; i++) {
        n -= swarm_share[i];
    }

    c->kind = (swarm_kind_e) i;
    c->abrupt = swarm_below(3) == 0;

    if (c->kind == SWARM_LEAVE) {
        c->step = (swarm_step_e) swarm_below(SWARM_STEPS);

        if (c->step == SWARM_AT_TIME) {
            c->leaves = c->began + swarm_below(500000);
        }
    }
}


static void
swarm_end(swarm_t *s, swarm_conn_t *c, const char *result, const char *which,
    const char *text)
{
    struct linger  now;

    if (which == NULL) {
        which = c->worker[0] ? c->worker : "-";
    }

    fprintf(s->out, "%d %lld %lld %lld %s %s %s %s\n", c->serial,
            (long long) c->began, (long long) c->named,
            (long long) client_now(), swarm_kinds[c->kind], result, which,
            text ? text : "");

    if (c->abrupt) {
        now.l_onoff = 1;
        now.l_linger = 0;
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));

    } else if (c->established) {
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }

    SSL_free(c->ssl);
    close(c->fd);
    c->used = 0;
    s->live--;
}


static void
swarm_leave(swarm_t *s, swarm_conn_t *c, const char *result)
{
    swarm_end(s, c, result, NULL, NULL);
}


/* The other side ended it. */

static void
swarm_gone(swarm_t *s, swarm_conn_t *c)
{
    swarm_end(s, c, c->established ? "closed" : "failed", NULL, NULL);
}


/* Returns 0 when the call is to be tried again later, else -1. */

static int
swarm_wait(swarm_t *s, swarm_conn_t *c, int rc)
{
    uint32_t  events;

    events = tls_wants(c->ssl, rc);

    if (events == 0) {
        return -1;
    }

    if (events != c->events) {
        c->events = events;
        tls_watch(s->epoll, EPOLL_CTL_MOD, c->fd, events, c);
    }

    return 0;
}


static void
swarm_handle(swarm_t *s, swarm_conn_t *c)
{
    int  rc;

    if (!c->used) {
        return;
    }

    if (!c->established) {
        rc = SSL_do_handshake(c->ssl);

        if (rc != 1) {
            if (swarm_wait(s, c, rc) != 0) {
                swarm_gone(s, c);

            } else if (c->kind == SWARM_LEAVE && c->step == SWARM_AT_HANDSHAKE
                       && c->events == EPOLLIN)
            {
                swarm_leave(s, c, "left");
            }

            return;
        }

        c->established = 1;

        if (c->kind == SWARM_LEAVE && c->step == SWARM_AT_HANDSHAKE) {
            swarm_leave(s, c, "left");
            return;
        }
    }

    do {
        rc = swarm_flush(s, c);

        if (rc == 1) {

            if (c->kind == SWARM_LEAVE && c->step == SWARM_AT_HELLO) {
                swarm_leave(s, c, "left");
                return;
            }

            rc = swarm_read(s, c);
        }
    } while (rc == 1);

    if (rc == -1) {
        swarm_gone(s, c);
    }
}


/* 1: all is written, 0: later, -1: it is over; pieces of random length. */

static int
swarm_flush(swarm_t *s, swarm_conn_t *c)
{
    int     n;
    size_t  len;

    while (c->out_pos < c->out_len) {
        len = c->out_len - c->out_pos;

        if (swarm_below(3) == 0) {
            len = 1 + (size_t) swarm_below((int) len);
        }

        n = SSL_write(c->ssl, c->out + c->out_pos, (int) len);

        if (n <= 0) {
            return swarm_wait(s, c, n);
        }

        c->out_pos += (size_t) n;
    }

    c->out_pos = c->out_len = 0;

    return 1;
}


/* 1: go on, 0: later or ended here, -1: the other side ended it. */

static int
swarm_read(swarm_t *s, swarm_conn_t *c)
{
    int      n;
    uint8_t  buf[4096];

    n = SSL_read(c->ssl, buf, sizeof(buf));

    if (n <= 0) {
        return swarm_wait(s, c, n);
    }

    return swarm_bytes(s, c, buf, (size_t) n);
}


