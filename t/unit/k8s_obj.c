/*
 * Objects into facts (plugins/kubernetes/obj*.c): what users of this API have,
 * and everything that is none of it: odd types, hostile values, other people's
 * Pods.
 */

#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/obj_pod.c"
#include "../../plugin-host/plugins/kubernetes/obj_why.c"
#include "../../plugin-host/plugins/kubernetes/obj_worker.c"


#define H1  "0000000000000000000000000000000000000000000000000000000000000001"
#define H2  "0000000000000000000000000000000000000000000000000000000000000002"
#define T1  "abcdefghijklmnopqrstuvwxyz-_ABCDEFGHIJKLMNO"

#define AT  "\"allocatedAt\":\"2027-01-01T00:00:00Z\""


typedef struct {
    const char  *what;
    const char  *in;
    const char  *out;           /* what it is, or why not */
} case_t;


static int  checks;


static const case_t  times[] = {
    { "a time", "2027-01-01T00:00:00Z", "1798761600000" },
    { "a fraction", "2027-01-01T00:00:00.1239Z", "1798761600123" },
    { "an offset", "2027-01-01T02:00:00+02:00", "1798761600000" },
    { "to the west", "2026-12-31T23:30:00-00:30", "1798761600000" },
    { "small letters", "2027-01-01t00:00:00z", "1798761600000" },
    { "no time", "", "none" },
    { "no zone", "2027-01-01T00:00:00", "none" },
    { "no digits of a fraction", "2027-01-01T00:00:00.Z", "none" },
    { "something behind", "2027-01-01T00:00:00Zx", "none" },
    { "month 13", "2027-13-01T00:00:00Z", "none" },
    { "a day 0", "2027-01-00T00:00:00Z", "none" },
    { "hour 24", "2027-01-01T24:00:00Z", "none" },
    { "signs for digits", "2027-+1-01T00:00:00Z", "none" },
    { "a bad offset", "2027-01-01T00:00:00+2:00", "none" },
    { "before all times", "1960-01-01T00:00:00Z", "none" },
    { "a long one", "2027-01-01T00:00:00.00000000000000000000000000000000000"
      "0000000000000Z", "none" },
    { NULL, NULL, NULL }
};


static const case_t  addresses[] = {
    { "IPv4", "10.1.2.3", "10.1.2.3:1234" },
    { "IPv6", "fd00::7", "[fd00::7]:1234" },
    { "IPv6 at length", "fd00:0:0:0::0007", "[fd00::7]:1234" },
    { "nothing", "", "BadAddress" },
    { "a name", "localhost", "BadAddress" },
    { "a port", "10.1.2.3:22", "BadAddress" },
    { "octal", "010.1.2.3", "BadAddress" },
    { "a number", "167838211", "BadAddress" },
    { "loopback", "127.0.0.1", "BadAddress" },
    { "all of loopback", "127.8.9.1", "BadAddress" },
    { "this network", "0.0.0.0", "BadAddress" },
    { "metadata", "169.254.169.254", "BadAddress" },
    { "multicast", "224.0.0.1", "BadAddress" },
    { "broadcast", "255.255.255.255", "BadAddress" },
    { "IPv6 loopback", "::1", "BadAddress" },
    { "IPv6 unspecified", "::", "BadAddress" },
    { "IPv6 link-local", "fe80::1", "BadAddress" },
    { "IPv6 multicast", "ff02::1", "BadAddress" },
    { "IPv4 in IPv6", "::ffff:127.0.0.1", "BadAddress" },
    { "IPv4 in old IPv6", "::127.0.0.1", "BadAddress" },
    { "IPv4 by NAT64", "64:ff9b::7f00:1", "BadAddress" },
    { "the API server", "10.0.0.1", "BadAddress" },
    { NULL, NULL, NULL }
};


#define META  "\"metadata\":{\"namespace\":\"team\",\"name\":\"demo-0\"," \
              "\"uid\":\"u\",\"resourceVersion\":\"7\",\"generation\":3}"
#define REF   "\"poolRef\":{\"name\":\"demo\"}"
#define W(spec, status)  "{" META ",\"spec\":{" REF spec "}" status "}"
#define ALLOC(a)         W(",\"allocation\":{" AT "," a "}", "")
#define ENDED(e)         W(",\"ended\":[{" e "}]", "")


/* "POOL PHASE ALLOCATION ENDED DRAINED", and what is wrong with a part */
static const case_t  workers[] = {
    { "a free one", W("", ""), "demo 1 - 0 -" },
    { "its own namespace", "{" META ",\"spec\":{\"poolRef\":{\"name\":\"d\","
      "\"namespace\":\"team\"}}}", "d 1 - 0 -" },
    { "another namespace", "{" META ",\"spec\":{\"poolRef\":{\"name\":\"d\","
      "\"namespace\":\"other\"}}}", "BadPoolRef" },
    { "a pool with a slash", "{" META ",\"spec\":{\"poolRef\":{\"name\":"
      "\"other/d\"}}}", "BadPoolRef" },
    { "no pool", "{" META ",\"spec\":{}}", "BadPoolRef" },
    { "a pool that is a number", "{" META ",\"spec\":{\"poolRef\":{\"name\":7}"
      "}}", "BadPoolRef" },
    { "no spec", "{" META "}", "BadObject" },
    { "a spec that is a list", "{" META ",\"spec\":[]}", "BadObject" },
    { "no uid", "{\"metadata\":{\"namespace\":\"a\",\"name\":\"b\"},\"spec\":{"
      REF "}}", "BadObject" },
    { "nothing", "{}", "BadObject" },

    { "ready", ALLOC("\"tokenHash\":\"" H1 "\""), "demo 1 3:0 0 -" },
    { "starting, until then", ALLOC("\"tokenHash\":\"" H1 "\",\"state\":"
      "\"starting\",\"expiresAt\":\"2027-01-01T00:00:00Z\""),
      "demo 1 2:1798761600000 0 -" },
    { "bound to a key", ALLOC("\"tokenHash\":\"" H1 "\",\"clientKeyHash\":\""
      H2 "\""), "demo 1 3:0:key 0 -" },
    { "of another controller", ALLOC("\"token\":\"" T1 "\""),
      "demo 1 3:0:foreign 0 -" },
    { "nulls", ALLOC("\"tokenHash\":\"" H1 "\",\"token\":null,"
      "\"clientKeyHash\":null,\"expiresAt\":null"), "demo 1 3:0 0 -" },
    { "queued", ALLOC("\"tokenHash\":\"" H1 "\",\"state\":\"queued\""),
      "demo 1 1:0:queued 0 -" },
    { "an allocation that is null", W(",\"allocation\":null", ""),
      "demo 1 - 0 -" },
    { "an allocation that is a list", W(",\"allocation\":[]", ""),
      "demo 1 - 0 - BadAllocation" },
    { "no hash", ALLOC("\"id\":\"0\""), "demo 1 - 0 - BadAllocation" },
    { "capitals in a hash", ALLOC("\"tokenHash\":\"A00000000000000000000000000"
      "00000000000000000000000000000000000001\""),
      "demo 1 - 0 - BadAllocation" },
    { "a short hash", ALLOC("\"tokenHash\":\"00\""),
      "demo 1 - 0 - BadAllocation" },
    { "a long hash", ALLOC("\"tokenHash\":\"" H1 "0\""),
      "demo 1 - 0 - BadAllocation" },
    { "a hash that is a number", ALLOC("\"tokenHash\":1"),
      "demo 1 - 0 - BadAllocation" },
    { "both", ALLOC("\"tokenHash\":\"" H1 "\",\"token\":\"" T1 "\""),
      "demo 1 - 0 - BadAllocation" },
    { "a short token", ALLOC("\"token\":\"abc\""),
      "demo 1 - 0 - BadAllocation" },
    { "a token with blanks", ALLOC("\"token\":\"" T1 " \""),
      "demo 1 - 0 - BadAllocation" },
    { "a key that is none", ALLOC("\"tokenHash\":\"" H1 "\",\"clientKeyHash\":"
      "\"x\""), "demo 1 - 0 - BadAllocation" },
    { "a key that is a number", ALLOC("\"tokenHash\":\"" H1 "\","
      "\"clientKeyHash\":0"), "demo 1 - 0 - BadAllocation" },
    { "an empty key", ALLOC("\"tokenHash\":\"" H1 "\",\"clientKeyHash\":\"\""),
      "demo 1 - 0 - BadAllocation" },
    { "an end that is none", ALLOC("\"tokenHash\":\"" H1 "\",\"expiresAt\":"
      "\"tomorrow\""), "demo 1 - 0 - BadAllocation" },
    { "an end that is a number", ALLOC("\"tokenHash\":\"" H1 "\",\"expiresAt\":"
      "1798761600"), "demo 1 - 0 - BadAllocation" },
    { "another's id", ALLOC("\"tokenHash\":\"" H1 "\",\"id\":\"100000000000\""),
      "demo 1 - 0 - BadAllocation" },
    { "no state", ALLOC("\"tokenHash\":\"" H1 "\",\"state\":\"odd\""),
      "demo 1 - 0 - BadAllocation" },
    { "a state of ended ones", ALLOC("\"tokenHash\":\"" H1 "\",\"state\":"
      "\"revoked\""), "demo 1 - 0 - BadAllocation" },

    { "ended", ENDED("\"tokenHash\":\"" H1 "\",\"state\":\"revoked\",\"at\":"
      "\"2027-01-01T00:00:00Z\",\"reason\":\"key leaked\""),
      "demo 1 - 1:7:key leaked -" },
    { "ended, with control bytes", ENDED("\"tokenHash\":\"" H1 "\",\"state\":"
      "\"failed\",\"at\":\"2027-01-01T00:00:00Z\",\"reason\":\"a\\u001b[2J\""),
      "demo 1 - 1:8:a [2J -" },
    { "ended, when?", ENDED("\"tokenHash\":\"" H1 "\",\"state\":\"failed\""),
      "demo 1 - 0 - BadEnded" },
    { "ended and ready", ENDED("\"tokenHash\":\"" H1 "\",\"state\":\"ready\","
      "\"at\":\"2027-01-01T00:00:00Z\""), "demo 1 - 0 - BadEnded" },
    { "what has ended is text", W(",\"ended\":\"x\"", ""), "demo 1 - 0 -" },
    { "one that has ended is text", W(",\"ended\":[\"x\"]", ""),
      "demo 1 - 0 - BadEnded" },

    { "drained", W(",\"drained\":{\"reason\":\"disk\"}", ""),
      "demo 1 - 0 disk" },
    { "drained without a reason", W(",\"drained\":{}", ""), "demo 1 - 0 " },
    { "not drained", W(",\"drained\":null", ""), "demo 1 - 0 -" },
    { "provisioning", W("", ",\"status\":{\"phase\":\"Provisioning\"}"),
      "demo 2 - 0 -" },
    { "allocated", W("", ",\"status\":{\"phase\":\"Allocated\"}"),
      "demo 3 - 0 -" },
    { "failed", W("", ",\"status\":{\"phase\":\"Failed\"}"), "demo 5 - 0 -" },
    { "failed, says who is up to date", W("", ",\"status\":{\"phase\":"
      "\"Failed\",\"observedGeneration\":3}"), "demo 5 - 0 -" },
    { "failed before", W("", ",\"status\":{\"phase\":\"Failed\","
      "\"observedGeneration\":2}"), "demo 1 - 0 -" },
    { "a phase that is none", W("", ",\"status\":{\"phase\":{}}"),
      "demo 1 - 0 -" },
    { NULL, NULL, NULL }
};


#define OWNER  "\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Node\","\
               "\"name\":\"n\",\"uid\":\"n\"},{\"apiVersion\":"               \
               "\"buildkit.smrt-devops.net/v1alpha1\",\"kind\":"              \
               "\"BuildKitWorker\",\"name\":\"demo-0\",\"uid\":\"u\","        \
               "\"controller\":true}]"
#define LABELS "\"labels\":{\"buildkit.smrt-devops.net/worker\":\"demo-0\","   \
               "\"buildkit.smrt-devops.net/purpose\":\"worker\"}"
#define PMETA(more)  "\"metadata\":{\"namespace\":\"team\",\"name\":\"p\","    \
                     "\"uid\":\"v\"" more "}"
#define P(more, status)  "{" PMETA("," OWNER "," LABELS more) ",\"status\":{"  \
                         status "}}"
#define READY  "\"phase\":\"Running\",\"podIP\":\"10.1.2.3\",\"conditions\":[" \
               "{\"type\":\"Ready\",\"status\":\"True\"}]"
#define CONTAINER(state) P("", "\"phase\":\"Running\",\"containerStatuses\":[" \
               "{\"name\":\"buildkitd\",\"ready\":false," state "}]")

#define DAY      "2026-11-21T"
#define SAID(is, since, started)  "\"phase\":\"Failed\",\"conditions\":[{"   \
    "\"type\":\"Ready\",\"status\":\"" is "\",\"lastTransitionTime\":\"" DAY      \
    since "Z\"}],\"containerStatuses\":[{\"name\":\"buildkitd\",\"ready\":"   \
    "false,\"state\":{\"terminated\":{\"exitCode\":1,\"reason\":\"Error\","   \
    "\"message\":\"bad config\",\"startedAt\":\"" DAY started "Z\"}}}]"


/* "WORKER FLAGS ADDRESS: WHY" */
static const case_t  pods[] = {
    { "ready", P("", READY), "demo-0 R 10.1.2.3:1234: " },
    { "not yet", P("", "\"phase\":\"Pending\""), "demo-0  : " },
    { "its purpose taken off", "{" PMETA("," OWNER ",\"labels\":{"
      "\"buildkit.smrt-devops.net/worker\":\"demo-0\"}") "}", "demo-0  : " },
    { "ready, says who is not running", P("", "\"phase\":\"Pending\","
      "\"podIP\":\"10.1.2.3\",\"conditions\":[{\"type\":\"Ready\",\"status\":"
      "\"True\"}]"), "demo-0  10.1.2.3:1234: " },
    { "not ready", P("", "\"phase\":\"Running\",\"podIP\":\"10.1.2.3\","
      "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":"
      "\"ContainersNotReady\",\"message\":\"containers with unready status: "
      "[b]\"}]"), "demo-0  10.1.2.3:1234: its Pod: ContainersNotReady: "
      "containers with unready status: [b]" },
    { "deleted", P(",\"deletionTimestamp\":\"2027-01-01T00:00:00Z\"", READY),
      "demo-0 RT 10.1.2.3:1234: its Pod is being deleted" },
    { "preempted", P(",\"deletionTimestamp\":\"2027-01-01T00:00:00Z\"",
      "\"phase\":\"Running\",\"conditions\":[{\"type\":\"DisruptionTarget\","
      "\"status\":\"True\",\"reason\":\"PreemptionByScheduler\",\"message\":"
      "\"for a better one\"}]"),
      "demo-0 T : its Pod: PreemptionByScheduler: for a better one" },
    { "evicted", P("", "\"phase\":\"Failed\",\"reason\":\"Evicted\","
      "\"message\":\"The node was low on resource: ephemeral-storage.\","
      "\"containerStatuses\":[{\"name\":\"b\",\"state\":{\"terminated\":{"
      "\"exitCode\":137,\"reason\":\"Error\"}}}]"), "demo-0 F : its Pod: "
      "Evicted: The node was low on resource: ephemeral-storage." },
    { "no node", P("", "\"phase\":\"Pending\",\"conditions\":[{\"type\":"
      "\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\","
      "\"message\":\"0/3 nodes are available\"}]"), "demo-0  : its Pod: "
      "Unschedulable: 0/3 nodes are available" },
    { "out of memory", CONTAINER("\"state\":{\"terminated\":{\"exitCode\":137,"
      "\"reason\":\"OOMKilled\"}}"), "demo-0  : container buildkitd ended: "
      "exit code 137, OOMKilled" },
    { "over and over", P("", "\"phase\":\"Running\",\"conditions\":[{"
      "\"type\":\"Ready\",\"status\":\"False\",\"lastTransitionTime\":\"" DAY
      "00:00:04Z\"}],\"containerStatuses\":[{\"name\":\"buildkitd\","
      "\"ready\":false,\"state\":{\"waiting\":{\"reason\":"
      "\"CrashLoopBackOff\"}},\"lastState\":{\"terminated\":{\"exitCode\":1,"
      "\"reason\":\"Error\",\"message\":\"no config\\n\",\"startedAt\":\""
      DAY "00:00:05Z\"}}}]"), "demo-0  : container buildkitd is started again, "
      "after it ended: exit code 1, Error: no config " },
    { "no log where no condition says who was there",
      CONTAINER("\"state\":{\"terminated\":{\"exitCode\":1,\"reason\":"
      "\"Error\",\"message\":\"no config\",\"startedAt\":\"" DAY
      "00:00:05Z\"}}"), "demo-0  : container buildkitd ended: exit code 1, "
      "Error" },
    { "its log, where nobody was", P("", SAID("False", "00:00:05", "00:00:05")),
      "demo-0 F : container buildkitd ended: exit code 1, Error: bad config" },
    { "no log of who has been ready", P("", SAID("False", "00:00:06",
      "00:00:05")), "demo-0 F : container buildkitd ended: exit code 1, Error" },
    { "nor of one that is said to be so", P("", SAID("True", "00:00:04",
      "00:00:05")), "demo-0 F : container buildkitd ended: exit code 1, Error" },
    { "nor without a time", P("", SAID("False", "00:00:04", "")),
      "demo-0 F : container buildkitd ended: exit code 1, Error" },
    { "no image", CONTAINER("\"state\":{\"waiting\":{\"reason\":"
      "\"ErrImagePull\",\"message\":\"not found\"}}"),
      "demo-0  : container buildkitd: ErrImagePull: not found" },
    { "odd types", P("", "\"phase\":[],\"podIP\":{},\"conditions\":{},"
      "\"containerStatuses\":[7,[],{\"state\":[]}]"), "demo-0  : " },

    { "no owner", "{" PMETA("," LABELS) "}", "NotOurPod" },
    { "no controller", "{" PMETA("," LABELS ",\"ownerReferences\":[{"
      "\"apiVersion\":\"buildkit.smrt-devops.net/v1alpha1\",\"kind\":"
      "\"BuildKitWorker\",\"name\":\"demo-0\",\"uid\":\"u\"}]") "}",
      "NotOurPod" },
    { "a Deployment's", "{" PMETA("," LABELS ",\"ownerReferences\":[{"
      "\"apiVersion\":\"apps/v1\",\"kind\":\"BuildKitWorker\",\"name\":"
      "\"demo-0\",\"uid\":\"u\",\"controller\":true}]") "}", "NotOurPod" },
    { "a pool's", "{" PMETA("," LABELS ",\"ownerReferences\":[{"
      "\"apiVersion\":\"buildkit.smrt-devops.net/v1alpha1\",\"kind\":"
      "\"BuildKitPool\",\"name\":\"demo-0\",\"uid\":\"u\",\"controller\":"
      "true}]") "}", "NotOurPod" },
    { "a group like ours", "{" PMETA("," LABELS ",\"ownerReferences\":[{"
      "\"apiVersion\":\"buildkit.smrt-devops.net.example/v1\",\"kind\":"
      "\"BuildKitWorker\",\"name\":\"demo-0\",\"uid\":\"u\",\"controller\":true"
      "}]") "}", "NotOurPod" },
    { "another worker's label", "{" PMETA("," OWNER ",\"labels\":{"
      "\"buildkit.smrt-devops.net/worker\":\"demo-1\","
      "\"buildkit.smrt-devops.net/purpose\":\"worker\"}") "}", "NotOurPod" },
    { "a gateway", "{" PMETA("," OWNER ",\"labels\":{"
      "\"buildkit.smrt-devops.net/worker\":\"demo-0\","
      "\"buildkit.smrt-devops.net/purpose\":\"gateway\"}") "}", "NotOurPod" },
    { "its node's network", "{" PMETA("," OWNER "," LABELS)
      ",\"spec\":{\"hostNetwork\":true}}", "HostNetwork" },
    { "its node's address", P("", "\"podIP\":\"10.1.2.3\",\"hostIP\":"
      "\"10.1.2.3\""), "HostNetwork" },
    { "one of its node's addresses", P("", "\"podIP\":\"10.1.2.3\",\"hostIP\":"
      "\"10.1.2.4\",\"hostIPs\":[{\"ip\":\"10.1.2.4\"},{\"ip\":\"10.1.2.3\"}]"),
      "HostNetwork" },
    { "loopback", P("", "\"podIP\":\"127.0.0.1\""), "BadAddress" },
    { "the API server", P("", "\"podIP\":\"10.0.0.1\""), "BadAddress" },
    { "nothing", "{}", "BadObject" },
    { NULL, NULL, NULL }
};


static const char *const  avoid[] = { "10.0.0.1", NULL };


static void
is(const char *what, const char *kind, const char *got, const char *want)
{
    int  good = strcmp(got, want) == 0;

    printf("%sok %d - %s: %s\n", good ? "" : "not ", ++checks, kind, what);

    if (!good) {
        printf("# got  \"%s\"\n# want \"%s\"\n", got, want);
    }
}


static json_t *
load(const case_t *c)
{
    json_error_t   err;
    json_t        *obj = json_loads(c->in, 0, &err);

    if (obj == NULL) {
        printf("Bail out! %s: %s\n", c->what, err.text);
        exit(1);
    }

    return obj;
}


static void
worker(const case_t *c)
{
    char          alloc[128], ended[300], text[1024];
    json_t       *obj = load(c);
    bk_err_t      bad, err;
    obj_ended_t   room[OBJ_ENDED_MAX];
    obj_worker_t  o = { .ended = room };

    if (obj_worker_read(obj, &o, &bad, &err) != 0) {
        is(c->what, "worker", err.reason, c->out);
        json_decref(obj);
        return;
    }

    snprintf(alloc, sizeof(alloc), "-");
    snprintf(ended, sizeof(ended), "0");

    if (o.has_alloc) {
        snprintf(alloc, sizeof(alloc), "%d:%llu%s%s%s", o.alloc.state,
                 (unsigned long long) o.alloc.expires_ms,
                 o.alloc.bound ? ":key" : "", o.alloc.foreign ? ":foreign"
                 : "", o.queued ? ":queued" : "");
    }

    if (o.nended > 0) {
        snprintf(ended, sizeof(ended), "%d:%d:%s", (int) o.nended,
                 room[0].state, room[0].reason);
    }

    snprintf(text, sizeof(text), "%s %d %s %s %s%s%s", o.pool, o.phase, alloc,
             ended, o.drained != NULL ? o.drained : "-",
             bad.code != 0 ? " " : "", bad.reason);
    is(c->what, "worker", text, c->out);
    json_decref(obj);
}


static void
pod(const case_t *c)
{
    char        text[1024];
    json_t     *obj = load(c);
    bk_err_t    err;
    obj_pod_t   o;

    if (obj_pod_read(obj, avoid, &o, &err) != 0) {
        is(c->what, "Pod", err.reason, c->out);

    } else {
        snprintf(text, sizeof(text), "%s %s%s%s %s: %s", o.worker,
                 o.ready ? "R" : "", o.finished ? "F" : "",
                 o.terminating ? "T" : "", o.address, o.why);
        is(c->what, "Pod", text, c->out);
    }

    json_decref(obj);
}


/* A text of any length, cut at a character. */

static void
texts(void)
{
    char  buf[8];

    obj_copy(buf, sizeof(buf), "seven c");
    is("fits", "text", buf, "seven c");
    obj_copy(buf, sizeof(buf), "eight ch");
    is("is cut", "text", buf, "eight c");
    obj_copy(buf, sizeof(buf), "f\xc3\xbcnf \xc3\xa4\xc3\xb6");
    is("is cut at a character", "text", buf, "f\xc3\xbcnf ");
    obj_copy(buf, sizeof(buf), "a\tb\x80");
    is("is clean", "text", buf, "a b?");
}


/* An object with too many. */

static void
many(void)
{
    int            i;
    char          *text, *p;
    bk_err_t       bad, err;
    json_t        *obj;
    obj_ended_t    room[OBJ_ENDED_MAX];
    obj_worker_t   o = { .ended = room };

    text = malloc(16384);
    if (text == NULL) {
        abort();
    }

    p = text + sprintf(text, "{" META ",\"spec\":{" REF ",\"ended\":[");

    for (i = 0; i < OBJ_ENDED_MAX + 1; i++) {
        p += sprintf(p, "%s{\"tokenHash\":\"%064d\",\"state\":\"expired\","
                     "\"at\":\"2027-01-01T00:00:00Z\"}", i ? "," : "", i);
    }

    strcpy(p, "]}}");
    obj = json_loads(text, 0, NULL);

    is("more than there may be", "ended",
       obj_worker_read(obj, &o, &bad, &err) == 0
       && o.nended == OBJ_ENDED_MAX ? bad.reason : "", "BadEnded");

    json_decref(obj);
    free(text);
}


int
main(void)
{
    char           text[64], hash[2 * OBJ_HASH_LEN + 1];
    uint8_t        raw[OBJ_HASH_LEN];
    uint64_t       ms;
    bk_err_t       err;
    const case_t  *c;
    size_t         i;

    for (c = times; c->what != NULL; c++) {
        if (obj_time(c->in, &ms) == 0) {
            snprintf(text, sizeof(text), "%llu", (unsigned long long) ms);

        } else {
            snprintf(text, sizeof(text), "none");
        }

        is(c->what, "time", text, c->out);
    }

    for (c = addresses; c->what != NULL; c++) {
        if (obj_address(c->in, OBJ_PORT, avoid, text, sizeof(text), &err)
            != 0)
        {
            snprintf(text, sizeof(text), "%s", err.reason);
        }

        is(c->what, "address", text, c->out);
    }

    obj_hash("abc", raw);

    for (i = 0; i < OBJ_HASH_LEN; i++) {
        sprintf(hash + 2 * i, "%02x", raw[i]);
    }

    is("of a token", "hash", hash, "ba7816bf8f01cfea414140de5dae2223b00361a396"
       "177a9cb410ff61f20015ad");

    for (c = workers; c->what != NULL; c++) {
        worker(c);
    }

    for (c = pods; c->what != NULL; c++) {
        pod(c);
    }

    texts();
    many();

    printf("1..%d\n", checks);

    return 0;
}
