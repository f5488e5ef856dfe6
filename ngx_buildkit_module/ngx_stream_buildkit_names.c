
/*
 * buildkit_names: one address for many pools.  Which name leads to which
 * pool, and with which certificate, is in a folder that plugin-host writes
 * (bk_names.h, plugin-host/doc/names.md).
 *
 * Looked at with each tick; a text is taken as a whole or not at all, and
 * while there is none that is good the last good one counts.  A name only
 * narrows what a client's certificate says: it opens nothing.
 */


#include "ngx_stream_buildkit_names.h"


static void ngx_stream_buildkit_names_cleanup(void *data);
static ngx_uint_t ngx_stream_buildkit_names_look(
    ngx_stream_buildkit_names_t *names);
static ngx_uint_t ngx_stream_buildkit_names_read(
    ngx_stream_buildkit_names_t *names, ngx_fd_t fd);
static ngx_uint_t ngx_stream_buildkit_names_parse(
    ngx_stream_buildkit_names_t *names, char *text, size_t len);
static void ngx_stream_buildkit_names_complain(
    ngx_stream_buildkit_names_t *names, ngx_err_t err, const char *what);
static ngx_uint_t ngx_stream_buildkit_names_address(const char *sni,
    size_t len);


char *
ngx_stream_buildkit_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf = conf;

    u_char                            *p;
    ngx_str_t                         *value;
    ngx_pool_cleanup_t                *cln;
    ngx_stream_buildkit_names_t       *names;
    ngx_stream_buildkit_main_conf_t   *bmcf;

    if (bscf->names) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs a path";
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (value[1].len > 1 && value[1].data[value[1].len - 1] == '/') {
        value[1].len--;
    }

    bmcf = ngx_stream_conf_get_module_main_conf(cf,
                                                ngx_stream_buildkit_module);

    /* servers may share a folder */

    for (names = bmcf->names; names; names = names->next) {
        if (names->path.len == value[1].len
            && ngx_memcmp(names->path.data, value[1].data, value[1].len) == 0)
        {
            bscf->names = names;
            return NGX_CONF_OK;
        }
    }

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_stream_buildkit_names_t));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    names = cln->data;
    ngx_memzero(names, sizeof(ngx_stream_buildkit_names_t));

    p = ngx_pnalloc(cf->pool, value[1].len + sizeof("/" BK_NAMES_FILE));
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    names->path = value[1];
    names->file.data = p;
    names->file.len = ngx_sprintf(p, "%V/" BK_NAMES_FILE "%Z", &value[1]) - p
                      - 1;
    names->log = &cf->cycle->new_log;

    ngx_stream_buildkit_names_cert_create(names);

    cln->handler = ngx_stream_buildkit_names_cleanup;

    names->next = bmcf->names;
    bmcf->names = names;
    bscf->names = names;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_stream_buildkit_names_init(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;
    ngx_stream_buildkit_ssl_conf_t  *sslcf;

    bscf = cscf->ctx->srv_conf[ngx_stream_buildkit_module.ctx_index];
    sslcf = cscf->ctx->srv_conf[ngx_stream_ssl_module.ctx_index];

    if (bscf->names == NULL) {
        return NGX_OK;
    }

    if (sslcf->certificate_values) {

        /* there is one callback for a handshake's certificate, and one of
         * both would never be asked */

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_names\" cannot be used with variables in "
                      "\"ssl_certificate\", server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    SSL_CTX_set_cert_cb(sslcf->ssl.ctx, ngx_stream_buildkit_names_cert,
                        bscf->names);

    return NGX_OK;
}


static void
ngx_stream_buildkit_names_cleanup(void *data)
{
    ngx_stream_buildkit_names_t  *names = data;

    ngx_stream_buildkit_names_cert_free(names);

    ngx_free(names->text);
    ngx_free(names->names);
}


void
ngx_stream_buildkit_names_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_log_t *log)
{
    ngx_stream_buildkit_names_t  *names;

    for (names = bmcf->names; names; names = names->next) {
        names->log = log;
        (void) ngx_stream_buildkit_names_look(names);
    }
}


ngx_uint_t
ngx_stream_buildkit_names_tick(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_uint_t                    changed;
    ngx_stream_buildkit_names_t  *names;

    changed = 0;

    for (names = bmcf->names; names; names = names->next) {
        changed |= ngx_stream_buildkit_names_look(names);
    }

    return changed;
}


/* 1: there are other names than before */

static ngx_uint_t
ngx_stream_buildkit_names_look(ngx_stream_buildkit_names_t *names)
{
    ngx_fd_t         fd;
    ngx_uint_t       changed;
    ngx_file_info_t  fi;

    if (ngx_file_info(names->file.data, &fi) == NGX_FILE_ERROR) {
        ngx_stream_buildkit_names_complain(names, ngx_errno,
                                           "cannot be looked at");
        return 0;
    }

    if (names->read && fi.st_dev == names->dev && fi.st_ino == names->ino
        && fi.st_size == names->size
        && fi.st_mtim.tv_sec == names->mtime.tv_sec
        && fi.st_mtim.tv_nsec == names->mtime.tv_nsec)
    {
        return 0;
    }

    /* O_NONBLOCK: a FIFO at the path must not stop the process */

    fd = open((char *) names->file.data, O_RDONLY|O_NONBLOCK|O_CLOEXEC);

    if (fd == NGX_INVALID_FILE) {
        ngx_stream_buildkit_names_complain(names, ngx_errno,
                                           "cannot be opened");
        return 0;
    }

    changed = ngx_stream_buildkit_names_read(names, fd);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, names->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &names->file);
    }

    return changed;
}


static ngx_uint_t
ngx_stream_buildkit_names_read(ngx_stream_buildkit_names_t *names,
    ngx_fd_t fd)
{
    char             *text;
    size_t            size, len;
    ssize_t           n;
    ngx_file_info_t   fi;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_stream_buildkit_names_complain(names, ngx_errno,
                                           "cannot be looked at");
        return 0;
    }

    if (!ngx_is_file(&fi) || fi.st_size > BK_NAMES_SIZE_MAX) {
        ngx_stream_buildkit_names_complain(names, 0,
                                           ngx_is_file(&fi)
                                           ? "is too large"
                                           : "is not a file");
        return 0;
    }

    size = (size_t) fi.st_size;

    text = ngx_alloc(size + 1, names->log);
    if (text == NULL) {
        return 0;
    }

    for (len = 0; len < size; len += n) {
        n = read(fd, text + len, size - len);

        if (n == -1) {
            ngx_stream_buildkit_names_complain(names, ngx_errno,
                                               "cannot be read");
            ngx_free(text);
            return 0;
        }

        if (n == 0) {
            break;
        }
    }

    /* whatever is in it: it is read once */

    names->read = 1;
    names->dev = fi.st_dev;
    names->ino = fi.st_ino;
    names->size = fi.st_size;
    names->mtime = fi.st_mtim;

    if (ngx_stream_buildkit_names_parse(names, text, len)) {
        return 1;
    }

    ngx_free(text);

    return 0;
}


static ngx_uint_t
ngx_stream_buildkit_names_parse(ngx_stream_buildkit_names_t *names,
    char *text, size_t len)
{
    int          rc;
    bk_name_t   *list, name;
    ngx_uint_t   n;
    bk_names_t   r;

    list = NULL;
    n = 0;

    rc = bk_names_open(&r, text, len);

    if (rc == 0) {
        list = ngx_alloc(r.count * sizeof(bk_name_t) + 1, names->log);

        if (list == NULL) {
            names->read = 0;
            return 0;
        }

        while ((rc = bk_names_next(&r, &name)) == 1) {
            list[n++] = name;
        }
    }

    if (rc != 0) {
        ngx_log_error(NGX_LOG_ERR, names->log, 0,
                      "buildkit: \"%V\" has a mistake in line %uD: %s; the "
                      "names stay as they are", &names->file, r.line, r.why);

        names->what = NULL;
        ngx_free(list);

        return 0;
    }

    ngx_log_error(NGX_LOG_INFO, names->log, 0,
                  "buildkit: %ui names in \"%V\"", n, &names->file);

    ngx_free(names->text);
    ngx_free(names->names);

    names->text = text;
    names->names = list;
    names->n = n;
    names->class_name = r.class_name;
    names->what = NULL;

    ngx_stream_buildkit_names_cert_sweep(names);

    return 1;
}


/* once for each kind of trouble, until there is none */

static void
ngx_stream_buildkit_names_complain(ngx_stream_buildkit_names_t *names,
    ngx_err_t err, const char *what)
{
    /* when it is there again it is read again */

    names->read = 0;

    if (names->what == what && names->err == err) {
        return;
    }

    names->what = what;
    names->err = err;

    ngx_log_error(NGX_LOG_ERR, names->log, err,
                  "buildkit: names \"%V\" %s: %s", &names->file, what,
                  names->text ? "they stay as they are"
                              : "clients that ask for a name have to wait");
}


const bk_name_t *
ngx_stream_buildkit_names_find(ngx_stream_buildkit_names_t *names,
    const char *sni, ngx_str_t *host)
{
    size_t  len;

    len = ngx_strlen(sni);

    if (len && sni[len - 1] == '.') {
        len--;
    }

    host->len = ngx_min(len, BK_NAMES_HOST_MAX);
    ngx_strlow(host->data, (u_char *) sni, host->len);

    if (len > BK_NAMES_HOST_MAX) {
        return NULL;
    }

    return bk_names_find(names->names, names->n, (char *) host->data,
                         host->len);
}


ngx_int_t
ngx_stream_buildkit_names_check(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    u_char                           buf[BK_NAMES_HOST_MAX];
    ngx_str_t                        host;
    const char                      *sni;
    const bk_name_t                 *name;
    ngx_stream_buildkit_names_t     *names;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    names = bscf->names;

    if (names == NULL) {
        return NGX_OK;
    }

    sni = SSL_get_servername(s->connection->ssl->connection,
                             TLSEXT_NAMETYPE_host_name);

    if (sni == NULL || ngx_stream_buildkit_names_address(sni, ngx_strlen(sni)))
    {
        return NGX_OK;
    }

    if (names->text == NULL) {

        /* there is more to say about one that is over */

        return bk_alloc_ended(ctx->state)
               ? NGX_OK : ngx_stream_buildkit_decide_names(s, ctx);
    }

    host.data = buf;
    name = ngx_stream_buildkit_names_find(names, sni, &host);

    if (name == NULL) {
        return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_POOL,
                   "no pool has the name %V here%s%*s%s; allocation %*s is of "
                   "pool %V: connect to the address that bkctl allocate "
                   "printed",
                   &host,
                   names->class_name.len ? " (Ingress of class " : "",
                   names->class_name.len, names->class_name.data,
                   names->class_name.len ? ")" : "",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->pool);
    }

    if (name->pool.len != ctx->pool.len
        || ngx_memcmp(name->pool.data, ctx->pool.data, ctx->pool.len) != 0)
    {
        return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_POOL,
                   "allocation %*s is of pool %V, and %V is the name of pool "
                   "%*s; connect to the address that bkctl allocate printed",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->pool,
                   &host, name->pool.len, name->pool.data);
    }

    if (name->arch.len == 0 || route->worker_rc != BK_TABLE_OK
        || route->worker.arch_len == 0 || bk_alloc_ended(ctx->state)
        || (name->arch.len == route->worker.arch_len
            && ngx_memcmp(name->arch.data, route->worker.arch,
                          name->arch.len) == 0))
    {
        return NGX_OK;
    }

    return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_POOL,
               "worker %V of allocation %*s is of architecture %*s, and %V is "
               "for %*s only; connect to another name of pool %V, or run "
               "bkctl allocate with --arch %*s",
               &ctx->worker,
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
               (size_t) route->worker.arch_len, route->worker.arch, &host,
               name->arch.len, name->arch.data, &ctx->pool,
               name->arch.len, name->arch.data);
}


/* not for SNI, but some clients send them */

static ngx_uint_t
ngx_stream_buildkit_names_address(const char *sni, size_t len)
{
    if (len && sni[len - 1] == '.') {
        len--;
    }

    return ngx_strlchr((u_char *) sni, (u_char *) sni + len, ':')
           || ngx_inet_addr((u_char *) sni, len) != INADDR_NONE;
}
