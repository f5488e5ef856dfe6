/*
 * Why a Pod is not ready, or has ended, in the words of who knows: scheduler,
 * kubelet, eviction.  What is said is for a user's terminal, so it is short,
 * and not only for his who was on it: a container's own last words, which are
 * its log, are told only of one that was never ready, so that nobody has built
 * there.
 */

#include <stdio.h>
#include <string.h>

#include "obj.h"


static int obj_why_status(json_t *status, char *buf, size_t size);
static int obj_why_condition(json_t *status, const char *type,
    const char *value, char *buf, size_t size);
static int obj_why_containers(json_t *status, const char *key, char *buf,
    size_t size);
static int obj_why_terminated(json_t *status, json_t *c, const char *key,
    const char *what, char *buf, size_t size);
static int obj_why_never(json_t *status, json_t *t);
static int obj_why_waiting(json_t *c, char *buf, size_t size);
static void obj_why_say(char *buf, size_t size, const char *what,
    const char *reason, const char *message);


void
obj_pod_why(json_t *pod, char *buf, size_t size)
{
    json_t  *status = json_object_get(pod, "status");

    buf[0] = '\0';

    /* the whole Pod first: that its containers ended follows from it */
    if (obj_why_status(status, buf, size)
        || obj_why_condition(status, "DisruptionTarget", "True", buf, size)
        || obj_why_condition(status, "PodScheduled", "False", buf, size)
        || obj_why_containers(status, "containerStatuses", buf, size)
        || obj_why_containers(status, "initContainerStatuses", buf, size))
    {
        return;
    }

    if (obj_text(json_object_get(pod, "metadata"),
                 "deletionTimestamp")[0] != '\0')
    {
        obj_why_say(buf, size, "its Pod is being deleted", "", "");
        return;
    }

    (void) (obj_why_condition(status, "ContainersReady", "False", buf, size)
            || obj_why_condition(status, "Ready", "False", buf, size));
}


/* Evicted, DeadlineExceeded, NodeLost, ... */

static int
obj_why_status(json_t *status, char *buf, size_t size)
{
    const char  *reason = obj_text(status, "reason");

    if (reason[0] == '\0') {
        return 0;
    }

    obj_why_say(buf, size, "its Pod: ", reason, obj_text(status, "message"));

    return 1;
}


static int
obj_why_condition(json_t *status, const char *type, const char *value,
    char *buf, size_t size)
{
    size_t       i;
    json_t      *c;
    const char  *reason;

    json_array_foreach(json_object_get(status, "conditions"), i, c) {
        reason = obj_text(c, "reason");

        if (strcmp(obj_text(c, "type"), type) == 0
            && strcmp(obj_text(c, "status"), value) == 0
            && reason[0] != '\0')
        {
            obj_why_say(buf, size, "its Pod: ", reason,
                        obj_text(c, "message"));
            return 1;
        }
    }

    return 0;
}


static int
obj_why_containers(json_t *status, const char *key, char *buf, size_t size)
{
    size_t   i;
    json_t  *c, *list = json_object_get(status, key);

    json_array_foreach(list, i, c) {
        if (json_is_true(json_object_get(c, "ready"))) {
            continue;
        }

        /* one that starts over and over says why when it ended last */
        if (obj_why_terminated(status, c, "state", "ended", buf, size)
            || obj_why_terminated(status, c, "lastState", "is started again, "
                                  "after it ended", buf, size)
            || obj_why_waiting(c, buf, size))
        {
            return 1;
        }
    }

    return 0;
}


/* 0 is how an init container ends that did what it had to. */

static int
obj_why_terminated(json_t *status, json_t *c, const char *key,
    const char *what, char *buf, size_t size)
{
    char         text[128];
    json_t      *t = json_object_get(json_object_get(c, key), "terminated");
    json_int_t   code = json_integer_value(json_object_get(t, "exitCode"));
    const char  *reason = obj_text(t, "reason");

    if (!json_is_object(t) || (code == 0 && strcmp(reason, "Completed") == 0))
    {
        return 0;
    }

    snprintf(text, sizeof(text), "container %.40s %s: exit code %d, ",
             obj_text(c, "name"), what, (int) code);
    obj_why_say(buf, size, text, reason[0] != '\0' ? reason : "no reason",
                obj_why_never(status, t) ? obj_text(t, "message") : "");

    return 1;
}


/* Has the Pod not been ready since then?  A condition keeps the time of its
 * last change, and that of Ready is there from the beginning; where there is
 * none (an eviction may leave none), nobody knows. */

static int
obj_why_never(json_t *status, json_t *t)
{
    size_t     i;
    json_t    *c;
    uint64_t   ready, started;

    json_array_foreach(json_object_get(status, "conditions"), i, c) {
        if (strcmp(obj_text(c, "type"), "Ready") == 0) {
            return strcmp(obj_text(c, "status"), "True") != 0
                   && obj_time(obj_text(c, "lastTransitionTime"), &ready) == 0
                   && obj_time(obj_text(t, "startedAt"), &started) == 0
                   && ready <= started;
        }
    }

    return 0;
}


static int
obj_why_waiting(json_t *c, char *buf, size_t size)
{
    char         text[128];
    json_t      *w = json_object_get(json_object_get(c, "state"), "waiting");
    const char  *reason = obj_text(w, "reason");

    if (reason[0] == '\0') {
        return 0;
    }

    snprintf(text, sizeof(text), "container %.40s: ", obj_text(c, "name"));
    obj_why_say(buf, size, text, reason, obj_text(w, "message"));

    return 1;
}


static void
obj_why_say(char *buf, size_t size, const char *what, const char *reason,
    const char *message)
{
    char  text[2 * OBJ_TEXT_MAX];

    snprintf(text, sizeof(text), "%s%.100s%s%s", what, reason,
             message[0] != '\0' ? ": " : "", message);
    obj_copy(buf, size, text);
}
