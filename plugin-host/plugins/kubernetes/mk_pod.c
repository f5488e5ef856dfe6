/*
 * A worker's Pod.
 *
 * Rootless, which is the default, buildkitd is user 1000 in a user namespace:
 * that needs seccomp and AppArmor unconfined, newuidmap (so privilege
 * escalation is allowed), and no process sandbox.  BuildKit's own examples are
 * the same; paths are ours, so that they do not depend on the image.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


#define MK_POD_UID      1000    /* of rootless images: newuidmap knows it */
#define MK_POD_GRACE    3600    /* of a build that goes on: as gateways have */
#define MK_POD_SOCKET   "unix:///run/buildkit/buildkitd.sock"
#define MK_POD_ROOTLESS "/home/user/.local/share/buildkit"
#define MK_POD_ROOT     "/var/lib/buildkit"
#define MK_POD_RUN      "64Mi"  /* its socket, and locks */


/*
 * Until nobody is connected to buildkitd any more.  Nothing but a shell and
 * sleep; without them the kubelet says FailedPreStopHook and goes on, and
 * buildkitd itself ends what it has begun.
 */
#define MK_POD_WAIT                                                           \
    "while :; do busy=; for f in /proc/net/tcp /proc/net/tcp6; do "           \
    "[ -r $f ] || continue; while read -r _ local _ state _; do "             \
    "case $local/$state in *:04D2/01) busy=1;; esac; done < $f; done; "       \
    "[ $busy ] || exit 0; sleep 1; done"

/*
 * fsGroup puts the setgid bit on a volume's root, and what is made below has
 * it, too: layers with directories of mode 2755.  So the cache is in a folder
 * without it.
 */
#define MK_POD_PREPARE                                                        \
    "d=" MK_POD_ROOTLESS "/root; "                                            \
    "mkdir -p $d && chmod u=rwx,g=,o= $d && chmod g-s $d"


static int mk_pod_image(json_t *pool, const ct_conf_t *conf, int privileged,
    char *buf, size_t size, bk_err_t *err);
static int mk_pod_image_rootless(const char *image, char *buf, size_t size,
    bk_err_t *err);
static json_t *mk_pod_args(const mk_worker_t *w, int privileged);
static json_t *mk_pod_container(json_t *pool, const mk_worker_t *w,
    int privileged, const char *image);
static json_t *mk_pod_env(json_t *pool);
static json_t *mk_pod_security(json_t *pool, int privileged);
static void mk_pod_probes(json_t *c);
static json_t *mk_pod_scratch(const ct_conf_t *conf);
static void mk_pod_volumes(json_t *spec, json_t *c, const ct_conf_t *conf,
    const mk_worker_t *w, int privileged);
static void mk_pod_volume(json_t *spec, json_t *c, const char *name,
    const char *path, int writable, json_t *volume);
static json_t *mk_pod_prepare(json_t *pool, const char *image);
static void mk_pod_arch(json_t *pool, json_t *spec);


json_t *
mk_pod(json_t *pool, const ct_conf_t *conf, const mk_worker_t *w,
    bk_err_t *err)
{
    int      privileged;
    char     image[MK_IMAGE_MAX];
    json_t  *pod, *spec, *c;

    privileged = strcmp(mk_spec_text(pool, "", "security", "mode", NULL),
                        "privileged") == 0;

    if (mk_allowed(pool, conf, err) != 0
        || mk_pod_image(pool, conf, privileged, image, sizeof(image), err)
           != 0)
    {
        return NULL;
    }

    pod = mk_pack("{s:o, s:{s:s, s:b, s:b, s:i}}",
                  "metadata", mk_meta(pool, w->name, "worker"),
                  "spec",
                  "restartPolicy", "Never",     /* one Pod, one buildkitd */
                  "automountServiceAccountToken", 0,
                  "enableServiceLinks", 0,
                  "terminationGracePeriodSeconds", MK_POD_GRACE);
    spec = json_object_get(pod, "spec");

    mk_worker_labels(pod, w, 0);
    mk_owned(pod, OBJ_GROUP "/v1alpha1", "BuildKitWorker", w->name,
             w->uid != NULL ? w->uid : "", 1);

    c = mk_pod_container(pool, w, privileged, image);
    mk_set(spec, "containers", mk_pack("[o]", c));
    mk_pod_volumes(spec, c, conf, w, privileged);

    if (!privileged) {
        mk_set(spec, "securityContext", mk_pack("{s:b, s:i, s:i}",
               "runAsNonRoot", 1, "runAsUser", MK_POD_UID,
               "runAsGroup", MK_POD_UID));
    }

    /* not for an emptyDir, which everybody may write to: see above */
    if (!privileged && w->claim != NULL) {
        mk_set(json_object_get(spec, "securityContext"), "fsGroup",
               json_integer(MK_POD_UID));
        mk_set(json_object_get(spec, "securityContext"),
               "fsGroupChangePolicy", mk_text("OnRootMismatch"));
        mk_set(spec, "initContainers", mk_pack("[o]",
               mk_pod_prepare(pool, image)));
    }

    mk_pod_arch(pool, spec);

    if (w->hash != NULL && w->hash[0] != '\0') {
        mk_set(json_object_get(pod, "metadata"), "annotations",
               mk_pack("{s:s}", MK_ANNOTATION_HASH, w->hash));
    }

    mk_template(mk_spec(pool, "podTemplate", NULL), conf,
                json_object_get(pod, "metadata"), spec);

    return pod;
}


/* --- which image ---------------------------------------------------------- */

static int
mk_pod_image(json_t *pool, const ct_conf_t *conf, int privileged, char *buf,
    size_t size, bk_err_t *err)
{
    const char  *image = mk_spec_text(pool, "", "buildkitImage", NULL);

    if (image[0] == '\0' && !privileged && conf->rootless_image != NULL) {
        image = conf->rootless_image;
    }

    if (image[0] == '\0' && (conf->buildkit_image == NULL
                             || conf->buildkit_image[0] == '\0'))
    {
        return bk_fail(err, 422, "NoImage", "set the pool's buildkitImage, or "
                       "the controller's option buildkitImage",
                       "nothing says which image has buildkitd");
    }

    if (image[0] == '\0' && !privileged) {
        return mk_pod_image_rootless(conf->buildkit_image, buf, size, err);
    }

    if (image[0] == '\0') {
        image = conf->buildkit_image;
    }

    if (snprintf(buf, size, "%s", image) >= (int) size) {
        return bk_err_set(err, 422, "BadImage", "the image's name is too "
                          "long");
    }

    return 0;
}


/* moby/buildkit:v0.33.0 -> moby/buildkit:v0.33.0-rootless, and latest, as no
 * tag, is called rootless there; a digest is of one image only */

static int
mk_pod_image_rootless(const char *image, char *buf, size_t size,
    bk_err_t *err)
{
    int          n;
    const char  *slash = strrchr(image, '/');
    const char  *tag = strchr(slash != NULL ? slash : image, ':');

    if (strchr(image, '@') != NULL) {
        return bk_fail(err, 422, "NoImage", "set the pool's buildkitImage, or "
                       "the controller's option buildkitRootlessImage",
                       "of %.200s with its digest nobody knows what the "
                       "rootless one is called", image);
    }

    if (tag == NULL) {
        n = snprintf(buf, size, "%s:rootless", image);

    } else if (strcmp(tag, ":latest") == 0) {
        n = snprintf(buf, size, "%.*s:rootless", (int) (tag - image), image);

    } else if (strcmp(tag, ":rootless") == 0
               || (strlen(tag) > strlen("-rootless")
                   && strcmp(tag + strlen(tag) - strlen("-rootless"),
                             "-rootless") == 0))
    {
        n = snprintf(buf, size, "%s", image);

    } else {
        n = snprintf(buf, size, "%s-rootless", image);
    }

    if (n >= (int) size) {
        return bk_err_set(err, 422, "BadImage", "the image's name is too "
                          "long");
    }

    return 0;
}


/* --- buildkitd ------------------------------------------------------------ */

static json_t *
mk_pod_container(json_t *pool, const mk_worker_t *w, int privileged,
    const char *image)
{
    json_t  *c;

    c = mk_pack("{s:s, s:s, s:o, s:o, s:[{s:s, s:i}], s:s, s:o, s:o}",
                "name", "buildkitd",
                "image", image,
                "args", mk_pod_args(w, privileged),
                "env", mk_pod_env(pool),
                "ports", "name", "buildkit", "containerPort", OBJ_PORT,
                "terminationMessagePolicy", "FallbackToLogsOnError",
                "resources", mk_resources(mk_spec(pool, "resources",
                                                  "buildkit", NULL),
                    mk_pack("{s:{s:s, s:s}}", "requests", "cpu", "100m",
                            "memory", "256Mi")),
                "securityContext", mk_pod_security(pool, privileged));

    mk_pod_probes(c);
    mk_set(c, "lifecycle", mk_pack("{s:{s:{s:[s, s, s]}}}", "preStop", "exec",
           "command", "sh", "-c", MK_POD_WAIT));

    return c;
}


/* What is here cannot be undone by the pool's buildkitd.toml.  Without an
 * address it is IPv6 and IPv4, or the one that there is. */

static json_t *
mk_pod_args(const mk_worker_t *w, int privileged)
{
    json_t  *args;

    args = mk_pack("[s, s, s, o, s, s]", "--addr", MK_POD_SOCKET, "--addr",
                   mk_text("tcp://:%d", OBJ_PORT), "--root",
                   privileged ? MK_POD_ROOT
                   : w->claim != NULL ? MK_POD_ROOTLESS "/root"
                                      : MK_POD_ROOTLESS);

    if (w->config != NULL) {
        mk_append(args, mk_pack("[s, s]", "--config",
                          "/etc/buildkit/buildkitd.toml"));
    }

    if (w->secret != NULL) {
        mk_append(args, mk_pack("[s, s, s, s, s, s]",
                          "--tlscacert", "/certs/ca.crt",
                          "--tlscert", "/certs/tls.crt",
                          "--tlskey", "/certs/tls.key"));
    }

    if (!privileged) {
        json_array_append_new(args, mk_text("--oci-worker-no-process-"
                              "sandbox"));
    }

    return args;
}


/* BUILDKIT_HOST is for the probes, and for who looks in by kubectl exec.  A
 * cache in S3 is read with buildkitd's own credentials. */

static json_t *
mk_pod_env(json_t *pool)
{
    size_t       i;
    json_t      *env, *s3 = mk_backend(pool, "s3");
    const char  *secret = obj_text(s3, "credentialsSecret");
    const char  *keys[] = { "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                            "AWS_SESSION_TOKEN" };

    env = mk_pack("[{s:s, s:s}]", "name", "BUILDKIT_HOST", "value",
                  MK_POD_SOCKET);

    if (s3 != NULL && obj_text(s3, "region")[0] != '\0') {
        json_array_append_new(env, mk_pack("{s:s, s:s}", "name", "AWS_REGION",
                              "value", obj_text(s3, "region")));
    }

    for (i = 0; secret[0] != '\0' && i < 3; i++) {
        json_array_append_new(env,
            mk_pack("{s:s, s:{s:{s:s, s:s, s:b}}}", "name", keys[i],
                    "valueFrom", "secretKeyRef", "name", secret,
                    "key", keys[i], "optional", i == 2));
    }

    return env;
}


static json_t *
mk_pod_security(json_t *pool, int privileged)
{
    json_t  *seccomp = mk_spec(pool, "security", "seccompProfile", NULL);
    json_t  *apparmor = mk_spec(pool, "security", "appArmorProfile", NULL);
    json_t  *context;

    context = privileged
              ? mk_pack("{s:b, s:i}", "privileged", 1, "runAsUser", 0)
              : mk_pack("{s:b, s:{s:s}, s:{s:s}}",
                        "allowPrivilegeEscalation", 1,
                        "seccompProfile", "type", "Unconfined",
                        "appArmorProfile", "type", "Unconfined");

    if (json_is_object(seccomp)) {
        json_object_set(context, "seccompProfile", seccomp);
    }

    if (json_is_object(apparmor)) {
        json_object_set(context, "appArmorProfile", apparmor);
    }

    return context;
}


/*
 * Ready as soon as buildkitd has its worker: looked at each second, as someone
 * waits.  From then on its port is enough, and what kills it under builds must
 * be sure: five minutes without an answer.
 */

static void
mk_pod_probes(json_t *c)
{
    mk_set(c, "startupProbe", mk_pack("{s:{s:[s, s, s]}, s:i, s:i, s:i}",
           "exec", "command", "buildctl", "debug", "workers",
           "periodSeconds", 1, "timeoutSeconds", 10, "failureThreshold", 180));
    mk_set(c, "readinessProbe", mk_pack("{s:{s:s}, s:i, s:i, s:i}",
           "tcpSocket", "port", "buildkit",
           "periodSeconds", 10, "timeoutSeconds", 5, "failureThreshold", 3));
    mk_set(c, "livenessProbe", mk_pack("{s:{s:[s, s, s]}, s:i, s:i, s:i}",
           "exec", "command", "buildctl", "debug", "workers",
           "periodSeconds", 60, "timeoutSeconds", 30, "failureThreshold", 5));
}


/*
 * Of the node's disk, which others have, too: beyond it the kubelet evicts
 * this Pod, instead of whoever it finds when the disk is full.  buildkitd
 * collects before (mk_toml.c).
 */

static json_t *
mk_pod_scratch(const ct_conf_t *conf)
{
    return conf->scratch_size != NULL && conf->scratch_size[0] != '\0'
           ? mk_pack("{s:{s:s}}", "emptyDir", "sizeLimit", conf->scratch_size)
           : mk_pack("{s:{}}", "emptyDir");
}


static void
mk_pod_volumes(json_t *spec, json_t *c, const ct_conf_t *conf,
    const mk_worker_t *w, int privileged)
{
    mk_set(spec, "volumes", json_array());
    mk_set(c, "volumeMounts", json_array());

    mk_pod_volume(spec, c, "cache", privileged ? MK_POD_ROOT
                  : MK_POD_ROOTLESS, 1, w->claim != NULL
                  ? mk_pack("{s:{s:s}}", "persistentVolumeClaim", "claimName",
                            w->claim)
                  : mk_pod_scratch(conf));
    mk_pod_volume(spec, c, "run", "/run/buildkit", 1,
                  mk_pack("{s:{s:s}}", "emptyDir", "sizeLimit",
                          MK_POD_RUN));

    if (w->config != NULL) {
        mk_pod_volume(spec, c, "config", "/etc/buildkit", 0,
                      mk_pack("{s:{s:s}}", "configMap", "name", w->config));
    }

    /* user 1000 has no group in common with the files, where no fsGroup is */
    if (w->secret != NULL) {
        mk_pod_volume(spec, c, "certs", "/certs", 0,
                      mk_pack("{s:{s:s, s:i}}", "secret", "secretName",
                              w->secret, "defaultMode",
                              privileged ? 0400 : 0444));
    }
}


static void
mk_pod_volume(json_t *spec, json_t *c, const char *name, const char *path,
    int writable, json_t *volume)
{
    json_t  *mount = mk_pack("{s:s, s:s}", "name", name, "mountPath", path);

    if (!writable) {
        mk_set(mount, "readOnly", json_true());
    }

    mk_set(volume, "name", mk_text("%s", name));
    json_array_append_new(json_object_get(spec, "volumes"), volume);
    json_array_append_new(json_object_get(c, "volumeMounts"), mount);
}


static json_t *
mk_pod_prepare(json_t *pool, const char *image)
{
    return mk_pack("{s:s, s:s, s:[s, s, s], s:o, s:{s:b, s:b, s:{s:[s]}, "
                   "s:{s:s}}, s:[{s:s, s:s}]}",
                   "name", "prepare",
                   "image", image,
                   "command", "sh", "-c", MK_POD_PREPARE,
                   "resources", mk_resources(mk_spec(pool, "resources",
                                                     "sidecar", NULL),
                       mk_pack("{s:{s:s, s:s}}", "requests", "cpu", "10m",
                               "memory", "16Mi")),
                   "securityContext",
                   "allowPrivilegeEscalation", 0,
                   "readOnlyRootFilesystem", 1,
                   "capabilities", "drop", "ALL",
                   "seccompProfile", "type", "RuntimeDefault",
                   "volumeMounts", "name", "cache", "mountPath",
                   MK_POD_ROOTLESS);
}


/* "arm64/v8": nodes say arm64 only */

static void
mk_pod_arch(json_t *pool, json_t *spec)
{
    const char  *arch = mk_spec_text(pool, "", "arch", NULL);

    if (arch[0] != '\0') {
        mk_set(spec, "nodeSelector", mk_pack("{s:s%}", "kubernetes.io/arch",
               arch, strcspn(arch, "/")));
    }
}
