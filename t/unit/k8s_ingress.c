/*
 * Which certificate a host has while its Secret is not read
 * (plugins/kubernetes/ing_{names,kept,secret}.c), with an API server that
 * answers when it is told to.  The real one is in t/kubernetes_ingress.t.
 */

#include <stdarg.h>
#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/ing_kept.c"
#include "../../plugin-host/plugins/kubernetes/ing_names.c"
#include "../../plugin-host/plugins/kubernetes/ing_secret.c"


struct k8s_req_s {
    char         key[64];
    k8s_done_pt  done;
    void        *data;
};


static int        checks;
static k8s_req_t  reqs[4];      /* data NULL: none */
static bk_host_t  host;
static ing_t      ing;


/* --- the other parts -------------------------------------------------------- */

void
ing_fault(ing_faults_t *f, const char *reason, const char *fmt, ...)
{
    va_list  args;

    f->all = realloc(f->all, sizeof(bk_err_t));
    f->n = 1;
    f->all->reason[0] = '\0';
    strcat(f->all->reason, reason);
    va_start(args, fmt);
    vsnprintf(f->all->text, sizeof(f->all->text), fmt, args);
    va_end(args);
}


/* its file is its version, 64 times */

void
ing_cert_read(json_t *secret, ing_cert_t *out)
{
    const char  *version = obj_text(json_object_get(secret, "metadata"),
                                    "resourceVersion");

    memset(out, 0, sizeof(ing_cert_t));
    memset(out->file, version[0], 64);
    strcpy(out->file + 64, ".pem");
    out->until_ms = UINT64_MAX;
}


void
ing_cert_free(ing_cert_t *c)
{
    memset(c, 0, sizeof(ing_cert_t));
}


int
ing_cert_covers(const ing_cert_t *c, const char *name)
{
    (void) c;
    (void) name;

    return 1;
}


void
ing_dirty(ing_t *i)
{
    (void) i;
}


char *
gw_strdup(const char *s)
{
    return strdup(s);
}


void
gw_set(char **at, const char *s)
{
    free(*at);
    *at = strdup(s);
}


k8s_req_t *
k8s_get(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    k8s_done_pt done, void *data)
{
    k8s_req_t  *r = reqs;

    (void) k;
    (void) kind;

    while (r->data != NULL) {
        r++;
    }

    snprintf(r->key, sizeof(r->key), "%s/%s", ns, name);
    r->done = done;
    r->data = data;

    return r;
}


void
k8s_cancel(k8s_req_t **r)
{
    (*r)->data = NULL;
    *r = NULL;
}


static uint64_t
now(const bk_host_t *h)
{
    (void) h;

    return 1800000000000;
}


static void
timer_set(bk_timer_t *t, uint64_t ms)
{
    (void) t;
    (void) ms;
}


static void
log_none(const bk_host_t *h, int level, const char *fmt, ...)
{
    (void) h;
    (void) level;
    (void) fmt;
}


/* --- the API server ----------------------------------------------------------- */

static void
answer(const char *key, int status, const char *version)
{
    void          *data;
    k8s_req_t     *r = reqs;
    k8s_answer_t   a;

    while (r->data == NULL || strcmp(r->key, key) != 0) {
        r++;
    }

    memset(&a, 0, sizeof(a));
    a.status = status;

    if (status == 200) {
        a.obj = json_pack("{s:s, s:{s:s}}", "type", "kubernetes.io/tls",
                          "metadata", "resourceVersion", version);
    }

    data = r->data;
    r->data = NULL;
    r->done(data, &a);
    json_decref(a.obj);
}


/* --- checks ------------------------------------------------------------------- */

/* As ing.c and ing_file.c do it; the certificates' first letters, by host. */

static void
is(const char *expected, const char *what)
{
    int         rc;
    char        got[64] = "";
    size_t      n = 0;
    bk_name_t   name;
    bk_names_t  r;

    ing_names(&ing);
    ing_secret_want(&ing);
    ing_kept_free(&ing);
    free(ing.text);
    ing.text = ing_names_text(&ing, "buildkit");
    (void) bk_names_open(&r, ing.text, strlen(ing.text));

    while ((rc = bk_names_next(&r, &name)) == 1) {
        got[n++] = name.cert.len != 0 ? name.cert.data[0] : '-';
        got[n] = '\0';
    }

    rc = rc == 0 && strcmp(got, expected) == 0;
    printf("%sok %d - %s\n", rc ? "" : "not ", ++checks, what);

    if (!rc) {
        printf("# %s: %s\n", got, ing.text);
    }
}


static void
says(const ing_obj_t *o, const char *text)
{
    int  good;

    good = text == NULL ? o->faults.n == 0
           : o->faults.n != 0 && strstr(o->faults.all->text, text) != NULL;
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks,
           text != NULL ? text : "nothing is wrong");
}


/* A companion that is started again: the text is there. */

static void
restart(void)
{
    ing_secret_free(&ing);
    ing_names_free(&ing);
    ing_kept_free(&ing);
}


int
main(void)
{
    char         host_one[] = "b.example.com", pool[] = "a/demo";
    char         one[] = "a/one", two[] = "a/two", ns[] = "a";
    char         other_ns[] = "c", other_pool[] = "c/demo", three[] = "c/one";
    char         key[] = "a/i", other_key[] = "c/i";
    ing_obj_t    o = { 0 }, other = { 0 };
    ing_rule_t   rule = { host_one, pool, one };
    ing_rule_t   other_rule = { host_one, other_pool, three };
    ing_pool_t   p = { .key = pool }, other_p = { .key = other_pool };

    host.now_ms = host.monotonic_ms = now;
    host.timer_set = timer_set;
    host.log = log_none;
    ing.host = &host;
    HASH_ADD_KEYPTR(hh, ing.pools, p.key, strlen(p.key), &p);
    HASH_ADD_KEYPTR(hh, ing.pools, other_p.key, strlen(other_p.key), &other_p);

    o.key = o.uid = key;
    o.name = key + 2;
    o.ns = ns;
    o.read.rules = &rule;
    o.read.nrules = 1;
    HASH_ADD_KEYPTR(hh, ing.objs, o.key, strlen(o.key), &o);

    /* host, amd64., arm64.: in the order amd64., arm64., b. */
    is("---", "nothing is known: the default one");
    answer("a/one", 200, "1");
    is("111", "its own");

    rule.secret = two;
    is("111", "another Secret, not read yet: the one it has");
    is("111", "and still");
    answer("a/two", 503, "");
    is("111", "nor can it be read");
    says(&o, NULL);
    restart();
    is("111", "another run, that does not know either");
    answer("a/two", 403, "");
    is("111", "that may not");
    says(&o, "has an old certificate: the Secret two may not be read");
    restart();
    is("111", "one more");
    answer("a/two", 200, "2");
    is("222", "the other one");
    restart();
    is("222", "which it has from then on");
    answer("a/two", 404, "");
    is("---", "a Secret that is gone");
    says(&o, "has the default certificate: there is no Secret two");

    rule.secret = one;
    is("---", "no certificate before");
    answer("a/one", 200, "3");
    is("333", "one again");

    /* the host is another namespace's */
    HASH_CLEAR(hh, ing.objs);
    other.key = other.uid = other_key;
    other.name = other_key + 2;
    other.ns = other_ns;
    other.read.rules = &other_rule;
    other.read.nrules = 1;
    HASH_ADD_KEYPTR(hh, ing.objs, other.key, strlen(other.key), &other);
    is("---", "another namespace has not that one's certificate");

    /* what nginx has taken nothing of */
    HASH_CLEAR(hh, ing.objs);
    HASH_ADD_KEYPTR(hh, ing.objs, o.key, strlen(o.key), &o);
    restart();
    free(ing.text);
    ing.text = strdup("buildkit-names 1 2 buildkit\nb.example.com a/demo - "
        "4444444444444444444444444444444444444444444444444444444444444444.pem\n");
    is("---", "a text that is not whole");

    restart();
    free(ing.text);
    free(o.faults.all);
    free(other.faults.all);
    HASH_CLEAR(hh, ing.objs);
    HASH_CLEAR(hh, ing.pools);
    printf("1..%d\n", checks);

    return 0;
}
