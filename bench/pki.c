/*
 * Makes the keys and certificates of a benchmark: two authorities, as the
 * gateway has them, its own two certificates, one for each worker, and one
 * client certificate for each of many tokens.  All are P-256.
 *
 *     pki DIR CLIENTS WORKERS
 *
 * Writes DIR/NAME.pem, DIR/NAME-key.pem and DIR/NAME-both.pem, and
 * DIR/clients.txt, a line "NUMBER TOKEN SHA256-OF-PUBLIC-KEY" for each client.
 * Prints the version of OpenSSL.  The files hold keys: they are 0600 and live
 * as long as the benchmark.
 */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "bench.h"


#define PKI_VALID  (24 * 3600)


typedef struct {
    X509      *cert;
    EVP_PKEY  *key;
} pki_pair_t;


static void pki_extension(X509 *cert, X509 *issuer, int nid,
    const char *value);
static pki_pair_t pki_make(const pki_pair_t *issuer, const char *cn,
    const char *usage, const char *names);
static void pki_write_file(const char *dir, const char *name,
    const char *suffix, const pki_pair_t *pair, int cert, int key);
static void pki_write(const char *dir, const char *name,
    const pki_pair_t *pair);
static void pki_token(char *token);
static void pki_client(const char *dir, const pki_pair_t *ca, unsigned n,
    FILE *list);


static void
pki_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX       ctx;
    X509_EXTENSION  *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);

    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);

    if (ext == NULL || X509_add_ext(cert, ext, -1) != 1) {
        bench_die(0, "cannot add an extension to a certificate");
    }

    X509_EXTENSION_free(ext);
}


/* issuer NULL: an authority, signed by itself. */
static pki_pair_t
pki_make(const pki_pair_t *issuer, const char *cn, const char *usage,
    const char *names)
{
    uint64_t     serial;
    X509_NAME   *name;
    pki_pair_t   pair;

    pair.key = EVP_EC_gen("P-256");
    pair.cert = X509_new();

    if (pair.key == NULL || pair.cert == NULL
        || RAND_bytes((u_char *) &serial, sizeof(serial)) != 1)
    {
        bench_die(0, "cannot make a key");
    }

    name = X509_get_subject_name(pair.cert);

    if (X509_set_version(pair.cert, X509_VERSION_3) != 1
        || ASN1_INTEGER_set_uint64(X509_get_serialNumber(pair.cert),
                                   serial >> 1) != 1
        || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                      (const u_char *) cn, -1, -1, 0) != 1
        || X509_set_issuer_name(pair.cert,
                                issuer ? X509_get_subject_name(issuer->cert)
                                       : name) != 1
        || X509_gmtime_adj(X509_getm_notBefore(pair.cert), -300) == NULL
        || X509_gmtime_adj(X509_getm_notAfter(pair.cert), PKI_VALID) == NULL
        || X509_set_pubkey(pair.cert, pair.key) != 1)
    {
        bench_die(0, "cannot fill a certificate");
    }

    if (issuer == NULL) {
        pki_extension(pair.cert, pair.cert, NID_basic_constraints,
                      "critical,CA:TRUE");
        pki_extension(pair.cert, pair.cert, NID_key_usage,
                      "critical,keyCertSign,cRLSign");
        pki_extension(pair.cert, pair.cert, NID_subject_key_identifier,
                      "hash");

    } else {
        pki_extension(pair.cert, issuer->cert, NID_key_usage,
                      "critical,digitalSignature");
        pki_extension(pair.cert, issuer->cert, NID_ext_key_usage, usage);
        pki_extension(pair.cert, issuer->cert, NID_authority_key_identifier,
                      "keyid");

        if (names != NULL) {
            pki_extension(pair.cert, issuer->cert, NID_subject_alt_name,
                          names);
        }
    }

    if (X509_sign(pair.cert, issuer ? issuer->key : pair.key, EVP_sha256())
        == 0)
    {
        bench_die(0, "cannot sign a certificate");
    }

    return pair;
}


static void
pki_write_file(const char *dir, const char *name, const char *suffix,
    const pki_pair_t *pair, int cert, int key)
{
    char   path[BENCH_PATH];
    FILE  *fp;

    snprintf(path, sizeof(path), "%s/%s%s.pem", dir, name, suffix);

    fp = fopen(path, "w");

    if (fp == NULL) {
        bench_die(errno, "%s", path);
    }

    if ((cert && PEM_write_X509(fp, pair->cert) != 1)
        || (key && PEM_write_PKCS8PrivateKey(fp, pair->key, NULL, NULL, 0,
                                             NULL, NULL) != 1)
        || fclose(fp) != 0)
    {
        bench_die(0, "cannot write %s", path);
    }
}


static void
pki_write(const char *dir, const char *name, const pki_pair_t *pair)
{
    pki_write_file(dir, name, "", pair, 1, 0);
    pki_write_file(dir, name, "-key", pair, 0, 1);
    pki_write_file(dir, name, "-both", pair, 1, 1);
}


/* 32 random bytes as 43 characters of base64url. */
static void
pki_token(char *token)
{
    char     text[48];
    u_char   raw[32];
    size_t   i;

    if (RAND_bytes(raw, sizeof(raw)) != 1) {
        bench_die(0, "no random bytes");
    }

    EVP_EncodeBlock((u_char *) text, raw, sizeof(raw));

    for (i = 0; i < 43; i++) {
        token[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    }

    token[43] = '\0';
}


static void
pki_client(const char *dir, const pki_pair_t *ca, unsigned n, FILE *list)
{
    int          len;
    char         cn[64], hex[2 * SHA256_DIGEST_LENGTH + 1], name[32],
                 token[44];
    u_char       hash[SHA256_DIGEST_LENGTH], *der;
    unsigned     i;
    pki_pair_t   pair;

    pki_token(token);

    snprintf(cn, sizeof(cn), "alloc:%s", token);
    snprintf(name, sizeof(name), "client-%03u", n);

    pair = pki_make(ca, cn, "clientAuth", NULL);
    pki_write(dir, name, &pair);

    der = NULL;
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(pair.cert), &der);

    if (len <= 0) {
        bench_die(0, "cannot encode a public key");
    }

    SHA256(der, (size_t) len, hash);
    OPENSSL_free(der);

    for (i = 0; i < sizeof(hash); i++) {
        snprintf(&hex[2 * i], 3, "%02x", hash[i]);
    }

    fprintf(list, "%u %s %s\n", n, token, hex);

    X509_free(pair.cert);
    EVP_PKEY_free(pair.key);
}


int
main(int argc, char **argv)
{
    char         name[64], path[BENCH_PATH], san[64];
    FILE        *list;
    unsigned     clients, i, workers;
    const char  *dir;
    pki_pair_t   gateway_ca, pair, worker_ca;

    if (argc != 4) {
        bench_die(0, "usage: pki DIR CLIENTS WORKERS");
    }

    dir = argv[1];
    clients = (unsigned) atoi(argv[2]);
    workers = (unsigned) atoi(argv[3]);

    umask(077);

    gateway_ca = pki_make(NULL, "bench gateway authority", NULL, NULL);
    pki_write(dir, "gateway-ca", &gateway_ca);

    worker_ca = pki_make(NULL, "bench worker authority", NULL, NULL);
    pki_write(dir, "worker-ca", &worker_ca);

    pair = pki_make(&gateway_ca, "localhost", "serverAuth",
                    "DNS:localhost,IP:127.0.0.1");
    pki_write(dir, "gateway", &pair);

    pair = pki_make(&worker_ca, "gateway", "clientAuth", NULL);
    pki_write(dir, "upstream", &pair);

    for (i = 1; i <= workers; i++) {
        snprintf(name, sizeof(name), "w%u", i);
        snprintf(san, sizeof(san), "DNS:w%u.workers.bench", i);

        pair = pki_make(&worker_ca, name, "serverAuth", san);
        pki_write(dir, name, &pair);
    }

    snprintf(path, sizeof(path), "%s/clients.txt", dir);

    list = fopen(path, "w");

    if (list == NULL) {
        bench_die(errno, "%s", path);
    }

    for (i = 0; i < clients; i++) {
        pki_client(dir, &gateway_ca, i, list);
    }

    if (fclose(list) != 0) {
        bench_die(errno, "%s", path);
    }

    printf("%s\n", OpenSSL_version(OPENSSL_VERSION));

    return 0;
}
