# The tests' Kubernetes is a real one: its node runs Pods, its Services lead to
# them, and a worker in a Pod builds, pushes, and what it pushed runs.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};
plan tests => 22;

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'node');
my $registry = $kube->registry;

is($kube->must('get', 'nodes', '-o', 'name'), "node/lab\n", 'a node');

# --- a Pod -----------------------------------------------------------------

$kube->apply(<<'E');
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 1000}
  containers:
  - name: one
    image: lab.local/busybox:1
    command: [sh, -c, "trap exit TERM; echo hello; sleep 1000 & wait"]
E
ok($kube->wait('condition=Ready', 'pod/one'), 'a Pod is ready');
is($kube->must('exec', 'one', '--', 'id', '-u'), "1000\n", 'exec');
# ready it is when its shell has begun
$t->wait_for(sub { $kube->must('logs', 'one') =~ /\n/ }, 30, 'its log');
is($kube->must('logs', 'one'), "hello\n", 'its log');

# --- a worker --------------------------------------------------------------

my $server = $t->worker_cert('worker', 'worker.workers.buildkit.internal');
my $upstream = { map { $_->[0] => $t->pki . "/$_->[1].pem" }
    ['cert', 'upstream'], ['key', 'upstream-key'], ['ca', 'worker-ca'] };
$kube->must('create', 'secret', 'generic', 'tls',
    "--from-file=tls.crt=$server->{cert}", "--from-file=ca.crt=$server->{ca}",
    "--from-file=tls.key=$server->{key}");
$kube->must('create', 'configmap', 'buildkitd', '--from-literal='
    . "buildkitd.toml=[registry.\"$registry\"]\nhttp = true\ninsecure = true");
is($kube->buildkitd_image, 'lab.local/buildkitd:1', 'an image of buildkitd');
$kube->apply(<<'E');
apiVersion: v1
kind: Service
metadata: {name: worker}
spec: {selector: {app: worker}, ports: [{port: 1234}]}
---
apiVersion: v1
kind: Pod
metadata: {name: worker, labels: {app: worker}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: buildkitd
    image: lab.local/buildkitd:1
    args: [--addr, "tcp://0.0.0.0:1234", --addr,
      "unix:///run/buildkit/buildkitd.sock", --tlscert, /tls/tls.crt, --tlskey,
      /tls/tls.key, --tlscacert, /tls/ca.crt, --config, /conf/buildkitd.toml]
    securityContext: {privileged: true}
    readinessProbe: {exec: {command: [buildctl, debug, workers]},
      periodSeconds: 1}
    volumeMounts:
    - {name: tls, mountPath: /tls}
    - {name: conf, mountPath: /conf}
    - {name: state, mountPath: /var/lib/buildkit}
  volumes:
  - {name: tls, secret: {secretName: tls}}
  - {name: conf, configMap: {name: buildkitd}}
  - {name: state, emptyDir: {}}
E
ok($kube->wait('condition=Ready', 'pod/worker'), 'a worker is ready');

sub build {
    my ($address, @more) = @_;
    my ($program, $context) = ($t->lab('buildctl'), $t->context('app'));
    return $kube->run({ timeout => 120 }, $program, '--addr',
        "tcp://$address:1234", '--tlsservername',
        'worker.workers.buildkit.internal', '--tlscacert', $upstream->{ca},
        '--tlscert', $upstream->{cert}, '--tlskey', $upstream->{key},
        $t->dockerfile_args($context, @more));
}

my $pod = $kube->get('pod', 'worker')->{status}{podIP};
like($pod, qr/^10\.123\.1\./, 'its address');
my $r = build($pod, '--output',
    "type=image,name=$registry/app:1,push=true,registry.insecure=true");
is($r->{rc}, 0, 'a build with RUN, pushed') or diag($r->{err});
my $service = $kube->get('service', 'worker')->{spec}{clusterIP};
$t->wait_for(sub { $kube->run('bash', '-c',
    "exec 3<>/dev/tcp/$service/1234")->{rc} == 0 }, 60, 'the Service');
$r = build($service);
is($r->{rc}, 0, 'again through the Service') or diag($r->{err});
like($r->{err}, qr/^#\d+ CACHED$/m, 'out of its cache');
is($kube->run({ env => { BUILDKIT_HOST => "tcp://$pod:1234" } },
    $t->lab('buildctl'), 'debug', 'workers')->{rc}, 1,
    'nothing without a certificate');

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

# --- faults and the end ----------------------------------------------------

sub container { $kube->get('pod', 'worker')->{status}{containerStatuses}[0]
    {containerID} }

my $before = container();
$kube->restart($_) for qw(etcd kube-apiserver containerd kubelet);
pass('each daemon comes back');
is($kube->compact->{error}, undef, 'etcd forgets');
ok($kube->wait('condition=Ready', 'node/lab'), 'the node is ready');
is(container(), $before, 'the worker lives on');
is(build($pod)->{rc}, 0, 'and builds');

# other labs' groups may go while it looks
sub groups { return $t->run('find', '/sys/fs/cgroup', '-name', @_)->{out} }

my ($first) = $t->read($kube->dir . '/pid') =~ /^(\d+)/;
my ($group) = $t->read($kube->dir . '/etc/kubelet.yaml') =~ /: \/(kl-\w+)$/m;
isnt(groups($group), '', 'its control groups');
$kube->stop;
ok(!-e "/proc/$first", 'its first process is gone');
eval { $t->wait_for(sub { !$t->leftovers }, 30, 'the end of all') };
is_deeply([$t->leftovers], [], 'and all others');
is(groups($group), '', 'and the control groups');
