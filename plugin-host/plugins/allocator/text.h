/*
 * Tokens, ids and times; JSON as it comes in and goes out.  Knows nothing of
 * allocations.  What held a token or a key is wiped before it is freed.
 */

#ifndef BK_TEXT_H_INCLUDED
#define BK_TEXT_H_INCLUDED

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "bk_err.h"
#include "bk_plugin.h"
#include "bk_table.h"


#define BK_TOKEN_LEN     43         /* 32 bytes, base64url */
#define BK_TOKEN_MAX     256        /* of other issuers */
#define BK_ID_LEN        12
#define BK_SECRET_LEN    32


/* Text that grows; wiped when it moves and when it is freed. */
typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
} bk_buf_t;


/* token.c: secrets, ids, times */
/* the secret of the state folder, of which with a nonce a token is made */
int bk_token_secret(const char *dir, uint8_t *secret, bk_err_t *err);
int bk_token_nonce(uint8_t *nonce);
void bk_token_make(const uint8_t *secret, const uint8_t *nonce,
    char token[BK_TOKEN_LEN + 1]);
int bk_token_valid(const char *token, size_t len);
void bk_token_hash(const char *token, size_t len, uint8_t *hash);
void bk_sha256(const void *data, size_t len, uint8_t *hash);
char *bk_token_id(const uint8_t *hash, char id[BK_ID_LEN + 1]);
/* the first bytes of the hash, of an id of 12 hex digits; -1: it is none */
int bk_token_prefix(const char *id, uint8_t prefix[BK_ID_LEN / 2]);
void bk_wipe(void *data, size_t len);
char *bk_time_format(uint64_t ms, char *buf, size_t size);
const char *bk_state_name(int state);
const char *bk_worker_state(int state);
bk_str_t bk_str(const char *s);
void bk_str_copy(char *dst, size_t size, bk_str_t s);

/* json.c: requests in, answers out */
json_t *bk_json_read(bk_str_t body, bk_err_t *err);
/* 1: there, 0: absent, -1: refused.  max: bytes without the NUL */
int bk_json_string(json_t *root, const char *key, size_t max, char *out,
    bk_err_t *err);
int bk_json_duration(json_t *root, const char *key, uint64_t *ms,
    bk_err_t *err);
/* malloc'd; *out is NULL when absent */
int bk_json_text(json_t *root, const char *key, size_t max, char **out,
    bk_err_t *err);
int bk_json_metadata(json_t *root, const char *key, char **out,
    bk_err_t *err);
void bk_json_wipe(json_t **root);   /* wipes its token first */
int bk_text_valid(const char *s);   /* no control bytes */

void bk_buf_add(bk_buf_t *b, const char *data, size_t len);
void bk_buf_str(bk_buf_t *b, const char *key, const char *value);
void bk_buf_number(bk_buf_t *b, const char *key, uint64_t value);
void bk_buf_key(bk_buf_t *b, const char *key);  /* of a value to come */
void bk_buf_bool(bk_buf_t *b, const char *key, int value);
void bk_buf_time(bk_buf_t *b, const char *key, uint64_t ms);
void bk_buf_base64(bk_buf_t *b, const char *key, bk_str_t data);
void bk_buf_free(bk_buf_t *b);
char *bk_strdup(const char *s);

#endif /* BK_TEXT_H_INCLUDED */
