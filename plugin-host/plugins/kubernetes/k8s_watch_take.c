/* What a list or a watch says, object by object: see k8s_watch.c. */

#include <stdio.h>
#include <string.h>

#include "k8s_int.h"
#include "k8s_watch_int.h"


static int k8s_watch_error(k8s_watch_t *w, json_t *status);
static int k8s_watch_put(k8s_watch_t *w, json_t *obj, int again);
static int k8s_watch_name(const json_t *meta, const char **ns,
    const char **name);


/* --- a list ------------------------------------------------------------- */

int
k8s_watch_item(void *data, json_t *obj)
{
    return k8s_watch_put(data, obj, 1);
}


/* What was told of it is all that there is to be told. */

int
k8s_watch_same(void *data, json_t *meta)
{
    const char   *ns, *name;
    k8s_watch_t  *w = data;

    if (w->doubt || k8s_watch_name(meta, &ns, &name) != 0
        || !k8s_known_same(w->known, ns, name, k8s_text(meta, "uid"),
                           k8s_text(meta, "resourceVersion"), w->list))
    {
        return 0;
    }

    w->stats.same++;

    return 1;
}


void
k8s_watch_swept(void *data, const char *ns, const char *name)
{
    k8s_watch_t  *w = data;

    w->ops.gone(w->data, ns, name, NULL);
}


/* --- a watch ------------------------------------------------------------ */

int
k8s_watch_event(void *data, json_t *event)
{
    json_t       *obj;
    const char   *type, *version, *ns, *name;
    k8s_watch_t  *w = data;

    type = k8s_text(event, "type");
    obj = json_object_get(event, "object");

    if (strcmp(type, "ERROR") == 0) {
        return k8s_watch_error(w, obj);
    }

    version = k8s_text(json_object_get(obj, "metadata"),
                             "resourceVersion");

    if (version[0] == '\0' || strlen(version) > K8S_VERSION_MAX) {
        return bk_err_set(&w->err, 502, "BadAnswer",
                          "an event without a resourceVersion");
    }

    if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0) {
        if (k8s_watch_put(w, obj, 0) != 0) {
            return -1;
        }

        w->stats.events++;

    } else if (strcmp(type, "DELETED") == 0) {
        if (k8s_watch_name(json_object_get(obj, "metadata"), &ns, &name)
            != 0)
        {
            return bk_err_set(&w->err, 502, "BadAnswer",
                              "an object without a name");
        }

        w->stats.events++;
        k8s_known_delete(w->known, ns, name);
        w->ops.gone(w->data, ns, name, obj);

    } else if (strcmp(type, "BOOKMARK") == 0) {
        w->stats.bookmarks++;

    } else {
        return bk_err_set(&w->err, 502, "BadAnswer",
                          "an event of type \"%.32s\"", type);
    }

    /* only now: who was not told of it must be told again */
    snprintf(w->version, sizeof(w->version), "%s", version);
    w->got++;
    w->stats.synced_ms = w->host->monotonic_ms(w->host);

    return 0;
}


/* A Status in place of an event: the end of this watch. */

static int
k8s_watch_error(k8s_watch_t *w, json_t *status)
{
    json_int_t  code = json_integer_value(json_object_get(status, "code"));

    w->gone = (code == 410);

    return bk_err_set(&w->err, code >= 400 && code < 600 ? (int) code : 502,
                      "WatchError", "the watch ended: %.300s",
                      k8s_text(status, "message"));
}


/* --- objects ------------------------------------------------------------ */

static int
k8s_watch_put(k8s_watch_t *w, json_t *obj, int again)
{
    json_t      *meta = json_object_get(obj, "metadata");
    const char  *ns, *name;

    if (k8s_watch_name(meta, &ns, &name) != 0) {
        return bk_err_set(&w->err, 502, "BadAnswer",
                          "an object without a name");
    }

    if (k8s_known_put(w->known, ns, name, k8s_text(meta, "uid"),
                      k8s_text(meta, "resourceVersion"), w->list))
    {
        /* deleted and made again between two lists */
        w->ops.gone(w->data, ns, name, NULL);
    }

    w->ops.put(w->data, obj, again);

    return 0;
}


static int
k8s_watch_name(const json_t *meta, const char **ns, const char **name)
{
    *ns = k8s_text(meta, "namespace");
    *name = k8s_text(meta, "name");

    return *name[0] != '\0' && strlen(*name) <= K8S_NAME_MAX
           && strlen(*ns) <= K8S_NAME_MAX && strchr(*ns, '/') == NULL
           ? 0 : -1;
}
