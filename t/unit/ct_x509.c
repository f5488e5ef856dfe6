/*
 * Certificates that somebody has put into Secrets (plugins/kubernetes/
 * ct_x509.c, ct_pool_text.c): good ones, and all that must not be given to a
 * gateway or worker.
 */

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin-host/plugins/kubernetes/ct_pool_text.c"
#include "../../plugin-host/plugins/kubernetes/ct_x509.c"
#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/tls_read.c"
#include "ca_int.h"


#define DAY    86400000ull
#define NAMES  "gw,gw.team.svc,10.1.2.3,fd00::7,*.gw.team.internal"


static bk_signer_t  root, same, other;
static uint64_t     now;
static int          checks;


static void
ok(int good, const char *what)
{
    printf("%s %d - %s\n", good ? "ok" : "not ok", ++checks, what);
}


static void
authority(bk_signer_t *s, const char *name)
{
    s->key = bk_ca_key();
    s->cert = bk_ca_self(name, s->key, NULL);
    s->trust = bk_ca_cert_pem(s->cert);
}


/* {cert, key}, to be freed */

static void
leaf(const bk_signer_t *by, int kind, const char *names, char *out[2])
{
    X509               *cert;
    char               *pem;
    size_t              len;
    EVP_PKEY           *key = bk_ca_key();
    bk_cert_request_t   req;

    memset(&req, 0, sizeof(req));
    req.kind = kind;
    req.cn = BK_STR("leaf");
    req.names = (bk_str_t) { names, strlen(names) };
    req.not_after_ms = now + DAY;

    cert = bk_ca_sign(by, &req, key, NULL);
    out[0] = bk_ca_cert_pem(cert);
    pem = bk_ca_key_pem(key, &len);
    out[1] = ct_pool_printf("%.*s", (int) len, pem);
    free(pem);
    X509_free(cert);
    EVP_PKEY_free(key);
}


/* what is wrong with it, or "good" */

static const char *
check(const char *cert, const char *key, const char *ca, const char *names,
    int server, uint64_t at)
{
    ct_pair_t        pair;
    ct_x509_t        info;
    static bk_err_t  err;

    memset(&err, 0, sizeof(err));
    memset(&pair, 0, sizeof(pair));
    pair.cert = cert;
    pair.key = key;
    pair.ca = ca;
    pair.names = names;
    pair.server = server;

    return ct_x509_check(&pair, at, &info, &err) == 0 ? "good" : err.reason;
}


#define is(got, want, what)  ok(strcmp(got, want) == 0, what)


static void
good(void)
{
    char       *a[2], *text;
    ct_pair_t   pair;
    ct_x509_t   info, more;

    leaf(&root, BK_CERT_GATEWAY, NAMES, a);
    is(check(a[0], a[1], root.trust, NAMES, 1, now), "good", "a server's");
    is(check(a[0], a[1], root.trust, NULL, 1, now), "good",
       "no names are asked for");
    is(check(a[0], a[1], root.trust, "GW.team.SVC", 1, now), "good",
       "as names are compared");
    is(check(a[0], a[1], root.trust, "one.gw.team.internal", 1, now), "good",
       "one of all");
    is(check(a[0], a[1], root.trust, ",gw,,", 1, now), "good", "empty names");

    text = ct_pool_printf("subject=gw\n%s\n%strailing", a[0], root.trust);
    is(check(text, a[1], root.trust, NAMES, 1, now), "good",
       "with notes, and what is above it");
    free(text);
    text = ct_pool_printf("%s%s", other.trust, root.trust);
    is(check(a[0], a[1], text, NAMES, 1, now), "good",
       "one of two that are trusted");
    free(text);
    is(check(a[0], a[1], a[0], NAMES, 1, now), "good",
       "who is trusted need not be a root");

    memset(&pair, 0, sizeof(pair));
    pair.cert = a[0];
    pair.key = a[1];
    pair.ca = root.trust;
    pair.server = 1;
    (void) ct_x509_check(&pair, now, &info, NULL);
    ok(info.not_after_ms / 1000 == (now + DAY) / 1000, "its end");
    ok(info.not_before_ms < now && info.not_before_ms > now - DAY,
       "its beginning");
    free(a[0]);
    free(a[1]);

    leaf(&root, BK_CERT_GATEWAY, NAMES, a);
    pair.cert = a[0];
    pair.key = a[1];
    (void) ct_x509_check(&pair, now, &more, NULL);
    is(info.issuer, more.issuer, "of one issuer");
    free(a[0]);
    free(a[1]);

    leaf(&other, BK_CERT_GATEWAY, NAMES, a);
    pair.cert = a[0];
    pair.key = a[1];
    (void) ct_x509_check(&pair, now, &more, NULL);
    ok(strcmp(info.issuer, more.issuer) != 0, "of another");
    free(a[0]);
    free(a[1]);

    leaf(&same, BK_CERT_GATEWAY, NAMES, a);
    pair.cert = a[0];
    pair.key = a[1];
    (void) ct_x509_check(&pair, now, &more, NULL);
    ok(strcmp(info.issuer, more.issuer) != 0, "of another key of its name");
    free(a[0]);
    free(a[1]);

    leaf(&root, BK_CERT_UPSTREAM, "c", a);
    is(check(a[0], a[1], root.trust, NULL, 0, now), "good", "a client's");
    is(check(a[0], a[1], root.trust, NULL, 1, now), "NotTrusted",
       "is no server's");
    free(a[0]);
    free(a[1]);
}


static void
bad(void)
{
    int    i;
    char  *a[2], *b[2], *text, *many;

    leaf(&root, BK_CERT_GATEWAY, NAMES, a);
    leaf(&root, BK_CERT_GATEWAY, NAMES, b);

    is(check(a[0], b[1], root.trust, NAMES, 1, now), "KeyMismatch",
       "another's key");
    is(check(a[0], a[1], other.trust, NAMES, 1, now), "NotTrusted",
       "another authority");
    is(check(a[0], a[1], same.trust, NAMES, 1, now), "NotTrusted",
       "another key of the authority's name");
    is(check(a[0], a[1], root.trust, NAMES, 0, now), "NotTrusted",
       "a server's for a client");
    is(check(a[0], a[1], root.trust, NAMES, 1, now + 2 * DAY), "Expired",
       "too late");
    is(check(a[0], a[1], root.trust, NAMES, 1, now - DAY), "NotYetValid",
       "too early");
    is(check(a[0], a[1], root.trust, "gw,elsewhere", 1, now), "NameMissing",
       "a name is missing");
    is(check(a[0], a[1], root.trust, "10.1.2.4", 1, now), "NameMissing",
       "an address is missing");
    is(check(a[0], a[1], root.trust, "*.team.internal", 1, now),
       "NameMissing", "other names than all");
    is(check(a[0], a[1], root.trust, "x.y.gw.team.internal", 1, now),
       "NameMissing", "below all");

    many = malloc(300);
    memset(many, 'a', 299);
    many[299] = '\0';
    is(check(a[0], a[1], root.trust, many, 1, now), "NameMissing",
       "a long name");
    free(many);

    is(check(NULL, a[1], root.trust, NULL, 1, now), "BadCertificate", "none");
    is(check("", a[1], root.trust, NULL, 1, now), "BadCertificate", "empty");
    is(check("text", a[1], root.trust, NULL, 1, now), "BadCertificate",
       "no PEM");
    is(check(a[1], a[1], root.trust, NULL, 1, now), "BadCertificate",
       "a key for a certificate");
    is(check(a[0], a[0], root.trust, NULL, 1, now), "BadKey",
       "a certificate for a key");
    is(check(a[0], NULL, root.trust, NULL, 1, now), "BadKey", "no key");
    is(check(a[0], a[1], "", NULL, 1, now), "BadCertificate", "no ca.crt");

    text = ct_pool_printf("%s%.*s", a[0], (int) strlen(b[0]) - 60, b[0]);
    is(check(text, a[1], root.trust, NULL, 1, now), "BadCertificate",
       "the second one is cut");
    free(text);

    text = ct_pool_strdup(a[0]);
    memcpy(strchr(text, '\n') + 20, "????", 4);
    is(check(text, a[1], root.trust, NULL, 1, now), "BadCertificate",
       "no base64");
    free(text);

    text = ct_pool_strdup("");

    for (i = 0; i < CT_X509_CERTS; i++) {
        many = ct_pool_printf("%s%s", text, root.trust);
        free(text);
        text = many;
    }

    is(check(a[0], a[1], text, NULL, 1, now), "good", "as many as may be");
    many = ct_pool_printf("%s%s", text, root.trust);
    is(check(a[0], a[1], many, NULL, 1, now), "BadCertificate",
       "one too many");
    free(many);
    free(text);

    text = calloc(1, TLS_READ_MAX + 1);
    memset(text, '\n', TLS_READ_MAX);
    memcpy(text, a[0], strlen(a[0]));
    is(check(text, a[1], root.trust, NULL, 1, now), "BadCertificate",
       "too long");
    free(text);

    for (i = 0; i < 2; i++) {
        free(a[i]);
        free(b[i]);
    }
}


/* names that are not asked for any more */

static const char *
exact(char *a[2], const char *names)
{
    ct_pair_t        pair;
    ct_x509_t        info;
    static bk_err_t  err;

    memset(&err, 0, sizeof(err));
    memset(&pair, 0, sizeof(pair));
    pair.cert = a[0];
    pair.key = a[1];
    pair.ca = root.trust;
    pair.names = names;
    pair.server = 1;
    pair.exact = 1;

    return ct_x509_check(&pair, now, &info, &err) == 0 ? "good" : err.reason;
}


static void
extra(void)
{
    char  *a[2];

    leaf(&root, BK_CERT_GATEWAY, NAMES, a);
    is(exact(a, NAMES), "good", "those that are asked for");
    is(exact(a, "GW,gw.Team.svc,10.1.2.3,FD00:0::7,*.gw.team.internal"),
       "good", "however they are written");
    is(exact(a, "gw,10.1.2.3,fd00::7,*.gw.team.internal"), "NameExtra",
       "a name too many");
    is(exact(a, "gw,gw.team.svc,fd00::7,*.gw.team.internal"), "NameExtra",
       "an address");
    is(exact(a, "gw,gw.team.svc,10.1.2.3,fd00::7,one.gw.team.internal"),
       "NameExtra", "all, where one is asked for");
    is(exact(a, "gw"), "NameExtra", "all but one");
    is(exact(a, "gw,more"), "NameMissing", "one that is missing is told first");
    free(a[0]);
    free(a[1]);
}


/* --- authorities of a plugin's own (src/ca_issue.c) ----------------------- */

static bk_str_t
str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


static char *
copy(bk_str_t s)
{
    return ct_pool_printf("%.*s", (int) s.len, s.data);
}


static const char *
issue(bk_ca_t *ca, const char *cert, const char *key, int kind, char *out[2])
{
    bk_cert_t           made;
    static bk_err_t     err;
    bk_cert_request_t   req;

    memset(&req, 0, sizeof(req));
    memset(&err, 0, sizeof(err));
    req.kind = kind;
    req.cn = BK_STR("leaf");
    req.names = BK_STR("gw");
    req.not_after_ms = now + DAY;

    if (bk_ca_issue_by(ca, str(cert), str(key), &req, &made, &err) != 0) {
        return err.code == 422 || err.code == 400 ? err.reason : "no code";
    }

    out[0] = copy(made.cert);
    out[1] = copy(made.key);

    return made.ca.len == 0 ? "good" : "ca";
}


static void
own(void)
{
    char       *a[2], *b[2], *more[2], *leaf_of[2];
    bk_ca_t     ca;
    bk_err_t    err;
    bk_cert_t   made;

    memset(&ca, 0, sizeof(ca));
    ok(bk_ca_authority(&ca, BK_STR("a/x"), BK_STR(""), &made, &err) == 0,
       "an authority");
    a[0] = copy(made.cert);
    a[1] = copy(made.key);
    (void) bk_ca_authority(&ca, BK_STR("b/y"), BK_STR(""), &made, &err);
    b[0] = copy(made.cert);
    b[1] = copy(made.key);

    is(issue(&ca, a[0], a[1], BK_CERT_GATEWAY, leaf_of), "good", "it signs");
    is(check(leaf_of[0], leaf_of[1], a[0], "gw", 1, now), "good",
       "... what leads to it");
    is(check(leaf_of[0], leaf_of[1], b[0], "gw", 1, now), "NotTrusted",
       "... and not to another");

    /* renewed: each leads to each */
    ok(bk_ca_authority(&ca, BK_STR("a/x"), str(a[1]), &made, &err) == 0,
       "another certificate of its key");
    more[0] = copy(made.cert);
    more[1] = copy(made.key);
    is(more[1], a[1], "... which it still is");
    ok(strcmp(more[0], a[0]) != 0, "... and another one");
    is(check(leaf_of[0], leaf_of[1], more[0], "gw", 1, now), "good",
       "what the first has signed leads to the second");
    free(leaf_of[0]);
    free(leaf_of[1]);
    is(issue(&ca, more[0], more[1], BK_CERT_UPSTREAM, leaf_of), "good",
       "the second signs");
    is(check(leaf_of[0], leaf_of[1], a[0], NULL, 0, now), "good",
       "... what leads to the first");
    is(check(leaf_of[0], leaf_of[1], more[0], NULL, 1, now), "NotTrusted",
       "... as a client alone");
    free(more[0]);
    free(more[1]);

    /* what cannot sign */
    is(issue(&ca, leaf_of[0], leaf_of[1], BK_CERT_GATEWAY, more), "BadAuthority",
       "what it has signed signs nothing");
    is(issue(&ca, a[0], b[1], BK_CERT_GATEWAY, more), "BadAuthority",
       "another's key");
    is(issue(&ca, "text", a[1], BK_CERT_GATEWAY, more), "BadAuthority",
       "no certificate");
    is(issue(&ca, a[0], "text", BK_CERT_GATEWAY, more), "BadAuthority",
       "no key");
    is(issue(&ca, "", "", BK_CERT_GATEWAY, more), "BadAuthority", "nothing");
    is(issue(&ca, a[0], a[1], 77, more), "BadKind", "no kind of certificate");
    ok(bk_ca_authority(&ca, BK_STR(""), BK_STR(""), &made, &err) != 0,
       "an authority without a name");
    ok(bk_ca_authority(&ca, BK_STR("a"), BK_STR("text"), &made, &err) != 0
       && err.code == 422, "an authority of no key");

    free(leaf_of[0]);
    free(leaf_of[1]);
    free(a[0]);
    free(a[1]);
    free(b[0]);
    free(b[1]);
    free(ca.cert_pem);
    free(ca.spki);
    bk_ca_burn(ca.key_pem);
}


/* nobody asks for a pass phrase */

static void
locked(void)
{
    BIO       *out = BIO_new(BIO_s_mem());
    char      *a[2], *text, *pem;
    long       n;
    EVP_PKEY  *key = bk_ca_key();

    leaf(&root, BK_CERT_GATEWAY, NAMES, a);
    PEM_write_bio_PrivateKey(out, key, EVP_aes_128_cbc(),
                             (const unsigned char *) "x", 1, NULL, NULL);
    n = BIO_get_mem_data(out, &text);
    pem = ct_pool_printf("%.*s", (int) n, text);
    is(check(a[0], pem, root.trust, NULL, 1, now), "BadKey",
       "a key with a pass phrase");
    free(pem);
    BIO_free(out);
    EVP_PKEY_free(key);
    free(a[0]);
    free(a[1]);
}


static void
bundle(void)
{
    char      *a[2], *text, *out;
    bk_err_t   err;

    leaf(&root, BK_CERT_GATEWAY, NAMES, a);

    text = ct_pool_printf("a secret\n%s%s%s", a[1], root.trust, other.trust);
    out = ct_x509_bundle(text, &err);
    ok(out != NULL && strstr(out, "PRIVATE") == NULL
       && strstr(out, "secret") == NULL, "only certificates are handed on");
    free(text);
    text = ct_pool_printf("%s%s", root.trust, other.trust);
    ok(out != NULL && strcmp(out, text) == 0, "all of them");
    free(text);
    free(out);

    memset(&err, 0, sizeof(err));
    ok(ct_x509_bundle(a[1], &err) == NULL
       && strcmp(err.reason, "BadCertificate") == 0, "a key is none");
    free(a[0]);
    free(a[1]);
}


static void
secret(void)
{
    size_t   i;
    char    *s;
    json_t  *o;

    static const struct {
        const char  *what, *in, *out;
    } cases[] = {
        { "text", "{\"data\":{\"k\":\"aGVsbG8=\"}}", "hello" },
        { "without padding", "{\"data\":{\"k\":\"aGVsbG8h\"}}", "hello!" },
        { "two of it", "{\"data\":{\"k\":\"aGVsbA==\"}}", "hell" },
        { "no such key", "{\"data\":{\"x\":\"aGVsbG8=\"}}", NULL },
        { "no data", "{}", NULL },
        { "data is no object", "{\"data\":7}", NULL },
        { "no string", "{\"data\":{\"k\":[]}}", NULL },
        { "empty", "{\"data\":{\"k\":\"\"}}", NULL },
        { "a NUL in it", "{\"data\":{\"k\":\"aGVsAG8h\"}}", NULL },
        { "cut", "{\"data\":{\"k\":\"aGVsbG8\"}}", NULL },
        { "no base64", "{\"data\":{\"k\":\"????\"}}", NULL },
        { "nothing but padding", "{\"data\":{\"k\":\"====\"}}", NULL },
        { "padding inside", "{\"data\":{\"k\":\"aG==aG==\"}}", NULL }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        o = json_loads(cases[i].in, 0, NULL);
        s = ct_secret_get(o, "k");
        ok(cases[i].out != NULL ? s != NULL && strcmp(s, cases[i].out) == 0
                                : s == NULL, cases[i].what);
        ct_secret_free(s);
        json_decref(o);
    }

    s = ct_secret_get(NULL, "k");
    ok(s == NULL, "no Secret");
}


int
main(void)
{
    char  at[32];

    now = (uint64_t) time(NULL) * 1000;
    authority(&root, "unit");
    authority(&same, "unit");
    authority(&other, "other");
    X509_set_subject_name(same.cert, X509_get_subject_name(root.cert));
    X509_set_issuer_name(same.cert, X509_get_subject_name(root.cert));
    X509_sign(same.cert, same.key, EVP_sha256());
    free(same.trust);
    same.trust = bk_ca_cert_pem(same.cert);

    good();
    bad();
    extra();
    own();
    locked();
    bundle();
    secret();

    is(ct_pool_time(1798761600123, at), "2027-01-01T00:00:00Z", "a time");

    printf("1..%d\n", checks);

    return 0;
}
