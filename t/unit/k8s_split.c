/*
 * Bytes into objects (plugins/kubernetes/k8s_split.c): lists and streams,
 * whole, byte by byte and in odd pieces; what is no such thing; odd objects,
 * which may not hide the others; and what is not read.
 */

#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/k8s_split.c"
#include "../../plugin-host/plugins/kubernetes/k8s_split_read.c"


typedef struct {
    const char  *what;
    int          list;
    const char  *in;
    const char  *out;           /* objects, a line each; of a list: the rest,
                                   and how many were known */
    const char  *reason;        /* how it fails; NULL: it is well */
} case_t;


static int   checks;
static char  said[65536];
static int   stop_at;
static int   nknown;


static const case_t  cases[] = {
    { "nothing", 0, "", "", NULL },
    { "blanks", 0, " \n\r\t", "", NULL },
    { "one", 0, "{\"a\":1}\n", "{\"a\":1}\n", NULL },
    { "two", 0, "{\"a\":{\"b\":[{}]}}{}\n", "{\"a\":{\"b\":[{}]}}\n{}\n",
      NULL },
    { "brackets in strings", 0, "{\"}\":\"]{\\\"}\\\\\"}{}",
      "{\"}\":\"]{\\\"}\\\\\"}\n{}\n", NULL },
    { "escapes", 0, "{\"a\":\"\\u00e4\\n\\ud83d\\ude00\"}",
      "{\"a\":\"\xc3\xa4\\n\xf0\x9f\x98\x80\"}\n", NULL },
    { "\"items\" is a member like others", 0, "{\"items\":[1,{}]}",
      "{\"items\":[1,{}]}\n", NULL },
    { "half an object", 0, "{}{\"a\":", "{}\n", "CutShort" },
    { "half a string", 0, "{\"a", "", "CutShort" },
    { "a number", 0, "1", "", "BadAnswer" },
    { "an array", 0, "[{}]", "", "BadAnswer" },
    { "commas between", 0, "{},{}", "{}\n", "BadAnswer" },
    { "brackets that do not fit", 0, "{]", "", "BadAnswer" },
    { "no JSON", 0, "{\"a\":nope}{}", "", "BadAnswer" },
    { "a key twice", 0, "{\"a\":1,\"a\":2}", "", "BadAnswer" },
    { "no UTF-8", 0, "{\"a\":\"\xff\"}", "", "BadAnswer" },
    { "a line feed in a string", 0, "{\"a\":\"\n\"}", "", "BadAnswer" },
    { "a bad escape", 0, "{\"a\":\"\\u00\"}{}", "", "BadAnswer" },
    { "half a pair", 0, "{\"a\":\"\\ud83d\"}", "", "BadAnswer" },

    { "an empty list", 1, "{\"items\":[]}", "{}", NULL },
    { "items are null", 1, "{\"items\":null,\"a\":1}", "{\"a\":1}", NULL },
    { "items", 1, "{\"items\":[{\"a\":1}, {\"b\":[]}],\"kind\":\"L\"} \n",
      "{\"a\":1}\n{\"b\":[]}\n{\"kind\":\"L\"}", NULL },
    { "items at the end", 1, "{ \"kind\" : \"L\" , \"metadata\":{\"items\":"
      "[1],\"continue\":\"x\"}, \"items\" :\n[ {\"items\":[2]} ] }",
      "{\"items\":[2]}\n{\"kind\":\"L\",\"metadata\":{\"items\":[1],"
      "\"continue\":\"x\"}}", NULL },
    { "members like items", 1, "{\"item\":[{}],\"itemss\":[1],"
      "\"a\":\"items\",\"b\":[2],\"items\":[{}]}",
      "{}\n{\"item\":[{}],\"itemss\":[1],\"a\":\"items\",\"b\":[2]}", NULL },
    { "no items", 1, "{\"kind\":\"Status\"}", "", "BadAnswer" },
    { "items are an object", 1, "{\"items\":{}}", "", "BadAnswer" },
    { "items are a string", 1, "{\"items\":\"x\"}", "", "BadAnswer" },
    { "items by another spelling", 1, "{\"\\u0069tems\":[{}]}", "",
      "BadAnswer" },
    { "items twice", 1, "{\"items\":[{}],\"items\":[{}]}", "{}\n",
      "BadAnswer" },
    { "items, and null", 1, "{\"items\":[{}],\"items\":null}", "{}\n",
      "BadAnswer" },
    { "an item that is a number", 1, "{\"items\":[{},1]}", "{}\n",
      "BadAnswer" },
    { "an item that is a string", 1, "{\"items\":[\"x\"]}", "",
      "BadAnswer" },
    { "an item that is an array", 1, "{\"items\":[[]]}", "", "BadAnswer" },
    { "a comma too many", 1, "{\"items\":[{},]}", "{}\n", "BadAnswer" },
    { "a comma first", 1, "{\"items\":[,{}]}", "", "BadAnswer" },
    { "no comma", 1, "{\"items\":[{}{}]}", "{}\n", "BadAnswer" },
    { "two commas", 1, "{\"items\":[{},,{}]}", "{}\n", "BadAnswer" },
    { "items that end otherwise", 1, "{\"items\":[{}}", "{}\n",
      "BadAnswer" },
    { "a list that is cut between items", 1, "{\"items\":[{},", "{}\n",
      "CutShort" },
    { "a list that is cut in an item", 1, "{\"items\":[{},{\"a", "{}\n",
      "CutShort" },
    { "a list that is cut behind its items", 1, "{\"items\":[{}]", "{}\n",
      "CutShort" },
    { "a list that is empty", 1, "", "", "CutShort" },
    { "something behind a list", 1, "{\"items\":[]}{", "", "BadAnswer" },
    { "a rest that is no JSON", 1, "{\"items\":[{}],nope}", "{}\n",
      "BadAnswer" },
    { "a rest with a key twice", 1, "{\"items\":[{}],\"a\":1,\"a\":1}",
      "{}\n", "BadAnswer" },

    /* what an API server hands out when somebody wrote it */
    { "U+0000", 0, "{\"a\":\"x\\u0000y\\\\u0000\"}{\"\\u0000b\":1}",
      "{\"a\":\"x\xef\xbf\xbdy\\\\u0000\"}\n{\"\xef\xbf\xbd" "b\":1}\n",
      NULL },
    { "U+0000 makes two keys one", 0,
      "{\"\\u0000\":1,\"\xef\xbf\xbd\":2}{\"a\":1}",
      "{\"\xef\xbf\xbd\":2}\n{\"a\":1}\n", NULL },
    { "U+0000 forgives only that object", 0,
      "{\"\\u0000\":1}{\"a\":1,\"a\":1}", "{\"\xef\xbf\xbd\":1}\n",
      "BadAnswer" },
    { "U+0000 in a list", 1, "{\"a\":\"\\u0000\",\"items\":[{\"a\":"
      "\"\\u0000\"},{}]}", "{\"a\":\"\xef\xbf\xbd\"}\n{}\n"
      "{\"a\":\"\xef\xbf\xbd\"}", NULL },
    { "a large number", 1, "{\"items\":[{\"a\":100000000000000000000,"
      "\"b\":1},{\"a\":1}]}", "{\"a\":1e20,\"b\":1.0}\n{\"a\":1}\n{}", NULL },
    { "a number beyond all", 0, "{\"a\":1e400}", "", "BadAnswer" },

    /* who wrote which field of it */
    { "managedFields", 1, "{\"items\":[{\"a\":\"metadata\",\"metadata\":{"
      "\"name\":\"x\",\"managedFields\":[{\"a\":\"]\\\"}\"}],\"b\":1},"
      "\"spec\":{\"managedFields\":[1],\"metadata\":{\"managedFields\":[2]}}}],"
      "\"metadata\":{\"managedFields\":[3]}}",
      "{\"a\":\"metadata\",\"metadata\":{\"name\":\"x\","
      "\"managedFields\":null,\"b\":1},\"spec\":{\"managedFields\":[1],"
      "\"metadata\":{\"managedFields\":[2]}}}\n"
      "{\"metadata\":{\"managedFields\":[3]}}", NULL },
    { "managedFields of an event", 0, "{\"metadata\":{\"managedFields\":[1]},"
      "\"object\":{\"metadata\":{\"managedFields\":{\"a\":[]},\"a\":"
      "[\"managedFields\",{\"managedFields\":[2]}]}}}",
      "{\"metadata\":{\"managedFields\":[1]},\"object\":{\"metadata\":{"
      "\"managedFields\":null,\"a\":[\"managedFields\",{"
      "\"managedFields\":[2]}]}}}\n", NULL },
    { "managedFields that do not end", 0, "{\"object\":{\"metadata\":{"
      "\"managedFields\":[{}}", "", "CutShort" },
    { "metadata that are an array", 1, "{\"items\":[{\"metadata\":[{"
      "\"managedFields\":[1]}]}]}",
      "{\"metadata\":[{\"managedFields\":[1]}]}\n{}", NULL },

    /* "known" is what take() knows */
    { "what is known", 1, "{\"items\":[{\"metadata\":{\"name\":\"a\"},"
      "\"spec\":1},{\"metadata\":{\"name\":\"known\",\"managedFields\":[{}"
      "]},\"spec\":{\"metadata\":{\"name\":\"b\"},\"a\":\"}\"},\"\\u0000\":"
      "nope},{\"spec\":1,\"metadata\":{\"name\":\"known\"}},{\"metadata\":{"
      "\"name\":\"b\"},\"metadat\":{\"name\":\"known\"}}],\"a\":1}",
      "{\"metadata\":{\"name\":\"a\"},\"spec\":1}\n{\"metadata\":{"
      "\"name\":\"b\"},\"metadat\":{\"name\":\"known\"}}\n{\"a\":1}2",
      NULL },
    { "what is known, deeper than anybody looks", 1, "{\"items\":[{"
      "\"metadata\":{\"name\":\"known\",\"a\":{\"metadata\":{\"name\":1}}},"
      "\"spec\":[[[[[[[[{}]]]]]]]]},{}]}", "{}\n{}1", NULL },
    { "known metadata that are no JSON", 1, "{\"items\":[{\"metadata\":{"
      "\"name\":\"known\",nope}}]}", "", "BadAnswer" },
    { "half of one that is known", 1, "{\"items\":[{\"metadata\":{\"name\":"
      "\"known\"},\"spec\":{}", "1", "CutShort" },
    { "nobody knows events", 0, "{\"object\":{\"metadata\":{\"name\":"
      "\"known\"}}}", "{\"object\":{\"metadata\":{\"name\":\"known\"}}}\n",
      NULL },
};


static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


static void
say(const json_t *obj, const char *end)
{
    char    *text = json_dumps(obj, JSON_COMPACT);
    size_t   n = strlen(said);

    if (text == NULL) {
        abort();
    }

    snprintf(said + n, sizeof(said) - n, "%s%s", text, end);
    free(text);
}


static int
take(void *data, json_t *obj)
{
    int  *count = data;

    say(obj, "\n");

    return ++*count == stop_at ? -1 : 0;
}


static int
known(void *data, json_t *meta)
{
    const char  *name;

    (void) data;

    name = json_string_value(json_object_get(meta, "name"));

    if (name == NULL || strcmp(name, "known") != 0) {
        return 0;
    }

    nknown++;

    return 1;
}


/* step 0: in pieces of 1, 2, 3, 1, 2 ...; else of that many bytes */

static void
cut(int list, const char *in, size_t len, size_t step, bk_err_t *err)
{
    int           count = 0, rc = 0;
    char         *piece;
    size_t        at, n;
    json_t       *rest;
    k8s_split_t  *s;

    memset(err, 0, sizeof(bk_err_t));
    said[0] = '\0';
    nknown = 0;
    s = list ? k8s_split_list(take, &count) : k8s_split_stream(take, &count);
    k8s_split_same(s, list ? known : NULL);

    for (at = 0; at < len && rc == 0; at += n) {
        n = step > 0 ? step : at % 3 + 1;
        n = n < len - at ? n : len - at;

        /* nothing behind it, for sanitizers */
        piece = malloc(n);
        memcpy(piece, in + at, n);
        rc = k8s_split_feed(s, piece, n, err);
        free(piece);
    }

    if (rc == 0) {
        rest = k8s_split_end(s, err);

        if (rest != NULL) {
            say(rest, "");
            json_decref(rest);
        }
    }

    if (nknown > 0) {
        sprintf(said + strlen(said), "%d", nknown);
    }

    k8s_split_free(&s);
}


static void
each_case(const case_t *c)
{
    int       good = 1;
    size_t    i;
    bk_err_t  err;

    static const size_t  steps[] = { 65536, 1, 0, 7 };

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        cut(c->list, c->in, strlen(c->in), steps[i], &err);

        if (strcmp(said, c->out) != 0
            || strcmp(err.reason, c->reason != NULL ? c->reason : "") != 0)
        {
            printf("# in steps of %zu: %s: %s: %s\n", steps[i], err.reason,
                   err.text, said);
            good = 0;
        }
    }

    ok(good, c->what);
}


static void
deep(void)
{
    char      in[1024];
    int       n, i;
    bk_err_t  err;

    /* 64 deep, with a sibling; then one more */
    for (n = K8S_DEPTH - 1; n <= K8S_DEPTH + 20; n += 7) {
        in[0] = '\0';

        for (i = 0; i < n; i++) {
            strcat(in, "{\"a\":");
        }

        strcat(in, "[\"}\\u0000\",{}]");

        for (i = 0; i < n; i++) {
            strcat(in, "}");
        }

        strcat(in, "{\"b\":2}");
        cut(0, in, strlen(in), 0, &err);
        ok(err.reason[0] == '\0' && strstr(said, "\n{\"b\":2}\n") != NULL,
           "a deep object hides no other");
        ok((strstr(said, "null") == NULL) == (n < K8S_DEPTH - 1)
           && (strstr(said, "]") == NULL) == (n > K8S_DEPTH - 1),
           "what is too deep is null");
    }
}


static void
large(void)
{
    int           count = 0;
    char         *big;
    size_t        i;
    bk_err_t      err;
    k8s_split_t  *s;

    big = malloc(1024 * 1024);
    memset(big, 'x', 1024 * 1024);
    memset(&err, 0, sizeof(err));
    said[0] = '\0';
    s = k8s_split_list(take, &count);

    ok(k8s_split_feed(s, "{\"items\":[{\"a\":\"", 16, &err) == 0, "begun");

    for (i = 0; i < 10; i++) {
        k8s_split_feed(s, big, 1024 * 1024, &err);
    }

    ok(k8s_split_feed(s, "\"},{}", 5, &err) == 0 && count == 2,
       "10 MiB are one object");
    ok(s->one.room <= K8S_SPLIT_KEEP, "whose memory is given back");
    k8s_split_feed(s, ",{\"a\":\"", 7, &err);

    for (i = 0; i < 15; i++) {
        k8s_split_feed(s, big, 1024 * 1024, &err);
    }

    ok(err.code == 0, "up to 16 MiB");
    ok(k8s_split_feed(s, big, 1024 * 1024, &err) == -1
       && strcmp(err.reason, "ObjectTooLarge") == 0, "and no more");
    ok(k8s_split_feed(s, "\"}", 2, &err) == -1
       && strcmp(err.reason, "BadAnswer") == 0, "not fed again");
    ok(k8s_split_end(s, &err) == NULL && err.code == 502, "nor ended");

    k8s_split_free(&s);
    ok(s == NULL, "it is gone");
    k8s_split_free(&s);
    free(big);
}


static void
nul(void)
{
    bk_err_t  err;

    cut(0, "{}\0{}", 5, 1, &err);
    ok(strcmp(err.reason, "BadAnswer") == 0, "a NUL byte between");
    cut(0, "{\0}", 3, 65536, &err);
    ok(strcmp(err.text, "a NUL byte") == 0, "in an object");
    cut(0, "{\"a\0\":1}", 8, 65536, &err);
    ok(strcmp(err.text, "a NUL byte") == 0, "in a string");
    cut(1, "{\"items\":[\0]}", 13, 65536, &err);
    ok(strcmp(err.reason, "BadAnswer") == 0, "between items");
}


int
main(void)
{
    size_t    i;
    bk_err_t  err;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        each_case(&cases[i]);
    }

    deep();
    large();
    nul();

    stop_at = 2;
    cut(0, "{}{}{}", 6, 65536, &err);
    ok(strcmp(said, "{}\n{}\n") == 0 && strcmp(err.reason, "Stopped") == 0,
       "who has enough is not told more");

    printf("1..%d\n", checks);

    return 0;
}
