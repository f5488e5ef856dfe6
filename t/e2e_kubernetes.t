# All of it in a real cluster, as users have it: docs/kubernetes.md word for
# word; then a pool with a cache, an allocation by a service account's token, a
# build with RUN and push through the pool's Service and our gateway Pod to a
# worker Pod; its cache outlives the Pod; two pools behind one port of the
# nodes, a worker that is evicted, a gateway that is replaced while the API
# server is away.  Programs are those of our own images (docker/), which the
# project has built itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;
use Time::HiRes qw(time);

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};
plan tests => 99;

my $NS = 'buildkit-system';
my $t = Test::Buildkit->new;
my $images = $t->images;
my $kube = $t->kube(level => 'node');
my $registry = $kube->registry;

$kube->archive("$registry/$_:1", $images->{$_}) for qw(controller gateway);
my $buildkitd = $kube->buildkitd_image;

sub in_ns { my @args = @_; return $kube->must('-n', $NS, @args) }
sub get   { return $kube->get('-n', $NS, @_) }
sub list  { return @{(get(@_) // {})->{items} // []} }

# what kubectl get prints, some moments after it is so
sub shows {
    my ($kind, $pattern, $what) = @_;
    my $text;
    my $is = eval { $t->wait_for(sub { ($text = in_ns('get', $kind))
        =~ $pattern }, 60, $what) };
    return ok($is, $what) || diag($text);
}

# what the Pods said, where something failed
END {
    my $status = $?;
    if ($kube && ($status || !Test::More->builder->is_passing)) {
        for my $pod (split ' ', $kube->kubectl('-n', $NS, 'get', 'pods', '-o',
            'name')->{out})
        {
            diag("--- $pod\n", map { my $r = $kube->kubectl('-n', $NS, 'logs',
                $pod, '--all-containers', '--prefix', '--tail=15', @$_);
                "$r->{out}$r->{err}" } [], ['-p']);
        }
        diag($kube->kubectl('-n', $NS, 'get', 'pods,buildkitpools,'
            . 'buildkitworkers,pvc')->{out});
    }
    $? = $status;
}

# --- install ---------------------------------------------------------------

# docs/kubernetes.md, as it is written; step 1 was how the images were made
# (Images.pm).  What a cluster has: names of Services, and a mirror of Docker
# Hub, which its pool's workers are told of
$kube->start('dns', {}, $t->root . '/t/lib/kube-dns', '10.123.0.1');
$kube->rootless_image('docker.io/moby/buildkit:v0.33.0-rootless');
$kube->push_image("$registry/controller:1");
$kube->push_image('lab.local/busybox:1', "$registry/library/busybox:latest");
mkdir $t->dir . '/buildx-bin';
system 'cp', $t->lab('buildx'), $t->dir . '/buildx-bin/buildx';
$kube->push_image($kube->image('lab.local/buildx:1', $t->dir . '/buildx-bin'),
    "$registry/docker/buildx-bin:latest");

my $toml = <<"E";
  buildkitConfig: |
    [registry."docker.io"]
      mirrors = ["$registry"]
    [registry."$registry"]
      http = true
      insecure = true
E
system 'cp', '-r', $t->root . '/k8s', $t->dir . '/k8s';
my $file = $t->dir . '/k8s/overlays/minimal/pool.yaml';
$t->write($file, $t->read($file) . $toml);

# and what its administrator has set: where clients find ports of the nodes,
# and that there may be privileged workers
$file = $t->dir . '/k8s/base/controller/config/controller.yaml';
my $conf = $t->read($file);
$conf =~ s/^( +)privileged: \[\]\n/$1privileged: [$NS]\n$1externalHost: /m
    or die;
$conf =~ s/(externalHost: )/${1}10.123.0.1\n/ or die;
# a namespace more, which the ingress controller serves: workers let it in
$conf =~ s/^( +gateways: \[)\]/$1$NS\/ingress]/m or die;
$conf =~ s/^( +namespaces: \[$NS)\]/$1, team]/m or die;
$conf =~ s/( pools: \["$NS\/\*")\]/$1, "team\/*"]/ or die;
$t->write($file, $conf);
# a busy kubelet says late why a worker has hung up; who knows waits no longer
$file = $t->dir . '/k8s/base/gateway-config/nginx.conf';
$conf = $t->read($file);
$conf =~ s/(buildkit_lost) 5s;/$1 60s;/ or die;
$t->write($file, $conf);
$kube->must('create', 'namespace', 'team');
$kube->must('-n', 'team', 'create', 'rolebinding', 'buildkit-controller-pools',
    '--clusterrole=buildkit-controller-pools',
    "--serviceaccount=$NS:buildkit-controller");

# docker with its buildx, as far as these lines need it
$t->write('bin/docker', "#!/bin/sh\nshift\nexec " . $t->lab('buildx')
    . " \"\$@\"\n");
chmod 0755, $t->dir . '/bin/docker';
my %guide = (PATH => join(':', $t->dir . '/bin', $t->build, map {
    s{/[^/]*$}{}r } $t->lab('buildctl'), $t->lab('kubectl')) . ":$ENV{PATH}",
    REGISTRY => $registry, HOME => $t->dir, BUILDX_CONFIG => $t->dir . '/bx',
    DOCKER_CONFIG => $t->dir . '/bx', NO_COLOR => 1);
my $doc = $t->read($t->root . '/docs/kubernetes.md');
my %steps = map { /^(\w+)/ ? ("$1" => [/^```sh\n(.*?)^```$/msg]) : () }
    split /^## /m, $doc;

sub guide {
    my ($step, $what) = @_;
    my $text = join '', "set -eu\n", @{$steps{$step}};
    my $r = $kube->run({ dir => $t->dir, timeout => 400, env => \%guide },
        'bash', '-c', "trap 'kill \$(jobs -p) 2>/dev/null || :' EXIT\n$text");
    is($r->{rc}, 0, $what) or diag($r->{out}, $r->{err});
    return $r;
}

is("@{[map { scalar @{$steps{$_} // []} } qw(1 2 3 4 Take)]}", '1 1 3 1 1',
    'the steps of the guide');
my $began = time;
guide(2, 'step 2: the controller and a pool');
my $r = guide(3, 'step 3: a first build');
like($r->{out}, qr/^\S*default\s+\S+\s/m, 'the pools are shown');
shows('buildkitpools', qr/^default\s+Running\s/m, 'this one has a worker then');
ok(-s $t->dir . '/app.tar', 'and what was built is there');
$r = guide(4, 'step 4: a job in the cluster');
like($r->{out}, qr/pushing manifest for \Q$registry\E\/app:1/,
    'which has built and pushed');
diag(sprintf 'the guide took %.0f s', time - $began);

# it goes, and all that was made for it
in_ns('delete', 'buildkitpool', 'default');
$t->wait_for(sub { !list('pods,services,deployments,secrets', '-l',
    'buildkit.smrt-devops.net/pool=default') }, 180, 'the end of the pool');
pass('a pool that is deleted leaves nothing');

# two of them, from now on
in_ns('scale', 'deployment/buildkit-controller', '--replicas=2');
ok($kube->wait('jsonpath={.status.readyReplicas}=2', '-n', $NS,
    'deployment/buildkit-controller'), 'the controller, twice');
sub leaders {
    my @leaders;
    $t->wait_for(sub { @leaders = list('pods', '-l',
        'buildkit.smrt-devops.net/leader=true') }, 60, 'a leader');
    return @leaders;
}
is(scalar(() = leaders()), 1, 'one leads');
is(scalar(list('pods', '-l', 'control-plane=buildkit-controller')), 2,
    'of two');

# --- pools -----------------------------------------------------------------

# those of later, as they take a while; one is evicted when it writes too much
$kube->apply(<<"E");
apiVersion: buildkit.smrt-devops.net/v1alpha1
kind: BuildKitPool
metadata: {name: small, namespace: $NS}
spec:
  scaling: {min: 0, max: 2, scaleDownDelay: 3s}
  gateway: {serviceType: NodePort}
---
apiVersion: buildkit.smrt-devops.net/v1alpha1
kind: BuildKitPool
metadata: {name: guest, namespace: $NS}
spec:
  scaling: {min: 0, max: 1}
  gateway: {poolRef: {name: small}}
  resources: {buildkit: {limits: {ephemeral-storage: 64Mi}}}
E
$kube->must('apply', map { ('-f', $t->dir . "/k8s/overlays/$_/pool.yaml") }
    qw(dev loadbalancer));

# a minute after its Service it would begin without
$t->wait_for(sub { grep { $_->{reason} eq 'LoadBalancerPending' }
    @{(get('buildkitpool', 'default') // {})->{status}{conditions} // []} },
    60, 'a load balancer without an address');
is(get('deployment', 'default-gateway'), undef,
    'overlays/loadbalancer: no gateway before its address is known');
in_ns('patch', 'service', 'default', '--subresource=status', '-p',
    '{"status":{"loadBalancer":{"ingress":[{"ip":"10.123.3.1"}]}}}');

my $state = $t->dir . '/volume';
mkdir $state;
$kube->apply(<<"E");
apiVersion: v1
kind: PersistentVolume
metadata: {name: cache}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: lab
  hostPath: {path: "$state"}
---
apiVersion: buildkit.smrt-devops.net/v1alpha1
kind: BuildKitPool
metadata: {name: demo, namespace: $NS}
spec:
  scaling: {min: 0, max: 1, scaleDownDelay: 10m}
  security: {mode: privileged}
  buildkitImage: "$buildkitd"
  buildkitConfig: |
    [registry."$registry"]
      http = true
      insecure = true
  cache:
    backends: [{type: local, local: {size: 1Gi, storageClass: lab}}]
E
$t->wait_for(sub { get('deployment', 'demo-gateway') }, 60, 'a gateway');
ok($kube->wait('condition=Available', '-n', $NS, 'deployment/demo-gateway'),
    'its gateway runs');
my $service = get('service', 'demo')->{spec}{clusterIP};
like($service, qr/^10\.123\.2\./, 'its Service');
shows('buildkitpools', qr/^demo\s+ScaledToZero\s/m,
    'the pool as kubectl shows it');
is(scalar(list('pods', '-l', 'buildkit.smrt-devops.net/pool=demo,'
    . 'buildkit.smrt-devops.net/purpose=worker')), 0,
    'no worker: nobody wants one');

is(join(' ', map { $_->{metadata}{name} } grep { grep {
    !$_->{securityContext}{readOnlyRootFilesystem} } @{$_->{spec}{containers}},
    @{$_->{spec}{initContainers} // []} } list('pods', '-l',
    'buildkit.smrt-devops.net/purpose!=worker')), '',
    'nothing is written into Pods that are no workers');

# --- an allocation, from zero ----------------------------------------------

my $api = get('service', 'buildkit-controller-api')->{spec}{clusterIP};
my %env = (BKCTL_ENDPOINT => "http://$api:8082", NO_COLOR => 1,
    HOME => $t->dir, BKCTL_POOL => "$NS/demo",
    BKCTL_TOKEN => $kube->account_token('ci', 'runner', 'buildkit'));

sub bkctl {
    my (@args) = @_;
    my $opts = ref $args[0] eq 'HASH' ? shift @args : {};
    return $kube->run({ timeout => 180, env => { %env, %$opts } },
        $t->build . '/bkctl', @args);
}

sub allocate {
    my ($name, $pool) = @_;
    my $dir = $t->dir . "/$name";
    my $r = bkctl('allocate', '--out', $dir, '--job-id', $name,
        $pool ? ('--pool', "$NS/$pool") : ());
    die "no allocation: $r->{err}" . in_ns('get', 'events,pods')
        if $r->{rc} != 0;
    my $a = { %{JSON->new->decode($t->read("$dir/alloc.json"))}, dir => $dir };
    leads(at($a));
    return $a;
}

# kube-proxy hears of a Pod that is ready when the controller does, and may be
# the later one
sub leads {
    my ($at) = @_;
    $t->wait_for(sub { $kube->run($^X, '-MIO::Socket::INET', '-e',
        'exit !IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 5)',
        $at)->{rc} == 0 }, 60, "the way to $at");
    return;
}

# what the allocation says, but for names of Services, which nobody resolves
# out here
sub at {
    my ($a) = @_;
    my ($at) = $a->{gatewayEndpoint} =~ m{^tcp://(.+:\d+)$};
    return $at =~ /\.svc:/ ? "$service:1235" : $at;
}

sub buildctl {
    my ($a, $at) = @_;
    my ($host) = $a->{gatewayEndpoint} =~ m{^tcp://(.+):\d+$};
    $at = $at ? "$at:1235" : at($a);
    return ($t->lab('buildctl'), '--addr', "tcp://$at", '--tlsservername', $host,
        '--tlscacert', "$a->{dir}/ca.pem", '--tlscert', "$a->{dir}/cert.pem",
        '--tlskey', "$a->{dir}/key.pem");
}

sub build {
    my ($a, $context, @more) = @_;
    my $at = ref $more[0] ? ${shift @more} : undef;
    return $kube->run({ timeout => 180 }, buildctl($a, $at),
        $t->dockerfile_args($context, @more));
}

# one that goes on after it has done something, until somebody ends it
sub begin {
    my ($name, $a, $do, $at) = @_;
    my $context = $t->context($name, "FROM scratch\n"
        . "COPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", "
        . "\"$do echo re''ady; busybox sleep 600\"]\n");
    return $kube->start("live-$name", {}, buildctl($a, $at),
        $t->dockerfile_args($context, '--no-cache'));
}

sub live {
    my ($name) = @_;
    my $live = begin(@_);
    $t->wait_for(sub { $t->read("live-$name.log") =~ /\bready$/m }, 150,
        'a build that runs');
    return $live;
}

$r = bkctl({ BKCTL_TOKEN => '' }, 'allocate');
is($r->{rc}, 3, 'nobody without a token');
$r = bkctl({ BKCTL_TOKEN => $kube->account_token($NS, 'default', 'buildkit') },
    'allocate');
is($r->{rc}, 3, 'nor with one that no rule knows');

$began = time;
my $one = allocate('one');
diag(sprintf 'from zero to an allocation: %.1f s', time - $began);
is($one->{workerName}, 'demo-0', 'a worker');
like($one->{poolName}, qr/^(?:$NS\/)?demo$/, 'of the pool');
like($one->{gatewayEndpoint}, qr/^tcp:\/\/demo\.$NS\.svc(\.cluster\.local)?:1235$/,
    'and where its gateway is');

my $spec = get('buildkitworker', 'demo-0')->{spec}{allocation};
is($spec->{tokenHash}, $t->hash($one->{token}), 'the object has its hash');
unlike(in_ns('get', 'buildkitworkers,pods,secrets,configmaps', '-o', 'yaml'),
    qr/\Q$one->{token}\E/, 'and nothing the token');

my $context = $t->context('app');
$r = build($one, $context, '--output',
    "type=image,name=$registry/app:1,push=true,registry.insecure=true");
is($r->{rc}, 0, 'a build with RUN, pushed') or diag($r->{err});
unlike($r->{err}, qr/CACHED/, 'nothing of it was there');
diag(sprintf 'from zero to the end of the first build: %.1f s',
    time - $began);

# a pool's gateway Pods; that an allocation was led to a worker there
sub gateways {
    my ($pool) = @_;
    return list('pods', '-l', "buildkit.smrt-devops.net/pool=$pool,"
        . 'buildkit.smrt-devops.net/purpose=gateway');
}
sub led {
    my ($pool, $a, $worker) = @_;
    return $t->wait_for(sub { join('', map { in_ns('logs',
        $_->{metadata}{name}, '-c', 'gateway') } gateways($pool)) =~
        /"outcome":"routed","allocation":"$a->{id}".*"worker":"$worker"/ },
        60, 'the log line');
}
ok(led('demo', $one, 'demo-0'), 'through the gateway Pod');

$kube->apply(<<"E");
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  restartPolicy: Never
  containers: [{name: app, image: "$registry/app:1",
    command: [/bin/busybox, cat, /result]}]
E
ok($kube->wait('jsonpath={.status.phase}=Succeeded', 'pod/app'),
    'a Pod of what was built');
is($kube->must('logs', 'app'), "built\n", 'has what RUN wrote');

# --- what others see -------------------------------------------------------

like(in_ns('exec', (leaders())[0]{metadata}{name}, '-c', 'controller', '--',
    'bkctl', 'workers'), qr/^demo-0\s/m, 'bkctl in the leader\'s Pod');
shows('buildkitworkers', qr/^demo-0\s+demo\s+Allocated\s/m,
    'kubectl get buildkitworkers');
like(in_ns('get', 'pods', '-l', 'buildkit.smrt-devops.net/pool=demo', '-o',
    'name'), qr/pod\/demo-0/, 'and by the label');
shows('buildkitpools', qr/^demo\s+Running\s/m, 'the pool runs');
my $metrics = get('service', 'demo')->{spec}{clusterIP};
$r = $kube->run('curl', '-sf', '--noproxy', '*', "http://$metrics:9090/metrics");
like($r->{out}, qr/^buildkit_gateway_kubernetes_objects/m, 'the gateway counts');

# --- a killed worker says why ----------------------------------------------

my $uid = get('pod', 'demo-0')->{metadata}{uid};
my $live = live('killed', $one, '');
is(get('pod', 'demo-0')->{metadata}{finalizers}[0],
    'buildkit.smrt-devops.net/live-build', 'its Pod is held');
my @buildkitd = $kube->pod_pids($uid, qr/^buildkitd$/);
is(scalar @buildkitd, 1, 'its buildkitd');
kill KILL => @buildkitd;        # from the outside, as the kernel would
$t->wait_for(sub { !$t->alive($live) }, 120, 'its end');
isnt($live->{status}, 0, 'buildkitd was killed: the build fails');
like($t->read('live-killed.log'), qr/buildkit gateway: .*container buildkitd ended: exit code 137/,
    'and says why') or diag($t->read('live-killed.log'));
my $ended = $t->wait_for(sub {
    my ($e) = grep { $_->{id} eq $one->{id} }
        @{(get('buildkitworker', 'demo-0') // {})->{spec}{ended} // []};
    $e;
}, 60, 'what the object says');
is($ended->{state}, 'failed', 'and so does the object');
like($ended->{reason}, qr/exit code 137/, 'with the reason');

# --- two pools, one gateway, on a port of the nodes ------------------------

my ($small, $guest) = map { allocate($_, $_) } qw(small guest);
like($small->{gatewayEndpoint}, qr/^tcp:\/\/10\.123\.0\.1:3\d{4}$/,
    'a pool on a port of the nodes');
is($guest->{gatewayEndpoint}, $small->{gatewayEndpoint},
    'another that shares its gateway');
is(scalar(list('deployments,services', '-l',
    'buildkit.smrt-devops.net/pool=guest')), 0, 'and has none of its own');
for my $a ($small, $guest) {
    my $pool = $a == $small ? 'small' : 'guest';
    like($a->{workerName}, qr/^$pool-[01]$/, "$pool: a worker");
    $r = build($a, $context);
    is($r->{rc}, 0, 'a build, by what the allocation says') or diag($r->{err});
    ok(led('small', $a, $a->{workerName}), 'led there');
}

# --- behind a load balancer -------------------------------------------------

my $balanced = allocate('balanced', 'default');
is($balanced->{gatewayEndpoint}, 'tcp://10.123.3.1:1235',
    'its address');
$r = build($balanced, $context);
is($r->{rc}, 0, 'a build through it, at once') or diag($r->{err});
ok($kube->wait('jsonpath={.status.readyReplicas}=2', '-n', $NS,
    'deployment/default-gateway'), 'two gateways');
bkctl('release', "$balanced->{dir}/alloc.json");

# one that takes the node's disk: it may be over before anybody sees it ready
my $evicted = begin('guest', $guest, '/bin/busybox dd if=/dev/zero of=/fat '
    . 'bs=1M count=96 2>/dev/null;');

# --- who is connected keeps a worker ---------------------------------------

my $connected = live('small', $small, '');
sub connections {
    my ($pool) = @_;
    return get('buildkitpool', $pool)->{status}{connections}{active} // -1;
}
$t->wait_for(sub { connections('small') == 1 }, 60, 'a connection');
pass('the pool says who is connected');
my $idle = allocate('idle', 'small');
isnt($idle->{workerName}, $small->{workerName},
    'a second worker, with nobody connected');

# the gateway does not hear that it was released, so the build goes on
my @companion = $kube->pod_pids((gateways('small'))[0]{metadata}{uid},
    qr/^buildkit-plugin/);
is(scalar @companion, 1, 'the companion');
kill STOP => @companion;
bkctl('release', "$_->{dir}/alloc.json") for $small, $idle;
# what a companion said last counts for a minute, so not until it has gone
$t->wait_for(sub { my $pod = get('pod', $idle->{workerName});
    !$pod || $pod->{metadata}{deletionTimestamp} }, 90,
    'the end of the idle one');
my $kept = get('pod', $small->{workerName});
ok($kept && !$kept->{metadata}{deletionTimestamp} && $t->alive($connected),
    'the one with a connection stays');
kill CONT => @companion;
$t->wait_for(sub { !get('pod', $idle->{workerName}) }, 90,
    'the idle one to have gone');
$t->wait_for(sub { !$t->alive($connected) }, 60, 'the end of its build');
like($t->read('live-small.log'), qr/buildkit gateway: .*was released/,
    'which was told') or diag($t->read('live-small.log'));
$t->wait_for(sub { !get('pod', $small->{workerName}) }, 90,
    'the end of its worker');
$t->wait_for(sub { connections('small') == 0 }, 60, 'no connection');
pass('then it goes, too');

# --- one that is evicted says why ------------------------------------------

$t->wait_for(sub { !$t->alive($evicted) }, 180, 'an eviction');
isnt($evicted->{status}, 0, 'evicted: the build fails');
like($t->read('live-guest.log'), qr/buildkit gateway: .*its Pod: Evicted: /,
    'and says why') or diag($t->read('live-guest.log'));
$ended = $t->wait_for(sub { (grep { $_->{id} eq $guest->{id} }
    @{get('buildkitworker', 'guest-0')->{spec}{ended} // []})[0] }, 60,
    'what the object says');
like("$ended->{state}: $ended->{reason}", qr/^failed: its Pod: Evicted: /,
    'and so does the object');

# --- a worker to look at ---------------------------------------------------

ok($kube->wait('condition=Ready', '-n', $NS, 'pod/dev-0'), 'overlays/dev');
my ($forward, $look) = $t->read($t->root . '/k8s/overlays/dev/README.md') =~
    /^    kubectl (.* port-forward .*) &\n    (buildctl .*)$/m;
my $forwarded = $kube->start('forward', {}, 'kubectl', split ' ', $forward);
ok($t->wait_for(sub { ($r = $kube->run({ env => \%guide }, split ' ', $look))
    ->{rc} == 0 }, 60, 'the port-forward'), 'by its README');
like($r->{out}, qr/^ID\s+PLATFORMS\n\w+\s+linux\//,
    'no certificate is asked for');
$t->stop($forwarded);

# --- the cache outlives the Pod --------------------------------------------

my $two = allocate('two');
is($two->{workerName}, 'demo-0', 'the same worker');
isnt(get('pod', 'demo-0')->{metadata}{uid}, $uid, 'in another Pod');
$r = build($two, $context);
is($r->{rc}, 0, 'the same build') or diag($r->{err});
is(() = $r->{err} =~ / CACHED$/mg, 2, 'all of it was in the cache');
is(get('pvc', 'cache-demo-0')->{spec}{volumeName}, 'cache', 'on its volume');

# --- the image as another controller starts it -----------------------------

# arguments, mounts and limits of smrt-devops/buildkit-controller's; as a user
# of the cluster's choice, and without a root to write to
$kube->apply(<<"E");
apiVersion: v1
kind: Pod
metadata: {name: dropin, namespace: $NS}
spec:
  containers:
  - name: gateway
    image: $registry/gateway:1
    args: [--pool-name, demo, --pool-namespace, $NS, --listen-addr,
      "0.0.0.0:1235", --controller-endpoint, "http://$api:8082",
      --metrics-addr, "0.0.0.0:9090"]
    resources: {limits: {cpu: 200m, memory: 256Mi}}
    readinessProbe: {tcpSocket: {port: 1235}, periodSeconds: 1}
    securityContext: {runAsUser: 12345, runAsNonRoot: true,
      readOnlyRootFilesystem: true, allowPrivilegeEscalation: false,
      capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
    volumeMounts:
    - {name: server-tls, mountPath: /etc/gateway/tls, readOnly: true}
    - {name: worker-tls, mountPath: /etc/gateway/worker-tls, readOnly: true}
  volumes:
  - {name: server-tls, secret: {secretName: demo-tls}}
  - {name: worker-tls, secret: {secretName: demo-client-certs}}
E
ok($kube->wait('condition=Ready', '-n', $NS, 'pod/dropin'),
    'our image with the arguments and mounts of the other project');
my $dropin = get('pod', 'dropin')->{status}{podIP};
$r = build($two, $context, \$dropin);
is($r->{rc}, 0, 'it asks for the token, and builds') or diag($r->{err});
is(() = $r->{err} =~ / CACHED$/mg, 2, 'on the same worker');
$r = $kube->run('curl', '-sf', '--noproxy', '*', "http://$dropin:9090/metrics");
like($r->{out}, qr/^buildkit_gateway_controller_\w+/m, 'and counts');
in_ns('delete', 'pod', 'dropin', '--wait=false');

# --- a gateway that is replaced while the API server is away ---------------

# for Pods that are no controllers: it does not even refuse
my @may = map { $_->{status}{podIP} } list('pods', '-l',
    'control-plane=buildkit-controller');
sub nft {
    my ($rules) = @_;
    my $r = $kube->run({ stdin => $rules }, 'nft', '-f', '-');
    die "nft: $r->{err}" if $r->{rc} != 0;
    return;
}
nft(<<"E");
table ip away {
    chain pods {
        type filter hook prerouting priority raw;
        ip saddr 10.123.1.0/24 ip saddr != { ${\ join ', ', @may} } ip daddr {
            10.123.2.1, 10.123.0.1 } tcp dport { 443, 6443 } drop
    }
}
E
my ($before) = map { $_->{metadata}{name} } gateways('demo');
in_ns('rollout', 'restart', 'deployment/demo-gateway');
my $new;
$t->wait_for(sub { ($new) = grep { $_ ne $before } map { $_->{metadata}{name} }
    gateways('demo'); $new && grep { $_->{message} =~ /^Startup probe failed/ }
    list('events', '--field-selector', "involvedObject.name=$new") }, 150,
    'a companion that knows nothing');
isnt(get('pod', $new)->{status}{containerStatuses}[0]{started}, JSON::true,
    'a new gateway does not begin before it has the routes');
$r = build($two, $context);
is($r->{rc}, 0, 'the one before is there for builds') or diag($r->{err});
$r = $kube->run('curl', '-sf', '--noproxy', '*', '--max-time', 60,
    "http://$metrics:9090/connections");
like($r->{out}, qr/"worker": ?"demo-0"/, 'and its companion answers');
nft("delete table ip away\n");
ok($kube->wait('delete', '-n', $NS, "pod/$before"), 'then it is replaced');
$r = build($two, $context);
is($r->{rc}, 0, 'the other one has the routes') or diag($r->{err});

# --- an ingress controller, and a pool of another namespace ------------------

$t->write('my-ingress/kustomization.yaml', <<"E");
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../k8s/overlays/ingress-controller]
images:
  - {name: buildkit-gateway/controller, newName: $registry/controller, newTag: "1"}
  - {name: buildkit-gateway/gateway, newName: $registry/gateway, newTag: "1"}
E
$kube->must('apply', '-k', $t->dir . '/my-ingress');
my $balancer = '10.123.3.2';
in_ns('patch', 'service', 'buildkit-ingress', '--subresource=status', '-p',
    '{"status":{"loadBalancer":{"ingress":[{"ip":"' . $balancer . '"}]}}}');
chomp(my $arch = $t->run('dpkg', '--print-architecture')->{out});
$kube->apply(<<"E");
apiVersion: buildkit.smrt-devops.net/v1alpha1
kind: BuildKitPool
metadata: {name: demo, namespace: team}
spec:
  arch: $arch
  scaling: {min: 0, max: 1}
  gateway: {enabled: false}
  networking: {external: {enabled: true, hostname: build.example.com}}
E
# what its README says
for ($t->read($t->root . '/k8s/overlays/ingress-controller/README.md')
    =~ /^    (kubectl create .+)$/mg)
{
    $r = $kube->run('bash', '-c', "$_ -n team");
    is($r->{rc}, 0, s/(kubectl create \S+).*/$1/r) or diag($r->{err});
}
ok($kube->wait('jsonpath={.status.readyReplicas}=2', '-n', $NS,
    'deployment/buildkit-ingress'), 'two ingress controllers run');
is($kube->must('-n', 'team', 'get', 'deployments,services', '-o', 'name'), '',
    'and no gateway of that namespace');

my $team = { dir => $t->dir . '/team' };
$r = bkctl('allocate', '--pool', 'team/demo', '--out', $team->{dir});
is($r->{rc}, 0, 'an allocation there') or diag($r->{err});
$team = { %$team, %{JSON->new->decode($t->read("$team->{dir}/alloc.json"))} };
is($team->{gatewayEndpoint}, 'tcp://build.example.com:1235',
    'clients are told the name');
# each has the name, and its certificate, some moments after it was given
for my $ip (map { $_->{status}{podIP} } list('pods', '-l',
    'app.kubernetes.io/name=buildkit-ingress'))
{
    eval { $t->wait_for(sub { $kube->run(buildctl($team, $ip), 'debug',
        'workers')->{rc} == 0 }, 60, "$ip to have the name") } or diag $@;
}
leads("$balancer:1235");
$r = build($team, $context, \$balancer);
is($r->{rc}, 0, 'a build by that name, with the pool\'s own certificate')
    or diag($r->{err}, map { in_ns('logs', $_->{metadata}{name},
    '--all-containers') } list('pods', '-l',
    'app.kubernetes.io/name=buildkit-ingress'));

# by a name, with whom the client trusts
sub workers {
    my ($a, $name, $ca) = @_;
    my @cmd = buildctl({ %$a, gatewayEndpoint => "tcp://$name:1235" },
        $balancer);
    return $kube->run({ timeout => 60 }, @cmd, $ca ? ('--tlscacert', $ca) : (),
        'debug', 'workers');
}
is(workers($team, "$arch.build.example.com")->{rc}, 0,
    'the name of this architecture');
$arch = $arch eq 'arm64' ? 'amd64' : 'arm64';
like(workers($team, "$arch.build.example.com")->{err},
    qr/buildkit gateway: .*\b$arch\.build\.example\.com/, 'that of another');
like(workers($two, 'build.example.com', "$team->{dir}/ca.pem")->{err},
    qr/is of pool $NS\/demo, and build\.example\.com is the name of pool team\/demo/,
    'another pool\'s client');
ok($t->wait_for(sub { $kube->must('-n', 'team', 'get', 'ingress', 'demo', '-o',
    'jsonpath={.status.loadBalancer.ingress[*].ip}') eq $balancer }, 60,
    'its address'), 'its Ingress has the address');
$r = bkctl('allocate', '--pool', "$NS/ingress", '--wait', '1s');
isnt($r->{rc}, 0, 'nobody builds in the ingress controller\'s pool');
is(scalar(list('services,deployments,buildkitworkers', '-l',
    'buildkit.smrt-devops.net/pool=ingress')), 0, 'which has nothing');
my $through = live('team', $team, '', $balancer);
ok($t->wait_for(sub { $kube->get('-n', 'team', 'buildkitpool', 'demo')
    ->{status}{connections}{active} }, 60, 'who is connected'),
    'who is connected through it is counted');
bkctl('release', "$team->{dir}/alloc.json");
$t->wait_for(sub { !$t->alive($through) }, 60, 'its end');
like($t->read('live-team.log'), qr/buildkit gateway: .*was released/,
    'and told why it ends');
$kube->must('delete', '-n', 'team', 'buildkitpool', 'demo');
$kube->must('delete', '-k', $t->dir . '/my-ingress');

# --- the leader goes -------------------------------------------------------

in_ns('delete', 'pod', (leaders())[0]{metadata}{name}, '--wait=false');
$r = undef;
$t->wait_for(sub { ($r = bkctl('release', "$two->{dir}/alloc.json"))->{rc} == 0
    }, 90, 'the next leader');
pass('the next leader knows the allocation');
$t->wait_for(sub { !get('buildkitworker', 'demo-0')->{spec}{allocation} }, 60,
    'its end');
# the gateway hears of it a moment later
ok($t->wait_for(sub { ($r = build($two, $context))->{rc} != 0 }, 60,
    'a refusal'), 'released: refused');
like($r->{err}, qr/buildkit gateway: .*was released/, 'and why')
    or diag($r->{err});

# --- and all of it ---------------------------------------------------------

guide('Take', 'it is taken away as the guide says');
is(join(' ', grep { /buildkit|\/ci$/ } split /\n/, $kube->must('get',
    'crd,namespaces,clusterroles,clusterrolebindings', '-o', 'name')), '',
    'and nothing of it is left');
