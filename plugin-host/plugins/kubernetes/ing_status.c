/*
 * One of all replicas leads: it writes Events (ing_say.c), and where clients
 * find us into status.loadBalancer of every Ingress object: what the Service
 * before the replicas has (option ingressService).
 */

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ing.h"


#define ING_LEASE     "buildkit-ingress"
#define ING_WRITES    16                /* under way at once */
#define ING_AGAIN_MS  30000             /* one that was refused */


static const k8s_kind_t  ing_ingresses = {
    "networking.k8s.io", "v1", "ingresses", "Ingress"
};

static const k8s_kind_t  ing_services = { "", "v1", "services", "Service" };


static void ing_leader(void *data, int leader, const char *who);
static void ing_service(void *data, json_t *obj, int again);
static void ing_service_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void ing_service_synced(void *data, int first);
static void ing_service_state(void *data, int connected, const char *why);
static json_t *ing_addresses(json_t *service);
static void ing_address(ing_t *ing, json_t *address);
static void ing_status_write(ing_obj_t *o);
static void ing_status_done(void *data, const k8s_answer_t *a);


static const k8s_watch_ops_t  ing_service_ops = {
    ing_service, ing_service_gone, ing_service_synced, ing_service_state
};


void
ing_status_start(ing_t *ing)
{
    char         host[65], ns[64], *identity, *fields;
    uint64_t     random = 0;
    const char  *pod = getenv("POD_NAME"), *slash;

    host[0] = '\0';
    (void) gethostname(host, sizeof(host));
    host[sizeof(host) - 1] = '\0';

    while (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        /* void */
    }

    if (asprintf(&identity, "%.128s_%016llx", pod != NULL && pod[0] != '\0'
                 ? pod : host, (unsigned long long) random)
        < 0)
    {
        abort();
    }

    ing->lease = k8s_lease(ing->k8s, k8s_conf_namespace(k8s_conf(ing->k8s)),
                           ING_LEASE, identity, ing_leader, ing);
    free(identity);

    if (ing->conf->lease_ms != 0) {
        k8s_lease_times(ing->lease, (unsigned) (ing->conf->lease_ms / 1000),
                        (unsigned) (ing->conf->lease_ms * 2 / 15),
                        (unsigned) (ing->conf->lease_ms * 2 / 3));
    }

    slash = strchr(ing->conf->service, '/');

    if (slash != NULL) {
        snprintf(ns, sizeof(ns), "%.*s", (int) (slash - ing->conf->service),
                 ing->conf->service);

        if (asprintf(&fields, "metadata.name=%s", slash + 1) < 0) {
            abort();
        }

        ing->service = k8s_watch(ing->k8s, &ing_services, ns, NULL,
                                 &ing_service_ops, ing);
        k8s_watch_fields(ing->service, fields);
        free(fields);
    }
}


void
ing_status_stop(ing_t *ing, void (*done)(void *data), void *data)
{
    k8s_lease_t  *lease = ing->lease;

    ing->lease = NULL;
    ing->leads = 0;
    k8s_lease_release(lease, done, data);
    ing->released = lease;
}


void
ing_status_free(ing_t *ing)
{
    k8s_lease_free(&ing->lease);
    k8s_lease_free(&ing->released);
    k8s_watch_free(&ing->service);
    json_decref(ing->address);
    ing->address = NULL;
}


static void
ing_leader(void *data, int leader, const char *who)
{
    ing_t  *ing = data;

    if (leader != ing->leads) {
        ing->leads = leader;
        ing->host->log(ing->host, BK_LOG_INFO, leader ? "leads: writes Events "
                       "and addresses of Ingress objects" : "does not lead "
                       "any more, %s does", who[0] != '\0' ? who : "nobody");
    }

    if (leader && ing->live) {
        ing_say_again(ing);
        ing_status(ing);
    }
}


int
ing_leads(const ing_t *ing)
{
    return ing->leads && ing->lease != NULL && k8s_lease_valid(ing->lease);
}


/* --- the Service ------------------------------------------------------------ */

static void
ing_service(void *data, json_t *obj, int again)
{
    (void) again;

    ing_address(data, ing_addresses(obj));
}


/* Nobody comes by it any more. */

static void
ing_service_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    (void) ns;
    (void) name;
    (void) obj;

    ing_address(data, json_array());
}


static void
ing_service_synced(void *data, int first)
{
    ing_t  *ing = data;

    if (first && ing->address == NULL) {
        ing->host->log(ing->host, BK_LOG_WARN, "there is no Service %s: "
                       "Ingress objects get no address", ing->conf->service);
    }
}


static void
ing_service_state(void *data, int connected, const char *why)
{
    ing_t  *ing = data;

    if (!connected) {
        ing->host->log(ing->host, BK_LOG_INFO, "Service %s: %s",
                       ing->conf->service, why);
    }
}


/* As status.loadBalancer.ingress of an Ingress has them: without the Service's
 * own ipMode. */

static json_t *
ing_addresses(json_t *service)
{
    size_t       i;
    json_t      *all, *one, *out = json_array();
    const char  *ip, *host;

    all = json_object_get(json_object_get(json_object_get(service, "status"),
                                          "loadBalancer"),
                          "ingress");

    json_array_foreach(all, i, one) {
        ip = obj_text(one, "ip");
        host = obj_text(one, "hostname");

        if (ip[0] != '\0') {
            json_array_append_new(out, json_pack("{s:s}", "ip", ip));

        } else if (host[0] != '\0') {
            json_array_append_new(out, json_pack("{s:s}", "hostname", host));
        }
    }

    if (json_array_size(out) != 0) {
        return out;
    }

    all = json_object_get(json_object_get(service, "spec"), "externalIPs");

    json_array_foreach(all, i, one) {
        if (json_is_string(one)) {
            json_array_append_new(out, json_pack("{s:O}", "ip", one));
        }
    }

    return out;
}


static void
ing_address(ing_t *ing, json_t *address)
{
    json_decref(ing->address);
    ing->address = address;

    if (ing->live) {
        ing_status(ing);
    }
}


/* --- what it is written to -------------------------------------------------- */

void
ing_status_take(ing_obj_t *o, json_t *obj)
{
    json_decref(o->balancer);
    o->balancer = json_incref(
        json_object_get(json_object_get(json_object_get(obj, "status"),
                                        "loadBalancer"),
                        "ingress"));
}


void
ing_status(ing_t *ing)
{
    ing_obj_t  *o;

    if (ing->address == NULL || !ing_leads(ing)) {
        return;
    }

    for (o = ing->objs; o != NULL && ing->writes < ING_WRITES;
         o = o->hh.next)
    {
        ing_status_write(o);
    }
}


static void
ing_status_write(ing_obj_t *o)
{
    ing_t   *ing = o->ing;
    json_t  *body;

    /* an object without an address has none: json_equal(NULL, ...) is 0 */
    if (o->req != NULL || json_equal(o->balancer, ing->address)
        || (o->balancer == NULL && json_array_size(ing->address) == 0)
        || o->again_ms > ing->host->monotonic_ms(ing->host))
    {
        return;
    }

    body = json_pack("{s:{s:{s:O}}}", "status", "loadBalancer", "ingress",
                     ing->address);
    if (body == NULL) {
        abort();
    }

    ing->writes++;
    o->req = k8s_patch(ing->k8s, &ing_ingresses, o->ns, o->name, "status",
                       body, ing_status_done, o);
    json_decref(body);
}


static void
ing_status_done(void *data, const k8s_answer_t *a)
{
    ing_obj_t  *o = data;
    ing_t      *ing = o->ing;

    o->req = NULL;
    ing->writes--;

    if (K8S_OK(a)) {
        ing->written++;
        ing_status_take(o, a->obj);

        if (ing->writes == 0) {
            ing_dirty(ing);
        }

        return;
    }

    ing->dropped++;
    o->again_ms = ing->host->monotonic_ms(ing->host) + ING_AGAIN_MS;
    ing->host->log(ing->host, BK_LOG_INFO, "address of Ingress %s: %s",
                   o->key, a->text);
}


void
ing_status_forget(ing_obj_t *o)
{
    if (o->req != NULL) {
        k8s_cancel(&o->req);
        o->ing->writes--;
    }

    json_decref(o->balancer);
}
