/*
 * bkctl build: docker buildx build on workers of the pool, one for each
 * architecture.
 *
 * The builder is named for the first allocation, made in the user's own
 * configuration folder (whose node id lets buildkitd reuse an earlier upload
 * of the context) but never made the current one, and removed after.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bkctl.h"


#define BK_BUILDX_TIMEOUT_MS  30000


static int bk_build_tool(bk_argv_t *tool);
static void bk_build_target(bk_args_t *args, const bk_platforms_t *p,
    char *buf, size_t size);
static char *bk_build_plugin(void);
static int bk_build_allocate(bk_session_t *s, bk_platforms_t *p);
static int bk_build_create(bk_session_t *s, const bk_platforms_t *p,
    const bk_argv_t *tool);
static int bk_build_node(bk_session_t *s, const bk_platforms_t *p, int i,
    const bk_argv_t *tool);
static int bk_build_build(bk_session_t *s, const bk_argv_t *tool);
static void bk_build_remove(bk_session_t *s, const bk_argv_t *tool);


int
bk_cmd_build(const bk_args_t *args)
{
    int             i, rc, made;
    char            target[sizeof(((bk_platforms_t *) NULL)->target) + 8];
    bk_args_t       with;
    bk_argv_t       tool = { NULL, 0 };
    bk_session_t    s;
    bk_platforms_t  p;

    for (i = 0; i < args->argc; i++) {
        if (strcmp(args->argv[i], "--builder") == 0
            || strncmp(args->argv[i], "--builder=", 10) == 0)
        {
            bk_args_usage(args->verb, "\"%s\": the builder is bkctl's to "
                          "choose", args->argv[i]);
            return BK_EXIT_NOT_STARTED;
        }
    }

    if (bk_platforms_read(&p, args->argc, args->argv) != 0
        || bk_build_tool(&tool) != 0)
    {
        return BK_EXIT_NOT_STARTED;
    }

    with = *args;
    bk_build_target(&with, &p, target, sizeof(target));

    rc = BK_EXIT_NOT_STARTED;

    if (bk_session_begin(&s, &with) == 0 && bk_build_allocate(&s, &p) == 0) {

        made = bk_build_create(&s, &p, &tool);

        if (made == s.n && !s.interrupted) {
            rc = bk_build_build(&s, &tool);
        }

        if (made > 0) {
            bk_build_remove(&s, &tool);
        }
    }

    bk_session_close(&s);
    bk_argv_free(&tool);

    return rc;
}


/* Another stage has another cache: the API places by it. */

static void
bk_build_target(bk_args_t *args, const bk_platforms_t *p, char *buf,
    size_t size)
{
    int  i;

    if (p->target[0] == '\0' || args->nmetadata == BK_METADATA_MAX) {
        return;
    }

    for (i = 0; i < args->nmetadata; i++) {
        if (strncmp(args->metadata[i], "target=", 7) == 0) {
            return;
        }
    }

    snprintf(buf, size, "target=%s", p->target);
    args->metadata[args->nmetadata++] = buf;
}


/*
 * One for each architecture, one after the other and always in the same
 * order: of two builds that want the same two workers, one has both.  With
 * --arch it is one worker for everything.
 */

static int
bk_build_allocate(bk_session_t *s, bk_platforms_t *p)
{
    int  i;

    if (s->args->arch) {
        p->n = 0;
    }

    bk_platforms_fit(p, s->args);

    for (i = 0; i < p->n; i++) {
        if (bk_session_add(s, p->v[i].arch[0] ? p->v[i].arch : NULL)
            == NULL)
        {
            return -1;
        }
    }

    return p->n > 0 || bk_session_add(s, NULL) ? 0 : -1;
}


static int
bk_build_tool(bk_argv_t *tool)
{
    char        *program, *plugin, *slash;
    const char  *env;

    env = getenv("BKCTL_BUILDX");

    if (env && *env) {
        program = bk_program_find("BKCTL_BUILDX", NULL);

        if (program == NULL) {
            bk_out_error("BKCTL_BUILDX is \"%s\", which cannot be run", env);
            return -1;
        }

        bk_argv_add(tool, "%s", program);
        slash = strrchr(program, '/');

        if (strcmp(slash + 1, "docker") == 0) {
            bk_argv_add(tool, "buildx");
        }

        free(program);
        return 0;
    }

    program = bk_program_find(NULL, "docker");
    plugin = bk_build_plugin();

    if (program && plugin) {
        bk_argv_add(tool, "%s", program);
        bk_argv_add(tool, "buildx");

    } else {
        free(program);
        program = bk_program_find(NULL, "buildx");

        if (program || plugin) {
            bk_argv_add(tool, "%s", program ? program : plugin);
        }
    }

    free(program);
    free(plugin);

    if (tool->n == 0) {
        bk_out_error("neither docker buildx nor buildx is to be found");
        bk_out_hint("install buildx, or set BKCTL_BUILDX to where it is");
        return -1;
    }

    return 0;
}


/* Where docker looks for its plugins. */

static char *
bk_build_plugin(void)
{
    char        *path;
    size_t       i;
    const char  *home, *config;
    const char  *dirs[] = { "/usr/local/lib/docker",
                            "/usr/local/libexec/docker",
                            "/usr/lib/docker", "/usr/libexec/docker" };

    config = getenv("DOCKER_CONFIG");
    home = getenv("HOME");
    path = NULL;

    if (config && *config) {
        if (asprintf(&path, "%s/cli-plugins/docker-buildx", config) < 0) {
            abort();
        }

    } else if (home && asprintf(&path, "%s/.docker/cli-plugins/docker-buildx",
                                home) < 0)
    {
        abort();
    }

    if (path && access(path, X_OK) == 0) {
        return path;
    }

    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        free(path);

        if (asprintf(&path, "%s/cli-plugins/docker-buildx", dirs[i]) < 0) {
            abort();
        }

        if (access(path, X_OK) == 0) {
            return path;
        }
    }

    free(path);

    return NULL;
}


/* How many nodes there are then. */

static int
bk_build_create(bk_session_t *s, const bk_platforms_t *p,
    const bk_argv_t *tool)
{
    int  i;

    for (i = 0; i < s->n && bk_build_node(s, p, i, tool) == 0; i++) {
        /* void */
    }

    return i;
}


/* Each node has the certificate of its own allocation. */

static int
bk_build_node(bk_session_t *s, const bk_platforms_t *p, int i,
    const bk_argv_t *tool)
{
    int          rc;
    bk_argv_t    argv = { NULL, 0 };
    bk_node_t   *node = s->nodes[i];
    const char  *endpoint, *port;

    bk_argv_copy(&argv, tool);
    bk_argv_add(&argv, "create");
    bk_argv_add(&argv, "--name");
    bk_argv_add(&argv, "bkctl-%s", s->nodes[0]->id);

    if (s->n > 1) {
        bk_argv_add(&argv, "--node");
        bk_argv_add(&argv, "bkctl-%s-%s", s->nodes[0]->id, p->v[i].arch);
        bk_argv_add(&argv, "--platform");
        bk_argv_add(&argv, "%s", p->v[i].platforms);

        if (i > 0) {
            bk_argv_add(&argv, "--append");
        }
    }

    bk_argv_add(&argv, "--driver");
    bk_argv_add(&argv, "remote");
    bk_argv_add(&argv, "--driver-opt");
    bk_argv_add(&argv, "cacert=%s/ca.pem,cert=%s/cert.pem,key=%s/key.pem",
                node->dir, node->dir, node->dir);

    /*
     * buildx takes no two nodes with one address, and the gateway has one:
     * it is written with another number of zeros before its port.
     */
    endpoint = bk_alloc_endpoint(node->answer);
    port = strrchr(endpoint, ':');
    port = port ? port + 1 : endpoint + strlen(endpoint);
    bk_argv_add(&argv, "%.*s%.*s%s", (int) (port - endpoint), endpoint, i,
                "0000000", port);

    rc = bk_session_quiet(s, argv.v, "buildx create", BK_BUILDX_TIMEOUT_MS);
    bk_argv_free(&argv);

    return rc;
}


static int
bk_build_build(bk_session_t *s, const bk_argv_t *tool)
{
    int        i, rc;
    bk_argv_t  argv = { NULL, 0 };

    bk_argv_copy(&argv, tool);
    bk_argv_add(&argv, "build");
    bk_argv_add(&argv, "--builder");
    bk_argv_add(&argv, "bkctl-%s", s->nodes[0]->id);

    for (i = 0; i < s->args->argc; i++) {
        bk_argv_add(&argv, "%s", s->args->argv[i]);
    }

    rc = bk_session_run(s, argv.v);
    bk_argv_free(&argv);

    return rc;
}


static void
bk_build_remove(bk_session_t *s, const bk_argv_t *tool)
{
    bk_argv_t  argv = { NULL, 0 };

    bk_argv_copy(&argv, tool);
    bk_argv_add(&argv, "rm");
    bk_argv_add(&argv, "--force");
    bk_argv_add(&argv, "bkctl-%s", s->nodes[0]->id);

    bk_session_quiet(s, argv.v, "buildx rm", BK_BUILDX_TIMEOUT_MS);
    bk_argv_free(&argv);
}
