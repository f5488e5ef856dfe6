# The controller's core with a real kube-apiserver: who leads, and the label of
# his Pod; writes, one after the other, that others interfere with, and the API
# server's death amid them; Events.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;

plan tests => 63;

my $GROUP = 'buildkit.smrt-devops.net';
my $LABEL = "$GROUP/leader";
my $NS = 'buildkit-system';
my $WORKERS = "/apis/$GROUP/v1alpha1/namespaces/team/buildkitworkers";
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');

$kube->must('apply', '-k', $t->root . '/k8s/base');
$kube->must('create', 'namespace', 'team');
$kube->wait('condition=Established', 'crd', '--all');
my $config = $kube->account_kubeconfig($NS, 'buildkit-controller');

sub sees {
    my ($code, $want, $name) = @_;
    my $got;
    eval { $t->wait_for(sub { $got = $code->();
        ref $want ? $got =~ $want : $got eq $want }, 60, $name) };
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

# --- who leads ---------------------------------------------------------------

$kube->apply(join "---\n", map { <<"END" } qw(one two old));
apiVersion: v1
kind: Pod
metadata: {name: $_, namespace: $NS, labels: {$LABEL: "true"}}
spec:
  automountServiceAccountToken: false
  serviceAccountName: buildkit-controller
  containers: [{name: controller, image: "c:1"}, {name: front, image: "f:1"}]
END

sub controller {
    my ($name, @more) = @_;
    my @args = grep { /^-/ } @more;
    my $namespaces = join ', ', $NS, grep { !/^-/ } @more;
    return $t->host(<<"END", name => $name, env => { POD_NAME => $name },
state: %%DIR%%/$name/state
table: {path: "%%DIR%%/$name/table", allocations: 1000, workers: 64, pools: 16}
reports: %%DIR%%/$name/reports
api: {listen: ["unix:%%DIR%%/$name/api.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics-$name%%"]}
plugins:
  - name: kubernetes
    options:
      role: controller
      kubeconfig: "$config"
      namespaces: [$namespaces]
      leaseDuration: 18s
      gatewayTemplate: "${\ $t->root}/k8s/base/gateway-config"
  - {name: allocator, options: {journal: store}}
  - {name: metrics}
END
        args => \@args);
}

sub labelled {
    my $list = $kube->get('pod', '-n', $NS, '-l', "$LABEL=true") // {};
    return join ' ', map { $_->{metadata}{name} } @{$list->{items} // []};
}

sub metric {
    my ($name, $what) = @_;
    my $all = $t->http('127.0.0.1:' . $t->port("metrics-$name"), GET =>
        '/metrics')->{body};
    return $all =~ /^\w*kubernetes_controller_$what (\S+)$/m ? $1 : 'none';
}

my $one = controller('one');
sees(\&labelled, 'one', 'the leader has the label, and nobody else');
is(metric('one', 'leads'), 1, 'its metrics say that it leads');
my $two = controller('two');
sees(sub { $two->log =~ /one_[0-9a-f]+ leads$/m ? 1 : 0 }, 1,
    'another knows who does');
is(metric('two', 'leads'), 0, 'and does not');

# paused, and it does not know
$one->kill('STOP');
sees(\&labelled, 'two', 'another one leads in its place');
sees(sub { metric('two', 'leads') }, 1, 'when it knows all');
$one->kill('CONT');
sees(sub { $one->alive ? 1 : 0 }, 0, 'the first one ends');
is($one->{proc}{status}, 1, 'so that it is started again');
like($one->log, qr{lost the Lease $NS/buildkit-controller}, 'and says why');
is(labelled(), 'two', 'the label stays where it is');

# all of a namespace is known, and then its Pods cannot be read again
my $ACCOUNT = "$NS:buildkit-controller";
$kube->must('create', 'namespace', 'nobodys');
$kube->must('-n', 'nobodys', 'create', 'rolebinding', 'all',
    '--clusterrole=buildkit-controller-pools', "--serviceaccount=$ACCOUNT");
my $rules = $kube->get('clusterrole', 'buildkit-controller-pools')->{rules};
sub may { return $kube->kubectl('auth', 'can-i', 'list', $_[0], '-n',
    'nobodys', "--as=system:serviceaccount:$ACCOUNT")->{rc} == 0 }
$one = controller('one', 'nobodys', '--again');
sees(sub { $one->log =~ /two_[0-9a-f]+ leads$/m ? 1 : 0 }, 1, 'it waits');
sees(sub { $one->log =~ /namespace nobodys: 0 pools/ ? 1 : 0 }, 1,
    'and knows what there is');
for my $rule (grep { grep { $_ eq 'pods' } @{$_->{resources}} } @$rules) {
    $rule->{verbs} = [grep { !/^(?:list|watch)\z/ } @{$rule->{verbs}}];
}
$kube->apply(JSON::encode_json({ apiVersion => 'rbac.authorization.k8s.io/v1',
    kind => 'Role', metadata => { name => 'most', namespace => 'nobodys' },
    rules => $rules }));
$kube->must('-n', 'nobodys', 'create', 'rolebinding', 'most', '--role=most',
    "--serviceaccount=$ACCOUNT");
$kube->must('-n', 'nobodys', 'delete', 'rolebinding', 'all');
# what a role says holds, or does not any more, some moments later
$t->wait_for(sub { !may('pods') && may("buildkitpools.$GROUP") }, 30,
    'the roles');
is($two->stop('TERM'), 0, 'the leader ends');
sees(\&labelled, 'one', 'and the other one leads');
sees(sub { $one->log }, qr/pods of namespace nobodys: .*forbidden/,
    'a namespace that it may not read does not keep it from that');
my ($lease) = grep { $_->{reason} eq 'Leading' && $_->{message} =~ /^two/ }
    @{$kube->get('events', '-n', $NS)->{items}};
is($lease->{involvedObject}{name}, 'buildkit-controller',
    'Events of the Lease tell of it');

# a gateway is made of the images that this Pod is made of
$kube->apply(join "---\n", map { <<"END" } 'nobodys', $NS);
apiVersion: $GROUP/v1alpha1
kind: BuildKitPool
metadata: {name: demo, namespace: $_}
spec: {}
END
sees(sub {
    my $made = $kube->get('deployment', 'demo-gateway', '-n', $NS) // {};
    my $pod = $made->{spec}{template}{spec} // {};
    return join ' ', sort map { "$_->{name}=$_->{image}" }
        @{$pod->{containers} // []}, @{$pod->{initContainers} // []};
}, 'companion=c:1 gateway=f:1', 'images of gateways');
ok(!$kube->get('deployment', 'demo-gateway', '-n', 'nobodys'),
    'by what may be old nothing is made');
$kube->must('-n', 'nobodys', 'create', 'rolebinding', 'all',
    '--clusterrole=buildkit-controller-pools', "--serviceaccount=$ACCOUNT");
sees(sub { $kube->get('deployment', 'demo-gateway', '-n', 'nobodys') ? 1 : 0 },
    1, 'but as soon as it is read');

# as its Deployment has it, who loses the Lease is not started again for that:
# here somebody takes it, and is not heard of any more
my $pid = $one->{proc}{pid};
$kube->must('-n', $NS, 'patch', 'lease', 'buildkit-controller', '--type=merge',
    '-p', '{"spec": {"holderIdentity": "nobody"}}');
my $anew = qr/lost the Lease .*: nobody leads now.*begins anew/s;
sees(sub { $one->log =~ /$anew.*\bstarts, pid $pid\b/s ? 1 : 0 }, 1,
    'the Lease is lost: the same process begins anew');
sees(sub { $one->log =~ /$anew.* leads, as one_/s ? 1 : 0 }, 1,
    '... and leads when it is its turn');
sees(\&labelled, 'one', '... with the label');
ok($one->alive, '... as that process');
is($one->stop('TERM'), 0, 'the end of the last');
is(labelled(), '', 'nobody leads');

# --- writes --------------------------------------------------------------------

$kube->must('-n', 'team', 'create', 'serviceaccount', 'writer');
$kube->must('-n', 'team', 'create', 'role', 'lease', '--verb=get,create,update',
    '--resource=leases.coordination.k8s.io');
$kube->must('-n', 'team', 'create', 'rolebinding', 'lease', '--role=lease',
    '--serviceaccount=team:writer');
$kube->must('-n', 'team', 'create', 'rolebinding', 'pools',
    '--clusterrole=buildkit-controller-pools', '--serviceaccount=team:writer');

my $kubeconfig = $kube->account_kubeconfig('team', 'writer');
sub ctl { $t->start_pipe($_[0], $t->tool('ctctl'), $kubeconfig, 'team', 300) }
sub send_to { my $c = shift; syswrite $c->{in}, join '', map { "$_\n" } @_ }

my $c = ctl('writer');
is($c->line(30), 'ready 1', 'a writer leads');
my $other = ctl('other');
is($other->ask('make w-9'), 'make w-9 503 NotLeader', 'another may not write');

is($c->ask('inc w-1'), 'inc w-1 404 NotFound', 'a patch of what is not there');
is($c->ask('drop w-1'), 'drop w-1 ok', 'and no end of it');
is($c->ask('make w-1'), 'make w-1 ok', 'made');
is($c->ask('make w-1'), 'make w-1 ok', 'it is there');
is($c->stats->{writes}, 1, 'so it was asked for once');
is($c->ask('bad w-2'), 'bad w-2 422 Invalid', 'the API server\'s refusal');
send_to($c, 'bad w-2', 'make w-2');
is($c->line, 'bad w-2 422 Invalid', 'asked for again');
is($c->line, 'make w-2 ok', 'what waits behind it');
is($c->ask('phase w-1 Idle'), 'phase w-1 ok', 'a status');
is($kube->get('buildkitworker', 'w-1', '-n', 'team')->{status}{phase}, 'Idle',
    'is there');

# another who believes to lead writes the same object
my $rival = $t->start_pipe('rival', $t->tool('ctctl'), $kube->kubeconfig,
    'team', 300, 'default');
is($rival->line(30), 'ready 1', 'two who lead');
my %got = (ok => 0);
# where one stands still the other is in nobody's way
for my $round (1 .. 20) {
    for (1 .. 100) {
        send_to($_, 'inc w-1') for $c, $rival;
    }
    for my $one ($c, $rival) {
        $got{$one->line(30) =~ /^inc w-1 (.*)/ ? $1 : 'what'}++ for 1 .. 100;
    }
    last if $c->stats->{conflicts} + $rival->stats->{conflicts} > 10;
}
is(join(' ', grep { !/^(?:ok|409 Conflict)$/ } keys %got), '',
    'each is told what became of its own');
is($kube->get('buildkitworker', 'w-1', '-n', 'team')
    ->{metadata}{annotations}{count}, $got{ok}, 'nothing of both was lost');
cmp_ok($c->stats->{conflicts} + $rival->stats->{conflicts}, '>', 10,
    'though they were in each other\'s way');
$rival->quit;

is($c->ask('map m one'), 'map m ok', 'applied');
my $writes = $c->stats->{writes};
is($c->ask('map m one'), 'map m ok', 'the same');
is($c->stats->{writes}, $writes, 'is not sent again');
is($c->ask('map m two'), 'map m ok', 'another');
is($kube->get('configmap', 'm', '-n', 'team')->{data}{v}, 'two', 'is');
$kube->must('-n', 'team', 'patch', 'configmap', 'm', '-p',
    '{"data": {"v": "mine"}}');
is($c->ask('read m'), 'read m mine', 'what is not watched is read');
is($c->ask('read none'), 'read none none', 'also where there is none');

# deleted, and made again under the same name
is($c->ask('drop w-2'), 'drop w-2 ok', 'deleted');
is($c->ask('value w-2'), 'value w-2 none', 'it is gone');
$kube->api(DELETE => "$WORKERS/w-1");
$kube->api(POST => $WORKERS, { apiVersion => "$GROUP/v1alpha1",
    kind => 'BuildKitWorker', metadata => { name => 'w-1' },
    spec => { poolRef => { name => 'demo' } } });
# it may hear of the one's end first
my $inc;
$t->wait_for(sub { ($inc = $c->ask('inc w-1')) ne 'inc w-1 404 NotFound' }, 20,
    'it to be known');
is($inc, 'inc w-1 ok', 'another one of that name');
sees(sub { $c->ask('value w-1') }, 'value w-1 1', 'begins anew');

# --- Events ----------------------------------------------------------------------

send_to($c, ('event w-1 Evicted its node was full') x 5,
    'event w-1 Evicted another reason');
sub events {
    return join ', ', sort map { "$_->{count} $_->{message}" }
        grep { $_->{reason} eq 'Evicted' }
        @{$kube->get('events', '-n', 'team')->{items}};
}
sees(\&events, '1 another reason, 5 its node was full',
    'Events are counted, not repeated');
my ($event) = grep { ($_->{reason} // '') eq 'Evicted' }
    @{$kube->get('events', '-n', 'team')->{items}};
is("$event->{type} $event->{involvedObject}{kind} "
    . $event->{involvedObject}{uid}, 'Warning BuildKitWorker '
    . $kube->get('buildkitworker', 'w-1', '-n', 'team')->{metadata}{uid},
    'of that object');

# --- the API server dies ---------------------------------------------------------

my @names = map { "x-$_" } 0 .. 19;
send_to($c, map { "make $_" } @names);
is(scalar(grep { $c->line(30) =~ / ok$/ } @names), 20, 'twenty more');
my (%ok, %not);
send_to($c, (map { "inc $_" } @names) x 40);
my $killed = 0;
for my $i (1 .. 800) {
    if ($i == 100) {
        $killed = $kube->pid('kube-apiserver');
        kill KILL => $killed;
    }
    my $line = $c->line(90);
    my ($name, $how) = $line =~ /^inc (\S+) (.*)/ or die $line;
    $how eq 'ok' ? $ok{$name}++ : $not{$name}++;
    $not{$how}++ if $how ne 'ok';
}
$kube->wait_api;
my ($less, $more, $total) = (0, 0, 0);
for my $name (@names) {
    my $count = $kube->get('buildkitworker', $name, '-n', 'team')
        ->{metadata}{annotations}{count} // 0;
    $total += $count;
    $less++ if $count < ($ok{$name} // 0);
    $more++ if $count > ($ok{$name} // 0) + ($not{$name} // 0);
}
is("$less $more", '0 0', 'what was said to be written is, and nothing twice');
cmp_ok($total, '>=', 100, 'many were');
diag(join ', ', "$total written", map { "$_: $not{$_}" } grep { /\d / } sort
    keys %not);
sees(sub { my ($line) = map { $c->ask("value $names[0]") } 1; $line },
    qr/^value x-0 \d+$/, 'it goes on');
is($c->ask('inc x-0', 60), 'inc x-0 ok', 'and writes');

is($c->ask('stop') . ', ' . $c->line(20), 'ready 0, stopped', 'its end');
# who waits for a Lease of that duration looks every 40 to 50 seconds
is($other->line(90), 'ready 1', 'the other one leads');
is($other->ask('value x-1'), 'value x-1 ' . $kube->get('buildkitworker', 'x-1',
    '-n', 'team')->{metadata}{annotations}{count}, 'and knows all');
is($other->ask('stop') . ', ' . $other->line(20), 'ready 0, stopped',
    'the end');
