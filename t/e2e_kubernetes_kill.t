# Everything is killed at random, in a real cluster, while several callers make
# a hundred allocations: a controller, the one that leads, companions, gateway
# Pods, kube-apiserver, etcd.  Nothing that was answered is lost, nobody comes
# to a wrong worker, and builds through a gateway that lives do not notice;
# nor that their certificates are renewed, that their worker or their gateway
# is deleted, or that their node is drained.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use List::Util qw(shuffle sum0);
use POSIX qw(strftime);
use Test::Buildkit;
use Time::HiRes qw(time);

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};
plan tests => 39;

my $G = 'buildkit.smrt-devops.net';
my $NS = 'buildkit-system';
my $API = "/api/v1/namespaces/$NS";
my $ENOUGH = 100;       # allocations
my $CALLERS = 3;
my $HAVE = 3;           # allocations of a caller at a time
my $CUT = 30;           # seconds until nginx, when it ends, cuts who is left
my @KILLS = ((qw(controller leader companion gateway apiserver etcd)) x 2);
my @BUILDS = qw(one two);

my $seed = srand($ENV{BK_SEED} || time ^ $$);
diag("BK_SEED=$seed");
my $t = Test::Buildkit->new;
my $images = $t->images;
my $kube = $t->kube(level => 'node');
$kube->archive("lab.local/$_:1", $images->{$_}) for qw(controller gateway);
my $buildkitd = $kube->rootless_image;
my $worker = $kube->worker_image;

# what the Pods said, where something failed
END {
    my $status = $?;
    if ($kube && ($status || !Test::More->builder->is_passing)) {
        diag($kube->kubectl('-n', $NS, 'get', 'pods,buildkitpools,'
            . 'buildkitworkers', '-o', 'wide')->{out});
        for my $pod (grep { !/many-/ } split ' ', $kube->kubectl('-n', $NS,
            'get', 'pods', '-o', 'name')->{out})
        {
            diag("--- $pod\n", map { my $r = $kube->kubectl('-n', $NS, 'logs',
                $pod, '--all-containers', '--prefix', '--tail=15', @$_);
                "$r->{out}$r->{err}" } [], ['-p']);
        }
    }
    $? = $status;
}

# --- a cluster with two pools ------------------------------------------------

system 'cp', '-r', $t->root . '/k8s', $t->dir . '/k8s';
my $base = $t->dir . '/k8s/base';
my $conf = $t->read("$base/controller/config/controller.yaml");
$conf =~ s{^(#access:\n(?:#.*\n)*?#\s*maxTtl:.*)}{$1 =~ s/^#//mgr}me
    && $conf =~ s/^  #(- \{name: oidc,)/  $1/m or die 'controller.yaml';
$t->write('test/controller.yaml', $conf);
my $nginx = $t->read("$base/gateway-config/nginx.conf");
$nginx =~ s/^(\s*\w+_shutdown_timeout +)\S+;/$1${CUT}s;/m or die 'nginx.conf';
$t->write('test/nginx.conf', $nginx);
$t->write('test/oidc.yaml', <<'END');
tokenReview:
  name: cluster
  server: https://10.123.2.1
  caFile: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
  tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
  audiences: [buildkit]
END
$t->write('test/kustomization.yaml', <<"END");
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../k8s/base]
images:
  - {name: buildkit-gateway/controller, newName: lab.local/controller, newTag: "1"}
  - {name: buildkit-gateway/gateway, newName: lab.local/gateway, newTag: "1"}
configMapGenerator:
  - {name: buildkit-controller-config, namespace: $NS, behavior: merge,
     files: [controller.yaml, oidc.yaml]}
  - {name: buildkit-gateway-config, namespace: $NS, behavior: merge,
     files: [nginx.conf]}
END
$kube->must('apply', '-k', "$base/crds");
$kube->wait('condition=Established', 'crd', '--all');
$kube->must('apply', '-k', $t->dir . '/test');
$kube->must('create', 'namespace', 'ci');
$kube->must('-n', 'ci', 'create', 'serviceaccount', 'runner');

# builds in one; the other's workers say their names, and share its gateway
$kube->apply(<<"END");
apiVersion: $G/v1alpha1
kind: BuildKitPool
metadata: {name: live, namespace: $NS}
spec:
  scaling: {min: 2, max: 2}
  gateway: {replicas: 2}
  buildkitImage: "$buildkitd"
---
apiVersion: $G/v1alpha1
kind: BuildKitPool
metadata: {name: many, namespace: $NS}
spec:
  scaling: {min: 3, max: 20}
  gateway: {poolRef: {name: live}}
  buildkitImage: "$worker"
  resources: {buildkit: {requests: {cpu: 1m, memory: 8Mi}}}
END
ok($kube->wait('jsonpath={.status.readyReplicas}=2', '-n', $NS,
    'deployment/buildkit-controller'), 'two controllers');
ok($kube->wait('condition=Ready', '-n', $NS, "buildkitpool/$_"), "pool $_")
    for qw(live many);
ok($kube->wait('jsonpath={.status.readyReplicas}=2', '-n', $NS,
    'deployment/live-gateway'), 'two Pods of the gateway');

# also where the API server is away: the last that it said
my %said;
sub pods {
    my ($label) = @_;
    my $list = eval { $kube->api(GET => "$API/pods?labelSelector="
        . $label =~ s{([/=])}{sprintf '%%%02X', ord $1}ger) };
    $said{$label} = $list->{items}
        if ref $list && ($list->{kind} // '') eq 'PodList';
    return @{$said{$label} // []};
}

sub uid         { $_[0]{metadata}{uid} }
sub controllers { pods('control-plane=buildkit-controller') }
sub gateways    { grep { !$_->{metadata}{deletionTimestamp}
    && $_->{status}{phase} eq 'Running' } pods("$G/purpose=gateway") }
sub worker_pod  { (pods("$G/worker=$_[0]"))[0] }

sub ready {
    return grep { grep { $_->{type} eq 'Ready' && $_->{status} eq 'True' }
        @{$_->{status}{conditions} // []} } @_;
}

my $survivor = (ready(gateways()))[0];
my $at = "$survivor->{status}{podIP}:1235";
my $service = $kube->get('service', 'live', '-n', $NS)->{spec}{clusterIP};
my $api = $kube->get('service', 'buildkit-controller-api', '-n', $NS)
    ->{spec}{clusterIP};
my $token = $kube->account_token('ci', 'runner', 'buildkit');
sub others { grep { uid($_) ne uid($survivor) } gateways() }

# --- builds ------------------------------------------------------------------

my (%build, %has);

sub bkctl {
    my (@args) = @_;
    return $kube->run({ timeout => 180, env => { NO_COLOR => 1, HOME =>
        $t->dir, BKCTL_ENDPOINT => "http://$api:8082", BKCTL_TOKEN => $token,
        BKCTL_POOL => "$NS/live" } }, $t->build . '/bkctl', @args);
}

sub buildctl {
    my ($name, $where, @args) = @_;
    my $dir = $t->dir . "/$name";
    my $a = JSON->new->decode($t->read("$dir/alloc.json"));
    return ($t->lab('buildctl'), '--addr', "tcp://$where", '--tlsservername',
        $a->{tlsServerName}, '--tlscacert', "$dir/ca.pem", '--tlscert',
        "$dir/cert.pem", '--tlskey', "$dir/key.pem", @args);
}

sub nap { 2_000_000_000 - $$ * 10 - $_[0] }

# the process of a build's RUN step that it waits for
sub sleeper {
    my ($i) = @_;
    for my $file (glob '/proc/[0-9]*/cmdline') {
        my $line = ($t->read($file) // '') =~ tr/\0/ /r;
        return ($file =~ /(\d+)/)[0]
            if $line eq "/bin/busybox sleep ${\ nap($i)} ";
    }
    return;
}

# how many lines a build has shown, one each half second, and none is missing
sub lines {
    my ($name) = @_;
    my @lines = ($t->read("$name.log") // '') =~ / line (\d+)$/mg;
    my ($gap) = grep { $lines[$_] != $_ + 1 } 0 .. $#lines;
    die "$name: after line $gap comes $lines[$gap]\n" if defined $gap;
    return scalar @lines;
}

sub more_lines {
    my ($more, $name) = @_;
    my $until = lines($name) + $more;
    $t->wait_for(sub { lines($name) >= $until
        || !$t->alive($build{$name}) }, 60 + 2 * $more, "lines of $name");
    return $t->alive($build{$name});
}

for my $i (0 .. $#BUILDS) {
    my $name = $BUILDS[$i];
    my $r = bkctl('allocate', '--out', $t->dir . "/$name");
    is($r->{rc}, 0, "an allocation for build $name") or diag($r->{err});
    $has{$name} = JSON->new->decode($t->read("$name/alloc.json"))->{workerName};
    my $context = $t->context("context-$name", <<"END");
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox sleep ${\ nap($i)} & i=0; while kill -0 \$! 2>/dev/null; do i=\$((i+1)); echo line \$i; /bin/busybox sleep 0.5; done; echo awake > /result"]
END
    $build{$name} = $kube->start($name, {}, buildctl($name, $at,
        $t->dockerfile_args($context, '--output',
            "type=tar,dest=${\ $t->dir}/$name.tar")));
}
for my $i (0 .. $#BUILDS) {
    my $name = $BUILDS[$i];
    $t->wait_for(sub { die "$name ended:\n" . $t->read("$name.log")
        if !$t->alive($build{$name}); lines($name) > 1 && sleeper($i) }, 90,
        "$name to be in the middle");
    my @all = $kube->pod_pids(uid(worker_pod($has{$name})), qr/^busybox$/);
    ok(scalar(grep { $_ == sleeper($i) } @all), "$name is in its worker's Pod")
        or diag("@all");
}

sub ended_builds { join ' ', grep { !$t->alive($build{$_}) } @BUILDS }

# the end of a build, which is a good one
sub ends {
    my ($i, $what) = @_;
    my $name = $BUILDS[$i];
    kill TERM => sleeper($i);
    $t->wait_for(sub { !$t->alive($build{$name}) }, 60, "$name to end");
    is($build{$name}{status}, 0, "$name: $what, and it ends well");
    my $log = $t->read("$name.log");
    unlike($log, qr/error|drain|gateway|reconnect|transport/i,
        "$name: and saw nothing") or diag($log);
    ok(-s $t->dir . "/$name.tar", "$name: what it made is there");
    return;
}

# --- callers -----------------------------------------------------------------

sub caller_conf {
    my ($name, @gateways) = @_;
    return $t->write("$name.json", JSON->new->encode({ name => $name,
        dir => $t->dir . "/$name", api => "$api:8082", token => $token,
        pool => "$NS/many", live => $HAVE, service => "$service:1235",
        survivor => $at, gateways => \@gateways, seed => int rand 1e9 }));
}

my @callers = map { $kube->start("caller$_", {}, $^X,
    $t->root . '/t/lib/kube_caller', caller_conf("caller$_")) } 1 .. $CALLERS;

sub answered {
    return sum0(map { scalar(() = ($t->read($_->{log}) // '')
        =~ /"what":"answered"/g) } @callers);
}

sub more_answers {
    my ($until, $after) = @_;
    return $t->wait_for(sub {
        my ($ended) = grep { !$t->alive($_) } @callers;
        die "$ended->{name} ended:\n" . $t->read($ended->{log}) if $ended;
        answered() >= $until }, 200, "allocations after $after");
}

# --- kills -------------------------------------------------------------------

my $PLUGIN_HOST = qr/^(?:buildkit-plugin|exe)/;     # exe: begun --again
my $GATEWAY = qr/^(?:buildkit-|exe|nginx)/;         # all of its containers
my %killed;
my %kill = (
    controller => sub { kill_in($PLUGIN_HOST, \&controllers) },
    leader => sub { kill_in($PLUGIN_HOST, \&leader) },
    # the survivor's is one of them
    companion => sub { kill_in($PLUGIN_HOST, $killed{companion} == 1
        ? sub { $survivor } : \&others) },
    gateway => sub { $killed{gateway} == 1 ? kill_in($GATEWAY, \&others)
        : impatiently(\&others) },
    apiserver => sub { kill_daemon('kube-apiserver') },
    etcd => sub { kill_daemon('etcd') },
);

# who has renewed the Lease lately
sub leader {
    my $lease = eval { $kube->api(GET => '/apis/coordination.k8s.io/v1/'
        . "namespaces/$NS/leases/buildkit-controller") } or return;
    my $spec = $lease->{spec} or return;
    my $lately = strftime('%Y-%m-%dT%H:%M:%S', gmtime(time - 4));
    return if ($spec->{renewTime} // '') lt $lately;
    my ($name) = split /_/, $spec->{holderIdentity} // '';
    return grep { $_->{metadata}{name} eq $name } controllers();
}

# in one of those Pods; it may be on its way back from the last time
sub kill_in {
    my ($like, $pods) = @_;
    my @pids;
    $t->wait_for(sub { my ($pod) = shuffle($pods->());
        @pids = $pod ? $kube->pod_pids(uid($pod), $like) : () }, 120,
        'somebody to kill');
    kill KILL => @pids;
    return;
}

sub kill_daemon {
    my ($name) = @_;
    kill KILL => $t->wait_for(sub { $kube->pid($name) }, 60, $name);
    return;
}

# as who does not want to wait for its end
sub impatiently {
    my ($pods) = @_;
    my $pod = $t->wait_for(sub { $kube->wait_api; (shuffle($pods->()))[0] },
        120, 'a Pod');
    $kube->must('-n', $NS, 'delete', 'pod', $pod->{metadata}{name},
        '--grace-period=0', '--force');
    return;
}

controllers();
more_answers($CALLERS, 'the start');
my $began = time;
my @done;
for my $what (shuffle @KILLS) {
    # some come before anybody has got over the one before
    more_answers(answered() + (rand() < 0.3 ? 0 : 1 + int rand 14),
        $done[-1] // 'the start');
    $killed{$what}++;
    diag(sprintf '%5.1f s, %3d answered: %s', time - $began, answered(),
        $what);
    $kill{$what}->();
    push @done, $what;
    last if ended_builds() ne '';
}
more_answers(answered() + 2 * $CALLERS, 'the last');
more_answers($ENOUGH, 'all');
diag(sprintf '%5.1f s, %3d answered', time - $began, answered());
is(ended_builds(), '', 'all builds go on');
is(scalar @done, scalar @KILLS, 'all of it was killed, twice');

# --- what is there then ------------------------------------------------------

$kube->wait_api;
my @gateways = $t->wait_for(sub { my @pods = ready(gateways());
    @pods == 2 ? \@pods : 0 }, 120, 'both gateways')->@*;
is(scalar(grep { uid($_) eq uid($survivor) } @gateways), 1,
    'one of the gateways has lived');
caller_conf($_->{name}, map { "$_->{status}{podIP}:1235" } @gateways)
    for @callers;
kill TERM => $_->{pid} for @callers;
$t->wait_for(sub { !grep { $t->alive($_) } @callers }, 400,
    'the callers to end');
is(join(' ', map { $_->{status} } @callers), join(' ', (0) x $CALLERS),
    'the callers ended well') or diag(map { $t->read($_->{log}) } @callers);

my @events = map { JSON->new->decode($_) } grep { /^\{.*\}$/ }
    map { split /\n/, $t->read($_->{log}) } @callers;
my (%count, %why);
for (@events) {
    $count{$_->{what}}++;
    $why{"$_->{what}: $_->{why}"}++ if $_->{what} =~ /^(?:missed|again)$/;
}
diag(join ', ', map { "$_: $count{$_}" } sort keys %count);
diag("$why{$_} $_") for sort keys %why;

# What is wrong with what the callers have seen.
sub judge {
    my (@wrong, %has);
    for my $e (sort { $a->{at} <=> $b->{at} } @_) {
        my ($what, $is) = ($e->{what}, $e->{worker});
        push @wrong, "$e->{id}: $what: " . ($e->{why} // $e->{got} // '')
            if $what eq 'lost' || $what eq 'broken';
        push @wrong, "$e->{id} is on $e->{allocated}, and was at $is"
            if $what eq 'reached' && $is ne $e->{allocated};
        push @wrong, "$e->{id} is over, and $is answers"
            if $what eq 'over' && defined $is;

        # whose a worker is
        my $has = \$has{$e->{allocated} // ''};
        push @wrong, "$e->{allocated} is $$has\'s, and $e->{id}\'s"
            if $what eq 'answered' && defined $$has;
        $$has = $e->{id} if $what eq 'answered';
        undef $$has if $what eq 'release' && ($$has // '') eq $e->{id};
    }
    return @wrong;
}

cmp_ok($count{answered}, '>=', $ENOUGH, "$ENOUGH allocations and more");
my @wrong = judge(@events);
is(scalar @wrong, 0, 'nothing is lost, and nobody was at a wrong worker')
    or diag(join "\n", @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]);
cmp_ok($count{echo}, '>', $ENOUGH / 4,
    'connections through the gateway that lives went on');
is(scalar(grep { $_->{what} eq 'over' && $_->{why} =~ /was released/ }
    @events), $count{over}, 'what was released is refused')
    or diag(explain([grep { $_->{what} eq 'over' } @events]));

my %kept = map { $_->{id} => $_->{worker} }
    grep { $_->{what} eq 'kept' && $_->{state} eq 'ready' } @events;
is(scalar(keys %kept), $count{kept}, 'all that the callers have is ready');
my %ways = map { ("$_->{id} $_->{way}" => 1) } grep { $_->{what} eq 'reached'
    && exists $kept{$_->{id}} && $_->{way} =~ /:/ } @events;
is(scalar keys %ways, 2 * keys %kept, '... and reached through both gateways');
my %is = map { $_->{spec}{allocation}{id} => $_->{metadata}{name} }
    grep { $_->{spec}{allocation} && $_->{spec}{poolRef}{name} eq 'many' }
    @{$kube->get('buildkitworkers', '-n', $NS)->{items}};
is_deeply(\%is, \%kept, 'and the objects have that, and nothing else');

# The checker finds what it must find.
is(scalar(judge(map { { at => $_->[0], what => $_->[1], id => $_->[2],
    allocated => $_->[3], worker => $_->[4] } } [1, 'answered', 'a', 'w1'],
    [2, 'answered', 'b', 'w1'], [3, 'reached', 'b', 'w1', 'w2'],
    [4, 'broken', 'a', 'w1'], [5, 'over', 'a', 'w1', 'w1'])), 4,
    'it would have been found');

# --- what is done on purpose -------------------------------------------------

# what the gateway shows to who comes
sub certificate {
    my $r = $kube->run('openssl', 's_client', '-connect', $at);
    return $r->{out} =~ /(-----BEGIN CERTIFICATE-----.*?-----END)/s ? $1 : '';
}

my $name = $survivor->{metadata}{name};
my $was = certificate();
my @secrets = qw(live-tls live-client-certs);
my %old = map { $_ => uid($kube->get('secret', $_, '-n', $NS)) } @secrets;
$kube->must('-n', $NS, 'delete', 'secret', @secrets);
$kube->must('-n', $NS, 'annotate', 'buildkitpool', 'live', 'test/look=now');
$t->wait_for(sub { !grep { my $s = $kube->api(GET => "$API/secrets/$_");
    !$s->{data} || uid($s) eq $old{$_} } @secrets }, 60, 'new certificates');
# so that the kubelet looks at its volumes now, and not within a minute
$kube->must('-n', $NS, 'annotate', 'pod', $name, 'test/look=now');
ok($t->wait_for(sub { my $is = certificate(); $is ne '' && $is ne $was }, 240,
    'the other certificate'), 'the gateway has new certificates');
my %from = map { $_ => lines($_) } @BUILDS;

# both workers in the meantime
my %pod = map { $_ => uid(worker_pod($has{$_})) } @BUILDS;
$kube->must('-n', $NS, 'delete', 'pod', $has{one}, '--wait=false');
my $r = $kube->kubectl('drain', 'lab', '--force', '--delete-emptydir-data',
    '--pod-selector', "$G/worker=$has{two}", '--timeout=30s');
isnt($r->{rc}, 0, 'a node with a build is not drained');
like($r->{err}, qr/disruption budget/, '... for that reason');
$kube->must('uncordon', 'lab');

# nginx has read its files again: who was there has no time limit
for my $build (@BUILDS) {
    ok(more_lines(2 * $CUT + 10 - (lines($build) - $from{$build}), $build),
        "$build: goes on, longer than nginx would wait at its end");
}
ends(0, 'its worker was deleted');
is(bkctl('release', $t->dir . '/one/alloc.json')->{rc}, 0, 'released');
ok($t->wait_for(sub { !grep { uid($_) eq $pod{one} }
    pods("$G/worker=$has{one}") }, 90, 'the end of that Pod'),
    'its worker goes then');

unlike($kube->must('-n', $NS, 'logs', $name, '-c', 'gateway'),
    qr/\[(?:alert|emerg)\]/, 'nginx has seen nothing bad');
$kube->must('-n', $NS, 'delete', 'pod', $name, '--wait=false');
$t->wait_for(sub { $kube->run('bash', '-c', 'exec 3<>/dev/tcp/'
    . $at =~ tr{:}{/}r)->{rc} != 0 }, 60, 'a gateway that takes nobody');
ok(more_lines(4, 'two'), 'two: goes on');
ends(1, 'its gateway was deleted');
ok($t->wait_for(sub { !grep { uid($_) eq uid($survivor) }
    pods("$G/purpose=gateway") }, 90, 'the end of the gateway'),
    'the gateway goes then');
$r = $kube->run({ timeout => 90 }, buildctl('two', "$service:1235", 'debug',
    'workers'));
is($r->{rc}, 0, 'another one serves who comes') or diag($r->{err});
is(uid(worker_pod($has{two})), $pod{two}, 'and the worker is who it was');
is(bkctl('release', $t->dir . '/two/alloc.json')->{rc}, 0, 'released');
