/*
 * BuildKitOIDCConfig objects as the file of plugin oidc (doc/oidc.md): see
 * ct_oidc.h.  What is written here that plugin must take: one that it refuses
 * would cost all the others, so this is as strict as its file_check.c.
 */

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bk_err.h"
#include "bk_slurp.h"
#include "ct_oidc.h"


#define CT_OIDC_FILE_MAX  (1024 * 1024)


static int ct_oidc_name(const char *name, bk_err_t *err);
static int ct_oidc_url(const char *url, bk_err_t *err);
static int ct_oidc_printable(json_t *value, size_t max);
static int ct_oidc_ca(json_t *pem, bk_err_t *err);


json_t *
ct_oidc_issuer(json_t *obj, const char *dir, bk_err_t *err)
{
    char         path[4096];
    json_t      *spec, *user, *ca, *out;
    const char  *name, *url;

    memset(err, 0, sizeof(bk_err_t));
    spec = json_object_get(obj, "spec");
    name = obj_text(json_object_get(obj, "metadata"), "name");
    url = obj_text(spec, "issuer");
    user = json_object_get(json_object_get(spec, "claimsMapping"), "user");
    ca = json_object_get(spec, "caBundle");

    if (ct_oidc_name(name, err) != 0 || ct_oidc_url(url, err) != 0) {
        return NULL;
    }

    if (!ct_oidc_printable(json_object_get(spec, "audience"), CT_OIDC_TEXT)) {
        bk_err_set(err, 400, "BadAudience", "audience must be of 1 to %d "
                   "printable ASCII characters", CT_OIDC_TEXT);
        return NULL;
    }

    if (json_string_length(user) == 0) {
        user = NULL;
    }

    if (user != NULL && !ct_oidc_printable(user, 255)) {
        bk_err_set(err, 400, "BadClaim", "claimsMapping.user must be of "
                   "printable ASCII characters, 255 at most");
        return NULL;
    }

    if (ca != NULL && ct_oidc_ca(ca, err) != 0) {
        return NULL;
    }

    out = json_pack("{s:s, s:s, s:[O]}", "name", name, "issuer", url,
                    "audience", json_object_get(spec, "audience"));

    if (user != NULL) {
        json_object_set_new(out, "claims", json_pack("{s:O}", "user", user));
    }

    if (ca != NULL) {
        snprintf(path, sizeof(path), "%s/" CT_OIDC_CA "%s.pem", dir, name);
        json_object_set_new(out, "caFile", json_string(path));
    }

    return out;
}


/* It is the source in access rules. */

static int
ct_oidc_name(const char *name, bk_err_t *err)
{
    size_t  len = strlen(name);

    if (len == 0 || len > CT_OIDC_NAME
        || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != len)
    {
        return bk_err_set(err, 400, "BadName", "its name is the source in "
                          "access rules, and so of %d characters at most",
                          CT_OIDC_NAME);
    }

    if (strcmp(name, "unix") == 0 || strcmp(name, "token") == 0) {
        return bk_err_set(err, 400, "BadName", "%s is the name of a source "
                          "that is always there", name);
    }

    return 0;
}


static int
ct_oidc_url(const char *url, bk_err_t *err)
{
    char        *scheme = NULL, *host = NULL, *part = NULL;
    CURLU       *u = curl_url();
    const char  *bad = NULL;

    if (u == NULL) {
        abort();
    }

    if (strlen(url) > CT_OIDC_TEXT
        || strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789-._~:/?#[]@!$&'()*+,;=%") != strlen(url)
        || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK
        || host[0] == '\0')
    {
        bad = "must be a URL";

    } else if (strcmp(scheme, "https") != 0) {
        bad = "must be https: over http anybody between could give it keys";

    } else if (curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK
               || curl_url_get(u, CURLUPART_FRAGMENT, &part, 0) == CURLUE_OK
               || curl_url_get(u, CURLUPART_QUERY, &part, 0) == CURLUE_OK)
    {
        bad = "must have no user, query or fragment";
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(part);
    curl_url_cleanup(u);

    return bad == NULL ? 0 : bk_err_set(err, 400, "BadIssuer", "issuer %s",
                                        bad);
}


/* Others have more than one way into YAML, and no place in a token. */

static int
ct_oidc_printable(json_t *value, size_t max)
{
    size_t       i, len = json_string_length(value);
    const char  *s = json_string_value(value);

    if (s == NULL || len == 0 || len > max) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (s[i] < 0x20 || s[i] > 0x7e) {
            return 0;
        }
    }

    return 1;
}


static int
ct_oidc_ca(json_t *pem, bk_err_t *err)
{
    BIO     *bio;
    X509    *x = NULL;
    size_t   len = json_string_length(pem);

    if (len > 0 && len <= CT_OIDC_CA_MAX
        && strlen(json_string_value(pem)) == len)
    {
        bio = BIO_new_mem_buf(json_string_value(pem), (int) len);
        x = PEM_read_bio_X509(bio, NULL, NULL, (void *) "");
        BIO_free(bio);
        X509_free(x);
        ERR_clear_error();
    }

    return x != NULL ? 0 : bk_err_set(err, 400, "BadCA", "caBundle must be of "
                                      "certificates (PEM), %d bytes at most",
                                      CT_OIDC_CA_MAX);
}


char *
ct_oidc_text(json_t *issuers)
{
    char    *text;
    json_t  *doc = json_pack("{s:O}", "issuers", issuers);

    text = json_dumps(doc, JSON_INDENT(1));
    json_decref(doc);

    if (text == NULL) {
        abort();
    }

    return text;
}


/* Whole or not at all; nothing when it is so already. */

int
ct_oidc_write(const char *dir, const char *name, const char *text,
    bk_err_t *err)
{
    int      fd, bad;
    char     path[PATH_MAX], made[PATH_MAX + 4], *old;
    size_t   len = strlen(text), size;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    snprintf(made, sizeof(made), "%s.tmp", path);
    old = bk_slurp(path, CT_OIDC_FILE_MAX, &size);

    if (old != NULL && size == len && memcmp(old, text, len) == 0) {
        free(old);
        return 0;
    }

    free(old);
    (void) unlink(made);

    fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
              0600);

    if (fd != -1) {
        errno = ENOSPC;
        bad = write(fd, text, len) != (ssize_t) len;

        if (close(fd) == 0 && !bad && rename(made, path) == 0) {
            return 0;
        }

        (void) unlink(made);
    }

    return bk_err_set(err, 500, "CannotWrite", "cannot write %s: %s", path,
                      strerror(errno));
}
