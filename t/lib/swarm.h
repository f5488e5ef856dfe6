/*
 * What the parts of swarm.c share.
 */

#ifndef SWARM_H_INCLUDED
#define SWARM_H_INCLUDED

#include <ctype.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "tls_client.h"


#define SWARM_SLOTS    1024
#define SWARM_EVENTS   256
#define SWARM_HASH     (2 * SHA256_DIGEST_LENGTH + 1)
#define SWARM_HEAD     9
#define SWARM_TEXT     2048             /* of a frame that is looked at */
#define SWARM_OUT      8192
#define SWARM_PAYLOAD  6000             /* h2worker takes up to 8 KiB */
#define SWARM_LATE_US  30000000
#define SWARM_TICK_MS  5
#define SWARM_ADDRS    200              /* 127.0.1.1 and on: our addresses */

#define SWARM_DATA     0
#define SWARM_HEADERS  1
#define SWARM_PING     6


typedef enum {
    SWARM_ASK = 0,
    SWARM_STAY,
    SWARM_BUILD,
    SWARM_LOOK,
    SWARM_LEAVE,
    SWARM_MUTE,
    SWARM_KINDS
} swarm_kind_e;

/* where one leaves that leaves */
typedef enum {
    SWARM_AT_CONNECT = 0,
    SWARM_AT_HANDSHAKE,
    SWARM_AT_HELLO,             /* before it, or in the middle of it */
    SWARM_AT_TIME,
    SWARM_STEPS
} swarm_step_e;

typedef struct {
    int        serial;          /* 0: none */
    X509      *cert;
    EVP_PKEY  *key;
} swarm_slot_t;

typedef struct {
    int            used;
    int            fd;
    int            serial;
    int            established;
    int            abrupt;      /* leaves with a reset */
    unsigned int   events;
    swarm_kind_e   kind;
    swarm_step_e   step;
    SSL           *ssl;
    int64_t        began, named, leaves, next;
    size_t         out_pos, out_len;
    size_t         head, rest, text_len;
    uint64_t       sent, echoed;
    uint8_t        frame[SWARM_HEAD];
    uint8_t        out[SWARM_OUT];
    char           text[SWARM_TEXT];
    char           worker[64];
} swarm_conn_t;

typedef struct {
    const char          *addr, *ca, *ca_key, *results;
    int                  nslots, parallel, rate, stopping;

    struct sockaddr_in   sin;
    SSL_CTX             *ctx;
    X509                *ca_cert;
    EVP_PKEY            *ca_pkey;
    swarm_slot_t         slots[SWARM_SLOTS];
    int                  serial, live, epoll;
    int64_t              due;   /* of the next connection */
    FILE                *out;
    swarm_conn_t        *conns;
} swarm_t;


static int swarm_below(int n);
static void swarm_end(swarm_t *s, swarm_conn_t *c, const char *result,
    const char *which, const char *text);

#endif /* SWARM_H_INCLUDED */
