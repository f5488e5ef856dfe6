/*
 * How nginx asks plugin-host about an allocation that the table does not have
 * (or of which it says that it must be asked about again): both directions of
 * a unix socket of type SOCK_SEQPACKET, one of these structures a message.
 *
 * This header is the contract and nothing else; doc/controller.md is its other
 * half.  nginx asks (directive buildkit_lookup), the plugin that listens there
 * (plugins/controller) finds out, puts the allocation into the table, and then
 * answers.  A message goes through as a whole or not at all, and none is kept
 * for later: who got no answer asks again after BK_LOOKUP_AGAIN_MS, for as
 * long as somebody waits for it.
 *
 * The question holds the token itself, which is a secret: the socket is in a
 * folder where only plugin-host's user may make files, and nginx asks nobody
 * but the user whose file the route table is (SO_PEERCRED).  Both sides wipe
 * what they have sent or read.
 */

#ifndef BK_LOOKUP_H_INCLUDED
#define BK_LOOKUP_H_INCLUDED

#include <stdint.h>


/* The last character is the version. */
#define BK_LOOKUP_MAGIC      "BKLOOKU1"
#define BK_LOOKUP_MAGIC_LEN  8

#define BK_LOOKUP_TOKEN_LEN  256
#define BK_LOOKUP_HASH_LEN   32
#define BK_LOOKUP_TEXT_LEN   208

#define BK_LOOKUP_AGAIN_MS   2000


/* What an answer says. */
#define BK_LOOKUP_KNOWN      1      /* the table says now what there is */
#define BK_LOOKUP_UNKNOWN    2      /* there is no such allocation */
#define BK_LOOKUP_POOL       3      /* there is, but it is not served here */
#define BK_LOOKUP_TROUBLE    4      /* it cannot be found out now: the text */
#define BK_LOOKUP_VERDICTS   5


typedef struct {
    char      magic[BK_LOOKUP_MAGIC_LEN];
    uint64_t  not_after_ms;     /* of the certificate that it came in */
    uint32_t  token_len;        /* 1 to BK_LOOKUP_TOKEN_LEN */
    uint32_t  reserved;         /* 0 */
    char      token[BK_LOOKUP_TOKEN_LEN];   /* base64url alphabet; NULs */
} bk_lookup_ask_t;


typedef struct {
    char      magic[BK_LOOKUP_MAGIC_LEN];
    uint32_t  verdict;          /* BK_LOOKUP_* */
    uint32_t  text_len;         /* may be 0 */
    uint8_t   hash[BK_LOOKUP_HASH_LEN];     /* SHA-256(token) */
    char      text[BK_LOOKUP_TEXT_LEN];     /* for people; NULs */
} bk_lookup_answer_t;


#define BK_LOOKUP_ASSERT(what)  _Static_assert(what, #what)

BK_LOOKUP_ASSERT(sizeof(bk_lookup_ask_t) == 280);
BK_LOOKUP_ASSERT(sizeof(bk_lookup_answer_t) == 256);

#endif /* BK_LOOKUP_H_INCLUDED */
