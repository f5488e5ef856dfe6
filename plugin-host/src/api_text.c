/* JSON that is written as it is sent.  See api_text.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "api_text.h"
#include "log.h"


void
bk_text_room(bk_text_t *t, size_t n)
{
    if (t->size - t->len >= n) {
        return;
    }

    t->size = 2 * t->size + n;
    t->data = realloc(t->data, t->size);

    if (t->data == NULL) {
        abort();
    }
}


void
bk_text_put(bk_text_t *t, const char *text)
{
    size_t  len = strlen(text);

    memcpy(t->data + t->len, text, len);
    t->len += len;
}


/* Signed, as all integers of the API: there is no 2^63 of anything. */

void
bk_text_int(bk_text_t *t, const char *key, uint64_t n)
{
    bk_text_put(t, key);
    t->len += (size_t) sprintf(t->data + t->len, "%lld", (long long) n);
}


void
bk_text_time(bk_text_t *t, const char *key, uint64_t ms)
{
    char  buf[32];

    if (ms == 0) {
        bk_text_put(t, key);
        bk_text_put(t, "null");
        return;
    }

    bk_log_time(ms, buf, sizeof(buf));
    bk_text_str(t, key, (bk_str_t) { buf, strlen(buf) });
}


void
bk_text_str(bk_text_t *t, const char *key, bk_str_t s)
{
    char    *p;
    size_t   i;

    bk_text_put(t, key);
    p = t->data + t->len;
    *p++ = '"';

    for (i = 0; i < s.len; i++) {
        if (s.data[i] < ' ' || s.data[i] > '~' || s.data[i] == '"'
            || s.data[i] == '\\')
        {
            p += sprintf(p, "\\u%04x", (unsigned char) s.data[i]);

        } else {
            *p++ = s.data[i];
        }
    }

    *p++ = '"';
    t->len = (size_t) (p - t->data);
}


void
bk_text_utf8(bk_text_t *t, const char *key, bk_str_t s)
{
    char    *dump;
    size_t   i;
    json_t  *value;

    for (i = 0; i < s.len; i++) {
        if (s.data[i] & 0x80) {
            break;
        }
    }

    if (i == s.len) {
        bk_text_str(t, key, s);
        return;
    }

    value = bk_api_str(s);
    dump = json_dumps(value, JSON_ENCODE_ANY);
    json_decref(value);

    if (dump == NULL) {
        abort();
    }

    bk_text_put(t, key);
    bk_text_put(t, dump);
    free(dump);
}


void
bk_text_free(bk_text_t *t)
{
    free(t->data);
    *t = (bk_text_t) { NULL, 0, 0 };
}
