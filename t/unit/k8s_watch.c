/*
 * Keeping up with a collection (plugins/kubernetes/k8s_watch.c), with an API
 * server that does what a real one cannot be made to: 410 amid pages, half an
 * object at the end, silence, answers that are none.  What it is asked and
 * what its consumer is told is one text, a word each; the real one is in
 * t/k8s_watch.t.
 */

#include <stdarg.h>
#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/k8s_known.c"
#include "../../plugin-host/plugins/kubernetes/k8s_split.c"
#include "../../plugin-host/plugins/kubernetes/k8s_split_read.c"
#include "../../plugin-host/plugins/kubernetes/k8s_text.c"
#include "../../plugin-host/plugins/kubernetes/k8s_watch.c"
#include "../../plugin-host/plugins/kubernetes/k8s_watch_take.c"


struct bk_timer_s {
    bk_timer_pt   fire;
    void         *data;
    int           set;
    uint64_t      ms;
};

struct k8s_req_s {
    bk_fetch_part_pt   part;
    k8s_done_pt        done;
    void              *data;
};


static int           checks;
static char          said[65536];
static uint64_t      now_ms = 1000000;
static bk_timer_t   *timer;
static k8s_req_t    *req;
static bk_host_t     host;
static k8s_watch_t  *watch;


/* --- what it stands on ---------------------------------------------------- */

static void __attribute__((format(printf, 1, 2)))
say(const char *fmt, ...)
{
    size_t   n = strlen(said);
    va_list  args;

    va_start(args, fmt);
    vsnprintf(said + n, sizeof(said) - n, fmt, args);
    va_end(args);
}


static bk_timer_t *
fake_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    (void) h;

    timer = calloc(1, sizeof(bk_timer_t));
    timer->fire = fire;
    timer->data = data;

    return timer;
}


static void
fake_timer_set(bk_timer_t *t, uint64_t ms)
{
    t->set = 1;
    t->ms = ms;
}


static void
fake_timer_free(bk_timer_t **t)
{
    free(*t);
    *t = NULL;
}


static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return now_ms;
}


const bk_host_t *
k8s_host(const k8s_t *k)
{
    (void) k;

    return &host;
}


char *
k8s_path(const k8s_kind_t *kind, const char *ns, const char *name,
    const char *sub)
{
    char  *path;

    if (name != NULL || sub != NULL
        || asprintf(&path, "/%s/%s", ns != NULL ? ns : "*", kind->plural) < 0)
    {
        abort();
    }

    return path;
}


k8s_req_t *
k8s_stream(k8s_t *k, const char *path, uint64_t silence_ms,
    bk_fetch_part_pt part, k8s_done_pt done, void *data)
{
    char  *seconds;

    (void) k;

    if (req != NULL || silence_ms != 45000) {
        say("!two-at-a-time ");
    }

    /* which differs each time */
    seconds = strstr(path, "&timeoutSeconds=");

    if (seconds != NULL) {
        say("%.*s%s ", (int) (seconds - path), path, seconds + 18);

    } else {
        say("%s ", path);
    }

    req = calloc(1, sizeof(k8s_req_t));
    req->part = part;
    req->done = done;
    req->data = data;

    return req;
}


void
k8s_cancel(k8s_req_t **r)
{
    if (*r != NULL) {
        say("cancelled ");
        free(req);
        req = NULL;
        *r = NULL;
    }
}


/* --- the API server ------------------------------------------------------- */

static void
end(int status, const char *text, unsigned retry_after)
{
    k8s_req_t     *r = req;
    k8s_answer_t   a;

    memset(&a, 0, sizeof(a));
    a.status = status;
    a.retry_after = retry_after;
    snprintf(a.text, sizeof(a.text), "%s", text);
    req = NULL;
    r->done(r->data, &a);
    free(r);
}


/* Some of an answer; 1: it is still wanted. */

static int
part(const char *text)
{
    if (req->part(req->data, text, strlen(text)) == 0) {
        return 1;
    }

    end(0, "stopped", 0);

    return 0;
}


static void
page(const char *items, const char *version, const char *next)
{
    char  text[4096];

    snprintf(text, sizeof(text), "{\"metadata\":{\"resourceVersion\":\"%s\""
             ",\"continue\":\"%s\"},\"items\":[%s]}", version, next, items);
    part("");

    if (part(text)) {
        end(200, "", 0);
    }
}


/* "ADDED", "a" */

static int
event(const char *type, const char *name, const char *version)
{
    char  text[512];

    snprintf(text, sizeof(text), "{\"type\":\"%s\",\"object\":{\"metadata\":{"
             "\"namespace\":\"n\",\"name\":\"%s\",\"uid\":\"%s1\","
             "\"resourceVersion\":\"%s\"}}}\n", type, name, name, version);

    return part(text);
}

#define A   "{\"metadata\":{\"namespace\":\"n\",\"name\":\"a\",\"uid\":\"a1\"}}"
#define A2  "{\"metadata\":{\"namespace\":\"n\",\"name\":\"a\",\"uid\":\"a2\"}}"
#define B   "{\"metadata\":{\"namespace\":\"n\",\"name\":\"b\",\"uid\":\"b1\"}}"
#define C   "{\"metadata\":{\"namespace\":\"n\",\"name\":\"c\",\"uid\":\"c1\"}}"

#define GONE  "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":"  \
              "410,\"message\":\"too old\"}}"


/* --- the consumer --------------------------------------------------------- */

static void
told_put(void *data, json_t *obj, int again)
{
    json_t  *meta = json_object_get(obj, "metadata");

    (void) data;

    say("%s%s%s ", again ? "=" : "+",
        json_string_value(json_object_get(meta, "name")),
        json_string_value(json_object_get(meta, "uid")) + 1);
}


static void
told_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    (void) data;

    say("-%s/%s%s ", ns, name, obj == NULL ? "?" : "");
}


static void
told_synced(void *data, int first)
{
    (void) data;

    say("synced%s ", first ? "-first" : "");
}


static void
told_state(void *data, int connected, const char *why)
{
    (void) data;

    say(connected ? "up " : "down(%s) ", why);
}


static const k8s_watch_ops_t  ops = {
    told_put, told_gone, told_synced, told_state
};


/* --- checks --------------------------------------------------------------- */

static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);

    if (!good) {
        printf("# %s\n", said);
    }
}


/* What was said since the last time. */

static void
is(const char *expected, const char *what)
{
    ok(strcmp(said, expected) == 0, what);
    said[0] = '\0';
}


/* Whatever time it takes; how long it was to be */

static uint64_t
turn(void)
{
    uint64_t  ms = timer->ms;

    if (!timer->set) {
        say("!nothing-is-due ");
        return 0;
    }

    timer->set = 0;
    now_ms += ms;
    timer->fire(timer->data);

    return ms;
}


static void
begin(const char *ns, const char *selector)
{
    static const k8s_kind_t  kind = { "", "v1", "pods", "Pod" };

    watch = k8s_watch(NULL, &kind, ns, selector, &ops, NULL);
    turn();
}


static void
over(void)
{
    k8s_watch_free(&watch);
    said[0] = '\0';

    if (watch != NULL || req != NULL) {
        ok(0, "it is all gone");
    }
}


#define LIST   "/n/pods?limit=500 "
#define NEAR(version)                                                         \
    "/n/pods?resourceVersion=" version "&resourceVersionMatch=NotOlderThan "
#define WATCH  "/n/pods?watch=true&allowWatchBookmarks=true&resourceVersion="


/* To where it watches from version 10 with a and b. */

static void
settled(void)
{
    begin("n", NULL);
    page(A "," B, "10", "");
    turn();
    part("");
    said[0] = '\0';
}


static void
pages(void)
{
    begin("", "a in (b,c),!d");
    is("/*/pods?limit=500&labelSelector=a%20in%20%28b%2Cc%29%2C%21d ",
       "a list of all namespaces, with a selector");
    over();

    begin("n", NULL);
    page(A, "10", "x+/=");
    is(LIST "=a1 ", "the first page");
    turn();
    is("/n/pods?limit=500&continue=x%2B%2F%3D ", "the second");
    page(B, "11", "y");
    turn();
    is("=b1 /n/pods?limit=500&continue=y ", "the third");
    page(C, "12", "");
    is("=c1 synced-first up ", "which is the last");
    ok(turn() == 0, "at once");
    is(WATCH "10 ", "a watch from the version of the first page");
    over();
}


static void
events(void)
{
    k8s_watch_stats_t  stats;

    settled();
    event("MODIFIED", "a", "11");
    event("ADDED", "c", "12");
    event("DELETED", "b", "13");
    is("+a1 +c1 -n/b ", "events");
    event("BOOKMARK", "", "20");
    now_ms += 35000;
    end(200, "", 0);
    ok(turn() == 0, "a watch ends after its time");
    is(WATCH "20 ", "and goes on where it was, without a word");

    k8s_watch_stats(watch, &stats);
    ok(stats.lists == 1 && stats.pages == 1 && stats.watches == 2
       && stats.events == 3 && stats.bookmarks == 1 && stats.gones == 0
       && stats.errors == 0 && stats.objects == 2 && stats.connected,
       "statistics");

    event("DELETED", "never-seen", "21");
    is("-n/never-seen ", "one that was not known");
    k8s_watch_again(watch);
    turn();
    is("cancelled " LIST, "a list when asked for");
    page(A, "30", "");
    is("=a1 -n/c? synced ", "and what is not in it is gone");
    over();
}


static void
gone(void)
{
    uint64_t  ms;

    settled();
    event("ADDED", "c", "11");
    part(GONE);
    is("+c1 down(the watch ended: too old) ", "410 in a watch: nothing goes");
    ok(turn() < 500, "a list soon");
    is(NEAR("11"), "a list, not older than what is known");
    end(504, "too new", 0);
    is("", "a server that is not as new as that");
    ok(turn() <= 1000, "soon");
    is(LIST, "the newest, in pages");
    page(A, "20", "x");
    turn();
    is("=a1 /n/pods?limit=500&continue=x ", "a page of it: nothing goes");
    page(C, "20", "");
    is("=c1 -n/b? synced up ", "its end: one is gone");
    turn();
    is(WATCH "20 ", "on from there");
    end(410, "Expired", 0);
    is("down(Expired) ", "410 in place of a watch");
    ms = turn();
    ok(ms >= 500 && ms <= 2000,
       "again, and nothing was well: no hurry");
    is(NEAR("20"), "a list again");
    page(A2 "," C, "30", "");
    is("-n/a? =a2 =c1 synced up ", "one was replaced by one of its name");
    over();

    /* amid pages */
    begin("n", NULL);
    page(A, "10", "x");
    turn();
    said[0] = '\0';
    end(410, "token too old", 0);
    is("down(token too old) ", "410 amid pages");
    ok(turn() < 500, "a list soon");
    is("/n/pods?limit=0 ", "all at once");
    page(B, "11", "");
    is("=b1 -n/a? synced-first up ", "the list is what counts");
    turn();
    end(410, "", 0);
    turn();
    is(WATCH "11 down() " NEAR("11"), "and the next time as ever");
    end(0, "no connection", 0);
    turn();
    is(LIST, "or in pages");
    over();
}


/* A list that has most of it as it was. */

#define V(name, uid, version)                                                 \
    "{\"metadata\":{\"namespace\":\"n\",\"name\":\"" name "\",\"uid\":\"" uid   \
    "\",\"resourceVersion\":\"" version "\"},\"spec\":{\"a\":[]}}"

static void
same(void)
{
    int  i;

    k8s_watch_stats_t  stats;

    begin("n", NULL);
    page(V("a", "a1", "5") "," V("b", "b1", "6") "," V("c", "c1", "7"), "10",
         "");
    turn();
    event("MODIFIED", "b", "11");
    part(GONE);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "5") "," V("b", "b1", "11") "," V("c", "c2", "7"), "12",
         "");
    is("-n/c? =c2 synced up ", "what is as it was is not told again");
    k8s_watch_stats(watch, &stats);
    ok(stats.same == 2 && stats.objects == 3, "nor is it gone");

    turn();
    part(GONE);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "13") "," V("b", "b1", "6"), "14", "");
    is("=a1 =b1 -n/c? synced up ", "of another version, it is");

    /* one that was told of in a list that broke was told of */
    turn();
    part(GONE);
    turn();
    part("");
    part("{\"metadata\":{\"resourceVersion\":\"20\"},\"items\":["
         V("a", "a1", "15"));
    end(0, "timeout", 0);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "20", "");
    is("synced up ", "in a list that broke it was told");

    k8s_watch_again(watch);
    turn();
    is(LIST, "for who doubts");
    end(0, "timeout", 0);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "21", "");
    is("=a1 =b1 synced up ", "all of it, in the end");
    turn();
    part(GONE);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "22", "");
    is("synced up ", "and not the next time");

    /* versions may mean something else, as those of a restored etcd do */
    turn();
    end(400, "invalid resource version", 0);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "9", "");
    is("=a1 =b1 synced up ", "a version that is none: all of it");

    for (i = 0, turn(); i < 20; i++, turn()) {
        now_ms += 35000;
        end(200, "", 0);
    }

    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "9", "");
    is("=a1 =b1 synced ", "a version from the future: all of it");

    turn();
    part(GONE);
    turn();
    end(400, "invalid resource version", 0);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "9", "");
    is("=a1 =b1 synced up ", "nor one for a list: all of it");

    turn();
    part(GONE);
    turn();
    end(504, "too new", 0);
    turn();
    said[0] = '\0';
    page(V("a", "a1", "15") "," V("b", "b1", "6"), "9", "");
    is("synced up ", "one that is not known yet is no doubt");
    over();
}


static void
errors(void)
{
    int       i;
    uint64_t  ms, most = 0;

    begin("n", NULL);
    end(403, "not allowed", 0);
    is(LIST "down(not allowed) ", "no list");
    ms = turn();
    ok(ms >= 250 && ms <= 500, "again after half a second");
    end(0, "no connection", 0);
    ms = turn();
    ok(ms >= 500 && ms <= 1000, "then a second");

    for (i = 0; i < 60; i++) {
        end(500, "no", 0);
        ms = turn();
        most = ms > most ? ms : most;
    }

    ok(most > 20000 && most <= 30000, "up to half a minute");
    end(429, "slow down", 90);
    ok(turn() == 90000, "or longer where the server says so");
    end(429, "slow down", 4000000000);
    ok(turn() == 120000, "within reason");
    said[0] = '\0';

    page(A, "10", "x");
    turn();
    said[0] = '\0';
    part("");
    part("{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" B);
    end(0, "timeout", 0);
    is("=b1 ", "half a page");
    turn();
    is("/n/pods?limit=500&continue=x ", "the same page again");
    part("{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[" B);
    end(200, "", 0);
    turn();
    is("=b1 /n/pods?limit=500&continue=x ",
       "half a page that ends as if it were one");
    page(B, "10", "");
    is("=b1 synced-first up ", "and at last all");
    over();
}


/* Each is an error, after which it is asked again from there. */

static void
bad_events(void)
{
    size_t  i;

    static const char  *parts[] = {
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"z\"}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{"
            "\"resourceVersion\":\"12\"}}}",
        "{\"type\":\"DELETED\",\"object\":{\"metadata\":{"
            "\"resourceVersion\":\"12\"}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"namespace\":\"x/y\","
            "\"name\":\"z\",\"resourceVersion\":\"12\"}}}",
        "{\"type\":\"ADDED\",\"object\":null}",
        "{\"type\":\"OTHER\",\"object\":{\"metadata\":{\"name\":\"z\","
            "\"resourceVersion\":\"12\"}}}",
        "{\"type\":\"ERROR\",\"object\":{\"code\":500}}",
        "{\"type\":\"ERROR\"}", "{}", "nonsense", "{]"
    };

    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        settled();
        event("ADDED", "c", "11");
        said[0] = '\0';
        ok(!part(parts[i]) && strncmp(said, "down(", 5) == 0
           && strchr(said, '+') == NULL && strchr(said, '-') == NULL,
           parts[i]);
        said[0] = '\0';
        turn();
        is(WATCH "11 ", "again from where it was well");
        over();
    }

    for (i = 0; i < 3; i++) {
        begin("n", NULL);
        said[0] = '\0';
        part("");
        part(i == 0 ? "{\"metadata\":{},\"items\":[]}"
             : i == 1 ? "{\"items\":[]}"
             : "{\"metadata\":{\"resourceVersion\":\"1\"}}");
        end(200, "", 0);
        ok(strncmp(said, "down(", 5) == 0 && strstr(said, "synced") == NULL,
           "a list that is none");
        over();
    }
}


static void
broken(void)
{
    int       i;
    uint64_t  ms;

    settled();
    event("ADDED", "c", "11");
    part("{\"type\":\"MODIFIED\",\"object\":{\"meta");
    end(200, "", 0);
    is("+c1 down(the answer ends amid an object) ",
       "half an object at the end of a watch");
    ms = turn();
    ok(ms >= 250 && ms <= 500, "soon");
    is(WATCH "11 ", "the watch again");
    part("");
    is("up ", "connected as soon as there is a head");
    now_ms += 45000;
    end(0, "no byte for 45 s", 0);
    is("down(no byte for 45 s) ", "silence");
    ms = turn();
    ok(ms >= 500 && ms <= 1000, "again, a little later");
    is(WATCH "11 ", "and again a watch");

    /* accepted and ended at once, for ever */
    for (i = 0; i < 10; i++) {
        part("");
        end(200, "", 0);
        ms = turn();
    }

    ok(ms >= 15000, "one that ends as soon as it begins is no watch");
    said[0] = '\0';
    part("");
    event("MODIFIED", "c", "12");
    end(0, "reset", 0);
    ms = turn();
    ok(ms <= 500, "an event, and all is forgiven");
    said[0] = '\0';

    /* the server has something against this version */
    end(400, "invalid resource version", 0);
    turn();
    is(LIST, "refused: a list");
    over();

    settled();
    end(401, "Unauthorized", 0);
    turn();
    is("down(Unauthorized) " WATCH "10 ", "not who we are: no list for that");
    over();

    /* a version from the future: it is waited for */
    settled();

    for (i = 0; i < 20; i++) {
        now_ms += 35000;
        end(200, "", 0);
        said[0] = '\0';
        ok(turn() == 0, "a watch without a word");
    }

    is(LIST, "and one day a list");
    page(A "," B, "9", "");
    is("=a1 =b1 synced ", "that takes nothing away");
    turn();
    is(WATCH "9 ", "and a watch from there");
    over();
}


/* So many tries that fail, for 15 s at least each; how often it was said. */

static int
fails(int n, int status, const char *text)
{
    int          told = 0;
    const char  *p;

    while (n-- > 0) {
        turn();
        end(status, text, 0);
    }

    for (p = said; (p = strstr(p, "down(")) != NULL; p++) {
        told++;
    }

    said[0] = '\0';

    return told;
}


static void
away(void)
{
    settled();
    end(0, "refused after 1 ms", 0);
    is("down(refused after 1 ms) ", "away");
    ok(fails(200, 0, "refused after 20 ms") == 0, "for an hour: not a word");
    ok(fails(1, 503, "starting") == 1, "another reason is told");
    ok(fails(10, 0, "refused after 1 ms") == 0, "but not each in turn");
    ok(fails(200, 0, "refused after 1 ms") == 1, "ten minutes later, once");
    ok(fails(5, 401, "Unauthorized") == 1, "that we are nobody: at once");
    ok(fails(5, 0, "refused after 1 ms") == 0, "and what was before is not");
    ok(fails(5, 401, "Unauthorized") == 0, "nor is it once more");
    ok(fails(1, 403, "forbidden") == 1, "we are, and may not: at once");
    turn();
    part("");
    ok(strstr(said, " up ") != NULL, "and back");
    over();
}


/* Each failure in a row waits twice as long, up to half a minute, and nobody as
 * long as his neighbours: an API server that is back is not run over. */

static void
delays(void)
{
    int       in = 1, differ = 0;
    uint64_t  ms, last, most;
    unsigned  i, n;

    for (n = 1; n < 100; n++) {
        most = n < 7 ? 500 << (n - 1) : 30000;
        last = k8s_watch_delay(n, 0);

        for (i = 0; i < 50; i++) {
            ms = k8s_watch_delay(n, 0);
            in &= ms >= most / 2 && ms <= most;
            differ |= ms != last;
        }
    }

    ok(in, "from a half to all of 0.5, 1, 2 ... 30 s");
    ok(differ, "not always the same");
    ok(k8s_watch_delay(1, 7) == 7000, "the server's word, when that is longer");
    ok(k8s_watch_delay(1, 1000000) == 120000, "but not for ever");
}


int
main(void)
{
    host.timer_new = fake_timer_new;
    host.timer_set = fake_timer_set;
    host.timer_free = fake_timer_free;
    host.monotonic_ms = fake_now;

    pages();
    events();
    gone();
    same();
    errors();
    bad_events();
    broken();
    away();
    delays();

    printf("1..%d\n", checks);

    return 0;
}
