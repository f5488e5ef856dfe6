
/*
 * Certificates by name: what a handshake gets in place of ssl_certificate.
 *
 * Loaded when a name is first asked for, kept while a line has it, least
 * recently used out first.  A certificate that cannot be used leaves the
 * handshake as it was: its client gets the default one, and a text.
 */


#include "ngx_stream_buildkit_names.h"


#define NGX_STREAM_BUILDKIT_NAMES_CERTS  2048
/* a file never changes: what went wrong is tried again after so many ms */
#define NGX_STREAM_BUILDKIT_NAMES_AGAIN  10000
#define NGX_STREAM_BUILDKIT_NAMES_CHAIN  10


struct ngx_stream_buildkit_cert_s {
    ngx_rbtree_node_t            node;      /* key: of the file's name */
    ngx_queue_t                  queue;
    char                         file[BK_NAMES_CERT_LEN];

    X509                        *cert;      /* NULL: cannot be used */
    EVP_PKEY                    *key;
    STACK_OF(X509)              *chain;

    ngx_msec_t                   tried;
    unsigned                     proven:1;
    unsigned                     kept:1;
};


static void ngx_stream_buildkit_names_cert_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_rbtree_key_t ngx_stream_buildkit_names_cert_key(const char *file);
static ngx_stream_buildkit_cert_t *ngx_stream_buildkit_names_cert_find(
    ngx_stream_buildkit_names_t *names, const char *file);
static ngx_stream_buildkit_cert_t *ngx_stream_buildkit_names_cert_get(
    ngx_stream_buildkit_names_t *names, const char *file, ngx_str_t *host);
static void ngx_stream_buildkit_names_cert_drop(
    ngx_stream_buildkit_names_t *names, ngx_stream_buildkit_cert_t *cert);
static void ngx_stream_buildkit_names_cert_forget(
    ngx_stream_buildkit_cert_t *cert);
static const char *ngx_stream_buildkit_names_cert_load(
    ngx_stream_buildkit_names_t *names, ngx_stream_buildkit_cert_t *cert);
static ssize_t ngx_stream_buildkit_names_cert_read(
    ngx_stream_buildkit_names_t *names, ngx_stream_buildkit_cert_t *cert,
    u_char *buf, size_t size);
static const char *ngx_stream_buildkit_names_cert_parse(
    ngx_stream_buildkit_cert_t *cert, u_char *buf, size_t len);
static int ngx_stream_buildkit_names_cert_password(char *buf, int size,
    int rwflag, void *data);
static ngx_int_t ngx_stream_buildkit_names_cert_use(ngx_ssl_conn_t *ssl_conn,
    ngx_stream_buildkit_cert_t *cert);


void
ngx_stream_buildkit_names_cert_create(ngx_stream_buildkit_names_t *names)
{
    ngx_queue_init(&names->used);
    ngx_rbtree_init(&names->certs, &names->sentinel,
                    ngx_stream_buildkit_names_cert_insert);
}


void
ngx_stream_buildkit_names_cert_free(ngx_stream_buildkit_names_t *names)
{
    while (!ngx_queue_empty(&names->used)) {
        ngx_stream_buildkit_names_cert_drop(names,
            ngx_queue_data(ngx_queue_head(&names->used),
                           ngx_stream_buildkit_cert_t, queue));
    }
}


void
ngx_stream_buildkit_names_cert_sweep(ngx_stream_buildkit_names_t *names)
{
    ngx_uint_t                   i;
    ngx_queue_t                 *q, *next;
    ngx_stream_buildkit_cert_t  *cert;

    if (ngx_queue_empty(&names->used)) {
        return;
    }

    for (i = 0; i < names->n; i++) {

        if (names->names[i].cert.len == 0) {
            continue;
        }

        cert = ngx_stream_buildkit_names_cert_find(names,
                                                   names->names[i].cert.data);
        if (cert) {
            cert->kept = 1;
        }
    }

    for (q = ngx_queue_head(&names->used);
         q != ngx_queue_sentinel(&names->used);
         q = next)
    {
        next = ngx_queue_next(q);
        cert = ngx_queue_data(q, ngx_stream_buildkit_cert_t, queue);

        if (!cert->kept) {
            ngx_stream_buildkit_names_cert_drop(names, cert);
            continue;
        }

        cert->kept = 0;
    }
}


/* called by OpenSSL once it knows the client's name; 1: goes on */

int
ngx_stream_buildkit_names_cert(ngx_ssl_conn_t *ssl_conn, void *arg)
{
    ngx_stream_buildkit_names_t  *names = arg;

    u_char                       buf[BK_NAMES_HOST_MAX];
    ngx_str_t                    host;
    const char                  *sni;
    const bk_name_t             *name;
    ngx_stream_buildkit_cert_t  *cert;

    sni = SSL_get_servername(ssl_conn, TLSEXT_NAMETYPE_host_name);

    if (sni == NULL) {
        return 1;
    }

    host.data = buf;
    name = ngx_stream_buildkit_names_find(names, sni, &host);

    if (name == NULL || name->cert.len == 0) {
        return 1;
    }

    cert = ngx_stream_buildkit_names_cert_get(names, name->cert.data, &host);

    if (cert == NULL || cert->cert == NULL) {
        return 1;
    }

    if (ngx_stream_buildkit_names_cert_use(ssl_conn, cert) != NGX_OK) {

        if (!cert->proven) {
            ngx_stream_buildkit_names_cert_forget(cert);
        }

        ngx_ssl_error(NGX_LOG_ERR, names->log, 0,
                      "buildkit: certificate \"%V/%*s\" of %V cannot be used, "
                      "clients get the default one",
                      &names->path, (size_t) BK_NAMES_CERT_LEN, cert->file,
                      &host);

        return cert->proven ? 0 : 1;
    }

    return 1;
}


/*
 * A key that is too weak for the server's policy is refused before anything
 * is changed; then the default certificate is still there.  Later those of
 * other kinds are cleared: a client that can do both would get the default
 * one of the kind that this name has none of.
 */

static ngx_int_t
ngx_stream_buildkit_names_cert_use(ngx_ssl_conn_t *ssl_conn,
    ngx_stream_buildkit_cert_t *cert)
{
    if (!cert->proven) {

        if (SSL_use_cert_and_key(ssl_conn, cert->cert, cert->key, cert->chain,
                                 1)
            != 1)
        {
            return NGX_ERROR;
        }

        cert->proven = 1;
    }

    SSL_certs_clear(ssl_conn);

    return (SSL_use_cert_and_key(ssl_conn, cert->cert, cert->key, cert->chain,
                                 1)
            == 1) ? NGX_OK : NGX_ERROR;
}


static ngx_stream_buildkit_cert_t *
ngx_stream_buildkit_names_cert_get(ngx_stream_buildkit_names_t *names,
    const char *file, ngx_str_t *host)
{
    const char                  *why;
    ngx_stream_buildkit_cert_t  *cert;

    cert = ngx_stream_buildkit_names_cert_find(names, file);

    if (cert) {
        ngx_queue_remove(&cert->queue);
        ngx_queue_insert_head(&names->used, &cert->queue);

        if (cert->cert || ngx_current_msec - cert->tried
                          < NGX_STREAM_BUILDKIT_NAMES_AGAIN)
        {
            return cert;
        }

    } else {

        if (names->ncerts == NGX_STREAM_BUILDKIT_NAMES_CERTS) {
            ngx_stream_buildkit_names_cert_drop(names,
                ngx_queue_data(ngx_queue_last(&names->used),
                               ngx_stream_buildkit_cert_t, queue));
        }

        cert = ngx_calloc(sizeof(ngx_stream_buildkit_cert_t), names->log);
        if (cert == NULL) {
            return NULL;
        }

        ngx_memcpy(cert->file, file, BK_NAMES_CERT_LEN);

        cert->node.key = ngx_stream_buildkit_names_cert_key(file);
        ngx_rbtree_insert(&names->certs, &cert->node);
        ngx_queue_insert_head(&names->used, &cert->queue);
        names->ncerts++;
    }

    why = ngx_stream_buildkit_names_cert_load(names, cert);

    if (why) {
        ngx_stream_buildkit_names_cert_forget(cert);

        ngx_ssl_error(NGX_LOG_ERR, names->log, 0,
                      "buildkit: certificate \"%V/%*s\" of %V %s, clients get "
                      "the default one",
                      &names->path, (size_t) BK_NAMES_CERT_LEN, cert->file,
                      host, why);
    }

    return cert;
}


/* what it has been: it will be tried again */

static void
ngx_stream_buildkit_names_cert_forget(ngx_stream_buildkit_cert_t *cert)
{
    X509_free(cert->cert);
    EVP_PKEY_free(cert->key);
    sk_X509_pop_free(cert->chain, X509_free);

    cert->cert = NULL;
    cert->key = NULL;
    cert->chain = NULL;

    cert->tried = ngx_current_msec;
}


static void
ngx_stream_buildkit_names_cert_drop(ngx_stream_buildkit_names_t *names,
    ngx_stream_buildkit_cert_t *cert)
{
    ngx_queue_remove(&cert->queue);
    ngx_rbtree_delete(&names->certs, &cert->node);
    names->ncerts--;

    ngx_stream_buildkit_names_cert_forget(cert);
    ngx_free(cert);
}


/* NULL, or what is wrong with it; OpenSSL may have more to say */

static const char *
ngx_stream_buildkit_names_cert_load(ngx_stream_buildkit_names_t *names,
    ngx_stream_buildkit_cert_t *cert)
{
    u_char      *buf;
    ssize_t      len;
    const char  *why;

    buf = ngx_alloc(BK_NAMES_CERT_MAX + 1, names->log);
    if (buf == NULL) {
        return "finds no memory";
    }

    ERR_clear_error();

    len = ngx_stream_buildkit_names_cert_read(names, cert, buf,
                                              BK_NAMES_CERT_MAX + 1);

    why = (len == -1) ? "cannot be read"
        : (len > BK_NAMES_CERT_MAX) ? "is too large"
        : ngx_stream_buildkit_names_cert_parse(cert, buf, len);

    OPENSSL_cleanse(buf, BK_NAMES_CERT_MAX + 1);
    ngx_free(buf);

    return why;
}


static ssize_t
ngx_stream_buildkit_names_cert_read(ngx_stream_buildkit_names_t *names,
    ngx_stream_buildkit_cert_t *cert, u_char *buf, size_t size)
{
    u_char            path[NGX_MAX_PATH];
    size_t            len;
    ssize_t           n;
    ngx_fd_t          fd;
    ngx_file_info_t   fi;

    if (names->path.len + 1 + BK_NAMES_CERT_LEN >= sizeof(path)) {
        return -1;
    }

    (void) ngx_sprintf(path, "%V/%*s%Z", &names->path,
                       (size_t) BK_NAMES_CERT_LEN, cert->file);

    fd = open((char *) path, O_RDONLY|O_NONBLOCK|O_CLOEXEC);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_ERR, names->log, ngx_errno,
                      ngx_open_file_n " \"%s\" failed", path);
        return -1;
    }

    n = -1;
    len = 0;

    if (ngx_fd_info(fd, &fi) != NGX_FILE_ERROR && ngx_is_file(&fi)) {

        while (len < size && (n = read(fd, buf + len, size - len)) > 0) {
            len += n;
        }
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, names->log, ngx_errno,
                      ngx_close_file_n " \"%s\" failed", path);
    }

    return (n == -1) ? -1 : (ssize_t) len;
}


static const char *
ngx_stream_buildkit_names_cert_parse(ngx_stream_buildkit_cert_t *cert,
    u_char *buf, size_t len)
{
    BIO         *bio;
    X509        *x509;
    const char  *why;

    bio = BIO_new_mem_buf(buf, (int) len);
    cert->chain = sk_X509_new_null();

    if (bio == NULL || cert->chain == NULL) {
        BIO_free(bio);
        return "finds no memory";
    }

    why = NULL;

    cert->cert = PEM_read_bio_X509(bio, NULL,
                                   ngx_stream_buildkit_names_cert_password,
                                   NULL);

    while (cert->cert
           && (x509 = PEM_read_bio_X509(bio, NULL,
                                     ngx_stream_buildkit_names_cert_password,
                                     NULL)))
    {
        if (sk_X509_num(cert->chain) == NGX_STREAM_BUILDKIT_NAMES_CHAIN
            || sk_X509_push(cert->chain, x509) == 0)
        {
            X509_free(x509);
            why = "has too long a chain";
            break;
        }
    }

    /* reading them ended with an error, that there is no other one */

    if (cert->cert) {
        ERR_clear_error();
    }

    (void) BIO_reset(bio);

    cert->key = PEM_read_bio_PrivateKey(bio, NULL,
                                     ngx_stream_buildkit_names_cert_password,
                                     NULL);
    BIO_free(bio);

    if (why) {
        return why;
    }

    if (cert->cert == NULL) {
        return "has no certificate in it";
    }

    if (cert->key == NULL) {
        return "has no key in it";
    }

    return X509_check_private_key(cert->cert, cert->key) == 1
           ? NULL : "has the key of another one";
}


/* nobody is there to be asked */

static int
ngx_stream_buildkit_names_cert_password(char *buf, int size, int rwflag,
    void *data)
{
    return 0;
}


static void
ngx_stream_buildkit_names_cert_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t           **p;
    ngx_stream_buildkit_cert_t   *a, *b;

    a = (ngx_stream_buildkit_cert_t *) node;

    for ( ;; ) {

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            b = (ngx_stream_buildkit_cert_t *) temp;
            p = (ngx_memcmp(a->file, b->file, BK_NAMES_CERT_LEN) < 0)
                ? &temp->left : &temp->right;
        }

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


static ngx_stream_buildkit_cert_t *
ngx_stream_buildkit_names_cert_find(ngx_stream_buildkit_names_t *names,
    const char *file)
{
    ngx_int_t                    rc;
    ngx_rbtree_key_t             key;
    ngx_rbtree_node_t           *node;
    ngx_stream_buildkit_cert_t  *cert;

    key = ngx_stream_buildkit_names_cert_key(file);
    node = names->certs.root;

    while (node != &names->sentinel) {

        if (key != node->key) {
            node = (key < node->key) ? node->left : node->right;
            continue;
        }

        cert = (ngx_stream_buildkit_cert_t *) node;

        rc = ngx_memcmp(file, cert->file, BK_NAMES_CERT_LEN);

        if (rc == 0) {
            return cert;
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


/* digits of a SHA-256: any of them will do */

static ngx_rbtree_key_t
ngx_stream_buildkit_names_cert_key(const char *file)
{
    ngx_rbtree_key_t  key;

    ngx_memcpy(&key, file, sizeof(key));

    return key;
}
