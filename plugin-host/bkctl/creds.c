/*
 * Credentials on disk: the only file of bkctl that writes any.
 *
 * A file is written under another name, 0600 from its first byte, and then
 * renamed over the old one: a build tool that reads it while bkctl renews
 * sees the old or the new one, whole.
 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bkctl.h"


#define BK_PEM_MAX         (256 * 1024)
#define BK_TOKEN_FILE_MAX  (1024 * 1024)


static int bk_creds_mkdir(const char *dir);
static int bk_creds_file(const char *dir, const char *name, const char *data,
    size_t len);
static int bk_creds_pem(const char *dir, const char *name,
    const json_t *answer, const char *key);
static int bk_token_load(const char *path, char **data, size_t *len);
static int bk_token_parse(bk_token_t *t, char *data, size_t len,
    const char *from);
static int bk_token_valid(const char *s, size_t len);


int
bk_creds_write(const char *dir, const json_t *answer)
{
    int    rc;
    char  *text;

    if (bk_creds_mkdir(dir) != 0
        || bk_creds_pem(dir, "ca.pem", answer, "caCert") != 0
        || bk_creds_pem(dir, "key.pem", answer, "clientKey") != 0
        || bk_creds_pem(dir, "cert.pem", answer, "clientCert") != 0)
    {
        return -1;
    }

    text = json_dumps(answer, JSON_INDENT(2));

    if (text == NULL) {
        abort();
    }

    rc = bk_creds_file(dir, "alloc.json", text, strlen(text));
    explicit_bzero(text, strlen(text));
    free(text);

    return rc;
}


static int
bk_creds_mkdir(const char *dir)
{
    struct stat  st;

    if (mkdir(dir, 0700) == 0) {
        return 0;
    }

    if (errno != EEXIST) {
        bk_out_error("cannot make the folder %s: %s", dir, strerror(errno));
        return -1;
    }

    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        bk_out_error("%s is not a folder", dir);
        bk_out_hint("give --out a folder, or a name that is free");
        return -1;
    }

    /* its owner could put another allocation's credentials there */

    if (st.st_uid != geteuid() && st.st_uid != 0) {
        bk_out_error("the folder %s belongs to somebody else, who could "
                     "replace the credentials in it", dir);
        bk_out_hint("give --out a folder of your own, or a name that is "
                    "free");
        return -1;
    }

    if (st.st_mode & S_IWOTH) {
        bk_out_note("bkctl: warning: everybody may write into %s, and so "
                    "replace the credentials in it", dir);
    }

    return 0;
}


static int
bk_creds_pem(const char *dir, const char *name, const json_t *answer,
    const char *key)
{
    int             n, rc;
    size_t          len;
    const char     *value;
    unsigned char  *pem;

    value = bk_out_string(answer, key);
    len = strlen(value);

    if (len == 0) {
        return 0;       /* no key where a CSR was sent; no CA when renewed */
    }

    if (strncmp(value, "-----BEGIN ", 11) == 0) {
        return bk_creds_file(dir, name, value, len);
    }

    if (len > BK_PEM_MAX || len % 4 != 0) {
        bk_out_error("the API's %s is not base64", key);
        return -1;
    }

    pem = malloc(len / 4 * 3 + 1);

    if (pem == NULL) {
        abort();
    }

    n = EVP_DecodeBlock(pem, (const unsigned char *) value, (int) len);

    /* the decoder counts padding as bytes */

    if (n > 0) {
        n -= (value[len - 1] == '=') + (value[len - 2] == '=');
    }

    if (n < 11 || memcmp(pem, "-----BEGIN ", 11) != 0) {
        bk_out_error("the API's %s is not PEM in base64", key);
        rc = -1;

    } else {
        rc = bk_creds_file(dir, name, (char *) pem, (size_t) n);
    }

    explicit_bzero(pem, len / 4 * 3);
    free(pem);

    return rc;
}


static int
bk_creds_file(const char *dir, const char *name, const char *data, size_t len)
{
    int      fd, saved;
    char     tmp[PATH_MAX + 8], path[PATH_MAX];
    ssize_t  n;

    if ((size_t) snprintf(path, sizeof(path), "%s/%s", dir, name)
        >= sizeof(path))
    {
        bk_out_error("the name of the folder %.40s... is too long", dir);
        return -1;
    }

    snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path);

    /* mkostemp() makes it 0600, whatever the umask is */
    fd = mkostemp(tmp, O_CLOEXEC);

    if (fd == -1) {
        bk_out_error("cannot write into %s: %s", dir, strerror(errno));
        return -1;
    }

    while (len) {
        n = write(fd, data, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            goto failed;
        }

        data += n;
        len -= (size_t) n;
    }

    if (close(fd) == 0 && rename(tmp, path) == 0) {
        return 0;
    }

    fd = -1;

failed:

    saved = errno;

    if (fd != -1) {
        close(fd);
    }

    unlink(tmp);
    bk_out_error("cannot write %s: %s", path, strerror(saved));

    return -1;
}


void
bk_creds_remove(const char *dir)
{
    size_t       i;
    char         path[PATH_MAX + 16];
    const char  *names[] = { "ca.pem", "cert.pem", "key.pem", "alloc.json" };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }

    if (rmdir(dir) != 0 && errno != ENOENT) {
        bk_out_note("bkctl: warning: %s stays: %s", dir, strerror(errno));
    }
}


int
bk_creds_tempdir(char *path, size_t size)
{
    size_t       i;
    const char  *base[] = { getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"),
                            "/tmp" };

    for (i = 0; i < sizeof(base) / sizeof(base[0]); i++) {

        if (base[i] == NULL || base[i][0] != '/'
            || (size_t) snprintf(path, size, "%s/bkctl-XXXXXX", base[i])
               >= size)
        {
            continue;
        }

        if (mkdtemp(path) != NULL) {
            return 0;
        }
    }

    bk_out_error("cannot make a folder in /tmp: %s", strerror(errno));
    path[0] = '\0';

    return -1;
}


int
bk_creds_absolute(const char *dir, char path[PATH_MAX])
{
    if (realpath(dir, path) == NULL) {
        bk_out_error("cannot find %s: %s", dir, strerror(errno));
        return -1;
    }

    return 0;
}


int
bk_token_read(const bk_args_t *args, bk_token_t *t)
{
    char         path[PATH_MAX], *data, *slash;
    size_t       len;
    const char  *from, *dir;

    memset(t, 0, sizeof(bk_token_t));
    from = args->argc ? args->argv[0] : args->token_file;

    if (args->argc && args->token_file) {
        return bk_args_usage(args->verb, "FILE and --token-file are the "
                             "same thing: give one of them");
    }

    if (from == NULL) {
        dir = getenv("BKCTL_TLS_DIR");

        if (dir == NULL || *dir == '\0') {
            return bk_args_usage(args->verb, "of which allocation? name its "
                                 "alloc.json, or set BKCTL_TLS_DIR");
        }

        snprintf(path, sizeof(path), "%s/alloc.json", dir);
        from = path;
    }

    if (bk_token_load(from, &data, &len) != 0) {
        return BK_EXIT_USAGE;
    }

    if (bk_token_parse(t, data, len, from) != 0) {
        explicit_bzero(data, len);
        free(data);
        return BK_EXIT_USAGE;
    }

    explicit_bzero(data, len);
    free(data);

    bk_token_id(t->token, t->id);

    if (t->alloc && strcmp(from, "-") != 0) {
        snprintf(t->dir, sizeof(t->dir), "%s", from);
        slash = strrchr(t->dir, '/');

        if (slash == NULL) {
            strcpy(t->dir, ".");

        } else {
            slash[slash == t->dir] = '\0';
        }
    }

    return BK_EXIT_OK;
}


static int
bk_token_load(const char *path, char **data, size_t *len)
{
    int      fd, saved;
    char    *buf;
    ssize_t  n;

    fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO)
                                : open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        saved = errno;

        /* somebody gave the token itself: do not say it again */

        if (strlen(path) >= 43 && bk_token_valid(path, strlen(path))) {
            bk_out_error("a token is never an argument: others can read it "
                         "in the list of processes");
            bk_out_hint("put it into a file, or: ... | bkctl release -");

        } else {
            bk_out_error("cannot read %s: %s", path, strerror(saved));
            bk_out_hint("name the alloc.json that bkctl allocate --out "
                        "wrote");
        }

        return -1;
    }

    buf = malloc(BK_TOKEN_FILE_MAX + 1);

    if (buf == NULL) {
        abort();
    }

    *len = 0;

    while (*len <= BK_TOKEN_FILE_MAX) {
        n = read(fd, buf + *len, BK_TOKEN_FILE_MAX + 1 - *len);

        if (n < 0 && errno == EINTR) {
            continue;
        }

        if (n < 0) {
            bk_out_error("cannot read %s: %s", path, strerror(errno));
            close(fd);
            free(buf);
            return -1;
        }

        if (n == 0) {
            break;
        }

        *len += (size_t) n;
    }

    close(fd);
    *data = buf;

    return 0;
}


static int
bk_token_parse(bk_token_t *t, char *data, size_t len, const char *from)
{
    json_t      *json;
    const char  *token;

    while (len && strchr(" \t\r\n", data[len - 1])) {
        len--;
    }

    if (len && data[0] == '{') {
        json = json_loadb(data, len, 0, NULL);
        token = bk_out_string(json, "token");

        if (*token == '\0') {
            token = bk_out_string(json, "allocationToken");
        }

        if (bk_token_valid(token, strlen(token))) {
            memcpy(t->token, token, strlen(token) + 1);
            t->alloc = json;
            return 0;
        }

        json_decref(json);

    } else if (bk_token_valid(data, len)) {
        memcpy(t->token, data, len);
        t->token[len] = '\0';
        return 0;
    }

    bk_out_error("there is no token in %s",
                 strcmp(from, "-") == 0 ? "what came on stdin" : from);
    bk_out_hint("name the alloc.json that bkctl allocate --out wrote, or a "
                "file with the token alone");

    return -1;
}


/* base64url, as tokens of all issuers are */

static int
bk_token_valid(const char *s, size_t len)
{
    size_t  i;

    if (len == 0 || len > BK_TOKEN_MAX) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z')
              || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '-' || s[i] == '_'))
        {
            return 0;
        }
    }

    return 1;
}


void
bk_token_free(bk_token_t *t)
{
    json_decref(t->alloc);
    explicit_bzero(t, sizeof(bk_token_t));
}


void
bk_token_id(const char *token, char *id)
{
    int            i;
    unsigned char  hash[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *) token, strlen(token), hash);

    for (i = 0; i < 6; i++) {
        snprintf(id + i * 2, 3, "%02x", hash[i]);
    }
}
