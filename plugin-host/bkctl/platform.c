/*
 * What the arguments of a build say about platforms: which architectures it
 * needs workers of, and what each of them builds.
 *
 * A worker runs what its processor runs: 386 is built on amd64, 32-bit arm on
 * arm64.  What no worker of the pool can do is left to one that is there, as
 * without any of this: it may have an emulator.
 */

#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


static int bk_platform_value(bk_platforms_t *p, const char *value);
static int bk_platform_add(bk_platforms_t *p, const char *arch,
    const char *platform);
static const char *bk_platform_arch(const char *platform, char *buf,
    size_t size);
static int bk_platform_cmp(const void *a, const void *b);
static int bk_platform_there(const json_t *workers, const char *arch);
static void bk_platform_move(bk_platforms_t *p, int from, int to);


int
bk_platforms_read(bk_platforms_t *p, int argc, char *const *argv)
{
    int          i;
    size_t       len;
    const char  *arg;

    memset(p, 0, sizeof(bk_platforms_t));

    for (i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        arg = argv[i];
        len = strcspn(arg, "=");

        if (len == 10 && strncmp(arg, "--platform", len) == 0) {
            arg = arg[len] ? arg + len + 1 : i + 1 < argc ? argv[++i] : "";

            if (bk_platform_value(p, arg) != 0) {
                return -1;
            }

        } else if (len == 8 && strncmp(arg, "--target", len) == 0) {
            arg = arg[len] ? arg + len + 1 : i + 1 < argc ? argv[++i] : "";
            snprintf(p->target, sizeof(p->target), "%s", arg);
        }
    }

    /* always in one order: no two builds wait for each other */
    qsort(p->v, (size_t) p->n, sizeof(bk_platform_t), bk_platform_cmp);

    return 0;
}


static int
bk_platform_value(bk_platforms_t *p, const char *value)
{
    int          rc;
    char        *copy, *item, *save, arch[sizeof(p->v[0].arch)];
    const char  *of;

    copy = strdup(value);

    if (copy == NULL) {
        abort();
    }

    rc = 0;

    for (item = strtok_r(copy, ", \t", &save); item && rc == 0;
         item = strtok_r(NULL, ", \t", &save))
    {
        of = bk_platform_arch(item, arch, sizeof(arch));
        rc = of ? bk_platform_add(p, of, item) : 0;
    }

    free(copy);

    return rc;
}


static int
bk_platform_add(bk_platforms_t *p, const char *arch, const char *platform)
{
    int             i;
    size_t          len;
    bk_platform_t  *v;

    for (i = 0; i < p->n && strcmp(p->v[i].arch, arch) != 0; i++) {
        /* void */
    }

    if (i == BK_NODES_MAX) {
        bk_out_error("\"--platform\" has more than %d architectures",
                     BK_NODES_MAX);
        return -1;
    }

    v = &p->v[i];
    len = strlen(v->platforms);

    if (len + strlen(platform) + 2 > sizeof(v->platforms)) {
        bk_out_error("\"--platform\" has too many platforms");
        return -1;
    }

    snprintf(v->arch, sizeof(v->arch), "%s", arch);
    snprintf(v->platforms + len, sizeof(v->platforms) - len, "%s%s",
             len ? "," : "", platform);
    p->n += i == p->n;

    return 0;
}


/* "linux/arm/v7" -> "arm64"; NULL: "local", or nothing that we know. */

static const char *
bk_platform_arch(const char *platform, char *buf, size_t size)
{
    size_t       i, len;
    const char  *arch;
    static const struct {
        const char  *name, *arch;
    } known[] = {
        { "x86_64", "amd64" }, { "x86-64", "amd64" }, { "386", "amd64" },
        { "i386", "amd64" }, { "i686", "amd64" }, { "aarch64", "arm64" },
        { "arm", "arm64" }, { "armhf", "arm64" }, { "armel", "arm64" }
    };

    arch = strchr(platform, '/');
    arch = arch ? arch + 1 : platform;
    len = strcspn(arch, "/");

    if (len == 0 || len >= size
        || (arch == platform && (strcmp(arch, "local") == 0
                                 || strcmp(arch, "linux") == 0
                                 || strcmp(arch, "windows") == 0)))
    {
        return NULL;
    }

    memcpy(buf, arch, len);
    buf[len] = '\0';

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(buf, known[i].name) == 0) {
            return known[i].arch;
        }
    }

    return buf;
}


static int
bk_platform_cmp(const void *a, const void *b)
{
    return strcmp(((const bk_platform_t *) a)->arch,
                  ((const bk_platform_t *) b)->arch);
}


/*
 * Who may not see the list of workers gets what was asked for: then the API
 * says what it has not.
 */

void
bk_platforms_fit(bk_platforms_t *p, const bk_args_t *args)
{
    int               i, to;
    char              pool[700], *path, *name;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .fd = -1 };

    name = bk_api_escape(bk_alloc_pool(args, pool, sizeof(pool)));

    if (asprintf(&path, "/api/v1/workers?pool=%s", name) < 0) {
        abort();
    }

    req.path = path;

    if (p->n > 0 && bk_api_call(args, &req, &r) == BK_EXIT_OK
        && json_array_size(r.json) > 0)
    {
        for (to = 0; to < p->n; to++) {
            if (bk_platform_there(r.json, p->v[to].arch)) {
                break;
            }
        }

        if (to == p->n) {
            /* none of them: any worker will do */
            to = 0;
            p->v[0].arch[0] = '\0';
            bk_out_note("bkctl: pool %s has no worker for %s: one that it "
                        "has builds it, if it can", pool, p->v[0].platforms);
        }

        for (i = p->n - 1; i >= 0; i--) {
            if (i != to && !bk_platform_there(r.json, p->v[i].arch)) {
                bk_out_note("bkctl: pool %s has no %s worker: %s is left to "
                            "another one, if it can", pool, p->v[i].arch,
                            p->v[i].platforms);
                bk_platform_move(p, i, to);
                to -= i < to;
            }
        }
    }

    if (p->n > 0) {
        bk_reply_free(&r);
    }

    free(name);
    free(path);
}


static int
bk_platform_there(const json_t *workers, const char *arch)
{
    size_t       i;
    json_t      *worker;
    const char  *has;

    json_array_foreach(workers, i, worker) {
        has = bk_out_string(worker, "arch");

        if (*has == '\0' || strcmp(has, arch) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
bk_platform_move(bk_platforms_t *p, int from, int to)
{
    size_t          len;
    bk_platform_t  *v = &p->v[to];

    len = strlen(v->platforms);
    snprintf(v->platforms + len, sizeof(v->platforms) - len, ",%s",
             p->v[from].platforms);

    p->n--;
    memmove(&p->v[from], &p->v[from + 1],
            (size_t) (p->n - from) * sizeof(bk_platform_t));
}
