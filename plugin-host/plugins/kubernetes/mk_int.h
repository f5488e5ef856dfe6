/* What mk*.c share among themselves: see mk.h. */

#ifndef MK_INT_H_INCLUDED
#define MK_INT_H_INCLUDED

#include "mk.h"


#define MK_CONTROLLER   "buildkit-controller"   /* managed-by */
#define MK_LABEL_MAX    63
#define MK_IMAGE_MAX    1100    /* CRD: 1024, and "-rootless" */


/* json_pack(), which cannot fail: the format is ours, and strings are of JSON
 * or of the configuration, so they are UTF-8 */
json_t *mk_pack(const char *fmt, ...);
/* sets a new value; of an object that is borrowed */
void mk_set(json_t *obj, const char *key, json_t *value);
/* appends the members of more (taken over) to a list */
void mk_append(json_t *list, json_t *more);
/* the pool as its controller */
void mk_owned_by_pool(json_t *obj, json_t *pool);
/* the labels of an object's metadata */
json_t *mk_labels(json_t *obj);
/* a label's value has 63 characters at most, the last a letter or digit */
json_t *mk_label(const char *text);
/* printf into a JSON string */
json_t *mk_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* an integer of the spec, or otherwise where there is none (in range) */
int mk_int(json_t *value, int otherwise, int min, int max);

/* of what is made for a worker; is_object: its BuildKitWorker (mk_worker.c) */
void mk_worker_labels(json_t *obj, const mk_worker_t *w, int is_object);

/* --- what a pool may choose of a Pod (mk_template.c) ---------------------- */

/* template: podTemplate; into meta and spec of a Pod, those of ours win */
void mk_template(json_t *template, const ct_conf_t *conf, json_t *meta,
    json_t *spec);
/* of a map of annotations: those that a pool may have */
void mk_annotate(json_t *meta, const ct_conf_t *conf, json_t *annotations);
/* requests and limits; otherwise (taken over) where there are none */
json_t *mk_resources(json_t *resources, json_t *otherwise);

/* --- what it may have (mk_policy.c) --------------------------------------- */

int mk_may_annotate(const ct_conf_t *conf, const char *name);
int mk_may_label(const ct_conf_t *conf, const char *name);
/* those of the pool that it may not, as a text for people; how many */
int mk_left_out(json_t *pool, const ct_conf_t *conf, int labels, char *buf,
    size_t size);

/* the object of the first cache backend of that type, or NULL */
json_t *mk_backend(json_t *pool, const char *type);

#endif /* MK_INT_H_INCLUDED */
