/*
 * bkctl: the command line of the pool gateway.
 *
 * One table drives dispatch, help and completion; a verb's work is in its
 * cmd_<verb>.c.
 */

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


static const bk_verb_t *bk_verb_like(const char *name);
static int bk_main_usage(int rc);
static int bk_main_unknown(const char *name);


#define BK_TAKES_WORKER                                                       \
    (BK_TAKES_API|BK_TAKES_BEARER|BK_TAKES_ALLOCATE|BK_TAKES_TTL)
#define BK_TAKES_SESSION                                                      \
    (BK_TAKES_WORKER|BK_TAKES_COMMAND)
#define BK_TAKES_LIST                                                         \
    (BK_TAKES_API|BK_TAKES_BEARER|BK_TAKES_JSON|BK_TAKES_FILTER               \
     |BK_TAKES_NAMES)
#define BK_TAKES_OPERATOR                                                     \
    (BK_TAKES_API|BK_TAKES_BEARER|BK_TAKES_JSON)

const bk_verb_t  bk_verbs[] = {

    { "allocate", "", "get a worker and credentials for it",
      "Asks for an allocation and waits until its worker is ready.  Prints\n"
      "the API's JSON where stdout is no terminal or with --json; with --out\n"
      "writes ca.pem, cert.pem, key.pem and alloc.json into DIR.\n"
      "Give it back with: bkctl release DIR/alloc.json\n"
      "When --wait is over, or with Ctrl-C, the place in the queue is given\n"
      "back.\n",
      BK_TAKES_WORKER|BK_TAKES_OUT|BK_TAKES_JSON,
      0, 0, bk_cmd_allocate },

    { "env", "", "allocate, and print what a shell needs",
      "As allocate, and prints export lines for BUILDKIT_HOST and the\n"
      "certificates, and the lines for docker buildx and buildctl as\n"
      "comments.  Without --out the files go to a new folder.\n"
      "Use it so: eval \"$(bkctl env --pool demo --out job)\"\n",
      BK_TAKES_WORKER|BK_TAKES_OUT,
      0, 0, bk_cmd_env },

    { "run", "-- CMD ...", "run a command with an allocation of its own",
      "Allocates, runs CMD with BUILDKIT_HOST and BKCTL_TLS_DIR set, renews\n"
      "while it runs, releases at the end.  Exits with CMD's status, or 125\n"
      "when CMD was never started.  BKCTL_TLS_DIR holds ca.pem, cert.pem and\n"
      "key.pem, as buildctl --tlsdir wants them.  Says what a connection\n"
      "waits for, and why the allocation ended when CMD fails after that.\n",
      BK_TAKES_SESSION, 1, -1, bk_cmd_run },

    { "buildctl", "-- ARGS ...", "run buildctl on a worker of the pool",
      "As run, with buildctl given its address and certificates.  buildctl\n"
      "is taken from BKCTL_BUILDCTL or from PATH.\n",
      BK_TAKES_SESSION, 1, -1, bk_cmd_buildctl },

    { "build", "-- ARGS ...", "docker buildx build on a worker of the pool",
      "As run, with `docker buildx build` (or `buildx build`) on a builder\n"
      "that is made for it and removed after; your default builder stays as\n"
      "it is.  --platform among ARGS gets one worker for each architecture;\n"
      "with --arch one worker builds all of them.  BKCTL_BUILDX names another\n"
      "buildx program.\n",
      BK_TAKES_SESSION, 1, -1, bk_cmd_build },

    { "release", "[FILE|ID]", "give an allocation back",
      "FILE is alloc.json or holds a token alone; - is stdin.  Without it:\n"
      "--token-file, or $BKCTL_TLS_DIR/alloc.json.  ID is what `bkctl\n"
      "allocations` shows; its owner may use it, and operators.\n",
      BK_TAKES_API|BK_TAKES_TOKEN|BK_TAKES_JSON, 0, 1, bk_cmd_release },

    { "renew", "[FILE]", "make an allocation last longer",
      "FILE as for release.  The new certificate is written beside\n"
      "alloc.json, or into --out.\n",
      BK_TAKES_API|BK_TAKES_TOKEN|BK_TAKES_TTL|BK_TAKES_OUT|BK_TAKES_JSON,
      0, 1, bk_cmd_renew },

    { "revoke", "ID", "end somebody's allocation, with a reason",
      "ID is what `bkctl allocations` shows.  The reason is what the person\n"
      "at the other end reads, so it must be given.  Prints how many\n"
      "connections were cut.\n",
      BK_TAKES_OPERATOR|BK_TAKES_REASON, 1, 1, bk_cmd_revoke },

    { "drain", "WORKER", "take a worker out of service, ending no build",
      "It gets no new allocations; builds that run on it go on, new\n"
      "connections are refused with the reason and where to go.  Prints how\n"
      "many builds still run; with --wait it shows them until none is left.\n"
      "--undo takes the worker back.\n",
      BK_TAKES_OPERATOR|BK_TAKES_DRAIN|BK_TAKES_FILTER, 1, 1,
      bk_cmd_drain },

    { "explain", "", "which rule decides what one may do, and why",
      "Prints who the API takes the caller for (the token of --token-file,\n"
      "else as for every verb), the claims, each rule with why it does or\n"
      "does not match, and what follows.  Exits 0 when it is allowed, 3 when\n"
      "it is not.  Verbs are those of the rules: allocate, wake, release,\n"
      "revoke, drain, list, certs, admin.\n",
      BK_TAKES_OPERATOR|BK_TAKES_EXPLAIN, 0, 0, bk_cmd_explain },

    { "backup", "[NAME]", "copy the journal while everything goes on",
      "Into the folder of backups of plugin-host's state, which names the\n"
      "file itself where NAME is not given.  Prints the path.\n",
      BK_TAKES_OPERATOR, 0, 1, bk_cmd_backup },

    { "ca", "[rotate|retire]", "the certificate authorities",
      "Prints each authority, how long it is valid, and how long an old one\n"
      "is needed by what it issued.  rotate: new keys sign from now on, the\n"
      "old ones stay trusted, and nobody is cut off.  retire: old ones are\n"
      "trusted no more, now; they retire by themselves when nobody needs\n"
      "them.\n",
      BK_TAKES_OPERATOR|BK_TAKES_CA, 0, 1, bk_cmd_ca },

    { "status", "", "how the gateway is",
      "Health checks, endpoint, pools, workers, allocations, and the route\n"
      "table.  Exits 5 when the API cannot be reached, 1 when a check "
      "fails.\n"
      "With --live it only tells whether plugin-host hangs: exit 1 when it\n"
      "listens and does not answer.  One that does not listen so far is well.\n",
      BK_TAKES_OPERATOR|BK_TAKES_TABLE|BK_TAKES_ALIVE, 0, 0, bk_cmd_status },

    { "pools", "", "list pools", "", BK_TAKES_LIST, 0, 0, bk_cmd_pools },

    { "workers", "", "list workers", "", BK_TAKES_LIST, 0, 0,
      bk_cmd_workers },

    { "allocations", "[ID]", "list allocations, the ended ones too",
      "With an ID: that one, with its history.  --watch follows it until it\n"
      "has ended, a line of JSON for each change.\n",
      BK_TAKES_LIST|BK_TAKES_WATCH, 0, 1, bk_cmd_allocations },

    { "sessions", "", "list the connections at the gateways",
      "Those that wait for their worker too.  --watch shows them as they come\n"
      "and go until Ctrl-C: the list again each second on a terminal, else a\n"
      "line for each change.\n",
      BK_TAKES_OPERATOR|BK_TAKES_FILTER|BK_TAKES_SESSIONS, 0, 0,
      bk_cmd_sessions },

    { "routes", "", "print the route table that nginx reads",
      "Reads the table's file itself; plugin-host need not run.\n"
      "With --live it only tells whether nginx can use it: exit 1, and why\n"
      "on stderr, until the first routes are in.\n",
      BK_TAKES_JSON|BK_TAKES_TABLE|BK_TAKES_FILTER|BK_TAKES_LIVE, 0, 0,
      bk_cmd_routes },

    { "completion", "bash|zsh|fish", "print a completion script",
      "For instance: source <(bkctl completion bash)\n",
      0, 1, 1, bk_cmd_completion },

    { "help", "[VERB]", "print help", "", 0, 0, 1, bk_cmd_help },

    { "version", "", "print the version", "", BK_TAKES_JSON, 0, 0,
      bk_cmd_version },

    { NULL, NULL, NULL, NULL, 0, 0, 0, NULL }
};


int
main(int argc, char **argv)
{
    int               rc;
    bk_args_t         args;
    const char       *name;
    const bk_verb_t  *verb;

    /* an answer that cannot be written must not look like a crash */
    signal(SIGPIPE, SIG_IGN);

    if (argc < 2) {
        return bk_main_usage(BK_EXIT_USAGE);
    }

    name = argv[1];

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";

    } else if (strcmp(name, "--version") == 0) {
        name = "version";
    }

    verb = bk_verb_find(name);

    if (verb == NULL) {
        return bk_main_unknown(name);
    }

    if (bk_args_parse(&args, verb, argc - 1, argv + 1) != 0) {
        /* 125: the command whose status we would pass on never ran */
        return verb->takes & BK_TAKES_COMMAND ? BK_EXIT_NOT_STARTED
                                              : BK_EXIT_USAGE;
    }

    if (args.help) {
        bk_args_help(stdout, verb);
        return bk_out_flush();
    }

    curl_global_init(CURL_GLOBAL_DEFAULT);

    rc = verb->run(&args);

    if (rc != 0 && verb->takes & BK_TAKES_COMMAND) {
        return rc;
    }

    return rc == 0 ? bk_out_flush() : rc;
}


const bk_verb_t *
bk_verb_find(const char *name)
{
    const bk_verb_t  *v;

    for (v = bk_verbs; v->name; v++) {
        if (strcmp(v->name, name) == 0) {
            return v;
        }
    }

    return NULL;
}


static const bk_verb_t *
bk_verb_like(const char *name)
{
    const bk_verb_t  *v;

    for (v = bk_verbs; v->name; v++) {
        if (bk_args_alike(name, v->name)) {
            return v;
        }
    }

    return NULL;
}


static int
bk_main_unknown(const char *name)
{
    const bk_verb_t  *like;

    like = bk_verb_like(name);

    bk_out_error(name[0] == '-' ? "flags come after the verb: \"%s\""
                                : "there is no verb \"%s\"", name);

    if (like) {
        bk_out_hint("did you mean \"bkctl %s\"?", like->name);

    } else {
        bk_out_hint("\"bkctl help\" lists the verbs");
    }

    return BK_EXIT_USAGE;
}


static int
bk_main_usage(int rc)
{
    FILE             *f;
    const bk_verb_t  *v;

    f = rc == 0 ? stdout : stderr;

    fprintf(f, "bkctl: workers of a pool gateway for BuildKit\n\n"
               "usage: bkctl VERB [flags]\n\n");

    for (v = bk_verbs; v->name; v++) {
        fprintf(f, "  %-12s %s\n", v->name, v->summary);
    }

    fprintf(f, "\n\"bkctl VERB --help\" says more, \"man bkctl\" says all.\n"
               "The API is at BKCTL_ENDPOINT, by default\n"
               "%s\n", BK_ENDPOINT_DEFAULT);

    return rc;
}


int
bk_cmd_help(const bk_args_t *args)
{
    const bk_verb_t  *verb;

    if (args->argc == 0) {
        return bk_main_usage(BK_EXIT_OK);
    }

    verb = bk_verb_find(args->argv[0]);

    if (verb == NULL) {
        return bk_main_unknown(args->argv[0]);
    }

    bk_args_help(stdout, verb);

    return BK_EXIT_OK;
}


int
bk_cmd_version(const bk_args_t *args)
{
    json_t  *json;

    if (!args->json) {
        printf("bkctl %s\n", BK_VERSION);
        return BK_EXIT_OK;
    }

    json = json_pack("{s:s, s:s}", "name", "bkctl", "version", BK_VERSION);
    bk_out_json(json);
    json_decref(json);

    return BK_EXIT_OK;
}
