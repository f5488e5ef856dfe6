/*
 * Manifests of what a pool asks for (plugins/kubernetes/mk*.c), field by
 * field; what a real API server says of them: t/kubernetes_make.t.
 */

#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/mk.c"
#include "../../plugin-host/plugins/kubernetes/mk_front.c"
#include "../../plugin-host/plugins/kubernetes/mk_gateway.c"
#include "../../plugin-host/plugins/kubernetes/mk_notes.c"
#include "../../plugin-host/plugins/kubernetes/mk_pod.c"
#include "../../plugin-host/plugins/kubernetes/mk_policy.c"
#include "../../plugin-host/plugins/kubernetes/mk_secret.c"
#include "../../plugin-host/plugins/kubernetes/mk_service.c"
#include "../../plugin-host/plugins/kubernetes/mk_template.c"
#include "../../plugin-host/plugins/kubernetes/mk_toml.c"
#include "../../plugin-host/plugins/kubernetes/mk_worker.c"
#include "../../plugin-host/plugins/kubernetes/obj.c"


typedef struct {
    const char  *what;
    const char  *maker;
    const char  *spec;          /* of the pool */
    const char  *path;          /* "spec.containers.0.image" */
    const char  *out;           /* JSON; "-": none; or the error's reason */
} case_t;


static int  checks;

static char  *privileged[] = { (char *) "other", (char *) "team", NULL };
static char  *labels[] = { (char *) "team", (char *) "example.com/", NULL };

static ct_conf_t  conf = {
    .namespace = (char *) "buildkit-system",
    .gateway_image = (char *) "registry/gateway:1",
    .companion_image = (char *) "registry/controller:1",
    .buildkit_image = (char *) "moby/buildkit:v0.33.0",
    .privileged = privileged,
    .labels = labels,
};


#define C0        "spec.containers.0."
#define BACKEND(b) "{\"cache\":{\"backends\":[" b "]}}"
#define LOCAL     BACKEND("{\"type\":\"local\",\"local\":{\"size\":\"10Gi\"}}")
#define PRIV      "{\"security\":{\"mode\":\"privileged\"}}"
#define TEMPLATE  "{\"podTemplate\":{\"metadata\":{\"labels\":{\"team\":" \
    "\"a\",\"buildkit.smrt-devops.net/worker\":\"x\"," \
    "\"app.kubernetes.io/name\":\"y\"},\"annotations\":{\"note\":\"n\"," \
    "\"buildkit.smrt-devops.net/spec-hash\":\"h\"}},\"spec\":{" \
    "\"nodeSelector\":{\"disk\":\"nvme\",\"kubernetes.io/arch\":\"s390x\"}," \
    "\"tolerations\":[{\"key\":\"builds\"}],\"priorityClassName\":\"\"," \
    "\"schedulerName\":\"mine\",\"serviceAccountName\":\"admin\"," \
    "\"hostNetwork\":true,\"volumes\":[{\"name\":\"host\"}],\"affinity\":7," \
    "\"hostPID\":true,\"containers\":[],\"automountServiceAccountToken\":" \
    "true}},\"arch\":\"arm64/v8\"}"
#define FOREIGN  "{\"podTemplate\":{\"metadata\":{\"labels\":{\"app\":" \
    "\"payments\",\"team\":\"b\",\"example.com/cost\":\"7\",\"teams\":\"c\"," \
    "\"azure.workload.identity/use\":\"true\"},\"annotations\":{\"mine\":" \
    "\"m\",\"prometheus.io/scrape\":\"true\",\"k8s.v1.cni.cncf.io/networks\":" \
    "\"n\",\"iam.amazonaws.com/role\":\"r\",\"sidecar.istio.io/inject\":" \
    "\"false\",\"sidecar.istio.io/injected\":\"x\",\"cluster-autoscaler." \
    "kubernetes.io/safe-to-evict\":\"false\",\"container.apparmor.security." \
    "beta.kubernetes.io/buildkitd\":\"unconfined\"}}}}"
#define WITH_IMAGE(l)  "{\"buildkitImage\":\"i\",\"podTemplate\":{" \
    "\"metadata\":{\"labels\":{" l "}}}}"
#define GATEWAY(g)  "{\"gateway\":{" g "}}"
#define LB(more)  "{\"gateway\":{\"serviceType\":\"LoadBalancer\"," \
    "\"loadBalancerClass\":\"metal\",\"nodePort\":31000}" more "}"
#define GWAPI(more)  GATEWAY("\"gatewayAPI\":{\"enabled\":true,\"hostname\":" \
    "\"b.example\"" more "}")
#define INGRESS(more)  GATEWAY("\"ingress\":{\"enabled\":true,\"hostname\":" \
    "\"b.example\"" more "}")
#define ISSUER(more)  "{\"tls\":{\"mode\":\"certManager\",\"certManager\":{" \
    "\"issuerRef\":{\"name\":\"ca\"}}" more "}}"
#define IMAGE(i)  "{\"buildkitImage\":\"" i "\"}"
#define OWNER(kind, name, uid)  "[{\"apiVersion\":" \
    "\"buildkit.smrt-devops.net/v1alpha1\",\"blockOwnerDeletion\":true," \
    "\"controller\":true,\"kind\":\"" kind "\",\"name\":\"" name "\"," \
    "\"uid\":\"" uid "\"}]"
#define POOL_OWNER  OWNER("BuildKitPool", "demo", "u-pool")
#define LABELS(name, instance, purpose, worker)  "{" \
    "\"app.kubernetes.io/instance\":\"" instance "\"," \
    "\"app.kubernetes.io/managed-by\":\"buildkit-controller\"," \
    "\"app.kubernetes.io/name\":\"" name "\"," \
    "\"buildkit.smrt-devops.net/pool\":\"demo\"," \
    "\"buildkit.smrt-devops.net/purpose\":\"" purpose "\"" worker "}"
#define WORKER(w)  ",\"buildkit.smrt-devops.net/worker\":\"" w "\""


/* maker: which, and of pods what they have: +claim, +tls, +conf */
static const case_t  cases[] = {
    { "object", "worker", "{}", "metadata.labels",
      LABELS("buildkit-worker", "demo-0", "worker", WORKER("true")) },
    { "of its pool", "worker", "{}", "metadata.ownerReferences", POOL_OWNER },
    { "refers to it", "worker", "{}", "spec",
      "{\"poolRef\":{\"name\":\"demo\",\"namespace\":\"team\"}}" },

    { "its name", "pod", "{}", "metadata.name", "\"demo-0\"" },
    { "its namespace", "pod", "{}", "metadata.namespace", "\"team\"" },
    { "as gateways look for it", "pod", "{}", "metadata.labels",
      LABELS("buildkit-worker", "demo-0", "worker", WORKER("demo-0")) },
    { "of its worker", "pod", "{}", "metadata.ownerReferences",
      OWNER("BuildKitWorker", "demo-0", "u-worker") },
    { "never started again", "pod", "{}", "spec.restartPolicy", "\"Never\"" },
    { "no account", "pod", "{}", "spec.automountServiceAccountToken",
      "false" },
    { "nobody's account", "pod", TEMPLATE, "spec.serviceAccountName", "-" },
    { "still no account", "pod", TEMPLATE,
      "spec.automountServiceAccountToken", "false" },
    { "no host's network", "pod", TEMPLATE, "spec.hostNetwork", "-" },
    { "no host's processes", "pod", TEMPLATE, "spec.hostPID", "-" },
    { "no more volumes", "pod", TEMPLATE, "spec.volumes.2", "-" },
    { "its container", "pod", TEMPLATE, C0 "name", "\"buildkitd\"" },
    { "what is no object", "pod", TEMPLATE, "spec.affinity", "-" },
    { "what is empty", "pod", TEMPLATE, "spec.priorityClassName", "-" },
    { "nodes, the architecture's first", "pod", TEMPLATE, "spec.nodeSelector",
      "{\"disk\":\"nvme\",\"kubernetes.io/arch\":\"arm64\"}" },
    { "tolerations", "pod", TEMPLATE, "spec.tolerations",
      "[{\"key\":\"builds\"}]" },
    { "scheduler", "pod", TEMPLATE, "spec.schedulerName", "\"mine\"" },
    { "labels", "pod", TEMPLATE, "metadata.labels.team", "\"a\"" },
    { "ours stay", "pod", TEMPLATE,
      "metadata.labels.buildkit~smrt-devops~net/worker", "\"demo-0\"" },
    { "annotations, but for ours", "pod", TEMPLATE, "metadata.annotations",
      "{\"note\":\"n\"}" },
    { "its hash", "pod+hash", TEMPLATE, "metadata.annotations",
      "{\"buildkit.smrt-devops.net/spec-hash\":\"0123456789abcdef\","
      "\"note\":\"n\"}" },
    { "annotations that nobody else reads wrongly", "pod", FOREIGN,
      "metadata.annotations", "{\"cluster-autoscaler.kubernetes.io/"
      "safe-to-evict\":\"false\",\"mine\":\"m\",\"prometheus.io/scrape\":"
      "\"true\",\"sidecar.istio.io/inject\":\"false\"}" },
    { "labels that are listed, and no Service's", "pod", FOREIGN,
      "metadata.labels", LABELS("buildkit-worker", "demo-0", "worker",
      WORKER("demo-0") ",\"example.com/cost\":\"7\",\"team\":\"b\"") },
    { "of none", "pod-image", WITH_IMAGE("\"team\":\"b\""),
      "metadata.labels.team", "-" },
    { "of a gateway's Pods as well", "deployment",
      "{\"gateway\":" FOREIGN "}", "spec.template.metadata.labels.app", "-" },
    { "and its annotations", "deployment", "{\"gateway\":" FOREIGN "}",
      "spec.template.metadata.annotations.k8s~v1~cni~cncf~io/networks", "-" },
    { "of a Service", "service", "{\"networking\":{\"annotations\":{"
      "\"metallb.io/address-pool\":\"p\",\"service.beta.kubernetes.io/x\":"
      "\"y\",\"getambassador.io/config\":\"c\"}}}", "metadata.annotations",
      "{\"metallb.io/address-pool\":\"p\",\"service.beta.kubernetes.io/x\":"
      "\"y\"}" },
    { "no snippet into an Ingress", "ingress", INGRESS(",\"annotations\":{"
      "\"nginx.ingress.kubernetes.io/server-snippet\":\"s\"}"),
      "metadata.annotations.nginx~ingress~kubernetes~io/server-snippet",
      "-" },
    { "nor into a Gateway", "gatewayAPI", GWAPI(",\"annotations\":{"
      "\"cert-manager.io/cluster-issuer\":\"c\",\"a\":\"b\"}"),
      "metadata.annotations", "{\"a\":\"b\"}" },
    { "anywhere", "pod", "{}", "spec.nodeSelector", "-" },
    { "a template that is a text", "pod", "{\"podTemplate\":\"x\"}",
      "spec.nodeSelector", "-" },
    { "a build's time to end", "pod", "{}",
      "spec.terminationGracePeriodSeconds", "3600" },

    { "rootless", "pod", "{}", C0 "image",
      "\"moby/buildkit:v0.33.0-rootless\"" },
    { "privileged", "pod", PRIV, C0 "image", "\"moby/buildkit:v0.33.0\"" },
    { "the pool's", "pod", IMAGE("mine/b:2"), C0 "image", "\"mine/b:2\"" },
    { "none", "pod", IMAGE(""), C0 "image",
      "\"moby/buildkit:v0.33.0-rootless\"" },
    { "no image", "pod-image", "{}", C0 "image", "NoImage" },
    { "but the pool's", "pod-image", IMAGE("a"), C0 "image", "\"a\"" },
    { "privileged where that may not be", "pod-image", PRIV, C0 "image",
      "PrivilegedNotAllowed" },

    { "rootless", "pod", "{}", "spec.securityContext",
      "{\"runAsGroup\":1000,\"runAsNonRoot\":true,\"runAsUser\":1000}" },
    { "rootless", "pod", "{}", C0 "securityContext",
      "{\"allowPrivilegeEscalation\":true,\"appArmorProfile\":{\"type\":"
      "\"Unconfined\"},\"seccompProfile\":{\"type\":\"Unconfined\"}}" },
    { "its profile", "pod", "{\"security\":{\"seccompProfile\":{\"type\":"
      "\"Localhost\",\"localhostProfile\":\"a\"}}}",
      C0 "securityContext.seccompProfile",
      "{\"localhostProfile\":\"a\",\"type\":\"Localhost\"}" },
    { "its AppArmor", "pod", "{\"security\":{\"appArmorProfile\":{\"type\":"
      "\"RuntimeDefault\"}}}", C0 "securityContext.appArmorProfile",
      "{\"type\":\"RuntimeDefault\"}" },
    { "privileged", "pod", PRIV, C0 "securityContext",
      "{\"privileged\":true,\"runAsUser\":0}" },
    { "privileged", "pod+claim", PRIV, "spec.securityContext", "-" },

    { "rootless", "pod", "{}", C0 "args", "[\"--addr\","
      "\"unix:///run/buildkit/buildkitd.sock\",\"--addr\","
      "\"tcp://:1234\",\"--root\","
      "\"/home/user/.local/share/buildkit\","
      "\"--oci-worker-no-process-sandbox\"]" },
    { "with all", "pod+claim+tls+conf", PRIV, C0 "args", "[\"--addr\","
      "\"unix:///run/buildkit/buildkitd.sock\",\"--addr\","
      "\"tcp://:1234\",\"--root\",\"/var/lib/buildkit\",\"--config\","
      "\"/etc/buildkit/buildkitd.toml\",\"--tlscacert\",\"/certs/ca.crt\","
      "\"--tlscert\",\"/certs/tls.crt\",\"--tlskey\",\"/certs/tls.key\"]" },
    { "below the volume's root", "pod+claim", "{}", C0 "args.5",
      "\"/home/user/.local/share/buildkit/root\"" },
    { "volumes", "pod", "{}", "spec.volumes", "[{\"emptyDir\":{},\"name\":"
      "\"cache\"},{\"emptyDir\":{\"sizeLimit\":\"64Mi\"},\"name\":\"run\"}]" },
    { "all volumes", "pod+claim+tls+conf", "{}", "spec.volumes",
      "[{\"name\":\"cache\",\"persistentVolumeClaim\":{\"claimName\":"
      "\"cache-demo-0\"}},{\"emptyDir\":{\"sizeLimit\":\"64Mi\"},\"name\":"
      "\"run\"},{\"configMap\":{\"name\":\"demo-buildkitd\"},\"name\":"
      "\"config\"},{\"name\":\"certs\","
      "\"secret\":{\"defaultMode\":292,\"secretName\":\"demo-worker-tls\"}}]" },
    { "root's alone", "pod+tls", PRIV, "spec.volumes.2.secret.defaultMode",
      "256" },
    { "mounts", "pod+claim+tls+conf", PRIV, C0 "volumeMounts",
      "[{\"mountPath\":\"/var/lib/buildkit\",\"name\":\"cache\"},"
      "{\"mountPath\":\"/run/buildkit\",\"name\":\"run\"},{\"mountPath\":"
      "\"/etc/buildkit\",\"name\":\"config\",\"readOnly\":true},"
      "{\"mountPath\":\"/certs\",\"name\":\"certs\",\"readOnly\":true}]" },
    { "a volume for user 1000", "pod+claim", "{}", "spec.securityContext",
      "{\"fsGroup\":1000,\"fsGroupChangePolicy\":\"OnRootMismatch\","
      "\"runAsGroup\":1000,\"runAsNonRoot\":true,\"runAsUser\":1000}" },
    { "a folder without setgid", "pod+claim", "{}",
      "spec.initContainers.0.volumeMounts", "[{\"mountPath\":"
      "\"/home/user/.local/share/buildkit\",\"name\":\"cache\"}]" },
    { "that is restricted", "pod+claim", "{}",
      "spec.initContainers.0.securityContext",
      "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":"
      "[\"ALL\"]},\"readOnlyRootFilesystem\":true,\"seccompProfile\":{"
      "\"type\":\"RuntimeDefault\"}}" },
    { "beside it", "pod+claim", "{\"resources\":{\"sidecar\":{\"limits\":{"
      "\"cpu\":1}}}}", "spec.initContainers.0.resources",
      "{\"limits\":{\"cpu\":1}}" },
    { "none with an emptyDir", "pod", "{}", "spec.initContainers", "-" },
    { "none for root", "pod+claim", PRIV, "spec.initContainers", "-" },
    { "resources", "pod", "{\"resources\":{\"buildkit\":{\"requests\":{"
      "\"cpu\":\"500m\"},\"limits\":{\"memory\":\"2Gi\"},\"claims\":[]}}}",
      C0 "resources", "{\"limits\":{\"memory\":\"2Gi\"},\"requests\":{"
      "\"cpu\":\"500m\"}}" },
    { "at least", "pod", "{\"resources\":{\"buildkit\":{}}}", C0 "resources",
      "{\"requests\":{\"cpu\":\"100m\",\"memory\":\"256Mi\"}}" },
    { "its own socket", "pod", "{}", C0 "env", "[{\"name\":\"BUILDKIT_HOST\","
      "\"value\":\"unix:///run/buildkit/buildkitd.sock\"}]" },
    { "S3", "pod", BACKEND("{\"type\":\"s3\",\"s3\":{\"bucket\":\"b\","
      "\"region\":\"eu-1\",\"credentialsSecret\":\"s3\"}}"), C0 "env.2",
      "{\"name\":\"AWS_ACCESS_KEY_ID\",\"valueFrom\":{\"secretKeyRef\":{"
      "\"key\":\"AWS_ACCESS_KEY_ID\",\"name\":\"s3\",\"optional\":false}}}" },
    { "S3's region", "pod", BACKEND("{\"type\":\"s3\",\"s3\":{\"bucket\":"
      "\"b\",\"region\":\"eu-1\"}}"), C0 "env.1",
      "{\"name\":\"AWS_REGION\",\"value\":\"eu-1\"}" },
    { "buildkitd's own port", "pod", "{}", C0 "ports",
      "[{\"containerPort\":1234,\"name\":\"buildkit\"}]" },
    { "ready at once", "pod", "{}", C0 "startupProbe.periodSeconds", "1" },
    { "waits", "pod", "{}", C0 "lifecycle.preStop.exec.command.1", "\"-c\"" },
    { "last words", "pod", "{}", C0 "terminationMessagePolicy",
      "\"FallbackToLogsOnError\"" },

    { "of no claim", "claim", "{}", "spec", "NoCache" },
    { "what is asked for", "claim", LOCAL, "spec", "{\"accessModes\":["
      "\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"10Gi\"}}"
      "}" },
    { "its class", "claim", BACKEND("{\"type\":\"registry\",\"registry\":{"
      "\"endpoint\":\"r\"}},{\"type\":\"local\",\"local\":{\"size\":5,"
      "\"storageClass\":\"fast\"}}"), "spec.storageClassName", "\"fast\"" },
    { "of no size", "claim", BACKEND("{\"type\":\"local\",\"local\":{"
      "\"size\":\"much\"}}"), "spec", "BadCacheSize" },
    { "its name", "claim", LOCAL, "metadata.name", "\"cache-demo-0\"" },
    { "of the pool", "claim", LOCAL, "metadata.ownerReferences", POOL_OWNER },
    { "of a worker", "claim", LOCAL, "metadata.labels",
      LABELS("buildkit-worker", "demo-0", "worker", WORKER("demo-0")) },
    { "the Pod of it", "budget", "{}", "spec", "{\"minAvailable\":1,"
      "\"selector\":{\"matchLabels\":{"
      "\"buildkit.smrt-devops.net/purpose\":\"worker\","
      "\"buildkit.smrt-devops.net/worker\":\"demo-0\"}},"
      "\"unhealthyPodEvictionPolicy\":\"IfHealthyBudget\"}" },
    { "of the worker", "budget", "{}", "metadata.ownerReferences",
      OWNER("BuildKitWorker", "demo-0", "u-worker") },

    { "its name", "deployment", "{}", "metadata.name", "\"demo-gateway\"" },
    { "as they are selected", "deployment", "{}", "spec.template.metadata."
      "labels", LABELS("buildkit-gateway", "demo", "gateway", "") },
    { "selects", "deployment", "{}", "spec.selector.matchLabels",
      "{\"buildkit.smrt-devops.net/pool\":\"demo\","
      "\"buildkit.smrt-devops.net/purpose\":\"gateway\"}" },
    { "one", "deployment", "{}", "spec.replicas", "1" },
    { "more", "deployment", GATEWAY("\"replicas\":3"), "spec.replicas", "3" },
    { "too few", "deployment", GATEWAY("\"replicas\":0"), "spec.replicas",
      "1" },
    { "the controller's image", "deployment", "{}",
      "spec.template.spec.containers.0.image", "\"registry/gateway:1\"" },
    { "the pool's", "deployment", "{\"gatewayImage\":\"mine\"}",
      "spec.template.spec.containers.0.image", "\"mine\"" },
    { "never the companion's", "deployment", "{\"gatewayImage\":\"mine\"}",
      "spec.template.spec.initContainers.0.image",
      "\"registry/controller:1\"" },
    { "limits", "deployment", GATEWAY("\"resources\":{\"cpu\":\"4\","
      "\"memory\":\"\"}"), "spec.template.spec.containers.0.resources",
      "{\"limits\":{\"cpu\":\"4\",\"memory\":\"512Mi\"},\"requests\":{"
      "\"cpu\":\"50m\",\"memory\":\"64Mi\"}}" },
    { "low limits", "deployment", GATEWAY("\"resources\":{\"cpu\":\"20m\","
      "\"memory\":33554432}"), "spec.template.spec.containers.0.resources",
      "{\"limits\":{\"cpu\":\"20m\",\"memory\":33554432},\"requests\":{"
      "\"cpu\":\"20m\",\"memory\":33554432}}" },
    { "odd limits are the API server's", "deployment", GATEWAY("\"resources\""
      ":{\"cpu\":\"-1\"}"),
      "spec.template.spec.containers.0.resources.limits.cpu", "\"-1\"" },
    { "where the API is", "deployment", "{}",
      "spec.template.spec.containers.0.args.9",
      "\"http://buildkit-controller-api.buildkit-system.svc:8082\"" },
    { "its pool", "deployment", "{}",
      "spec.template.spec.containers.0.args.1", "\"demo\"" },
    { "its Secrets", "deployment", "{}",
      "spec.template.spec.volumes.2.secret.secretName",
      "\"demo-client-certs\"" },
    { "its configuration's hash", "deployment+hash", "{}",
      "spec.template.metadata.annotations", "{"
      "\"buildkit.smrt-devops.net/spec-hash\":\"0123456789abcdef\"}" },
    { "where it runs", "deployment", GATEWAY("\"podTemplate\":{\"metadata\":{"
      "\"labels\":{\"team\":\"a\",\"buildkit.smrt-devops.net/pool\":\"b\"}},"
      "\"spec\":{\"hostNetwork\":true,\"nodeSelector\":{\"a\":\"b\"}}}"),
      "spec.template.spec.nodeSelector", "{\"a\":\"b\"}" },
    { "apart", "deployment", "{}", "spec.template.spec."
      "topologySpreadConstraints.0.labelSelector.matchLabels",
      "{\"buildkit.smrt-devops.net/pool\":\"demo\","
      "\"buildkit.smrt-devops.net/purpose\":\"gateway\"}" },
    { "as the pool says", "deployment", GATEWAY("\"podTemplate\":{\"spec\":{"
      "\"topologySpreadConstraints\":[]}}"), "spec.template.spec."
      "topologySpreadConstraints", "[]" },
    { "not in the host's network", "deployment", GATEWAY("\"podTemplate\":{"
      "\"spec\":{\"hostNetwork\":true}}"), "spec.template.spec.hostNetwork",
      "-" },
    { "a worker's template is not its", "deployment", TEMPLATE,
      "spec.template.spec.nodeSelector", "-" },
    { "labels of Pods are not those of the Deployment", "deployment",
      GATEWAY("\"podTemplate\":{\"metadata\":{\"labels\":{\"team\":\"a\"}}}"),
      "metadata.labels.team", "-" },

    { "as a user knows it", "service", "{}", "metadata.name", "\"demo\"" },
    { "in the cluster", "service", "{}", "spec", "{\"ports\":[{\"name\":"
      "\"gateway\",\"port\":1235,\"protocol\":\"TCP\",\"targetPort\":"
      "\"gateway\"},{\"name\":\"metrics\",\"port\":9090,\"protocol\":\"TCP\","
      "\"targetPort\":\"metrics\"}],\"selector\":{"
      "\"buildkit.smrt-devops.net/pool\":\"demo\","
      "\"buildkit.smrt-devops.net/purpose\":\"gateway\"},"
      "\"type\":\"ClusterIP\"}" },
    { "networking's port", "service", "{\"networking\":{\"port\":7}}",
      "spec.ports.0.port", "7" },
    { "the gateway's first", "service", "{\"networking\":{\"port\":7},"
      "\"gateway\":{\"port\":8}}", "spec.ports.0.port", "8" },
    { "no metrics", "service", "{\"observability\":{\"metrics\":{\"enabled\":"
      "false}}}", "spec.ports.1", "-" },
    { "metrics elsewhere", "service", "{\"observability\":{\"metrics\":{"
      "\"port\":9091}}}", "spec.ports.1.port", "9091" },
    { "one port for both", "service", "{\"networking\":{\"port\":9090}}",
      "spec", "SamePort" },
    { "but not of a balancer", "service", LB(",\"networking\":{\"port\":"
      "9090}"), "spec.ports.0.port", "9090" },
    { "no metrics for the outside", "service", LB(""), "spec.ports.1", "-" },
    { "nor on nodes", "service", GATEWAY("\"serviceType\":\"NodePort\""),
      "spec.ports.1", "-" },
    { "nor by networking's type", "service", "{\"networking\":{"
      "\"serviceType\":\"LoadBalancer\"}}", "spec.ports.1", "-" },
    { "a node's port", "service", GATEWAY("\"serviceType\":\"NodePort\","
      "\"nodePort\":31235"), "spec.ports.0.nodePort", "31235" },
    { "not of a balancer", "service", LB(""), "spec.ports.0.nodePort", "-" },
    { "its class", "service", LB(""), "spec.loadBalancerClass", "\"metal\"" },
    { "not without", "service", GATEWAY("\"loadBalancerClass\":\"metal\""),
      "spec.loadBalancerClass", "-" },
    { "networks", "service", LB(",\"networking\":{\"allowedCIDRs\":["
      "\"10.0.0.0/8\"]}"), "spec.loadBalancerSourceRanges",
      "[\"10.0.0.0/8\"]" },
    { "networking's type", "service", "{\"gateway\":{\"serviceType\":"
      "\"ClusterIP\"},\"networking\":{\"serviceType\":\"LoadBalancer\"}}",
      "spec.type", "\"LoadBalancer\"" },
    { "the gateway's type first", "service", "{\"gateway\":{\"serviceType\":"
      "\"NodePort\"},\"networking\":{\"serviceType\":\"LoadBalancer\"}}",
      "spec.type", "\"NodePort\"" },
    { "no type", "service", GATEWAY("\"serviceType\":\"ExternalName\""),
      "spec", "BadServiceType" },
    { "annotations", "service", "{\"networking\":{\"annotations\":{\"a\":"
      "\"b\"},\"external\":{\"enabled\":true,\"annotations\":{\"c\":\"d\"}}}}",
      "metadata.annotations", "{\"a\":\"b\",\"c\":\"d\"}" },
    { "external is off", "service", "{\"networking\":{\"external\":{"
      "\"annotations\":{\"c\":\"d\"}}}}", "metadata.annotations", "-" },
    { "of the pool", "service", "{}", "metadata.ownerReferences",
      POOL_OWNER },
    { "one at a time", "gatewayBudget", "{}", "spec.maxUnavailable", "1" },

    { "not asked for", "ingress", "{}", "spec", "-" },
    { "switched off", "ingress", GATEWAY("\"ingress\":{\"hostname\":\"h\"}"),
      "spec", "-" },
    { "no host", "ingress", GATEWAY("\"ingress\":{\"enabled\":true}"), "spec",
      "NoHostname" },
    { "its rule", "ingress", INGRESS(",\"ingressClassName\":\"nginx\""),
      "spec", "{\"ingressClassName\":\"nginx\",\"rules\":[{\"host\":"
      "\"b.example\",\"http\":{\"paths\":[{\"backend\":{\"service\":{\"name\":"
      "\"demo\",\"port\":{\"number\":1235}}},\"path\":\"/\",\"pathType\":"
      "\"Prefix\"}]}}]}" },
    { "TLS passes", "ingress", INGRESS(""),
      "metadata.annotations.nginx~ingress~kubernetes~io/ssl-passthrough",
      "\"true\"" },
    { "the pool's own word", "ingress", INGRESS(",\"annotations\":{"
      "\"nginx.ingress.kubernetes.io/ssl-passthrough\":\"false\"}"),
      "metadata.annotations.nginx~ingress~kubernetes~io/ssl-passthrough",
      "\"false\"" },
    { "its Secret", "ingress", INGRESS(",\"tls\":{\"enabled\":true,"
      "\"secretName\":\"s\"}"), "spec.tls", "[{\"hosts\":[\"b.example\"],"
      "\"secretName\":\"s\"}]" },
    { "not asked for", "tlsroute", "{}", "spec", "-" },
    { "to its own Gateway", "tlsroute", GWAPI(""), "spec", "{\"hostnames\":["
      "\"b.example\"],\"parentRefs\":[{\"name\":\"demo-gateway\","
      "\"namespace\":\"team\"}],\"rules\":[{\"backendRefs\":[{\"name\":"
      "\"demo\",\"port\":1235}]}]}" },
    { "to another", "tlsroute", GWAPI(",\"gatewayRef\":{\"name\":\"g\","
      "\"namespace\":\"other\"},\"gatewayName\":\"x\""), "spec.parentRefs",
      "[{\"name\":\"g\",\"namespace\":\"other\"}]" },
    { "to its own, by name", "tlsroute", GWAPI(",\"gatewayName\":\"x\","
      "\"gatewayRef\":{\"namespace\":\"other\"}"), "spec.parentRefs",
      "[{\"name\":\"x\",\"namespace\":\"team\"}]" },
    { "where TLS ends", "tlsroute", GWAPI(",\"tls\":{\"mode\":\"terminate\"}"),
      "spec", "TLSTerminate" },
    { "no host", "tlsroute", GATEWAY("\"gatewayAPI\":{\"enabled\":true}"),
      "spec", "NoHostname" },
    { "listens", "gatewayAPI", GWAPI(",\"gatewayName\":\"x\","
      "\"gatewayClassName\":\"istio\""), "spec", "{\"gatewayClassName\":"
      "\"istio\",\"listeners\":[{\"hostname\":\"b.example\",\"name\":"
      "\"buildkit\",\"port\":1235,\"protocol\":\"TLS\",\"tls\":{\"mode\":"
      "\"Passthrough\"}}]}" },
    { "its name", "gatewayAPI", GWAPI(",\"gatewayName\":\"x\""),
      "metadata.name", "\"x\"" },
    { "one that is there", "gatewayAPI", GWAPI(",\"gatewayRef\":{\"name\":"
      "\"g\"}"), "spec", "-" },

    { "server", "secret", "{}", "data", "{\"ca.crt\":\"\",\"tls.crt\":"
      "\"Q0VSVA==\",\"tls.key\":\"S0VZ\"}" },
    { "its type", "secret", "{}", "type", "\"kubernetes.io/tls\"" },
    { "client", "clientSecret", "{}", "data", "{\"ca.crt\":\"Q0E=\","
      "\"client.crt\":\"Q0VSVA==\",\"client.key\":\"S0VZ\"}" },
    { "its type", "clientSecret", "{}", "type", "\"Opaque\"" },
    { "no issuer", "certificate", "{}", "spec", "NoIssuer" },
    { "asked for", "certificate", ISSUER(""), "spec", "{\"commonName\":\"a.b\""
      ",\"dnsNames\":[\"a.b\",\"*.c\"],\"ipAddresses\":[\"10.0.0.1\",\"::1\"]"
      ",\"issuerRef\":{\"group\":\"cert-manager.io\",\"kind\":\"Issuer\","
      "\"name\":\"ca\"},\"privateKey\":{\"algorithm\":\"ECDSA\","
      "\"rotationPolicy\":\"Always\",\"size\":256},\"secretName\":"
      "\"demo-issued\",\"secretTemplate\":{\"labels\":{"
      "\"buildkit.smrt-devops.net/pool\":\"demo\"}},\"usages\":["
      "\"digital signature\",\"server auth\"]}" },
    { "how long", "certificate", ISSUER(",\"auto\":{\"serverCertDuration\":"
      "\"48h\",\"rotateBeforeExpiry\":\"1h\",\"organization\":\"O\"}"),
      "spec.renewBefore", "\"1h\"" },

    { "of a namespace", "account", "{}", "automountServiceAccountToken",
      "false" },
    { "whose", "rolebinding", "{}", "subjects", "[{\"kind\":"
      "\"ServiceAccount\",\"name\":\"buildkit-gateway\",\"namespace\":\"team\""
      "}]" },
    { "its role", "rolebinding", "{}", "roleRef.name",
      "\"buildkit-gateway\"" },
    { "nobody's", "config", "{}", "metadata.ownerReferences", "-" },
    { "both programs'", "config", "{}", "data", "{\"gateway.yaml\":\"y\","
      "\"nginx.conf\":\"n\"}" },
    { "its key", "tomlMap", "{\"buildkitConfig\":\"x = 1\"}", "data",
      "{\"buildkitd.toml\":\"x = 1\"}" },
    { "its name", "tomlMap", "{}", "metadata.name", "\"demo-buildkitd\"" },
    { NULL, NULL, NULL, NULL, NULL }
};


#define HEAD  "# made of what the BuildKitPool says\n\n[worker.oci]\n" \
              "  enabled = true\n"
#define TAIL  "\n[worker.containerd]\n  enabled = false\n"
#define EASY  "  gc = true\n\n  [[worker.oci.gcpolicy]]\n    filters = " \
    "[\"type==source.local\", \"type==exec.cachemount\", " \
    "\"type==source.git.checkout\"]\n    keepDuration = \"48h\"\n" \
    "    keepBytes = \"512MB\"\n    maxUsedSpace = \"512MB\"\n"
#define KEEP(n)  "\n  [[worker.oci.gcpolicy]]\n    keepBytes = \"" n "\"\n" \
    "    maxUsedSpace = \"" n "\"\n\n  [[worker.oci.gcpolicy]]\n" \
    "    all = true\n    keepBytes = \"" n "\"\n    maxUsedSpace = \"" n "\"\n"
#define PART  "    keepBytes = \"10%\"\n    maxUsedSpace = \"75%\"\n" \
    "    minFreeSpace = \"20%\"\n"
#define GC(g)  "{\"cache\":{\"gc\":{" g "}}}"
#define REG(r)  BACKEND("{\"type\":\"registry\",\"registry\":{" r "}}")


static const case_t  tomls[] = {
    { "none", "", "{}", "", HEAD "  gc = true\n" TAIL },
    { "its own", "", "{\"buildkitConfig\":\"[a]\\n\\tb = 1\"}", "",
      "[a]\n\tb = 1" },
    { "an empty one", "", "{\"buildkitConfig\":\"\"}", "",
      HEAD "  gc = true\n" TAIL },
    { "a control byte", "", "{\"buildkitConfig\":\"a\\u0007\"}", "",
      "BadConfig" },
    { "no collection", "", GC("\"enabled\":false,\"keepStorage\":\"1GB\""),
      "", HEAD "  gc = false\n" TAIL },
    { "storage", "", GC("\"keepStorage\":\"10GB\""), "",
      HEAD EASY KEEP("10GB") TAIL },
    { "a part of the disk", "", GC("\"keepStorage\":\"20%\""), "",
      HEAD EASY KEEP("20%") TAIL },
    { "with a point", "", GC("\"keepStorage\":\"1.5 GiB\""), "",
      HEAD EASY KEEP("1.5 GiB") TAIL },
    { "a time", "", GC("\"keepDuration\":\"168h\""), "", HEAD EASY
      "\n  [[worker.oci.gcpolicy]]\n    keepDuration = \"168h\"\n"
      "\n  [[worker.oci.gcpolicy]]\n" PART
      "\n  [[worker.oci.gcpolicy]]\n    all = true\n" PART TAIL },
    { "no time", "", GC("\"keepDuration\":\"0s\",\"keepStorage\":\"1GB\""),
      "", HEAD EASY KEEP("1GB") TAIL },
    { "a claim", "", LOCAL, "", HEAD EASY KEEP("8589934592") TAIL },
    { "storage before a claim's", "", "{\"cache\":{\"gc\":{\"keepStorage\":"
      "\"1GB\"},\"backends\":[{\"type\":\"local\",\"local\":{\"size\":"
      "\"10Gi\"}}]}}", "", HEAD EASY KEEP("1GB") TAIL },
    { "storage that is none", "", GC("\"keepStorage\":\"1GB\\\"\\nx = 1\""),
      "", "BadKeepStorage" },
    { "storage of words", "", GC("\"keepStorage\":\"much\""), "",
      "BadKeepStorage" },
    { "too large a part", "", GC("\"keepStorage\":\"1000%\""), "",
      "BadKeepStorage" },
    { "a time that is none", "", GC("\"keepDuration\":\"7d\""), "",
      "BadKeepDuration" },
    { "a time with more in it", "", GC("\"keepDuration\":\"1h\\\"\""), "",
      "BadKeepDuration" },
    { "a registry", "", REG("\"endpoint\":\"ghcr.io\""), "",
      HEAD "  gc = true\n" TAIL },
    { "an insecure one", "", REG("\"endpoint\":\"http://r.example:5000/a/b\","
      "\"insecure\":true"), "", HEAD "  gc = true\n" TAIL
      "\n[registry.\"r.example:5000\"]\n  http = true\n  insecure = true\n" },
    { "twice", "", BACKEND("{\"type\":\"registry\",\"registry\":{\"endpoint\":"
      "\"r\",\"insecure\":true}},{\"type\":\"registry\",\"registry\":{"
      "\"endpoint\":\"r/x\",\"insecure\":true}}"), "", HEAD "  gc = true\n" TAIL
      "\n[registry.\"r\"]\n  http = true\n  insecure = true\n" },
    { "a hostile one", "", REG("\"endpoint\":\"a\\\"]\\nroot = \\\"x\","
      "\"insecure\":true"), "", "BadRegistry" },
    { "no host", "", REG("\"endpoint\":\"https:///a\""), "", "BadRegistry" },
    { NULL, NULL, NULL, NULL, NULL }
};


static const case_t  names[] = {
    { "in the cluster", "", "{}", "", "demo,demo.team,demo.team.svc,"
      "demo.team.svc.cluster.local,localhost,127.0.0.1" },
    { "hosts", "", "{\"gateway\":{\"ingress\":{\"enabled\":true,\"hostname\":"
      "\"i.example\"},\"gatewayAPI\":{\"enabled\":true,\"hostname\":"
      "\"*.g.example\"}},\"networking\":{\"external\":{\"enabled\":true,"
      "\"hostname\":\"i.example\"}}}", "10.0.0.9,,::1,localhost",
      "demo,demo.team,demo.team.svc,demo.team.svc.cluster.local,localhost,"
      "127.0.0.1,i.example,*.g.example,10.0.0.9,::1" },
    { "switched off", "", "{\"gateway\":{\"ingress\":{\"hostname\":\"i\"}},"
      "\"networking\":{\"external\":{\"enabled\":false,\"hostname\":\"e\"}}}",
      "a b,c\nd", "demo,demo.team,demo.team.svc,demo.team.svc.cluster.local,"
      "localhost,127.0.0.1" },
    { NULL, NULL, NULL, NULL, NULL }
};


/* what: the first words of what is said */
static const case_t  notes[] = {
    { "nothing", "", "{}", "", "" },
    { "the API server's defaults", "", "{\"scaling\":{"
      "\"targetActiveConnections\":10,\"targetCPUUtilization\":70},"
      "\"observability\":{\"logging\":{\"level\":\"info\",\"format\":"
      "\"json\"}},\"cache\":{\"gc\":{\"enabled\":true}}}", "", "" },
    { "networks", "", "{\"networking\":{\"allowedCIDRs\":[\"10.0.0.0/8\"]}}",
      "", "networking.allowedCIDRs keeps" },
    { "networks of a balancer", "", LB(",\"networking\":{\"allowedCIDRs\":["
      "\"10.0.0.0/8\"]}"), "", "gateway.nodePort is" },
    { "a class", "", GATEWAY("\"loadBalancerClass\":\"metal\""), "",
      "gateway.loadBalancerClass is" },
    { "claims", "", "{\"resources\":{\"sidecar\":{\"claims\":[{}]}}}", "",
      "resources.*.claims is" },
    { "two things at once", "", "{\"buildkitConfig\":\"a\",\"cache\":{\"gc\""
      ":{\"keepStorage\":\"1GB\"}}}", "", "cache.gc is" },
    { "one", "", GC("\"keepStorage\":\"1GB\""), "", "" },
    { "a configuration", "", "{\"buildkitConfig\":\"a\",\"cache\":{\"gc\":{"
      "\"enabled\":true}}}", "", "" },
    { "a schedule", "", GC("\"schedule\":\"@daily\""), "",
      "cache.gc.schedule is" },
    { "credentials", "", REG("\"endpoint\":\"r\",\"credentialsSecret\":\"s\""),
      "", "cache.backends.registry.credentialsSecret is" },
    { "an Ingress' Secret", "", INGRESS(",\"tls\":{\"secretName\":\"s\"}"),
      "", "gateway.ingress.tls.secretName is" },
    { "a target", "", "{\"scaling\":{\"targetCPUUtilization\":71}}", "",
      "scaling.target* is" },
    { "a log", "", "{\"observability\":{\"logging\":{\"level\":\"debug\"}}}",
      "", "observability.logging is" },
    { NULL, NULL, NULL, NULL, NULL }
};


static const char  *images[][2] = {
    { "moby/buildkit", "moby/buildkit:rootless" },
    { "moby/buildkit:latest", "moby/buildkit:rootless" },
    { "moby/buildkit:rootless", "moby/buildkit:rootless" },
    { "moby/buildkit:v1-rootless", "moby/buildkit:v1-rootless" },
    { "r:5000/buildkit", "r:5000/buildkit:rootless" },
    { "r:5000/buildkit:v1", "r:5000/buildkit:v1-rootless" },
    { "moby/buildkit@sha256:00", "NoImage" },
    { NULL, NULL }
};


static const struct {
    const char  *in;
    double       out;
} quantities[] = {
    { "\"1\"", 1 }, { "7", 7 }, { "\"500m\"", 0.5 }, { "\"1Ki\"", 1024 },
    { "\"1.5G\"", 1.5e9 }, { "\".5\"", 0.5 }, { "\"1e3\"", 1000 },
    { "\"2E\"", 2e18 }, { "\"+3\"", 3 }, { "\"\"", -1 }, { "\"-1\"", -1 },
    { "-1", -1 }, { "\"0x10\"", -1 }, { "\"0X10\"", -1 }, { "\"inf\"", -1 },
    { "\"nan\"", -1 }, { "\"1 Gi\"", -1 }, { "\"1GB\"", -1 },
    { "\".\"", -1 }, { "\"1e999\"", -1 }, { "true", -1 }, { "1.5", -1 },
    { "\"00000000000000000000000000000000000000000000000000000000000000001\"",
      -1 },
};


static void
is(const char *what, const char *kind, const char *got, const char *want)
{
    checks++;

    if (strcmp(got, want) == 0) {
        printf("ok %d - %s: %s\n", checks, kind, what);
        return;
    }

    printf("not ok %d - %s: %s\n# got  %s\n# want %s\n", checks, kind, what,
           got, want);
}


static json_t *
pool_of(const char *spec)
{
    json_t  *pool, *s = json_loads(spec, 0, NULL);

    if (s == NULL) {
        printf("Bail out! no JSON: %s\n", spec);
        exit(1);
    }

    pool = json_pack("{s:{s:s, s:s, s:s}, s:o}", "metadata", "name", "demo",
                     "namespace", "team", "uid", "u-pool", "spec", s);

    return pool;
}


/* "~" is a dot in a key */

static json_t *
at(json_t *obj, const char *path)
{
    char     buf[256], *part, *save, *p;
    json_t  *v = obj;

    snprintf(buf, sizeof(buf), "%s", path);

    for (part = strtok_r(buf, ".", &save); part != NULL && v != NULL;
         part = strtok_r(NULL, ".", &save))
    {
        for (p = part; *p != '\0'; p++) {
            *p = *p == '~' ? '.' : *p;
        }

        v = json_is_array(v) ? json_array_get(v, (size_t) atoi(part))
                             : json_object_get(v, part);
    }

    return v;
}


static json_t *
make(const char *maker, json_t *pool, bk_err_t *err)
{
    char         *toml;
    json_t       *obj = NULL;
    bk_str_t      none = { "", 0 };
    ct_conf_t     bare = { .namespace = conf.namespace };
    mk_worker_t   w = { .pool_ns = "team", .name = "demo-0",
                        .uid = "u-worker" };

    w.claim = strstr(maker, "claim") ? "cache-demo-0" : NULL;
    w.secret = strstr(maker, "+tls") ? "demo-worker-tls" : NULL;
    w.config = strstr(maker, "+conf") ? "demo-buildkitd" : NULL;
    w.hash = strstr(maker, "+hash") ? "0123456789abcdef" : "";

    if (strncmp(maker, "pod", 3) == 0) {
        obj = mk_pod(pool, strstr(maker, "-image") ? &bare : &conf, &w, err);
    } else if (strcmp(maker, "worker") == 0) {
        obj = mk_worker(pool, &w);
    } else if (strcmp(maker, "claim") == 0) {
        obj = mk_claim(pool, &w, err);
    } else if (strcmp(maker, "budget") == 0) {
        obj = mk_budget(pool, &w);
    } else if (strncmp(maker, "deployment", 10) == 0) {
        obj = mk_deployment(pool, &conf, w.hash, err);
    } else if (strcmp(maker, "service") == 0) {
        obj = mk_service(pool, &conf, err);
    } else if (strcmp(maker, "gatewayBudget") == 0) {
        obj = mk_gateway_budget(pool);
    } else if (strcmp(maker, "ingress") == 0) {
        obj = mk_ingress(pool, &conf, err);
    } else if (strcmp(maker, "tlsroute") == 0) {
        obj = mk_tlsroute(pool, &conf, err);
    } else if (strcmp(maker, "gatewayAPI") == 0) {
        obj = mk_gateway_api(pool, &conf, err);
    } else if (strcmp(maker, "secret") == 0) {
        obj = mk_tls_secret(pool, "demo-tls", "tls", BK_STR("CERT"),
                            BK_STR("KEY"), none);
    } else if (strcmp(maker, "clientSecret") == 0) {
        obj = mk_tls_secret(pool, "demo-client-certs", "client",
                            BK_STR("CERT"), BK_STR("KEY"), BK_STR("CA"));
    } else if (strcmp(maker, "certificate") == 0) {
        obj = mk_certificate(pool, "demo-issued", "a.b,10.0.0.1,*.c,::1",
                             "server", err);
    } else if (strcmp(maker, "account") == 0) {
        obj = mk_account("team");
    } else if (strcmp(maker, "rolebinding") == 0) {
        obj = mk_rolebinding("team");
    } else if (strcmp(maker, "config") == 0) {
        obj = mk_gateway_config("team", "n", "y");
    } else if (strcmp(maker, "tomlMap") == 0) {
        toml = mk_toml(pool, &conf, err);
        obj = mk_toml_map(pool, toml);
        free(toml);
    }

    return obj;
}


static void
manifest(const case_t *c)
{
    char      *text = NULL;
    json_t    *pool = pool_of(c->spec), *obj, *value;
    bk_err_t   err = { .code = 0 };

    obj = make(c->maker, pool, &err);
    value = at(obj, c->path);

    if (value != NULL) {
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_SORT_KEYS
                          | JSON_COMPACT);
    }

    is(c->what, c->maker, text != NULL ? text
       : obj == NULL && err.code != 0 ? err.reason : "-", c->out);

    free(text);
    json_decref(obj);
    json_decref(pool);
}


/* What is made is nobody else's: the pool stays as it was, and is free. */

static void
untouched(void)
{
    char          *before, *after;
    size_t         i;
    json_t        *pool, *more, *obj;
    bk_err_t       err;

    const char  *makers[] = { "pod+claim", "claim", "deployment", "service",
                              "ingress", "gatewayAPI", "certificate" };

    pool = pool_of(TEMPLATE);
    more = pool_of(LOCAL);
    json_object_update(json_object_get(pool, "spec"),
                       json_object_get(more, "spec"));
    json_decref(more);
    before = json_dumps(pool, JSON_SORT_KEYS);

    for (i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
        obj = make(makers[i], pool, &err);
        json_decref(obj);
    }

    after = json_dumps(pool, JSON_SORT_KEYS);
    is("stays as it was", "pool", after, before);
    json_decref(pool);
    free(before);
    free(after);
}


static void
hashes(void)
{
    char       a[17], b[17];
    json_t    *pool = pool_of("{}"), *other = pool_of(PRIV), *pod;
    bk_err_t   err;

    pod = make("pod", pool, &err);
    mk_hash(pod, a);
    is("has 16 digits", "hash", strlen(a) == 16 ? "yes" : a, "yes");
    json_decref(pod);

    pod = make("pod+hash", pool, &err);
    json_object_set_new(json_object_get(pod, "metadata"), "uid",
                        json_string("other"));
    mk_hash(pod, b);
    is("not of itself, nor of the uid", "hash", b, a);
    json_object_set_new(mk_labels(pod), "more", json_string("x"));
    mk_hash(pod, b);
    is("of labels", "hash", strcmp(a, b) != 0 ? "yes" : "no", "yes");
    json_decref(pod);

    pod = make("pod", other, &err);
    mk_hash(pod, b);
    is("of the spec", "hash", strcmp(a, b) != 0 ? "yes" : "no", "yes");
    json_decref(pod);
    json_decref(pool);
    json_decref(other);
}


/* What each of the options lets through of FOREIGN. */

static void
policy(const char *what, char **annotations, char **of, const char *want)
{
    char       left[512], all[1200];
    json_t    *pool = pool_of(FOREIGN);
    ct_conf_t  c = { .annotations = annotations, .labels = of };

    mk_left_out(pool, &c, 0, left, sizeof(left));
    snprintf(all, sizeof(all), "%s | ", left);
    mk_left_out(pool, &c, 1, left, sizeof(left));
    strcat(all, left);
    is(what, "is left out", all, want);
    json_decref(pool);
}


static void
policies(void)
{
    char       said[768];
    json_t    *pool;
    char      *all[] = { (char *) "*", NULL };
    char      *none[] = { (char *) "none", NULL };
    char      *one[] = { (char *) "iam.amazonaws.com/role", NULL };
    ct_conf_t  c = { .privileged = all };
    bk_err_t   err;

    policy("options that are not given", NULL, NULL,
           "k8s.v1.cni.cncf.io/networks, iam.amazonaws.com/role, "
           "sidecar.istio.io/injected and 1 more | app, team, "
           "example.com/cost and 2 more");
    policy("all", all, all, " | ");
    policy("none with a prefix", none, none, "prometheus.io/scrape, "
           "k8s.v1.cni.cncf.io/networks, iam.amazonaws.com/role and 4 more | "
           "app, team, example.com/cost and 2 more");
    policy("one instead of those", one, labels, "prometheus.io/scrape, "
           "k8s.v1.cni.cncf.io/networks, sidecar.istio.io/inject and 3 more | "
           "app, teams, azure.workload.identity/use");

    pool = pool_of(FOREIGN);
    is("its condition", "says", mk_notes(pool, &conf, said, sizeof(said)) == 2
       ? said : "not two", "annotations k8s.v1.cni.cncf.io/networks, "
       "iam.amazonaws.com/role, sidecar.istio.io/injected and 1 more are left "
       "out: the controller's option annotations does not have them; labels "
       "app, teams, azure.workload.identity/use are left out: the "
       "controller's option labels does not have them");
    json_decref(pool);

    /* ours, whatever is let through */
    pool = pool_of("{\"podTemplate\":{\"metadata\":{\"annotations\":{"
                   "\"buildkit.smrt-devops.net/spec-hash\":\"h\","
                   "\"app.kubernetes.io/note\":\"n\"},\"labels\":{"
                   "\"app.kubernetes.io/name\":\"n\"}}}}");
    c.annotations = c.labels = all;
    mk_left_out(pool, &c, 0, said, sizeof(said));
    is("ours", "is left out", said, "buildkit.smrt-devops.net/spec-hash");
    mk_left_out(pool, &c, 1, said, sizeof(said));
    is("our labels", "is left out", said, "app.kubernetes.io/name");
    json_decref(pool);

    pool = pool_of(PRIV);
    is("everywhere", "privileged", mk_allowed(pool, &c, &err) == 0 ? "yes"
       : err.reason, "yes");
    is("in two namespaces", "privileged", mk_allowed(pool, &conf, &err) == 0
       ? "yes" : err.reason, "yes");
    c.privileged = one;
    is("elsewhere", "privileged", mk_allowed(pool, &c, &err) == 0 ? "yes"
       : err.reason, "PrivilegedNotAllowed");
    c.privileged = NULL;
    is("nowhere", "privileged", mk_allowed(pool, &c, &err) == 0 ? "yes"
       : err.reason, "PrivilegedNotAllowed");
    json_decref(pool);
}


/* Of a disk that is not its own a worker has so much, and knows it. */

static void
scratch(const char *what, const char *spec, const char *size,
    const char *claim, const char *want)
{
    char         all[256], *toml, *volume;
    json_t      *pool = pool_of(spec), *pod;
    bk_err_t     err;
    ct_conf_t    c = conf;
    const char  *space;
    mk_worker_t  w = { .pool_ns = "team", .name = "demo-0", .uid = "u",
                       .claim = claim };

    c.scratch_size = (char *) size;
    pod = mk_pod(pool, &c, &w, &err);
    toml = mk_toml(pool, &c, &err);
    volume = json_dumps(at(pod, "spec.volumes.0"), JSON_SORT_KEYS
                        | JSON_COMPACT);
    space = strstr(toml, "all = true");
    space = space != NULL ? strstr(space, "maxUsedSpace") : NULL;
    snprintf(all, sizeof(all), "%s %.*s%s", volume,
             space != NULL ? (int) strcspn(space, "\n") : 0,
             space != NULL ? space : "",
             strstr(toml, "minFreeSpace") != NULL ? " minFreeSpace" : "");
    is(what, "scratch", all, want);
    free(volume);
    free(toml);
    json_decref(pod);
    json_decref(pool);
}


static void
scratches(void)
{
    scratch("of the node's disk", "{}", "10Gi", NULL, "{\"emptyDir\":{"
            "\"sizeLimit\":\"10Gi\"},\"name\":\"cache\"} maxUsedSpace = "
            "\"8589934592\" minFreeSpace");
    scratch("as the pool says, in it", GC("\"keepStorage\":\"1GB\""), "10Gi",
            NULL, "{\"emptyDir\":{\"sizeLimit\":\"10Gi\"},\"name\":"
            "\"cache\"} maxUsedSpace = \"1GB\"");
    scratch("without a limit", "{}", "", NULL,
            "{\"emptyDir\":{},\"name\":\"cache\"} ");
    scratch("its own claim", LOCAL, "1Gi", "c", "{\"name\":\"cache\","
            "\"persistentVolumeClaim\":{\"claimName\":\"c\"}} maxUsedSpace = "
            "\"8589934592\"");
}


/* of pool demo in team */

static void
hosts(void)
{
    size_t   i;
    json_t  *pool = pool_of("{}");

    static const struct {
        const char  *host;
        const char  *out;
    } all[] = {
        { "", "" }, { "build.example.com", "" }, { "*.example.com", "" },
        { "build.corp.internal", "" }, { "192.0.2.1", "" },
        { "demo", "" }, { "localhost", "" }, { "demo.team.svc", "" },
        { "lb.team.svc", "" }, { "amd64.lb.team.svc", "" },
        { "*.team.svc", "" }, { "lb.TEAM.svc.corp.example", "" },
        { "svc.example.com", "" }, { "build.svc.example.com", "" },
        { "kubernetes", "inside" }, { "*.com", "inside" }, { "*.demo", "inside" }, { "svc", "inside" },
        { "demo.other.svc", "inside" }, { "*.other.svc", "inside" },
        { "demo.other.SVC", "inside" }, { "other.svc", "inside" },
        { "*.svc", "inside" }, { "demo.other.svc.corp.example", "inside" },
        { "*.other.svc.corp.example", "inside" },
        { "demo.tea.svc", "inside" }, { "demo.teams.svc", "inside" },
        { "demo.other.svc.team.svc", "inside" },
        { "pod.demo.other.svc.corp.example", "inside" },
        { "demo.team.svc.cluster.local", "" },
        { "demo.other.svc.cluster.local", "inside" },
        { "cluster.local", "inside" }, { "*.cluster.local", "inside" },
        { "x.demo.other.workers.buildkit.internal", "inside" },
        { "*.buildkit.internal", "inside" },
        { "notcluster.local", "" }
    };

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        is(all[i].host, "host", mk_host_inside(pool, all[i].host) ? "inside"
                                                                  : "",
           all[i].out);
    }

    json_decref(pool);
}


int
main(void)
{
    char           buf[MK_IMAGE_MAX], num[64], said[2048], want[64], *text;
    size_t         i;
    json_t        *pool, *v;
    bk_err_t       err;
    const case_t  *c;

    for (c = cases; c->what != NULL; c++) {
        manifest(c);
    }

    for (c = tomls; c->what != NULL; c++) {
        pool = pool_of(c->spec);
        text = mk_toml(pool, &conf, &err);
        is(c->what, "buildkitd.toml", text != NULL ? text : err.reason,
           c->out);
        free(text);
        json_decref(pool);
    }

    for (c = names; c->what != NULL; c++) {
        pool = pool_of(c->spec);
        text = mk_gateway_names(pool, c->path[0] != '\0' ? c->path : NULL);
        is(c->what, "names", text, c->out);
        free(text);
        json_decref(pool);
    }

    for (c = notes; c->what != NULL; c++) {
        pool = pool_of(c->spec);
        i = (size_t) mk_notes(pool, &conf, said, sizeof(said));
        is(c->what, "has no effect", i == 1 && c->out[0] != '\0'
           && strncmp(said, c->out, strlen(c->out)) == 0 ? c->out : said,
           c->out);
        json_decref(pool);
    }

    pool = pool_of("{\"buildkitConfig\":\"a\",\"cache\":{\"gc\":{"
                   "\"keepStorage\":\"1GB\",\"schedule\":\"@daily\"}}}");
    is("both", "has no effect", mk_notes(pool, &conf, said, sizeof(said)) == 2
       ? said : "not two", "cache.gc is not used beside buildkitConfig; "
       "cache.gc.schedule is not used: BuildKit collects when it is idle");
    is("as far as there is room", "has no effect",
       mk_notes(pool, &conf, said, 20)
       == 2 ? said : "not two", "cache.gc is not use");
    json_decref(pool);

    for (i = 0; images[i][0] != NULL; i++) {
        if (mk_pod_image_rootless(images[i][0], buf, sizeof(buf), &err) != 0) {
            snprintf(buf, sizeof(buf), "%s", err.reason);
        }

        is(images[i][0], "rootless image", buf, images[i][1]);
    }

    for (i = 0; i < sizeof(quantities) / sizeof(quantities[0]); i++) {
        v = json_loads(quantities[i].in, JSON_DECODE_ANY, NULL);
        snprintf(num, sizeof(num), "%g", mk_quantity(v));
        snprintf(want, sizeof(want), "%g", quantities[i].out);
        is(quantities[i].in, "quantity", num, want);
        json_decref(v);
    }

    hosts();

    text = mk_worker_tls_name("team", "demo", "*");
    is("of all workers", "TLS name", text,
       "*.demo.team.workers.buildkit.internal");
    free(text);

    v = mk_label("a23456789-123456789-123456789-123456789-123456789-123456789-"
                 "12--5");
    is("is cut at a letter or digit", "label", json_string_value(v),
       "a23456789-123456789-123456789-123456789-123456789-123456789-12");
    json_decref(v);

    v = mk_text("%0999d%s", 7, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
                "\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
                "\xe2\x82\xac");
    snprintf(num, sizeof(num), "%zu", json_string_length(v));
    is("is never cut", "text", num, "1026");
    json_decref(v);

    untouched();
    hashes();
    policies();
    scratches();

    printf("1..%d\n", checks);

    return 0;
}
