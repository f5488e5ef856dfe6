/*
 * The certificates of swarm.c: each new one has a token of its own.  Whoever
 * has begun with an old one goes on with it.
 */

#ifndef SWARM_TOKEN_H_INCLUDED
#define SWARM_TOKEN_H_INCLUDED

#include "swarm.h"


static void swarm_new(swarm_t *s, int slot);
static void swarm_drop(swarm_t *s, int slot);
static X509 *swarm_cert(swarm_t *s, EVP_PKEY *key, const char *token);
static void swarm_spki(X509 *cert, char *hex);
static void swarm_hash(const void *data, size_t len, char *hex);


static void
swarm_new(swarm_t *s, int slot)
{
    char          *p, hash[SWARM_HASH], spki[SWARM_HASH], token[48];
    uint8_t        raw[32];
    swarm_slot_t  *sl;

    if (RAND_bytes(raw, sizeof(raw)) != 1) {
        tls_die("random");
    }

    EVP_EncodeBlock((uint8_t *) token, raw, sizeof(raw));
    token[43] = '\0';

    for (p = token; *p; p++) {
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    }

    swarm_drop(s, slot);

    sl = &s->slots[slot];
    sl->serial = ++s->serial;
    sl->key = EVP_EC_gen("P-256");
    sl->cert = sl->key ? swarm_cert(s, sl->key, token) : NULL;

    if (sl->cert == NULL) {
        tls_die("certificate");
    }

    swarm_hash(token, strlen(token), hash);
    swarm_spki(sl->cert, spki);
    printf("ok %d %s %s\n", sl->serial, hash, spki);
}


static void
swarm_drop(swarm_t *s, int slot)
{
    X509_free(s->slots[slot].cert);
    EVP_PKEY_free(s->slots[slot].key);
    memset(&s->slots[slot], 0, sizeof(swarm_slot_t));
}


static X509 *
swarm_cert(swarm_t *s, EVP_PKEY *key, const char *token)
{
    X509        *cert;
    char         cn[64];
    X509_NAME   *name;

    cert = X509_new();

    if (cert == NULL) {
        return NULL;
    }

    snprintf(cn, sizeof(cn), "alloc:%s", token);
    name = X509_get_subject_name(cert);

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), s->serial);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                               (const uint8_t *) cn, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(s->ca_cert));
    X509_gmtime_adj(X509_getm_notBefore(cert), -300);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);

    return X509_sign(cert, s->ca_pkey, EVP_sha256()) ? cert : NULL;
}


static void
swarm_spki(X509 *cert, char *hex)
{
    int       len;
    uint8_t  *der;

    der = NULL;
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

    if (len <= 0) {
        tls_die("public key");
    }

    swarm_hash(der, (size_t) len, hex);
    OPENSSL_free(der);
}


static void
swarm_hash(const void *data, size_t len, char *hex)
{
    int      i;
    uint8_t  hash[SHA256_DIGEST_LENGTH];

    SHA256(data, len, hash);

    for (i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        snprintf(&hex[2 * i], 3, "%02x", hash[i]);
    }
}

#endif /* SWARM_TOKEN_H_INCLUDED */
