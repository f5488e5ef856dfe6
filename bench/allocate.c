/*
 * How long an allocation takes, and how long after the answer it can be used.
 *
 *     allocate SOCKET TABLE POOL COUNT PKI-DIR PORT
 *
 * COUNT times: POST allocate to plugin-host's unix socket, look the token up
 * in the mapped route table until it is ready there, connect through the
 * gateway on PORT (0: do not) with the certificate of the answer until the
 * worker's first byte, release.  The pool's workers must be ready.  Prints one
 * line of key=value in milliseconds: allocate (request to answer), routable
 * (answer to table), reached (answer to first byte, so with two TLS
 * handshakes).  The token goes nowhere else.
 */

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include "bench.h"
#include "bk_table_read.h"


#define ALLOCATE_ANSWER    65536
#define ALLOCATE_DEADLINE  120          /* seconds, for all */
#define ALLOCATE_PATIENCE  2000000000u  /* ns: a route that never comes */


typedef struct {
    const char       *socket;
    const char       *pool;
    uint16_t          port;
    SSL_CTX          *ctx;
    bk_table_view_t   view;
} allocate_t;


static void allocate_map(allocate_t *a, const char *path);
static json_t *allocate_call(allocate_t *a, const char *path, json_t *body);
static const char *allocate_string(json_t *answer, const char *key);
static BIO *allocate_pem(json_t *answer, const char *key);
static void allocate_wait(allocate_t *a, const char *token);
static void allocate_reach(allocate_t *a, json_t *answer);
static void allocate_print(const char *name, uint64_t *ns, size_t n);


static void
allocate_map(allocate_t *a, const char *path)
{
    int           fd;
    void         *p;
    const char   *wrong;
    struct stat   st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        bench_die(errno, "%s", path);
    }

    p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED) {
        bench_die(errno, "%s", path);
    }

    close(fd);

    wrong = bk_table_view_init(&a->view, p, (uint64_t) st.st_size);

    if (wrong != NULL) {
        bench_die(0, "%s %s", path, wrong);
    }
}


/* One request on a connection of its own, as bkctl makes it. */
static json_t *
allocate_call(allocate_t *a, const char *path, json_t *body)
{
    int                  fd;
    char                *text, *head, *data;
    size_t               len;
    json_t              *answer;
    ssize_t              n;
    json_error_t         error;
    struct sockaddr_un   sun;

    static char          buf[ALLOCATE_ANSWER];

    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);

    if (text == NULL
        || asprintf(&head, "POST %s HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Type: application/json\r\n"
                    "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                    path, strlen(text), text) == -1)
    {
        bench_die(0, "out of memory");
    }

    free(text);

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", a->socket);

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (fd == -1 || connect(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1
        || write(fd, head, strlen(head)) != (ssize_t) strlen(head))
    {
        bench_die(errno, "%s", a->socket);
    }

    free(head);

    for (len = 0; len < sizeof(buf) - 1; len += (size_t) n) {
        n = read(fd, buf + len, sizeof(buf) - 1 - len);

        if (n <= 0) {
            break;
        }
    }

    close(fd);
    buf[len] = '\0';

    data = strstr(buf, "\r\n\r\n");

    if (strncmp(buf, "HTTP/1.1 200", 12) != 0 || data == NULL) {
        bench_die(0, "%s was not answered with 200: %.*s", path,
             (int) strcspn(buf, "\r"), buf);
    }

    answer = json_loads(data + 4, 0, &error);

    if (answer == NULL) {
        bench_die(0, "%s: the answer is not JSON: %s", path, error.text);
    }

    return answer;
}


static const char *
allocate_string(json_t *answer, const char *key)
{
    const char  *value;

    value = json_string_value(json_object_get(answer, key));

    if (value == NULL) {
        bench_die(0, "the answer has no \"%s\"", key);
    }

    return value;
}


/* PEM in base64. */
static BIO *
allocate_pem(json_t *answer, const char *key)
{
    int          len;
    BIO         *bio;
    u_char      *pem;
    const char  *text;

    text = allocate_string(answer, key);
    pem = malloc(strlen(text) + 1);

    if (pem == NULL) {
        bench_die(errno, "out of memory");
    }

    len = EVP_DecodeBlock(pem, (const u_char *) text, (int) strlen(text));
    bio = len > 0 ? BIO_new(BIO_s_mem()) : NULL;

    if (bio == NULL || BIO_write(bio, pem, len) != len) {
        bench_die(0, "\"%s\" is not base64", key);
    }

    free(pem);

    return bio;
}


static void
allocate_wait(allocate_t *a, const char *token)
{
    int                rc;
    u_char             hash[SHA256_DIGEST_LENGTH];
    uint64_t           start;
    bk_table_found_t   found;

    SHA256((const u_char *) token, strlen(token), hash);
    start = bench_now_ns();

    do {
        rc = bk_table_lookup(&a->view, hash, &found);

        if (rc == BK_TABLE_OK && found.alloc.state == BK_ALLOC_READY) {
            return;
        }

    } while (bench_now_ns() - start < ALLOCATE_PATIENCE);

    bench_die(0, "an allocation was answered but is not in the table (%d)", rc);
}


static void
allocate_reach(allocate_t *a, json_t *answer)
{
    int                  fd, on;
    BIO                 *pem;
    SSL                 *ssl;
    X509                *cert;
    EVP_PKEY            *key;
    bench_reply_t        reply;
    bench_command_t      command;
    struct sockaddr_in   sin;

    pem = allocate_pem(answer, "clientCert");
    cert = PEM_read_bio_X509(pem, NULL, NULL, NULL);
    BIO_free(pem);

    pem = allocate_pem(answer, "clientKey");
    key = PEM_read_bio_PrivateKey(pem, NULL, NULL, NULL);
    BIO_free(pem);

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(a->port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (fd == -1 || connect(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
        bench_die(errno, "connect to port %u", a->port);
    }

    on = 1;
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

    ssl = SSL_new(a->ctx);
    memset(&command, 0, sizeof(command));
    command.op = BENCH_PING;

    if (ssl == NULL || cert == NULL || key == NULL
        || SSL_use_certificate(ssl, cert) != 1
        || SSL_use_PrivateKey(ssl, key) != 1
        || SSL_set1_host(ssl, "localhost") != 1
        || SSL_set_fd(ssl, fd) != 1
        || SSL_connect(ssl) != 1
        || SSL_write(ssl, &command, sizeof(command)) != sizeof(command)
        || SSL_read(ssl, &reply, sizeof(reply)) != sizeof(reply)
        || (reply.handshake != BENCH_FULL
            && reply.handshake != BENCH_RESUMED))
    {
        ERR_print_errors_fp(stderr);
        bench_die(0, "an allocation was answered but leads to no worker");
    }

    SSL_shutdown(ssl);
    SSL_free(ssl);
    X509_free(cert);
    EVP_PKEY_free(key);
    close(fd);
}


static void
allocate_print(const char *name, uint64_t *ns, size_t n)
{
    qsort(ns, n, sizeof(uint64_t), bench_compare_ns);

    printf("%s_p50_ms=%.3f %s_p99_ms=%.3f ", name,
           (double) ns[n / 2] / 1e6, name,
           (double) ns[(size_t) (0.99 * (double) (n - 1))] / 1e6);
}


int
main(int argc, char **argv)
{
    json_t      *answer;
    size_t       i, n;
    uint64_t    *allocate, *reached, *routable, start, then;
    allocate_t   a;

    if (argc != 7 || atoi(argv[4]) <= 0) {
        bench_die(0, "usage: allocate SOCKET TABLE POOL COUNT PKI-DIR PORT");
    }

    alarm(ALLOCATE_DEADLINE);

    memset(&a, 0, sizeof(a));
    a.socket = argv[1];
    a.pool = argv[3];
    a.port = (uint16_t) atoi(argv[6]);
    a.ctx = bench_ssl_ctx(TLS_client_method(), argv[5], NULL, "gateway-ca");

    n = (size_t) atoi(argv[4]);
    allocate = calloc(n, sizeof(uint64_t));
    routable = calloc(n, sizeof(uint64_t));
    reached = calloc(n, sizeof(uint64_t));

    if (allocate == NULL || routable == NULL || reached == NULL) {
        bench_die(errno, "out of memory");
    }

    if (SSL_CTX_set_alpn_protos(a.ctx, (const u_char *) "\002h2", 3) != 0) {
        bench_die(0, "cannot offer h2");
    }

    allocate_map(&a, argv[2]);

    for (i = 0; i < n; i++) {
        start = bench_now_ns();

        answer = allocate_call(&a, "/api/v1/workers/allocate",
                               json_pack("{s:s, s:s}", "poolName", a.pool,
                                         "jobId", "bench"));

        then = bench_now_ns();
        allocate[i] = then - start;

        allocate_wait(&a, allocate_string(answer, "token"));
        routable[i] = bench_now_ns() - then;

        if (a.port) {
            allocate_reach(&a, answer);
            reached[i] = bench_now_ns() - then;
        }

        json_decref(allocate_call(&a, "/api/v1/workers/release",
                                  json_pack("{s:s}", "token",
                                            allocate_string(answer,
                                                            "token"))));
        json_decref(answer);
    }

    allocate_print("allocate", allocate, n);
    allocate_print("routable", routable, n);
    allocate_print("reached", reached, n);
    printf("count=%zu\n", n);

    return 0;
}
