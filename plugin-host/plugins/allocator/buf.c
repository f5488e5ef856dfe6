/*
 * JSON of the allocation API, as it goes out: written by hand into a buffer
 * that is wiped, because a JSON library would leave copies of keys and
 * tokens in freed memory.
 */

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


static void bk_buf_escape(bk_buf_t *b, const char *s);


void
bk_buf_add(bk_buf_t *b, const char *data, size_t len)
{
    char    *p;
    size_t   size;

    if (b->len + len + 1 > b->size) {
        size = (b->len + len + 1) * 2;
        p = malloc(size);

        if (p == NULL) {
            abort();
        }

        if (b->data != NULL) {
            memcpy(p, b->data, b->len);
            bk_wipe(b->data, b->size);
            free(b->data);
        }

        b->data = p;
        b->size = size;
    }

    if (len > 0) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
    }

    b->data[b->len] = '\0';
}


static void
bk_buf_escape(bk_buf_t *b, const char *s)
{
    char  hex[7];

    for ( /* void */ ; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            bk_buf_add(b, "\\", 1);
            bk_buf_add(b, s, 1);

        } else if ((unsigned char) *s < 0x20) {
            (void) snprintf(hex, sizeof(hex), "\\u%04x", (unsigned char) *s);
            bk_buf_add(b, hex, 6);

        } else {
            bk_buf_add(b, s, 1);
        }
    }
}


/* Members: the first one opens the object, the caller adds "}". */

void
bk_buf_str(bk_buf_t *b, const char *key, const char *value)
{
    bk_buf_add(b, b->len == 0 ? "{\"" : ",\"", 2);
    bk_buf_add(b, key, strlen(key));
    bk_buf_add(b, "\":\"", 3);
    bk_buf_escape(b, value);
    bk_buf_add(b, "\"", 1);
}


/* A value follows. */

void
bk_buf_key(bk_buf_t *b, const char *key)
{
    bk_buf_add(b, b->len == 0 ? "{\"" : ",\"", 2);
    bk_buf_add(b, key, strlen(key));
    bk_buf_add(b, "\":", 2);
}


void
bk_buf_number(bk_buf_t *b, const char *key, uint64_t value)
{
    int   n;
    char  text[128];

    n = snprintf(text, sizeof(text), "%s\"%s\":%llu",
                 b->len == 0 ? "{" : ",", key, (unsigned long long) value);
    bk_buf_add(b, text, (size_t) n);
}


void
bk_buf_bool(bk_buf_t *b, const char *key, int value)
{
    int   n;
    char  text[128];

    n = snprintf(text, sizeof(text), "%s\"%s\":%s", b->len == 0 ? "{" : ",",
                 key, value ? "true" : "false");
    bk_buf_add(b, text, (size_t) n);
}


void
bk_buf_time(bk_buf_t *b, const char *key, uint64_t ms)
{
    char  text[32];

    if (ms != 0) {
        bk_buf_str(b, key, bk_time_format(ms, text, sizeof(text)));
    }
}


void
bk_buf_base64(bk_buf_t *b, const char *key, bk_str_t data)
{
    char    *text;
    size_t   size;

    size = (data.len + 2) / 3 * 4 + 1;
    text = malloc(size);

    if (text == NULL) {
        abort();
    }

    (void) EVP_EncodeBlock((unsigned char *) text,
                           (const unsigned char *) data.data,
                           (int) data.len);
    bk_buf_str(b, key, text);

    bk_wipe(text, size);
    free(text);
}


void
bk_buf_free(bk_buf_t *b)
{
    if (b->data != NULL) {
        bk_wipe(b->data, b->size);
        free(b->data);
    }

    *b = (bk_buf_t) { NULL, 0, 0 };
}


void
bk_buf_allocation(bk_buf_t *b, const uint8_t *hash, const char *pool)
{
    char  id[BK_ID_LEN + 1];

    bk_buf_str(b, "allocation", bk_token_id(hash, id));
    bk_buf_str(b, "pool", pool);
}


void
bk_buf_audit(bk_allocator_t *a, bk_request_t *r, const char *what,
    const char *outcome, const bk_err_t *err, bk_buf_t *b)
{
    if (err != NULL) {
        outcome = "failed";
        bk_buf_number(b, "status", (uint64_t) err->code);
        bk_buf_str(b, "reason", err->reason);
    }

    /* without the brace that opens the object */
    a->host->audit(a->host, r, what, outcome,
                   (bk_str_t) { b->data + 1, b->len - 1 });
    bk_buf_free(b);
}
