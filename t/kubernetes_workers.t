# The controller's workers with a real API server, controller-manager and
# scheduler: Pods come when somebody wants one, stay while somebody is on one,
# and go; what is lost is said in the Pod's words.  No kubelet: Pods' status is
# written by the test.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::UNIX;
use JSON ();
use POSIX qw(strftime);
use Test::Buildkit;
use Test::Buildkit::Kube qw(good);
use Time::HiRes qw(time);

plan tests => 175;

my $G = 'buildkit.smrt-devops.net';
my $API = "/apis/$G/v1alpha1/namespaces/team";
my $MERGE = 'application/merge-patch+json';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'control');
my ($beat, $lease, $address) = (0) x 3;
my ($host, $uid, $was, %ip, %since);
my @KEPT = ("$G/live-build");

$kube->must('apply', '-k', $t->root . '/k8s/base');
for (qw(team other)) {
    $kube->must('create', 'namespace', $_);
    $kube->must('-n', $_, 'create', 'rolebinding', 'pools',
        '--clusterrole=buildkit-controller-pools',
        '--serviceaccount=buildkit-system:buildkit-controller');
}
$kube->wait('condition=Established', 'crd', '--all');
my $config = $kube->account_kubeconfig('buildkit-system',
    'buildkit-controller');

# --- helpers ----------------------------------------------------------------

# what is asked all the time must not cost a program each time
my $socket = $t->dir . '/kubernetes.sock';
my $proxy = $kube->start('proxy', {}, 'kubectl', 'proxy',
    "--unix-socket=$socket");
$t->wait_for(sub { -S $socket && (api(GET => '/version') // {})->{major} }, 20,
    'kubectl proxy');

sub api {
    my ($method, $path, $body, $type) = @_;
    return $t->http($socket, $method, $path, $body, headers => $type
        ? { 'Content-Type' => $type } : {})->{json};
}

# pool(NAME, scaling => {}, more of the spec)
sub pool {
    my ($name, %spec) = @_;
    return good("pool $name", sub { api(POST => "$API/buildkitpools", {
        apiVersion => "$G/v1alpha1", kind => 'BuildKitPool',
        metadata => { name => $name },
        spec => { gateway => { poolRef => { name => 'front' } }, %spec } }) });
}

sub edit {
    my ($name, %spec) = @_;
    return good("edit $name", sub { api(PATCH =>
        "$API/buildkitpools/$name", { spec => \%spec }, $MERGE) });
}

sub path {
    my ($kind) = @_;
    return $kind eq 'worker' ? "$API/buildkitworkers"
        : $kind eq 'pool' ? "$API/buildkitpools"
        : $kind eq 'pod' ? '/api/v1/namespaces/team/pods'
        : $kind eq 'claim' ? '/api/v1/namespaces/team/persistentvolumeclaims'
        : '/apis/policy/v1/namespaces/team/poddisruptionbudgets';
}

sub object {
    my ($kind, $name) = @_;
    my $o = api(GET => path($kind) . "/$name");
    return ref $o && $o->{metadata} && $o->{kind} ne 'Status' ? $o : undef;
}

sub remove {
    my ($kind, $name) = @_;
    return good("delete $name", sub { api(DELETE => path($kind) . "/$name") });
}

# its Pod, when it is there
sub pod {
    my ($name, $other) = @_;
    return $t->wait_for(sub {
        kubelet();
        my $o = object(pod => $name);
        return $o && !$o->{metadata}{deletionTimestamp}
            && $o->{metadata}{uid} ne ($other // '') ? $o : undef;
    }, 120, "Pod $name");
}

sub status {
    my ($name, $status) = @_;
    return good("status of $name", sub { api(PATCH =>
        "/api/v1/namespaces/team/pods/$name/status", { status => $status },
        $MERGE) });
}

# as a kubelet does it, on a node where the scheduler finds no room
sub up {
    my ($name, $ip) = @_;
    $ip{$name} = $ip //= '10.9.0.' . ++$address;
    if (!pod($name)->{spec}{nodeName}) {
        good("bind $name", sub { api(POST =>
            "/api/v1/namespaces/team/pods/$name/binding", { apiVersion => 'v1',
            kind => 'Binding', metadata => { name => $name }, target => {
            kind => 'Node', name => 'node' } }) });
    }
    return status($name, { phase => 'Running', podIP => $ip,
        podIPs => [{ ip => $ip }], conditions => [
            { type => 'PodScheduled', status => 'True' },
            { type => 'Ready', status => 'True', lastTransitionTime =>
                strftime('%Y-%m-%dT%H:%M:%SZ', gmtime) }] });
}

# Ends what was deleted, and is there.
sub kubelet {
    return if time - $beat < 0.5;
    $beat = time;
    for my $o (@{api(GET => '/api/v1/namespaces/team/pods')->{items}}) {
        next if !$o->{metadata}{deletionTimestamp} || !$o->{spec}{nodeName}
            || $o->{metadata}{finalizers};
        api(DELETE => '/api/v1/namespaces/team/pods/'
            . $o->{metadata}{name}, { gracePeriodSeconds => 0,
            preconditions => { uid => $o->{metadata}{uid} } });
    }
    return if $beat - $lease < 10;
    $lease = $beat;
    return api(PATCH => '/apis/coordination.k8s.io/v1/namespaces/'
        . 'kube-node-lease/leases/node', { spec => { holderIdentity => 'node',
        leaseDurationSeconds => 40, renewTime => strftime(
            '%Y-%m-%dT%H:%M:%S.000000Z', gmtime) } }, $MERGE);
}

# A Pod that is there to be seen although it is deleted.
sub keep {
    my ($name, @finalizers) = @_;
    return good("keep $name", sub { api(PATCH =>
        "/api/v1/namespaces/team/pods/$name",
        { metadata => { finalizers => \@finalizers } }, $MERGE) });
}

sub ended {
    my ($name, %status) = @_;
    return status($name, { phase => 'Failed', conditions => [
        { type => 'Ready', status => 'False' }], %status });
}

my %OOM = (containerStatuses => [{ name => 'buildkitd', image => 'i',
    imageID => 'i', ready => JSON::false, restartCount => 0, state => {
        terminated => { exitCode => 137, reason => 'OOMKilled' } } }]);

# "STATE ENDPOINT MESSAGE" in the model
sub w {
    my ($name, $pool) = @_;
    $pool //= $name =~ s/-\d+\z//r;
    my ($w) = grep { $_->{name} eq $name && $_->{pool} eq "team/$pool" }
        @{$host->request(GET => '/api/v1/workers')->{json} // []};
    return 'none' if !$w;
    return join ' ', $w->{state}, grep { length } $w->{endpoint} // '',
        $w->{message} // '';
}

# "PHASE MESSAGE" of its object
sub said {
    my ($name) = @_;
    my $o = object(worker => $name) // return 'none';
    return join ' ', grep { defined } @{$o->{status} // {}}{qw(phase message)};
}

sub condition {
    my ($name, $type, $kind) = @_;
    my $o = object($kind // 'worker', $name) // return 'none';
    my ($c) = grep { $_->{type} eq $type } @{$o->{status}{conditions} // []};
    return $c ? "$c->{status} $c->{reason}: $c->{message}" : 'none';
}

sub sees {
    my ($code, $want, $name) = @_;
    my $got;
    eval { $t->wait_for(sub { kubelet(); $got = $code->();
        ref $want ? $got =~ $want : $got eq $want }, 90, $name) };
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

sub there { object(@_) ? 'there' : 'gone' }

sub allocate {
    my ($pool, %more) = @_;
    my $r = $host->request(POST => '/api/v1/workers/allocate', {
        poolName => $pool, namespace => 'team', wait => '0s', %more });
    die "allocate: $r->{status} $r->{body}\n" . $host->log
        if $r->{status} != 200;
    return $r->{json};
}

# and has a worker
sub gets {
    my ($pool, %more) = @_;
    my $a = allocate($pool, %more);
    $t->wait_for(sub { kubelet(); $a->{workerName} = (split / /, a($a))[1] },
        90, "a worker of $pool");
    return $a;
}

# kept, which is since the controller knows that somebody is on it
sub kept {
    my ($a) = @_;
    $since{$a->{id}} = time;
    return;
}

# on it for so long that nobody takes it for one that came too late
sub grown {
    my ($a) = @_;
    return $t->wait_for(sub { time - $since{$a->{id}} > 2.5 }, 10, 'some time');
}

# "STATE WORKER REASON"
sub a {
    my ($a) = @_;
    my $is = $host->request(GET => "/api/v1/allocations/$a->{id}")->{json};
    return join ' ', $is->{state} // 'none', grep { length }
        $is->{worker} // '', $is->{reason} // '';
}

sub release {
    my ($a) = @_;
    return $host->request(POST => '/api/v1/workers/release',
        { token => $a->{token} })->{status};
}

sub conf {
    return <<"END";
state: %%DIR%%/main/state
table:
  path: "%%DIR%%/main/buildkit.table"
  allocations: 1000
  workers: 64
  pools: 16
api: {listen: ["unix:%%DIR%%/main/api.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}
plugins:
  - name: kubernetes
    options:
      role: controller
      kubeconfig: "$config"
      namespaces: [team, other]
      leaseDuration: 30s
      namespaceWorkers: 100
      namespacePools: 10
      buildkitImage: lab.local/buildkitd:1
      gatewayImage: lab.local/gateway:1
      companionImage: lab.local/controller:1
      gatewayTemplate: "%%ROOT%%/k8s/base/gateway-config"
  - {name: allocator, options: {journal: store}}
  - {name: metrics}
END
}

# Killed, and begun again; how long its Lease lasts is not waited for here.
sub again {
    $t->stop($host->{proc}, 'KILL');
    good('delete the Lease', sub {
        api(DELETE => '/apis/coordination.k8s.io/v1/'
        . 'namespaces/buildkit-system/leases/buildkit-controller') });
    return $host->restart;
}

# a Lease that once had no time is never seen to be renewed
my $now = strftime('%Y-%m-%dT%H:%M:%S.000000Z', gmtime);
$kube->apply(<<"END");
apiVersion: v1
kind: Node
metadata: {name: node}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: node, namespace: kube-node-lease}
spec: {holderIdentity: node, leaseDurationSeconds: 40, renewTime: "$now"}
END
api(PATCH => '/api/v1/nodes/node/status', { status => { conditions => [
    { type => 'Ready', status => 'True', reason => 'KubeletReady',
        message => '' }] } }, $MERGE);

# --- idle ones --------------------------------------------------------------

pool('front', gateway => {});
pool('demo', scaling => { min => 0, max => 3 });
pool('sleepy', scaling => { min => 1, max => 2, scaleDownSchedule =>
    '* * * * *' });
$host = $t->host(conf(), env => { KUBERNETES_SERVICE_HOST => '10.9.2.2' });
sees(sub { w('demo-0') }, 'stopped', 'a worker is there before it runs');
sees(sub { w('demo-2') . ' ' . w('demo-3') }, 'stopped none',
    'so many as may be');
is(there(worker => 'demo-0'), 'gone', 'and has no object');
# without a gateway nobody gets a worker
my ($gateway) = @{$t->wait_for(sub { my $list = api(GET => path('pod')
    . "?labelSelector=$G%2Fpurpose%3Dgateway")->{items}; @$list && $list }, 60,
    'a gateway')};
up($gateway->{metadata}{name});

my $slept = gets('sleepy');
up($slept->{workerName});
sees(sub { a($slept) }, qr/^ready/, 'one for a minute: see below');
release($slept);

edit('demo', scaling => { min => 1 });
my $pod = pod('demo-0');
is($pod->{metadata}{ownerReferences}[0]{uid},
    object(worker => 'demo-0')->{metadata}{uid}, 'one is kept: a Pod');
sees(sub { w('demo-0') }, qr/^starting its Pod: Unschedulable: /,
    'which says why it does not start');
sees(sub { said('demo-0') }, qr/^Provisioning its Pod: Unschedulable: /,
    'so does the object');
up('demo-0');
sees(sub { w('demo-0') }, "ready $ip{'demo-0'}:1234", 'it is ready');
sees(sub { said('demo-0') }, 'Idle', 'the object says so');
is(condition('demo-0', 'Ready'), 'True Idle: ', 'and its condition');
is(object(worker => 'demo-0')->{status}{endpoint}, "$ip{'demo-0'}:1234",
    'and where');
is(there(worker => 'demo-1'), 'gone', 'no other one is started');
is($pod->{metadata}{finalizers} // '', '', 'nothing keeps an idle one');
is(join(' ', map { $_->{emptyDir}{sizeLimit} // 'any' } grep { $_->{name} eq
    'cache' } @{$pod->{spec}{volumes}}), '50Gi',
    'it may have so much of its node\'s disk, where nobody says otherwise');

# --- they go ----------------------------------------------------------------

# another image: replaced, as nobody is on it
$uid = $pod->{metadata}{uid};
edit('demo', buildkitImage => 'lab.local/buildkitd:2');
$pod = pod('demo-0', $uid);
is($pod->{spec}{containers}[0]{image}, 'lab.local/buildkitd:2',
    'an idle one is replaced when its pool changes');
up('demo-0');
sees(sub { w('demo-0') }, "ready $ip{'demo-0'}:1234", 'and is ready again');

# somebody deletes it
$uid = $pod->{metadata}{uid};
remove(pod => 'demo-0');
isnt(pod('demo-0', $uid)->{metadata}{uid}, $uid, 'a deleted one is made again');
up('demo-0');

# its object goes, and the garbage collector takes its Pod
$was = object(worker => 'demo-0')->{metadata}{uid};
$uid = object(pod => 'demo-0')->{metadata}{uid};
remove(worker => 'demo-0');
$pod = pod('demo-0', $uid);
isnt($pod->{metadata}{ownerReferences}[0]{uid}, $was,
    'so is one whose object was deleted');
up('demo-0');
sees(sub { w('demo-0') }, "ready $ip{'demo-0'}:1234", 'and is another one');

edit('demo', scaling => { min => 0, scaleDownDelay => '1s' });
sees(sub { w('demo-0') }, 'stopped', 'idle long enough: it goes');
sees(sub { there(pod => 'demo-0') }, 'gone', 'and its Pod');
sees(sub { there(worker => 'demo-0') }, 'gone', 'and its object');
sees(sub { $kube->must('-n', 'team', 'get', 'events', '-o',
    'custom-columns=:.regarding.name,:.involvedObject.name,:.reason,:.message',
    '--no-headers') }, qr/demo-0 +Stopping +nobody has used it/,
    'an Event says why');

# --- somebody on one --------------------------------------------------------

sub finalizers { join ' ', @{(object(pod => $_[0]) // {})
    ->{metadata}{finalizers} // []} }

sub evict {
    my ($name) = @_;
    my $r = api(POST => "/api/v1/namespaces/team/pods/$name/eviction",
        { apiVersion => 'policy/v1', kind => 'Eviction', metadata =>
            { name => $name, namespace => 'team' } });
    return $r->{code} // $r->{status};
}

pool('busy', scaling => { max => 2, scaleDownDelay => '1h' });
sees(sub { w('busy-1') }, 'stopped', 'none runs');
my $a = gets('busy');
my $name = $a->{workerName};
pod($name);
sees(sub { a($a) }, qr/^starting $name/, 'somebody gets one: it starts');
$uid = object(pod => $name)->{metadata}{uid};
sees(sub { finalizers($name) }, "@KEPT", 'which is kept already');
ended($name, %OOM);
pod($name, $uid);
sees(sub { a($a) }, qr/^starting $name/, 'it ends before it is ready: another');
up($name);
sees(sub { a($a) }, "ready $name", 'it is ready, and his');
sees(sub { said($name) }, 'Allocated', 'its object says so');
is(object(worker => $name)->{status}{allocationCount}, 1, 'the first');
sees(sub { finalizers($name) }, "@KEPT", 'now it is kept');
sees(sub { there(budget => $name) }, 'there', 'by a budget, too');
sees(sub { object(budget => $name)->{status}{expectedPods} // 0 }, 1,
    'which the cluster goes by');
is(evict($name), 429, 'so it is not evicted');
is($kube->must('-n', 'team', 'get', 'pods', '-l', "$G/worker=$name", '-o',
    'name'), "pod/$name\n", 'its Pod by its label');

# without the label the watch says that it is gone: who is on it stays (below,
# where the controller has seen that and more)
for my $purpose (undef, 'worker') {
    good('label', sub { api(PATCH => path('pod') . "/$name", { metadata =>
        { labels => { "$G/purpose" => $purpose } } }, $MERGE) });
}

$was = pod($name)->{metadata}{uid};
remove(pod => $name);
sees(sub { w($name) }, qr/^draining $ip{$name}:1234 its Pod is being deleted/,
    'somebody deletes it: nobody new');
is(a($a), "ready $name", 'who is on it stays');
is(there(pod => $name), 'there', 'and the Pod');
is(release($a), 200, 'he is done');
isnt(pod($name, $was)->{metadata}{uid}, $was, 'then it goes, another comes');
sees(sub { there(budget => $name) }, 'gone', 'its budget went');
is(object(worker => $name)->{spec}{ended}[0]{state}, 'released',
    'its object says how it ended');

# given back, and given to another
$a = gets('busy', cacheKey => 'k');
$name = $a->{workerName};
up($name);
sees(sub { a($a) }, "ready $name", 'a cache has its worker');
$uid = pod($name)->{metadata}{uid};
release($a);
sees(sub { said($name) }, 'Idle', 'free again');
sees(sub { finalizers($name) . there(budget => $name) }, 'gone',
    'not kept any more');
$a = gets('busy', cacheKey => 'k');
is(a($a), "ready $name", 'the next one has it at once');
is(object(pod => $name)->{metadata}{uid}, $uid, 'the same Pod');
sees(sub { finalizers($name) }, "@KEPT", 'kept');

# lost as soon as somebody has it: he waits for the next one.  Soon is 2 s, so
# the controller stands still until both are there.
release($a);
$t->wait_for(sub { kubelet(); finalizers($name) . said($name) eq 'Idle' }, 30,
    'free');
my $asks = IO::Socket::UNIX->new(Peer => $host->api) // die "API: $!";
$asks->syswrite("POST /api/v1/workers/allocate HTTP/1.1\r\n");
is($host->request(GET => '/healthz')->{status}, 200, 'somebody is about to ask');
$host->kill('STOP');
ended($name, %OOM);
my $body = JSON::encode_json({ poolName => 'busy', namespace => 'team',
    wait => '0s', cacheKey => 'k' });
$asks->syswrite(join "\r\n", 'Host: localhost', 'Connection: close',
    'Content-Type: application/json', 'Content-Length: ' . length $body, '',
    $body);
$host->kill('CONT');
my $answer = '';
$t->wait_for(sub { IO::Select->new($asks)->can_read(0)
    && !sysread $asks, $answer, 65536, length $answer }, 60, 'his answer');
$a = JSON::decode_json($answer =~ s/.*?\r\n\r\n//sr);
is($a->{workerName}, $name, 'he gets it');
my $is;
$t->wait_for(sub { kubelet(); ($is = a($a)) =~ /^(?:starting|failed)/ }, 90,
    'its end');
like($is, qr/^starting $name/, 'lost as soon as he has it: he waits');
$uid = pod($name, $uid)->{metadata}{uid};
up($name);
sees(sub { a($a) }, "ready $name", 'for the next one');
sees(sub { finalizers($name) }, "@KEPT", 'which is kept');

# a change of the pool waits for him
edit('busy', buildkitImage => 'lab.local/buildkitd:2');
$t->wait_for(sub { my $o = object(pool => 'busy'); ($o->{status}
    {observedGeneration} // 0) == $o->{metadata}{generation} }, 90, 'it known');
my $b = gets('busy', cacheKey => 'k');
my $second = $b->{workerName};
is(pod($second)->{spec}{containers}[0]{image}, 'lab.local/buildkitd:2',
    'new ones are of the pool as it is now');
up($second);
sees(sub { a($b) }, "ready $second", 'another one');
$t->wait_for(sub { kubelet(); finalizers($second) eq "@KEPT" }, 90, 'it kept');
kept($b);
is(object(pod => $name)->{metadata}{uid}, $uid, 'the busy one is not replaced');
my $c = allocate('busy');
is($c->{state}, 'queued', 'no third one');
sees(sub { condition("queued-$c->{id}", 'Ready') },
    'False Queued: it waits for a worker', 'its object says that it waits');
is(release($c), 200, 'it gives up');
release($a);
sees(sub { (object(pod => $name) // {})->{spec}{containers}[0]{image} // '' },
    'lab.local/buildkitd:2', 'replaced as soon as it is free');
up($name);
sees(sub { w($name) }, "ready $ip{$name}:1234", 'it is ready');

# --- lost under somebody ----------------------------------------------------

grown($b);
$was = pod($second)->{metadata}{uid};
ended($second, %OOM);
sees(sub { a($b) }, "failed $second container buildkitd ended: exit code 137, "
    . 'OOMKilled', 'killed: the Pod\'s own words');
sees(sub { join ' ', map { $_->{id} eq $b->{id} ? $_->{reason} : () }
    @{object(worker => $second)->{spec}{ended} // []} },
    'container buildkitd ended: exit code 137, OOMKilled',
    'they are in the object, for gateways');
isnt(pod($second, $was)->{metadata}{uid}, $was, 'it is started again');
sees(sub { w($second) }, qr/^starting /, 'for who comes next');

$a = gets('busy', cacheKey => 'k');
$name = $a->{workerName};
is(a($a), "ready $name", 'one that is ready');
sees(sub { finalizers($name) }, "@KEPT", 'kept');
kept($a);
my $evicted = object(pod => $name)->{metadata}{uid};
my $first = $name;
grown($a);
status($name, { phase => 'Failed', reason => 'Evicted', message =>
    'The node was low on resource: ephemeral-storage.' });
sees(sub { a($a) }, qr/^failed $name its Pod: Evicted: The node was low/,
    'evicted: the node\'s words');

# its node is lost: nobody there ends what is deleted
$a = gets('busy', cacheKey => 'k');
$name = $a->{workerName};
pod($name, $first eq $name ? $evicted : $was);
up($name);
sees(sub { finalizers($name) . a($a) }, "@KEPT" . "ready $name", 'once more');
kept($a);
grown($a);
keep($name, @KEPT, 'example.com/test');
remove(pod => $name);
sees(sub { w($name) }, qr/^draining /, 'its Pod is deleted, and is there');
status($name, { conditions => [{ type => 'Ready', status => 'False' },
    { type => 'DisruptionTarget', status => 'True', reason =>
        'DeletionByTaintManager', message => 'deleting due to NoExecute' }] });
sees(sub { a($a) }, qr/^failed $name its Pod: DeletionByTaintManager: del/,
    'with its node: who was on it need not wait an hour');
sees(sub { finalizers($name) }, 'example.com/test', 'nobody keeps it');
like(w($name), qr/^failed its Pod: DeletionByTaintManager/,
    'nor gets it while it does not go');
keep($name);

# --- one that never gets ready ----------------------------------------------

pool('loop', scaling => { min => 1, max => 1 });
my $ends = 0;
sees(sub {
    my $o = object(pod => 'loop-0');
    if ($o && !$o->{metadata}{deletionTimestamp}
        && $o->{status}{phase} eq 'Pending')
    {
        ended('loop-0', %OOM);
        $ends++;
    }
    return w('loop-0');
}, qr/^failed .*OOMKilled/, 'it ends again and again: it has failed');
is($ends, 5, 'not at once');
sees(sub { said('loop-0') }, qr/^Failed container buildkitd ended: exit code/,
    'its object says why');
like(condition('loop-0', 'Ready'), qr/^False Failed: .*OOMKilled/,
    'and its condition');

# --- a cache ----------------------------------------------------------------

pool('warm', scaling => { min => 1, max => 2 }, cache => { backends => [
    { type => 'local', local => { size => '1Gi' } }] });
$pod = pod('warm-0');
my $claim = object(claim => 'cache-warm-0');
is($claim->{spec}{resources}{requests}{storage}, '1Gi', 'a claim');
ok((grep { ($_->{persistentVolumeClaim}{claimName} // '') eq 'cache-warm-0' }
    @{$pod->{spec}{volumes}}), 'which its Pod has');
up('warm-0');
$uid = $pod->{metadata}{uid};
remove(pod => 'warm-0');
pod('warm-0', $uid);
is(object(claim => 'cache-warm-0')->{metadata}{uid}, $claim->{metadata}{uid},
    'the next Pod has it again');

# --- what is not right ------------------------------------------------------

for my $case (
    ['127.0.0.1', undef, 'BadAddress', '127.0.0.1 is not the address',
        'loopback'],
    ['10.9.2.2', undef, 'BadAddress', '10.9.2.2 is the address',
        'the API server'],
    ['10.9.1.1', '10.9.1.1', 'HostNetwork', 'it is in its node', 'its node']
) {
    my ($ip, $node, $reason, $text, $name) = @$case;
    $uid = pod('warm-0')->{metadata}{uid};
    keep('warm-0', 'example.com/test');
    status('warm-0', { phase => 'Running', podIP => $ip, podIPs => [
        { ip => $ip }], $node ? (hostIP => $node, hostIPs => [
        { ip => $node }]) : (), conditions => [{ type => 'Ready',
        status => 'True' }] });
    sees(sub { condition('warm-0', 'Ready') }, qr/^False $reason: $text/,
        "a Pod at the address of $name: a condition says why");
    like(w('warm-0'), qr/^starting $text(?!\S*:1234)/, 'and there is no route');
    keep('warm-0');
    pod('warm-0', $uid);
}
edit('warm', scaling => { min => 0, max => 1, scaleDownDelay => '0s' });
sees(sub { there(pod => 'warm-0') . there(worker => 'warm-0') }, 'gonegone',
    'no Pod, no object');
is(there(claim => 'cache-warm-0'), 'there', 'its cache stays');

# objects that somebody else has made
for my $o (['warm-x', { name => 'warm' }], ['warm-0', { name => 'warm',
    namespace => 'other' }])
{
    good("make $o->[0]", sub { api(POST => "$API/buildkitworkers", {
        apiVersion => "$G/v1alpha1", kind => 'BuildKitWorker',
        metadata => { name => $o->[0] }, spec => { poolRef => $o->[1] } }) });
}
sees(sub { condition('warm-x', 'Accepted') }, qr/^False NotAWorker: .*warm-0/,
    'a BuildKitWorker that is no slot');
is(w('warm-x', 'warm'), 'none', 'is no worker');
sees(sub { condition('warm-0', 'Accepted') }, qr/^False BadPoolRef: .*other/,
    'one of another namespace\'s pool');
like(w('warm-0'), qr/^failed .*another namespace/, 'is in the way there');
remove(worker => 'warm-0');
sees(sub { w('warm-0') }, qr{^stopped}, 'until it is gone');

good('make demo-2', sub { api(POST => "$API/buildkitworkers", {
    apiVersion => "$G/v1alpha1", kind => 'BuildKitWorker', metadata => {
        name => 'demo-2' }, spec => { poolRef => { name => 'demo' },
        drained => { reason => 'disk' } } }) });
sees(sub { object(worker => 'demo-2')->{metadata}{ownerReferences}[0]{uid}
    // '' }, object(pool => 'demo')->{metadata}{uid},
    'a slot of nobody\'s goes with the pool from now on');
edit('demo', scaling => { min => 3 });
pod('demo-1');
is(there(pod => 'demo-2'), 'gone', 'one that is drained is not started');
sees(sub { w('demo-2') }, qr/^failed drained: disk/, 'and nobody gets it');
is($host->request(POST => '/api/v1/workers/demo-2/drain', { pool => 'team/demo',
    reason => 'by hand' })->{status}, 200, 'drained by API');
sees(sub { w('demo-2') }, qr/^stopped drained: /, 'it says so');
edit('demo', scaling => { min => 0 });

# a Pod of a worker's name
$kube->apply(<<"END");
apiVersion: v1
kind: Pod
metadata: {name: warm-0, namespace: team, labels: {$G/worker: warm-0,
  $G/purpose: worker, $G/pool: warm}}
spec:
  automountServiceAccountToken: false
  containers: [{name: x, image: none}]
END
sees(sub { w('warm-0') }, qr/^failed a Pod of its name is not its own/,
    'a Pod that is in the way');
edit('warm', scaling => { min => 1 });
sees(sub { condition('warm-0', 'Ready') }, qr/^False NotOurPod: /,
    'a condition says it');
ok(!object(pod => 'warm-0')->{metadata}{deletionTimestamp}, 'it is not ours');
remove(pod => 'warm-0');
sees(sub { w('warm-0') }, qr/^starting/, 'it is gone');

# --- addresses that somebody writes into a status ---------------------------

sub lie {
    my ($name, %status) = @_;
    return good("status of $name", sub { api(PATCH =>
        path('worker') . "/$name/status", { status => \%status }, $MERGE) });
}

pool('lied', scaling => { min => 1, max => 1 });
up('lied-0');
sees(sub { said('lied-0') }, 'Idle', 'a worker');
is(condition('lied-0', 'AddressRefused'), 'none', 'of which all is true');
$kube->apply(<<"END");
apiVersion: v1
kind: Pod
metadata: {name: theirs-0, namespace: other, labels: {$G/worker: theirs-0,
  $G/purpose: worker, $G/pool: theirs}}
spec:
  automountServiceAccountToken: false
  containers: [{name: x, image: none}]
END
$kube->must('patch', '-n', 'other', 'pod/theirs-0', '--subresource=status',
    '--type=merge', '-p', '{"status": {"phase": "Running", "podIP": '
    . '"10.9.7.7", "podIPs": [{"ip": "10.9.7.7"}]}}');
for my $case (
    ['podIP', '127.0.0.1', 'BadAddress', 'not the address of a Pod',
        'loopback'],
    ['endpoint', '10.9.2.2:1234', 'BadAddress', 'the address of the API server',
        'the API server'],
    ['podIP', '10.9.7.7', 'OthersAddress', 'the address of a Pod of another '
        . 'namespace;', 'another namespace\'s Pod'])
{
    my ($key, $address, $reason, $text, $what) = @$case;
    lie('lied-0', $key => $address);
    sees(sub { condition('lied-0', 'AddressRefused') },
        qr/^True $reason: status\.$key was "\Q$address\E": .*$text/,
        "a status with the address of $what: a condition says why");
    sees(sub { (object(worker => 'lied-0')->{status}{$key} // '')
        . ' ' . w('lied-0') }, $ip{'lied-0'} . ($key eq 'podIP' ? '' : ':1234')
        . " ready $ip{'lied-0'}:1234", 'and the worker is where it was');
}
lie('warm-x', podIP => '169.254.169.254');
sees(sub { condition('warm-x', 'AddressRefused') }, qr/^True BadAddress: .*169/,
    'one that is no worker as well');

# --- what a pool may not have ------------------------------------------------

edit('lied', security => { mode => 'privileged' }, podTemplate => { metadata =>
    { labels => { app => 'payments' }, annotations => {
    'iam.amazonaws.com/role' => 'admin', note => 'mine' } } });
sees(sub { condition('lied', 'Accepted', 'pool') }, qr/^False PrivilegedNotAll/,
    'a privileged pool, where none may be');
sees(sub { there(pod => 'lied-0') }, 'gone', 'the Pod that nobody has goes');
sees(sub { w('lied-0') }, qr/^starting pools of namespace team may not be priv/,
    'and no other comes');
edit('lied', security => { mode => 'rootless' });
$pod = pod('lied-0');
is(join(' ', map { $_ // '-' } $pod->{metadata}{labels}{app},
    @{$pod->{metadata}{annotations}}{'iam.amazonaws.com/role', 'note'}),
    '- - mine', 'labels and annotations: those that it may');
sees(sub { condition('lied', 'Accepted', 'pool') },
    qr{^True Accepted: .*annotations iam\.amazonaws\.com/role are left out.*lab},
    'the others are named');
remove(pool => 'lied');

# --- fewer of them ----------------------------------------------------------

pool('few', scaling => { min => 1, max => 2, scaleDownDelay => '1h' },
    cache => { backends => [{ type => 'local', local => { size => '1Gi' } }] });
sees(sub { w('few-1') }, 'stopped', 'two');
pod('few-0');
is(object(claim => 'cache-few-0')->{metadata}{labels}{"$G/trust"}, undef,
    'nobody has built on a new cache');
my @two = map { gets('few') } 1 .. 2;
up($_->{workerName}) for @two;
sees(sub { join ' ', map { (split / /, a($_))[0] } @two }, 'ready ready',
    'both are somebody\'s');
my ($one) = grep { $_->{workerName} eq 'few-1' } @two;
my ($zero) = grep { $_->{workerName} eq 'few-0' } @two;
sees(sub { join ' ', map { object(claim => "cache-few-$_")->{metadata}{labels}
    {"$G/trust"} // '' } 0, 1 }, 'trusted trusted',
    'the caches say whose builds they have seen');
edit('few', scaling => { max => 1 });
sees(sub { w('few-1') }, qr/^draining \S+ the pool has fewer workers by now/,
    'one too many: nobody new');
is(a($one), 'ready few-1', 'who is on it stays');
is(there(pod => 'few-1'), 'there', 'with his Pod');
release($one);
sees(sub { w('few-1') }, 'none', 'free, it is none any more');
sees(sub { there(pod => 'few-1') }, 'gone', 'nor is its Pod');
# its object says for a quarter of an hour how its allocation ended
remove(worker => 'few-1');
sees(sub { there(claim => 'cache-few-1') }, 'gone', 'nor its cache');
is(there(claim => 'cache-few-0'), 'there', 'the other one has its own');

# its BuildKitWorker is deleted: what others have read there is not true
$uid = object(pod => 'few-0')->{metadata}{uid};
remove(worker => 'few-0');
sees(sub { a($zero) }, qr/^failed few-0 its BuildKitWorker was deleted/,
    'its object is deleted: who was on it fails');
sees(sub { (object(worker => 'few-0') // {})->{spec}{trust} // '' }, 'trusted',
    'the next one knows whose builds its cache has seen');
pod('few-0', $uid);
$host->request(POST => '/api/v1/workers/few-0/drain', { pool => 'team/few',
    reason => 'disk' });
sees(sub { there(pod => 'few-0') }, 'gone', 'drained, it does not idle');

# --- somebody else's allocation ---------------------------------------------

pool('else', scaling => { min => 1, max => 1 });
up('else-0');
sees(sub { said('else-0') }, 'Idle', 'a free one');
good('give it away', sub {
    api(PATCH => "$API/buildkitworkers/else-0", { spec => {
    allocation => { token => 'T' x 86, jobId => 'j', allocatedAt =>
        '2027-01-01T00:00:00Z' } } }, $MERGE) });
sees(sub { w('else-0') }, qr/^draining \S+ an allocation that is not of this/,
    'another controller\'s allocation: nobody new');
is(allocate('else')->{state}, 'queued', 'whoever comes waits');
sees(sub { finalizers('else-0') }, "@KEPT", 'it is kept for him');
remove(pool => 'else');
sees(sub { there(pool => 'else') }, 'gone',
    'not its pool: nobody would say when he is done');
sees(sub { there(worker => 'else-0') . there(pod => 'else-0') }, 'gonegone',
    'what it had goes with it');

# --- nobody leads for a while -----------------------------------------------

pool('calm', scaling => { max => 2, scaleDownDelay => '1h' });
sees(sub { w('calm-1') }, 'stopped', 'two more');
@two = map { gets('calm') } 1 .. 2;
up($_->{workerName}) for @two;
for my $a (@two) {
    sees(sub { said($a->{workerName}) . finalizers($a->{workerName}) },
        "Allocated@KEPT", "$a->{workerName} is somebody's");
    kept($a);
}
grown($_) for @two;
$uid = object(pod => 'calm-1')->{metadata}{uid};
$host->kill('KILL');
status('calm-0', { phase => 'Failed', reason => 'NodeLost', message =>
    'node is gone' });
again();
my %of = map { $_->{workerName} => $_ } @two;
sees(sub { a($of{'calm-0'}) }, qr/^failed calm-0 its Pod: NodeLost: node is go/,
    'lost while nobody led: he hears why');
sees(sub { a($of{'calm-1'}) }, 'ready calm-1', 'the other one has not noticed');
is(w('calm-1'), "ready $ip{'calm-1'}:1234", 'as ever');
is(object(pod => 'calm-1')->{metadata}{uid}, $uid, 'on the same Pod');
$host->kill('KILL');
keep('calm-1');
api(DELETE => path('pod') . '/calm-1', { gracePeriodSeconds => 0 });
again();
sees(sub { a($of{'calm-1'}) }, 'failed calm-1 its Pod was deleted',
    'deleted while nobody led');

# --- a schedule -------------------------------------------------------------

sees(sub { join ' ', map { w("sleepy-$_") . there(pod => "sleepy-$_") } 0, 1 },
    'stoppedgone stoppedgone', 'it is to scale to zero each minute, and does');
my $awake = gets('sleepy');
up($awake->{workerName});
sees(sub { a($awake) }, "ready $awake->{workerName}", 'somebody wakes it');
sees(sub { there(pod => 'sleepy-' . ($awake->{workerName} =~ /0$/ ? 1 : 0)) },
    'there', 'and one is kept idle again');

# --- more than there is room for --------------------------------------------

# what another one takes may be had again, but for a cache
pool('stored', scaling => { min => 1, max => 1 }, cache => { backends => [
    { type => 'local', local => { size => '1Gi' } }] });
pod('stored-0');
$uid = object(claim => 'cache-stored-0')->{metadata}{uid};
edit('calm', scaling => { max => 100 });
sees(sub { condition('stored', 'ScalingReady', 'pool') },
    qr/^False TooManyWorkers: 0 of 1 workers/, 'an older pool has grown');
sees(sub { there(pod => 'stored-0') . there(worker => 'stored-0') },
    'gonegone', 'who is free goes');
is(w('stored-0'), 'none', 'and is none any more');
edit('calm', scaling => { max => 2 });
pod('stored-0');
sees(sub { condition('stored', 'ScalingReady', 'pool') }, qr/^True AsAsked/,
    'until there is room again');
is(object(claim => 'cache-stored-0')->{metadata}{uid}, $uid,
    'it has its cache again');

pool('hungry', scaling => { max => 100 });
my $room;
sees(sub { ($room) = condition('hungry', 'ScalingReady', 'pool') =~
    /^False TooManyWorkers: (\d+) of 100 workers: .*may have 100 in all/;
    defined $room && $room > 1 && $room < 100 ? 1 : 0 }, 1,
    'a pool gets so many as its namespace may have');
sees(sub { w('hungry-0') . w("hungry-$room") }, 'stoppednone', 'and no more');
edit('hungry', scaling => { max => 60 });
sees(sub { condition('hungry', 'ScalingReady', 'pool') },
    qr/^False TableFull: \d+ of its workers have no room/,
    'what the table has no room for is said, too');
like(condition('front', 'ScalingReady', 'pool'), qr/^True AsAsked: /,
    'an older one has what it had');
edit('hungry', scaling => { max => 1, scaleDownSchedule => '61 * * * *' });
sees(sub { condition('hungry', 'ScalingReady', 'pool') },
    qr/^False BadSchedule: scaleDownSchedule: .*no schedule/,
    'a schedule that is none');
sees(sub { w('hungry-0') . w('hungry-1') }, 'stoppednone', 'it goes on');
pool('eleventh', scaling => { min => 1, max => 1 });
sees(sub { condition('eleventh', 'Accepted', 'pool') },
    qr/^False TooManyPools: its namespace may have 10 pools/,
    'more pools than a namespace may have');
is(object(pool => 'eleventh')->{status}{phase}, 'Failed', 'it has failed');
is(w('eleventh-0') . there(pod => 'eleventh-0'), 'nonegone', 'and has nothing');
remove(pool => 'hungry');
sees(sub { w('eleventh-0') }, qr/^starting/, 'until there is room');
remove(pool => 'eleventh');

# --- the end of a pool ------------------------------------------------------

my $last = gets('busy');
$name = $last->{workerName};
up($name);
sees(sub { finalizers($name) }, "@KEPT", 'somebody is on one');
kept($last);
$t->wait_for(sub { a($last) eq "ready $name" }, 90, 'it to be ready');
sees(sub { join ' ', @{object(pool => 'busy')->{metadata}{finalizers} // []} },
    "@KEPT", 'so his pool is kept');
grown($last);
remove(pool => $_) for qw(warm loop busy);
sees(sub { w($name) }, qr/^draining $ip{$name}:1234/,
    'it is deleted: nobody new');
is(a($last), "ready $name", 'who is on it stays');
is(there(pod => $name) . there(pool => 'busy'), 'therethere',
    'and with him all of the pool');
my $free = $name eq 'busy-0' ? 'busy-1' : 'busy-0';
sees(sub { there(pod => $free) }, 'gone', 'but for what nobody has');
sees(sub { $kube->must('-n', 'team', 'get', 'events', '-o',
    'custom-columns=:.involvedObject.name,:.reason', '--no-headers') },
    qr/^busy +Draining$/m, 'an Event says what it waits for');
like($kube->must('-n', 'team', 'get', 'events', '-o',
    'custom-columns=:.reason,:.message', '--no-headers'),
    qr/^Draining .*such as \Q$name\E;/m, 'and for whom');
is(release($last), 200, 'he is done');
sees(sub { there(pool => 'busy') . there(pod => $name) }, 'gonegone',
    'then all of it goes');
sees(sub { there(worker => $name) }, 'gone', 'his worker, too');
sees(sub { join ' ', map { there(@$_) } [pod => 'warm-0'], [pod => 'loop-0'],
    [worker => 'warm-0'], [claim => 'cache-warm-0'] }, 'gone gone gone gone',
    'and whoever is not');
is(w('warm-0'), 'none', 'in the model, too');
