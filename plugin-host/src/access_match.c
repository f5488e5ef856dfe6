/*
 * Does a rule match an identity?  See access_int.h for the limits, which make
 * this safe to ask about claims that a stranger chose.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access_int.h"


#define BK_SEEN_VALUE  80       /* bytes of a value that are shown */


typedef struct {
    bk_access_t        *access;
    int8_t              said[];     /* by the rule's index: 0 nothing so far,
                                       else BK_MATCH_* + 2 */
} bk_memo_t;


static json_t *bk_claim_find(const bk_who_t *who, const char *name);
static json_t *bk_claim_pointer(json_t *at, const char *pointer);
static int bk_cond_match(const bk_access_t *a, const bk_cond_t *c,
    const bk_who_t *who, bk_why_t *why);
static int bk_cond_scalar(const bk_access_t *a, const bk_cond_t *c,
    const json_t *value);
static void bk_cond_why(const bk_cond_t *c, const json_t *value, int rc,
    bk_why_t *why);
static void bk_claim_show(const json_t *value, char *buf, size_t size);
static size_t bk_seen_rules(const bk_rules_t *rules, const bk_who_t *who,
    json_t *done, char *buf, size_t used, size_t size);


int
bk_rule_match(const bk_access_t *a, const bk_rule_t *r, const bk_who_t *who)
{
    bk_memo_t  *memo = who->memo;

    if (memo == NULL || memo->access != a) {
        bk_access_forget(memo);
        memo = calloc(1, sizeof(bk_memo_t) + a->nrules);
        if (memo == NULL) {
            abort();
        }

        /* counted: no other rules can ever be where these are */
        memo->access = bk_access_ref((bk_access_t *) a);
        /* all else of it never changes */
        ((bk_who_t *) who)->memo = memo;
    }

    if (memo->said[r->index] == 0) {
        memo->said[r->index] = (int8_t) (bk_rule_why(a, r, who, NULL) + 2);
    }

    return memo->said[r->index] - 2;
}


void
bk_access_forget(void *data)
{
    bk_memo_t  *memo = data;

    if (memo != NULL) {
        bk_access_free(&memo->access);
        free(memo);
    }
}


int
bk_rule_why(const bk_access_t *a, const bk_rule_t *r, const bk_who_t *who,
    bk_why_t *why)
{
    int       rc;
    unsigned  i;

    for (i = 0; i < r->nsources; i++) {
        if (strcmp(r->sources[i], who->source) == 0) {
            break;
        }
    }

    if (r->nsources > 0 && i == r->nsources) {
        if (why != NULL) {
            snprintf(why->text, why->size, "it is not for the source \"%s\"",
                     who->source);
        }

        return BK_MATCH_NO;
    }

    for (i = 0; i < r->nconds; i++) {
        rc = bk_cond_match(a, &r->conds[i], who, why);

        if (rc != BK_MATCH_YES) {
            return rc;
        }
    }

    return BK_MATCH_YES;
}


int
bk_rule_pool(const bk_rule_t *r, bk_str_t pool)
{
    size_t    len;
    unsigned  i;

    if (r->pool != NULL || r->npools == 0) {
        return 1;
    }

    for (i = 0; i < r->npools; i++) {
        len = strlen(r->pools[i]);

        /* "no pool" is in no beginning but that of all */
        if (pool.len == 0 || len == 1) {
            if (len == 1) {
                return 1;
            }

            continue;
        }

        if (r->pools[i][len - 1] == '*'
            ? pool.len >= len - 1
              && memcmp(r->pools[i], pool.data, len - 1) == 0
            : pool.len == len && memcmp(r->pools[i], pool.data, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


int
bk_pool_covers(const char *pattern, const char *other)
{
    size_t  len = strlen(pattern);

    return pattern[len - 1] == '*' ? strncmp(pattern, other, len - 1) == 0
                                   : strcmp(pattern, other) == 0;
}


static json_t *
bk_claim_find(const bk_who_t *who, const char *name)
{
    return name[0] == '/' ? bk_claim_pointer(who->claims, name)
                          : json_object_get(who->claims, name);
}


/* RFC 6901. */

static json_t *
bk_claim_pointer(json_t *at, const char *p)
{
    char     key[256], *end;
    size_t   len;

    while (at != NULL && *p == '/') {
        p++;

        for (len = 0; *p != '\0' && *p != '/' && len < sizeof(key) - 1; p++) {
            if (*p == '~' && (p[1] == '0' || p[1] == '1')) {
                key[len++] = *++p == '0' ? '~' : '/';

            } else {
                key[len++] = *p;
            }
        }

        key[len] = '\0';

        if (json_is_object(at)) {
            at = json_object_get(at, key);

        } else if (json_is_array(at) && len > 0 && len < 8
                   && strspn(key, "0123456789") == len)
        {
            at = json_array_get(at, strtoul(key, &end, 10));

        } else {
            at = NULL;
        }
    }

    return at;
}


static int
bk_cond_match(const bk_access_t *a, const bk_cond_t *c, const bk_who_t *who,
    bk_why_t *why)
{
    int      rc = BK_MATCH_NO;
    size_t   i, n;
    json_t  *value = bk_claim_find(who, c->claim);

    if (json_is_array(value)) {
        n = json_array_size(value);

        for (i = 0; i < n && rc == BK_MATCH_NO; i++) {
            if (i == BK_ACCESS_ELEMENTS_MAX) {
                rc = BK_MATCH_LIMIT;
                break;
            }

            rc = bk_cond_scalar(a, c, json_array_get(value, i));
        }

    } else {
        rc = bk_cond_scalar(a, c, value);
    }

    if (rc != BK_MATCH_YES && why != NULL) {
        bk_cond_why(c, value, rc, why);
    }

    return rc;
}


/* Numbers and booleans are compared as JSON writes them. */

static int
bk_cond_scalar(const bk_access_t *a, const bk_cond_t *c, const json_t *value)
{
    char  text[32];

    switch (json_typeof(value != NULL ? value : json_null())) {

    case JSON_STRING:
        return bk_cond_value(a, c, json_string_value(value),
                             json_string_length(value));

    case JSON_INTEGER:
        snprintf(text, sizeof(text), "%lld",
                 (long long) json_integer_value(value));
        return bk_cond_value(a, c, text, strlen(text));

    case JSON_TRUE:
        return bk_cond_value(a, c, "true", 4);

    case JSON_FALSE:
        return bk_cond_value(a, c, "false", 5);

    default:
        return BK_MATCH_NO;
    }
}


int
bk_cond_value(const bk_access_t *a, const bk_cond_t *c, const char *text,
    size_t len)
{
    int       rc;
    unsigned  i;

    for (i = 0; i < c->nvalues; i++) {
        if (strlen(c->values[i]) == len
            && memcmp(c->values[i], text, len) == 0)
        {
            return BK_MATCH_YES;
        }
    }

    if (c->code == NULL) {
        return BK_MATCH_NO;
    }

    if (len > BK_ACCESS_SUBJECT_MAX) {
        return BK_MATCH_LIMIT;
    }

    rc = pcre2_match(c->code, (PCRE2_SPTR) text, len, 0, 0, a->data,
                     a->context);

    if (rc >= 0) {
        return BK_MATCH_YES;
    }

    return rc == PCRE2_ERROR_NOMATCH ? BK_MATCH_NO : BK_MATCH_LIMIT;
}


static void
bk_cond_why(const bk_cond_t *c, const json_t *value, int rc, bk_why_t *why)
{
    int   n;
    char  shown[BK_SEEN_VALUE];

    if (value == NULL) {
        n = snprintf(why->text, why->size, "there is no claim \"%s\"",
                     c->claim);

    } else {
        bk_claim_show(value, shown, sizeof(shown));
        n = snprintf(why->text, why->size, rc == BK_MATCH_LIMIT
                     ? "claim \"%s\" is %s, which is too much to match"
                     : "claim \"%s\" is %s, which does not match", c->claim,
                     shown);
    }

    if (!why->wanted || n < 0 || (size_t) n >= why->size) {
        return;
    }

    if (c->pattern != NULL) {
        snprintf(why->text + n, why->size - (size_t) n, "; wanted: %.200s",
                 c->pattern);

    } else {
        snprintf(why->text + n, why->size - (size_t) n, "; wanted: \"%.100s\""
                 "%s", c->values[0], c->nvalues > 1 ? " or another" : "");
    }
}


/* As JSON in ASCII, cut: it goes to terminals. */

static void
bk_claim_show(const json_t *value, char *buf, size_t size)
{
    char  *text;

    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY
                             | JSON_ENSURE_ASCII);

    if (text == NULL) {
        snprintf(buf, size, "?");

    } else if (strlen(text) < size) {
        snprintf(buf, size, "%s", text);

    } else {
        snprintf(buf, size, "%.*s...", (int) size - 4, text);
    }

    free(text);
}


void
bk_access_seen(const bk_access_t *a, const bk_who_t *who, char *buf,
    size_t size)
{
    size_t    used;
    json_t   *done = json_object();
    unsigned  i;

    buf[0] = '\0';
    used = bk_seen_rules(&a->general, who, done, buf, 0, size);

    for (i = 0; i < a->npools; i++) {
        used = bk_seen_rules(&a->pools[i], who, done, buf, used, size);
    }

    if (used == 0) {
        snprintf(buf, size, "no claim that a rule looks at");
    }

    json_decref(done);
}


static size_t
bk_seen_rules(const bk_rules_t *rules, const bk_who_t *who, json_t *done,
    char *buf, size_t used, size_t size)
{
    int            n;
    char           shown[BK_SEEN_VALUE];
    unsigned       i, j;
    const json_t  *value;
    const char    *claim;

    for (i = 0; i < rules->n; i++) {
        for (j = 0; j < rules->rules[i].nconds; j++) {
            claim = rules->rules[i].conds[j].claim;
            value = bk_claim_find(who, claim);

            if (value == NULL || json_object_get(done, claim) != NULL) {
                continue;
            }

            json_object_set_new(done, claim, json_true());
            bk_claim_show(value, shown, sizeof(shown));
            n = snprintf(buf + used, size - used, "%s%.60s=%s",
                         used ? ", " : "", claim, shown);

            if (n < 0 || (size_t) n >= size - used) {
                buf[used] = '\0';
                return used;
            }

            used += (size_t) n;
        }
    }

    return used;
}
