/*
 * JSON that is written as it is sent, for lists that may be very long: a tree
 * of jansson's objects, made only to be dumped, would hold up the loop.
 */

#ifndef BK_API_TEXT_H_INCLUDED
#define BK_API_TEXT_H_INCLUDED

#include "bk_plugin.h"


typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
} bk_text_t;


/* Room for n bytes more; what puts does not look. */
void bk_text_room(bk_text_t *t, size_t n);
void bk_text_put(bk_text_t *t, const char *text);
/* key: with what comes before the value, ",\"pool\":" */
void bk_text_int(bk_text_t *t, const char *key, uint64_t n);
void bk_text_time(bk_text_t *t, const char *key, uint64_t ms);  /* 0: null */
/* both: at most six times its length and two; what is not printable ASCII is
 * \u00XX in the first, which is for texts that have nothing else */
void bk_text_str(bk_text_t *t, const char *key, bk_str_t s);
void bk_text_utf8(bk_text_t *t, const char *key, bk_str_t s);
void bk_text_free(bk_text_t *t);

#endif /* BK_API_TEXT_H_INCLUDED */
