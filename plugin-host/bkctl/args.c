/*
 * Flags: one table for parsing, help and completion.
 *
 * Values are --name VALUE or --name=VALUE.  Flags and operands may be mixed,
 * but for verbs that run a command: there the first operand or -- ends what
 * is ours.  A usage error quotes what was typed, with one exception: what
 * looks like a token is never repeated.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "bkctl.h"


/* as long as the tokens of our own allocator */
#define BK_TOKEN_LIKE  43

#define BK_FLAG_SWITCH    1
#define BK_FLAG_STRING    2
#define BK_FLAG_DURATION  3
#define BK_FLAG_PAIR      4
#define BK_FLAG_MAYBE     5     /* a duration, which may be left out */


static int bk_args_token(const char *arg);
static int bk_args_flag(bk_args_t *args, int argc, char **argv, int *i);
static int bk_args_set(bk_args_t *args, const bk_flag_t *f,
    const char *value);
static void bk_args_env(bk_args_t *args);
static int bk_args_check(const bk_args_t *args);
static const bk_flag_t *bk_args_find(const bk_verb_t *verb, const char *name,
    size_t len);


#define BK_ARG(field)  offsetof(bk_args_t, field)

const bk_flag_t  bk_flags[] = {

    { "pool", "POOL", BK_FLAG_STRING,
      BK_TAKES_ALLOCATE|BK_TAKES_FILTER|BK_TAKES_EXPLAIN,
      BK_ARG(pool), "BKCTL_POOL",
      "pool, NAME or NAMESPACE/NAME" },

    { "namespace", "N", BK_FLAG_STRING,
      BK_TAKES_ALLOCATE|BK_TAKES_FILTER|BK_TAKES_EXPLAIN,
      BK_ARG(nspace), "BKCTL_NAMESPACE",
      "namespace of a pool given as NAME (default \"default\")" },

    { "ttl", "TIME", BK_FLAG_DURATION, BK_TAKES_TTL,
      BK_ARG(ttl), NULL,
      "how long the allocation lasts, e.g. 90s or 1h30m" },

    { "wait", "TIME", BK_FLAG_DURATION, BK_TAKES_ALLOCATE,
      BK_ARG(wait), NULL,
      "how long to wait for a worker (default 1m)" },

    { "arch", "ARCH", BK_FLAG_STRING, BK_TAKES_ALLOCATE,
      BK_ARG(arch), NULL,
      "architecture of the worker, e.g. amd64" },

    { "job-id", "J", BK_FLAG_STRING, BK_TAKES_ALLOCATE,
      BK_ARG(job_id), NULL,
      "your name for the job, for logs and lists" },

    { "cache-key", "K", BK_FLAG_STRING, BK_TAKES_ALLOCATE,
      BK_ARG(cache_key), NULL,
      "prefer the worker that had this key last" },

    { "idempotency-key", "K", BK_FLAG_STRING, BK_TAKES_ALLOCATE,
      BK_ARG(idempotency_key), NULL,
      "the same key gets the same allocation again" },

    { "metadata", "K=V", BK_FLAG_PAIR, BK_TAKES_ALLOCATE,
      BK_ARG(metadata), NULL,
      "kept with the allocation; may be given again" },

    { "out", "DIR", BK_FLAG_STRING, BK_TAKES_OUT,
      BK_ARG(out), NULL,
      "write ca.pem, cert.pem, key.pem and alloc.json there" },

    { "token-file", "FILE", BK_FLAG_STRING, BK_TAKES_TOKEN,
      BK_ARG(token_file), NULL,
      "alloc.json or a file with the token alone; - is stdin" },

    { "token-file", "FILE", BK_FLAG_STRING, BK_TAKES_BEARER,
      BK_ARG(api_token_file), NULL,
      "a file with the bearer token for the API" },

    { "verb", "V", BK_FLAG_STRING, BK_TAKES_EXPLAIN,
      BK_ARG(about), NULL,
      "what one wants to do there (default allocate)" },

    { "reason", "TEXT", BK_FLAG_STRING, BK_TAKES_REASON|BK_TAKES_DRAIN,
      BK_ARG(reason), NULL,
      "why; the person whose build it is reads it" },

    { "wait", "[TIME]", BK_FLAG_MAYBE, BK_TAKES_DRAIN,
      BK_ARG(wait), NULL,
      "until nothing runs on it any more, or for this time" },

    { "undo", NULL, BK_FLAG_SWITCH, BK_TAKES_DRAIN,
      BK_ARG(undo), NULL,
      "take the worker back" },

    { "authority", "A", BK_FLAG_STRING, BK_TAKES_CA,
      BK_ARG(authority), NULL,
      "gateway or worker alone (default: both)" },

    { "force", NULL, BK_FLAG_SWITCH, BK_TAKES_CA,
      BK_ARG(force), NULL,
      "retire one that is still needed: who needs it is cut off" },

    { "allocation", "ID", BK_FLAG_STRING, BK_TAKES_SESSIONS,
      BK_ARG(allocation), NULL,
      "only of this allocation" },

    { "worker", "WORKER", BK_FLAG_STRING, BK_TAKES_SESSIONS,
      BK_ARG(worker), NULL,
      "only of this worker" },

    { "watch", NULL, BK_FLAG_SWITCH, BK_TAKES_SESSIONS,
      BK_ARG(watch), NULL,
      "go on until Ctrl-C; changes, a line each, where stdout is no terminal"
    },

    { "watch", NULL, BK_FLAG_SWITCH, BK_TAKES_WATCH,
      BK_ARG(watch), NULL,
      "of one: go on until it has ended, a line of JSON for each change" },

    { "table", "PATH", BK_FLAG_STRING, BK_TAKES_TABLE,
      BK_ARG(table), "BKCTL_TABLE",
      "route table (default " BK_TABLE_DEFAULT ")" },

    { "live", NULL, BK_FLAG_SWITCH, BK_TAKES_LIVE,
      BK_ARG(live), NULL,
      "print nothing; exit 0 when nginx can use the table" },

    { "live", NULL, BK_FLAG_SWITCH, BK_TAKES_ALIVE,
      BK_ARG(live), NULL,
      "print nothing; exit 1 when the API is there and does not answer" },

    { "names", NULL, BK_FLAG_SWITCH, BK_TAKES_NAMES,
      BK_ARG(names), NULL,
      "only names, one a line" },

    { "json", NULL, BK_FLAG_SWITCH, BK_TAKES_JSON,
      BK_ARG(json), NULL,
      "print JSON" },

    { "endpoint", "URL", BK_FLAG_STRING, BK_TAKES_API,
      BK_ARG(endpoint), "BKCTL_ENDPOINT",
      "the API: unix:PATH, http://... or https://..." },

    { "oidc", "github", BK_FLAG_STRING, BK_TAKES_API,
      BK_ARG(oidc), "BKCTL_OIDC",
      "get the token for the API from the CI system" },

    { "audience", "A", BK_FLAG_STRING, BK_TAKES_API,
      BK_ARG(audience), "BKCTL_AUDIENCE",
      "whom a token of --oidc is for" },

    { "help", NULL, BK_FLAG_SWITCH, ~0u,
      BK_ARG(help), NULL,
      "print this" },

    { NULL, NULL, 0, 0, 0, NULL, NULL }
};


int
bk_args_parse(bk_args_t *args, const bk_verb_t *verb, int argc, char **argv)
{
    int  i, n, ours;

    memset(args, 0, sizeof(bk_args_t));
    args->verb = verb;
    args->argv = argv + 1;

    n = 0;
    ours = 1;

    for (i = 1; i < argc; i++) {

        if (ours && strcmp(argv[i], "--") == 0) {
            ours = 0;
            continue;
        }

        if (ours && argv[i][0] == '-' && argv[i][1] != '\0'
            && !bk_args_token(argv[i]))
        {
            if (bk_args_flag(args, argc, argv, &i) != 0) {
                return -1;
            }

            if (args->help) {
                return 0;
            }

            continue;
        }

        if (verb->takes & BK_TAKES_COMMAND) {
            ours = 0;
        }

        args->argv[n++] = argv[i];
    }

    args->argv[n] = NULL;
    args->argc = n;

    bk_args_env(args);

    return bk_args_check(args);
}


/*
 * One in 64 tokens begins with "-", one in 4096 with "--": they are operands,
 * and never repeated.  No flag is as long.
 */

static int
bk_args_token(const char *arg)
{
    return strlen(arg) >= BK_TOKEN_LIKE
           && arg[strspn(arg, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
                              "uvwxyz0123456789-_")] == '\0';
}


static int
bk_args_flag(bk_args_t *args, int argc, char **argv, int *i)
{
    int               brief;
    size_t            len;
    uint64_t          ms;
    const char       *name, *value, *like;
    const bk_flag_t  *f;

    brief = 0;

    if (strcmp(argv[*i], "-h") == 0) {
        args->help = 1;
        return 0;
    }

    name = argv[*i] + 1;

    if (*name == '-') {
        name++;

    } else if (strcmp(name, "p") == 0 || strcmp(name, "n") == 0) {
        /* as in the guides of buildkit-controller */
        name = *name == 'p' ? "pool" : "namespace";
        brief = 1;
    }

    len = strcspn(name, "=");
    value = name[len] == '=' ? name + len + 1 : NULL;
    f = bk_args_find(args->verb, name, len);

    if (f == NULL || (argv[*i][1] != '-' && !brief)) {
        like = bk_args_like(args->verb, name, len);

        bk_args_usage(NULL, "\"bkctl %s\" has no flag \"%.*s\"",
                      args->verb->name,
                      (int) strcspn(argv[*i], "="), argv[*i]);

        if (like) {
            bk_out_hint("did you mean \"--%s\"?", like);

        } else {
            bk_out_hint("\"bkctl %s --help\" lists its flags",
                        args->verb->name);
        }

        return -1;
    }

    if (f->type == BK_FLAG_SWITCH) {
        if (value) {
            bk_args_usage(args->verb, "\"--%s\" takes no value: \"%s\"",
                          f->name, argv[*i]);
            return -1;
        }

        return bk_args_set(args, f, NULL);
    }

    if (f->type == BK_FLAG_MAYBE) {
        args->patient = 1;

        if (value == NULL && (*i + 1 >= argc
                              || bk_duration_parse(argv[*i + 1],
                                                   strlen(argv[*i + 1]), &ms)
                                 != 0))
        {
            return 0;
        }
    }

    if (value == NULL) {
        if (*i + 1 >= argc) {
            bk_args_usage(args->verb, "\"--%s\" needs a value: --%s %s",
                          f->name, f->name, f->value);
            return -1;
        }

        value = argv[++*i];
    }

    return bk_args_set(args, f, value);
}


static int
bk_args_set(bk_args_t *args, const bk_flag_t *f, const char *value)
{
    char      *field = (char *) args + f->offset;
    uint64_t   ms;

    if (f->type == BK_FLAG_SWITCH) {
        *(int *) (void *) field = 1;
        return 0;
    }

    if (*value == '\0') {
        bk_args_usage(args->verb, "\"--%s\" is empty", f->name);
        return -1;
    }

    switch (f->type) {

    case BK_FLAG_DURATION:
    case BK_FLAG_MAYBE:

        if (bk_duration_parse(value, strlen(value), &ms) != 0) {
            bk_args_usage(args->verb, "\"%s\" is no duration for \"--%s\"; "
                          "write 90s, 10m or 1h30m", value, f->name);
            return -1;
        }

        break;

    case BK_FLAG_PAIR:

        if (*value == '=' || strchr(value, '=') == NULL) {
            bk_args_usage(args->verb, "\"%s\" is not KEY=VALUE for \"--%s\"",
                          value, f->name);
            return -1;
        }

        if (args->nmetadata == BK_METADATA_MAX) {
            bk_args_usage(args->verb, "more than %d of \"--%s\"",
                          BK_METADATA_MAX, f->name);
            return -1;
        }

        args->metadata[args->nmetadata++] = value;
        return 0;

    default:
        break;
    }

    *(const char **) (void *) field = value;

    return 0;
}


/* The environment fills in what no flag said; an empty variable is unset. */

static void
bk_args_env(bk_args_t *args)
{
    const char       *value, **field;
    const bk_flag_t  *f;

    for (f = bk_flags; f->name; f++) {

        if (f->env == NULL || !bk_args_takes(args->verb, f)) {
            continue;
        }

        /* a list is of everything unless a flag narrows it */

        if (f->offset == BK_ARG(pool) && args->verb->takes & BK_TAKES_FILTER)
        {
            continue;
        }

        field = (const char **) (void *) ((char *) args + f->offset);
        value = getenv(f->env);

        if (*field == NULL && value != NULL && *value != '\0') {
            *field = value;
        }
    }

    if (args->endpoint == NULL) {
        args->endpoint = BK_ENDPOINT_DEFAULT;
    }

    if (args->table == NULL) {
        args->table = BK_TABLE_DEFAULT;
    }
}


static int
bk_args_check(const bk_args_t *args)
{
    const bk_verb_t  *verb = args->verb;

    if (verb->max >= 0 && args->argc > verb->max) {

        /* what a token looks like is not repeated */

        if (verb->takes & BK_TAKES_TOKEN
            || strlen(args->argv[verb->max]) >= BK_TOKEN_LIKE)
        {
            bk_args_usage(verb, "\"bkctl %s\" takes at most %d operand%s",
                          verb->name, verb->max, verb->max == 1 ? "" : "s");
        } else {
            bk_args_usage(verb, "\"bkctl %s\" does not take \"%s\"",
                          verb->name, args->argv[verb->max]);
        }

        return -1;
    }

    if (args->argc < verb->min) {
        bk_args_usage(verb, "\"bkctl %s\" needs %s", verb->name,
                      verb->takes & BK_TAKES_COMMAND ? "a command after --"
                                                     : verb->operands);
        return -1;
    }

    if (verb->takes & (BK_TAKES_ALLOCATE|BK_TAKES_EXPLAIN)
        && args->pool == NULL)
    {
        bk_args_usage(verb, "of which pool? give --pool or set BKCTL_POOL");
        return -1;
    }

    if (args->oidc && strcmp(args->oidc, "github") != 0) {
        bk_args_usage(verb, "\"%s\" is no CI system that is known: --oidc "
                      "github; GitLab hands a job its token in a variable, "
                      "name that BKCTL_TOKEN", args->oidc);
        return -1;
    }

    if (verb->takes & BK_TAKES_REASON && args->reason == NULL) {
        bk_args_usage(verb, "\"bkctl %s\" needs --reason TEXT: it is what "
                      "the person at the other end reads", verb->name);
        return -1;
    }

    return 0;
}


int
bk_args_takes(const bk_verb_t *verb, const bk_flag_t *f)
{
    return f->takes == ~0u || (verb->takes & f->takes) != 0;
}


static const bk_flag_t *
bk_args_find(const bk_verb_t *verb, const char *name, size_t len)
{
    const bk_flag_t  *f;

    for (f = bk_flags; f->name; f++) {
        if (bk_args_takes(verb, f) && strlen(f->name) == len
            && strncmp(f->name, name, len) == 0)
        {
            return f;
        }
    }

    return NULL;
}
