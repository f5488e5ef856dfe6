/* A worker's Pod: see obj.h. */

#include <string.h>

#include "bk_err.h"
#include "obj.h"


static int obj_pod_owner(json_t *meta, obj_pod_t *out, bk_err_t *err);
static int obj_pod_labels(json_t *meta, const obj_pod_t *p, bk_err_t *err);
static int obj_pod_hosts(json_t *status, const char *ip);
static int obj_pod_is_ready(json_t *status);


int
obj_pod_read(json_t *pod, const char *const *avoid, obj_pod_t *out,
    bk_err_t *err)
{
    json_t      *meta = json_object_get(pod, "metadata");
    json_t      *spec = json_object_get(pod, "spec");
    json_t      *status = json_object_get(pod, "status");
    const char  *phase = obj_text(status, "phase");
    const char  *ip = obj_text(status, "podIP");

    memset(out, 0, sizeof(obj_pod_t));
    out->ns = obj_text(meta, "namespace");
    out->name = obj_text(meta, "name");
    out->uid = obj_text(meta, "uid");
    out->version = obj_text(meta, "resourceVersion");
    out->created = obj_text(meta, "creationTimestamp");

    if (out->ns[0] == '\0' || out->name[0] == '\0' || out->uid[0] == '\0') {
        return bk_err_set(err, 400, "BadObject", "it has no name or uid");
    }

    if (obj_pod_owner(meta, out, err) != 0
        || obj_pod_labels(meta, out, err) != 0)
    {
        return -1;
    }

    if (json_is_true(json_object_get(spec, "hostNetwork"))
        || (ip[0] != '\0' && obj_pod_hosts(status, ip)))
    {
        return bk_err_set(err, 403, "HostNetwork", "it is in its node's "
                          "network");
    }

    out->terminating = (obj_text(meta, "deletionTimestamp")[0] != '\0');
    out->finished = strcmp(phase, "Failed") == 0
                    || strcmp(phase, "Succeeded") == 0;
    out->ready = strcmp(phase, "Running") == 0 && ip[0] != '\0'
                 && obj_pod_is_ready(status);

    if (ip[0] != '\0'
        && obj_address(ip, OBJ_PORT, avoid, out->address,
                       sizeof(out->address), err) != 0)
    {
        return -1;
    }

    if (!out->ready || out->terminating) {
        obj_pod_why(pod, out->why, sizeof(out->why));
    }

    return 0;
}


/* Its controller, of which there is at most one, is a worker. */

static int
obj_pod_owner(json_t *meta, obj_pod_t *out, bk_err_t *err)
{
    size_t       i;
    json_t      *owner;
    const char  *version;

    json_array_foreach(json_object_get(meta, "ownerReferences"), i, owner) {
        version = obj_text(owner, "apiVersion");

        if (!json_is_true(json_object_get(owner, "controller"))) {
            continue;
        }

        if (strncmp(version, OBJ_GROUP "/", strlen(OBJ_GROUP "/")) != 0
            || strcmp(obj_text(owner, "kind"), "BuildKitWorker") != 0)
        {
            break;
        }

        out->worker = obj_text(owner, "name");
        out->worker_uid = obj_text(owner, "uid");

        if (out->worker[0] != '\0' && out->worker_uid[0] != '\0') {
            return 0;
        }
    }

    return bk_err_set(err, 403, "NotOurPod", "it has the label "
                      OBJ_LABEL_WORKER " but no BuildKitWorker as its "
                      "controller");
}


/* A label's value has 63 characters at most.  The purpose is what watches look
 * for; one that has lost it is still its worker's. */

static int
obj_pod_labels(json_t *meta, const obj_pod_t *p, bk_err_t *err)
{
    json_t      *labels = json_object_get(meta, "labels");
    const char  *worker = obj_text(labels, OBJ_LABEL_WORKER);
    const char  *purpose = obj_text(labels, OBJ_LABEL_PURPOSE);

    if ((purpose[0] == '\0' || strcmp(purpose, "worker") == 0)
        && (strcmp(worker, p->worker) == 0 || strlen(p->worker) > 63))
    {
        return 0;
    }

    return bk_err_set(err, 403, "NotOurPod", "its labels are not those of "
                      "worker %.253s", p->worker);
}


static int
obj_pod_hosts(json_t *status, const char *ip)
{
    size_t   i;
    json_t  *host;

    json_array_foreach(json_object_get(status, "hostIPs"), i, host) {
        if (strcmp(obj_text(host, "ip"), ip) == 0) {
            return 1;
        }
    }

    return strcmp(obj_text(status, "hostIP"), ip) == 0;
}


static int
obj_pod_is_ready(json_t *status)
{
    size_t   i;
    json_t  *c;

    json_array_foreach(json_object_get(status, "conditions"), i, c) {
        if (strcmp(obj_text(c, "type"), "Ready") == 0) {
            return strcmp(obj_text(c, "status"), "True") == 0;
        }
    }

    return 0;
}
