/*
 * Makes certificates for tests, good ones and such as no tool would make: any
 * bytes in any number of CNs (too long, NUL inside), URI names, expired, not
 * yet valid, of the wrong purpose, self-signed; and revocation lists.
 *
 *   mkcert --out PREFIX [--ca PREFIX] [options]   PREFIX.pem, PREFIX-key.pem
 *   mkcert --crl FILE --ca PREFIX [--revoke CERT.pem]...
 *
 * The first prints the SHA-256 of the public key (DER SubjectPublicKeyInfo).
 * Strings take \xNN for any byte.  Without --ca the certificate signs itself.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>


#define MKCERT_MAX       16
#define MKCERT_PATH_LEN  4096

typedef struct {
    const char  *out;
    const char  *ca;
    const char  *crl;
    const char  *key;           /* use this key in place of a new one */
    const char  *eku;           /* client, server, both, none */
    const char  *cn[MKCERT_MAX];
    const char  *san[MKCERT_MAX];   /* "DNS:..." as OpenSSL writes them */
    const char  *uri[MKCERT_MAX];   /* raw, any bytes */
    const char  *revoke[MKCERT_MAX];
    int          ncn, nsan, nuri, nrevoke;
    int          is_ca;
    int          key_id;        /* of the issuer's key, as ours have it */
    int          rsa;
    long         not_before;    /* seconds from now */
    long         not_after;
} mkcert_conf_t;


static void mkcert_die(const char *what);
static void mkcert_add(const char **list, int *n, const char *value);
static size_t mkcert_unescape(const char *text, unsigned char *out,
    size_t size);
static FILE *mkcert_open(const char *prefix, const char *suffix,
    const char *mode);
static X509 *mkcert_read_cert(const char *prefix, const char *suffix);
static EVP_PKEY *mkcert_read_key(const char *path, const char *suffix);
static void mkcert_name(X509 *cert, const mkcert_conf_t *conf);
static void mkcert_extensions(X509 *cert, X509 *issuer,
    const mkcert_conf_t *conf);
static void mkcert_sans(X509 *cert, X509V3_CTX *ctx,
    const mkcert_conf_t *conf);
static void mkcert_ext(X509 *cert, X509V3_CTX *ctx, int nid,
    const char *value);
static void mkcert_print_spki(EVP_PKEY *key);
static void mkcert_cert(const mkcert_conf_t *conf);
static void mkcert_crl(const mkcert_conf_t *conf);


static const struct option  mkcert_options[] = {
    { "out",        required_argument, NULL, 'o' },
    { "ca",         required_argument, NULL, 'a' },
    { "crl",        required_argument, NULL, 'l' },
    { "key",        required_argument, NULL, 'k' },
    { "eku",        required_argument, NULL, 'e' },
    { "cn",         required_argument, NULL, 'c' },
    { "san",        required_argument, NULL, 's' },
    { "uri",        required_argument, NULL, 'u' },
    { "revoke",     required_argument, NULL, 'r' },
    { "not-before", required_argument, NULL, 'b' },
    { "not-after",  required_argument, NULL, 'n' },
    { "is-ca",      no_argument,       NULL, 'C' },
    { "key-id",     no_argument,       NULL, 'K' },
    { "rsa",        no_argument,       NULL, 'R' },
    { NULL, 0, NULL, 0 }
};


int
main(int argc, char **argv)
{
    int            c;
    mkcert_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    conf.eku = "client";
    conf.not_before = -3600;
    conf.not_after = 86400;

    while ((c = getopt_long(argc, argv, "", mkcert_options, NULL)) != -1) {
        switch (c) {
        case 'o': conf.out = optarg; break;
        case 'a': conf.ca = optarg; break;
        case 'l': conf.crl = optarg; break;
        case 'k': conf.key = optarg; break;
        case 'e': conf.eku = optarg; break;
        case 'c': mkcert_add(conf.cn, &conf.ncn, optarg); break;
        case 's': mkcert_add(conf.san, &conf.nsan, optarg); break;
        case 'u': mkcert_add(conf.uri, &conf.nuri, optarg); break;
        case 'r': mkcert_add(conf.revoke, &conf.nrevoke, optarg); break;
        case 'b': conf.not_before = atol(optarg); break;
        case 'n': conf.not_after = atol(optarg); break;
        case 'C': conf.is_ca = 1; break;
        case 'K': conf.key_id = 1; break;
        case 'R': conf.rsa = 1; break;
        default: return 2;
        }
    }

    if (conf.crl != NULL && conf.ca != NULL) {
        mkcert_crl(&conf);

    } else if (conf.out != NULL) {
        mkcert_cert(&conf);

    } else {
        fprintf(stderr, "mkcert: --out, or --crl and --ca\n");
        return 2;
    }

    return 0;
}


static void
mkcert_die(const char *what)
{
    fprintf(stderr, "mkcert: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}


static void
mkcert_add(const char **list, int *n, const char *value)
{
    if (*n == MKCERT_MAX) {
        mkcert_die("too many values");
    }

    list[(*n)++] = value;
}


static size_t
mkcert_unescape(const char *text, unsigned char *out, size_t size)
{
    size_t        n;
    unsigned int  byte;

    for (n = 0; *text != '\0' && n < size; n++) {
        if (text[0] == '\\' && text[1] == 'x'
            && sscanf(text + 2, "%2x", &byte) == 1)
        {
            out[n] = (unsigned char) byte;
            text += 4;
            continue;
        }

        out[n] = (unsigned char) *text++;
    }

    return n;
}


static FILE *
mkcert_open(const char *prefix, const char *suffix, const char *mode)
{
    FILE  *f;
    char   path[MKCERT_PATH_LEN];

    snprintf(path, sizeof(path), "%s%s", prefix, suffix);

    f = fopen(path, mode);
    if (f == NULL) {
        perror(path);
        exit(1);
    }

    return f;
}


static X509 *
mkcert_read_cert(const char *prefix, const char *suffix)
{
    FILE  *f;
    X509  *cert;

    f = mkcert_open(prefix, suffix, "r");
    cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);

    if (cert == NULL) {
        mkcert_die("no certificate in file");
    }

    return cert;
}


static EVP_PKEY *
mkcert_read_key(const char *path, const char *suffix)
{
    FILE      *f;
    EVP_PKEY  *key;

    f = mkcert_open(path, suffix, "r");
    key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);

    if (key == NULL) {
        mkcert_die("no key in file");
    }

    return key;
}


/*
 * X509_NAME_add_entry_by_txt() would refuse more than 64 characters, so the
 * bytes are put into the entry as they are.
 */
static void
mkcert_name(X509 *cert, const mkcert_conf_t *conf)
{
    int               i;
    size_t            len;
    X509_NAME        *name;
    unsigned char     bytes[4096];
    X509_NAME_ENTRY  *entry;

    name = X509_get_subject_name(cert);

    for (i = 0; i < conf->ncn; i++) {
        len = mkcert_unescape(conf->cn[i], bytes, sizeof(bytes));

        entry = X509_NAME_ENTRY_new();
        if (entry == NULL
            || !X509_NAME_ENTRY_set_object(entry,
                                           OBJ_nid2obj(NID_commonName))
            || !X509_NAME_ENTRY_set_data(entry, V_ASN1_UTF8STRING, bytes,
                                         (int) len)
            || !X509_NAME_add_entry(name, entry, -1, 0))
        {
            mkcert_die("subject");
        }

        X509_NAME_ENTRY_free(entry);
    }
}


static void
mkcert_ext(X509 *cert, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION  *ext;

    ext = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    if (ext == NULL || !X509_add_ext(cert, ext, -1)) {
        mkcert_die(value);
    }

    X509_EXTENSION_free(ext);
}


static void
mkcert_sans(X509 *cert, X509V3_CTX *ctx, const mkcert_conf_t *conf)
{
    int             i;
    char           *colon, type[8];
    size_t          len;
    GENERAL_NAME   *gen;
    GENERAL_NAMES  *names;
    ASN1_IA5STRING *str;
    unsigned char   bytes[4096];

    if (conf->nsan + conf->nuri == 0) {
        return;
    }

    names = GENERAL_NAMES_new();

    for (i = 0; i < conf->nsan; i++) {
        colon = strchr(conf->san[i], ':');
        if (colon == NULL || colon - conf->san[i] >= (long) sizeof(type)) {
            mkcert_die("--san DNS:name or IP:address");
        }

        memcpy(type, conf->san[i], (size_t) (colon - conf->san[i]));
        type[colon - conf->san[i]] = '\0';

        gen = a2i_GENERAL_NAME(NULL, NULL, ctx,
                               strcmp(type, "IP") == 0 ? GEN_IPADD : GEN_DNS,
                               colon + 1, 0);
        if (gen == NULL || !sk_GENERAL_NAME_push(names, gen)) {
            mkcert_die("--san");
        }
    }

    for (i = 0; i < conf->nuri; i++) {
        len = mkcert_unescape(conf->uri[i], bytes, sizeof(bytes));
        gen = GENERAL_NAME_new();
        str = ASN1_IA5STRING_new();
        if (gen == NULL || str == NULL
            || !ASN1_STRING_set(str, bytes, (int) len))
        {
            mkcert_die("--uri");
        }

        GENERAL_NAME_set0_value(gen, GEN_URI, str);
        sk_GENERAL_NAME_push(names, gen);
    }

    if (!X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0)) {
        mkcert_die("subjectAltName");
    }

    GENERAL_NAMES_free(names);
}


static void
mkcert_extensions(X509 *cert, X509 *issuer, const mkcert_conf_t *conf)
{
    X509V3_CTX  ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);

    if (conf->is_ca) {
        mkcert_ext(cert, &ctx, NID_basic_constraints, "critical,CA:TRUE");
        mkcert_ext(cert, &ctx, NID_key_usage,
                   "critical,keyCertSign,cRLSign");
        mkcert_ext(cert, &ctx, NID_subject_key_identifier, "hash");
        return;
    }

    mkcert_ext(cert, &ctx, NID_basic_constraints, "critical,CA:FALSE");
    mkcert_ext(cert, &ctx, NID_key_usage, "critical,digitalSignature");

    if (strcmp(conf->eku, "client") == 0) {
        mkcert_ext(cert, &ctx, NID_ext_key_usage, "clientAuth");

    } else if (strcmp(conf->eku, "server") == 0) {
        mkcert_ext(cert, &ctx, NID_ext_key_usage, "serverAuth");

    } else if (strcmp(conf->eku, "both") == 0) {
        mkcert_ext(cert, &ctx, NID_ext_key_usage, "clientAuth,serverAuth");
    }

    if (conf->key_id) {
        mkcert_ext(cert, &ctx, NID_authority_key_identifier, "keyid:always");
    }

    mkcert_sans(cert, &ctx, conf);
}


static void
mkcert_print_spki(EVP_PKEY *key)
{
    int             i, len;
    unsigned int    n;
    unsigned char  *der, md[EVP_MAX_MD_SIZE];

    der = NULL;
    len = i2d_PUBKEY(key, &der);

    if (len <= 0 || !EVP_Digest(der, (size_t) len, md, &n, EVP_sha256(), NULL))
    {
        mkcert_die("public key");
    }

    for (i = 0; i < (int) n; i++) {
        printf("%02x", md[i]);
    }

    printf("\n");
    OPENSSL_free(der);
}


static void
mkcert_cert(const mkcert_conf_t *conf)
{
    FILE      *f;
    X509      *cert, *issuer;
    uint64_t   serial;
    EVP_PKEY  *key, *signer;

    if (conf->key != NULL) {
        key = mkcert_read_key(conf->key, "");

    } else if (conf->rsa) {
        key = EVP_RSA_gen(2048);

    } else {
        key = EVP_EC_gen("P-256");
    }

    cert = X509_new();

    if (key == NULL || cert == NULL
        || RAND_bytes((unsigned char *) &serial, sizeof(serial)) != 1)
    {
        mkcert_die("out of memory");
    }

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), conf->not_before);
    X509_gmtime_adj(X509_getm_notAfter(cert), conf->not_after);
    X509_set_pubkey(cert, key);
    mkcert_name(cert, conf);

    issuer = conf->ca != NULL ? mkcert_read_cert(conf->ca, ".pem") : cert;
    signer = conf->ca != NULL ? mkcert_read_key(conf->ca, "-key.pem") : key;

    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    mkcert_extensions(cert, issuer, conf);

    if (!X509_sign(cert, signer, EVP_sha256())) {
        mkcert_die("sign");
    }

    f = mkcert_open(conf->out, ".pem", "w");
    PEM_write_X509(f, cert);
    fclose(f);

    f = mkcert_open(conf->out, "-key.pem", "w");
    fchmod(fileno(f), 0600);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);

    mkcert_print_spki(key);

    if (issuer != cert) {
        X509_free(issuer);
        EVP_PKEY_free(signer);
    }

    X509_free(cert);
    EVP_PKEY_free(key);
}


static void
mkcert_crl(const mkcert_conf_t *conf)
{
    int            i;
    FILE          *f;
    X509          *cert, *issuer;
    X509_CRL      *crl;
    EVP_PKEY      *signer;
    ASN1_TIME     *when;
    X509_REVOKED  *revoked;

    issuer = mkcert_read_cert(conf->ca, ".pem");
    signer = mkcert_read_key(conf->ca, "-key.pem");
    crl = X509_CRL_new();

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer));

    when = X509_gmtime_adj(NULL, conf->not_before);
    X509_CRL_set1_lastUpdate(crl, when);

    for (i = 0; i < conf->nrevoke; i++) {
        cert = mkcert_read_cert(conf->revoke[i], "");
        revoked = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(revoked, X509_get_serialNumber(cert));
        X509_REVOKED_set_revocationDate(revoked, when);
        X509_CRL_add0_revoked(crl, revoked);
        X509_free(cert);
    }

    X509_gmtime_adj(when, conf->not_after);
    X509_CRL_set1_nextUpdate(crl, when);
    ASN1_TIME_free(when);

    X509_CRL_sort(crl);
    if (!X509_CRL_sign(crl, signer, EVP_sha256())) {
        mkcert_die("sign");
    }

    f = mkcert_open(conf->crl, "", "w");
    PEM_write_X509_CRL(f, crl);
    fclose(f);

    X509_CRL_free(crl);
    X509_free(issuer);
    EVP_PKEY_free(signer);
}
