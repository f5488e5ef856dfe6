# The companion of a gateway with a real kube-apiserver: workers, their Pods and
# allocations become routes; the API server dies, this program dies; objects
# and Pods that must not be routed.  Pods' status is written by the test.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;
use Test::Buildkit::Kube qw(good);
use Time::HiRes qw(time);

plan tests => 95;

my $API = '/apis/buildkit.smrt-devops.net/v1alpha1';
my $MERGE = 'application/merge-patch+json';
my $LABEL = 'buildkit.smrt-devops.net';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $k8s = $t->root . '/k8s';
my (%uid, %since);

$kube->must('apply', '-k', "$k8s/base/crds");
$kube->must('apply', '-f', "$k8s/base/rbac/clusterrole-gateway.yaml");
for my $ns (qw(team other)) {
    $kube->must('create', 'namespace', $ns);
    $kube->must('-n', $ns, 'create', 'serviceaccount', $_)
        for qw(default buildkit-gateway);
    $kube->must('-n', $ns, 'create', 'rolebinding', 'buildkit-gateway',
        '--clusterrole=buildkit-gateway',
        '--serviceaccount=team:buildkit-gateway');
}
$kube->wait('condition=Established', 'crd', '--all');

# --- objects ---------------------------------------------------------------

sub make {
    my ($kind, $path, $name, $body) = @_;
    $body->{metadata}{name} = $name;
    my $made = good("make $name", sub { $kube->api(POST => $path, { %$body,
        apiVersion => $kind eq 'Pod' ? 'v1' : "$LABEL/v1alpha1",
        kind => $kind }) });
    return $made->{metadata}{uid};
}

sub pool {
    my ($name, $ns) = @_;
    return make(BuildKitPool => "$API/namespaces/" . ($ns // 'team')
        . '/buildkitpools', $name, { spec => {} });
}

# worker(NAME, SPEC, namespace)
sub worker {
    my ($name, $spec, $ns) = @_;
    $ns //= 'team';
    return $uid{"$ns/$name"} = make(BuildKitWorker =>
        "$API/namespaces/$ns/buildkitworkers", $name, { spec => {
        poolRef => { name => 'demo' }, %{$spec // {}} } });
}

sub edit {
    my ($name, $spec, $ns) = @_;
    $ns //= 'team';
    return good("edit $name", sub { $kube->api(PATCH =>
        "$API/namespaces/$ns/buildkitworkers/$name", { spec => $spec },
        $MERGE) });
}

sub phase {
    my ($name, $status) = @_;
    return good("phase $name", sub { $kube->api(PATCH =>
        "$API/namespaces/team/buildkitworkers/$name/status",
        { status => $status }, $MERGE) });
}

# one of WORKER; finalizer => 1, metadata => {}, spec => {}
sub pod {
    my ($name, $worker, %more) = @_;
    my $ns = $more{ns} // 'team';
    return make(Pod => "/api/v1/namespaces/$ns/pods", $name, {
        metadata => {
            labels => { "$LABEL/worker" => $worker, "$LABEL/purpose" =>
                'worker', "$LABEL/pool" => 'demo' },
            ownerReferences => [{ apiVersion => "$LABEL/v1alpha1",
                kind => 'BuildKitWorker', name => $worker, uid =>
                $more{owner} // $uid{"$ns/$worker"} // die,
                controller => JSON::true }],
            ($more{finalizer} ? (finalizers => ['example.com/test']) : ()),
            %{$more{metadata} // {}} },
        spec => { automountServiceAccountToken => JSON::false,
            containers => [{ name => 'buildkitd', image => 'none' }],
            %{$more{spec} // {}} } });
}

sub status {
    my ($name, $status, $ns) = @_;
    return good("status $name", sub { $kube->api(PATCH => '/api/v1/namespaces/'
        . ($ns // 'team') . "/pods/$name/status", { status => $status },
        $MERGE) });
}

sub up {
    my ($name, $ip, $ns) = @_;
    return status($name, { phase => 'Running', podIP => $ip,
        podIPs => [{ ip => $ip }],
        conditions => [{ type => 'Ready', status => 'True' }] }, $ns);
}

sub down {
    my ($name, %status) = @_;
    return status($name, { conditions => [{ type => 'Ready', status => 'False',
        reason => 'ContainersNotReady', message => 'probe failed' }],
        %status });
}

sub remove {
    my ($path) = @_;
    return good("delete $path", sub { $kube->api(DELETE => $path) });
}

sub remove_pod { remove("/api/v1/namespaces/team/pods/$_[0]") }

sub alloc {
    my ($token, %more) = @_;
    return { allocation => { tokenHash => $t->hash($token), id =>
        $t->id($token), allocatedAt => '2027-01-01T00:00:00Z', %more } };
}

sub ended {
    my ($token, $state, $reason) = @_;
    my @now = gmtime;
    my $at = sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $now[5] + 1900,
        $now[4] + 1, @now[3, 2, 1, 0];
    return { tokenHash => $t->hash($token), id => $t->id($token),
        state => $state, reason => $reason, at => $at };
}

# --- what the gateway sees --------------------------------------------------

our $host;

sub facts {
    my ($what, $key) = @_;
    return { map { ($_->{$key} => $_) }
        @{$host->request(GET => "/api/v1/$what")->{json} // []} };
}

# "STATE ENDPOINT: MESSAGE"
sub w {
    my ($name, $pool) = @_;
    my ($w) = grep { $_->{name} eq $name && $_->{pool} eq ($pool
        // 'team/demo') } @{$host->request(GET => '/api/v1/workers')->{json}};
    return 'none' if !$w;
    return join ' ', $w->{state}, grep { length } $w->{endpoint} // '',
        $w->{message} // '';
}

# "STATE WORKER: REASON"
sub a {
    my ($token) = @_;
    my $a = facts('allocations', 'id')->{$t->id($token)} // return 'none';
    return join ' ', $a->{state}, grep { length } $a->{worker} // '',
        $a->{reason} // '';
}

sub sees {
    my ($code, $want, $name) = @_;
    my $got;
    # an API server that was away is asked again after 30 s at the latest
    eval { $t->wait_for(sub { $got = $code->();
        ref $want ? $got =~ $want : $got eq $want }, 60, $name) };
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

# as the startupProbe of a companion asks
sub live {
    my $got = $t->run($t->build . '/bkctl', 'routes', '--live', '--table',
        $t->dir . '/main/buildkit.table');
    chomp $got->{err};
    return "$got->{rc} $got->{out}$got->{err}";
}

sub conf {
    my ($dir, $namespaces, $account) = @_;
    return <<"END";
state: %%DIR%%/$dir/state
table:
  path: "%%DIR%%/$dir/buildkit.table"
  allocations: 1000
  workers: 64
  pools: 16
api: {listen: ["unix:%%DIR%%/$dir/api.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics-$dir%%"]}
plugins:
  - name: kubernetes
    options:
      kubeconfig: "%%DIR%%/$account-buildkit-gateway.kubeconfig"
      namespaces: $namespaces
  - {name: metrics}
END
}

my %tok = map { $_ => $t->token } qw(a b c d e f g queued go twice one two old
    late other gone);

# --- at its start ----------------------------------------------------------

pool('demo');
pool('demo', 'other');
worker('demo-0', alloc($tok{a}, clientKeyHash => 'ab' x 32,
    expiresAt => '2037-01-01T00:00:00Z'));
worker('demo-1', alloc($tok{b}, state => 'starting'));
worker('demo-2');
worker('queued-' . $t->id($tok{queued}), alloc($tok{queued},
    state => 'queued'));
worker('demo-0', alloc($tok{other}), 'other');
pod('demo-0', 'demo-0');
up('demo-0', '10.1.0.1');
pod('demo-0', 'demo-0', ns => 'other');
up('demo-0', '10.2.0.1', 'other');

$kube->account_kubeconfig('team', 'buildkit-gateway');
kill STOP => $kube->pid('kube-apiserver');
$host = $t->host(conf('main', '[team, other]', 'team'));
like(live(), qr/^1 bkctl: the route table \S+ is building$/,
    'nginx does not begin before it knows anybody');
kill CONT => $kube->pid('kube-apiserver');
sees(sub { w('demo-0') }, 'ready 10.1.0.1:1234', 'a worker is its Pod');
$since{a} = time;
is(join(' ', map { $_->{tlsServerName} } grep { "$_->{pool}/$_->{name}" eq
    'team/demo/demo-0' } @{$host->request(GET => '/api/v1/workers')->{json}}),
    'demo-0.demo.team.workers.buildkit.internal', 'its name is its own');
# told of one after the other
sees(sub { a($tok{a}) }, 'ready demo-0', 'its allocation');
my $alloc = facts('allocations', 'id')->{$t->id($tok{a})};
ok($alloc->{keyBound}, 'is bound to a key');
is($alloc->{expiresAt}, '2037-01-01T00:00:00.000Z', 'has its end');
is($alloc->{pool}, 'team/demo', 'is of its pool');
sees(sub { w('demo-1') }, 'starting', 'one without a Pod that somebody has');
sees(sub { a($tok{b}) }, 'starting demo-1', 'who waits for it');
sees(sub { w('demo-2') }, 'stopped', 'one that nobody has');
sees(sub { a($tok{queued}) }, 'queued', 'who waits for any');
is(w('queued-' . $t->id($tok{queued})), 'none', 'is no worker');
sees(sub { a($tok{other}) }, 'ready demo-0', 'another namespace');
is(w('demo-0', 'other/demo'), 'ready 10.2.0.1:1234', 'has its own');

is($t->http('127.0.0.1:' . $t->port('metrics-main'), GET => '/connections')
    ->{body}, '{"workers":[]}', 'nobody is connected, as the controller hears');

# --- a Pod comes ------------------------------------------------------------

pod('demo-1', 'demo-1');
status('demo-1', { conditions => [{ type => 'PodScheduled', status => 'False',
    reason => 'Unschedulable', message => '0/1 nodes are available' }] });
sees(sub { w('demo-1') }, qr{^starting its Pod: Unschedulable: 0/1 nodes},
    'why it does not start');
up('demo-1', '10.1.0.2');
sees(sub { a($tok{b}) }, 'ready demo-1', 'a Pod is ready, so is who waited');
is(w('demo-1'), 'ready 10.1.0.2:1234', 'and it says nothing any more');

down('demo-1');
sees(sub { a($tok{b}) }, 'starting demo-1', 'not ready: nobody new');
like(w('demo-1'), qr/^starting 10\.1\.0\.2:1234 .*probe failed$/,
    'who is on it stays');
up('demo-1', '10.1.0.2');
sees(sub { a($tok{b}) }, 'ready demo-1', 'ready again');

# from the queue: the worker first
edit('demo-2', alloc($tok{queued}, state => 'starting'));
sees(sub { a($tok{queued}) }, 'starting demo-2', 'one gets a worker');
remove("$API/namespaces/team/buildkitworkers/queued-" . $t->id($tok{queued}));
pod('demo-2', 'demo-2');
up('demo-2', '10.1.0.3');
sees(sub { a($tok{queued}) }, 'ready demo-2', 'and its Pod');

# --- allocations end ---------------------------------------------------------

edit('demo-1', { %{alloc($tok{c})}, ended => [ended($tok{b}, 'revoked',
    'key leaked')] });
sees(sub { a($tok{c}) }, 'ready demo-1', 'the next one');
is(a($tok{b}), 'revoked demo-1 key leaked', 'the one before, and why');
edit('demo-1', { allocation => undef });
sees(sub { a($tok{c}) }, qr/^released demo-1/, 'one that nobody has any more');
is(w('demo-1'), 'ready 10.1.0.2:1234', 'and the worker is free');
edit('demo-1', { ended => [map { ended($tok{$_}, 'failed', 'lost') }
    qw(b old)] });
sees(sub { a($tok{old}) }, 'failed demo-1 lost', 'one that was never seen');
is(a($tok{b}), 'revoked demo-1 key leaked', 'the first end is the end');
worker('demo-3', { ended => [ended($tok{other}, 'revoked', 'mine')] });
sees(sub { $host->log =~ /demo-3 is not used: .*\(NotItsPool\)/ ? 1 : 0 }, 1,
    'another pool\'s allocation cannot be ended');
is(a($tok{other}), 'ready demo-0', 'and lives');

# of another controller
worker('demo-4', { allocation => { token => $tok{go}, jobId => 'j',
    allocatedAt => '2027-01-01T00:00:00Z' } });
pod('demo-4', 'demo-4');
up('demo-4', 'fd00::4');
sees(sub { a($tok{go}) }, 'ready demo-4', 'a token in an object');
is(w('demo-4'), 'ready [fd00::4]:1234', 'IPv6');
remove("$API/namespaces/team/buildkitworkers/demo-4");
sees(sub { a($tok{go}) }, qr/^released/, 'ends with its worker');
is(w('demo-4'), 'none', 'which is gone');

# --- drained ------------------------------------------------------------------

edit('demo-0', { drained => { reason => 'disk' } });
sees(sub { a($tok{a}) }, qr/^draining demo-0 .*disk$/, 'drained');
like(w('demo-0'), qr/^draining 10\.1\.0\.1:1234 .*disk$/, 'the worker says it');
edit('demo-0', { drained => undef });
sees(sub { a($tok{a}) }, 'ready demo-0', 'taken back');

# --- Pods go ------------------------------------------------------------------

# lost as soon as it had it: it was meant for the next one.  Soon is 2 s, which
# this machine may need for other things: at last it hears of both at once.
my $now = '';
for my $try (1 .. 8) {
    my @before = $try > 1 ? ended($tok{d}, 'failed', 'late') : ();
    $tok{d} = $t->token;
    $host->kill('STOP') if $try == 8;
    edit('demo-1', { %{alloc($tok{d})}, ended => \@before });
    $t->wait_for(sub { a($tok{d}) eq 'ready demo-1' }, 20, 'a Pod')
        if $try < 8;
    remove_pod('demo-1');
    $host->kill('CONT') if $try == 8;
    $t->wait_for(sub { ($now = a($tok{d})) =~ /^(?:starting|failed)/ }, 20,
        'no Pod');
    last if $now =~ /^starting/;
    pod('demo-1', 'demo-1');
    up('demo-1', '10.1.0.2');
}
is($now, 'starting demo-1', 'a Pod goes as soon as somebody has it: he waits');
is(w('demo-1'), 'starting', 'for another');
pod('demo-1-b', 'demo-1', finalizer => 1);
up('demo-1-b', '10.1.0.22');
sees(sub { a($tok{d}) }, 'ready demo-1', 'which comes');
$since{d} = time;

# a Pod that is being deleted is there for who is on it
$t->wait_for(sub { time - $since{d} > 2.5 }, 10, 'it to be old');
remove_pod('demo-1-b');
sees(sub { a($tok{d}) }, qr/^draining demo-1 .*being deleted/, 'it is deleted');
like(w('demo-1'), qr/^draining 10\.1\.0\.22:1234/, 'its builds go on');
good('finalizer', sub {
    $kube->api(PATCH => '/api/v1/namespaces/team/pods/demo-1-b',
    { metadata => { finalizers => undef } }, $MERGE) });
sees(sub { a($tok{d}) }, qr/^failed demo-1 .*being deleted/, 'it is gone');
like(w('demo-1'), qr/^stopped/, 'so its worker has no Pod');

status('demo-0', { phase => 'Failed', containerStatuses => [{ name =>
    'buildkitd', ready => JSON::false, restartCount => 0, image => '',
    imageID => '', state => { terminated => { exitCode => 137,
    reason => 'OOMKilled' } } }] });
sees(sub { a($tok{a}) }, qr/^failed demo-0 .*exit code 137, OOMKilled$/,
    'killed: who was on it knows why');
like(w('demo-0'), qr/^failed .*OOMKilled$/, 'and so does the worker');
edit('demo-0', { %{alloc($tok{e}, state => 'starting')}, ended =>
    [ended($tok{a}, 'failed', 'late')] });
sees(sub { a($tok{e}) }, 'starting demo-0', 'the next one waits');
like(a($tok{a}), qr/^failed demo-0 .*OOMKilled/, 'what was known first stays');
remove_pod('demo-0');
pod('demo-0', 'demo-0');
up('demo-0', '10.1.0.11');
sees(sub { a($tok{e}) }, 'ready demo-0', 'for the next Pod');

edit('demo-1', { %{alloc($tok{f}, state => 'starting')}, ended =>
    [ended($tok{d}, 'failed', 'deleted')] });
phase('demo-1', { phase => 'Failed', message => 'no image' });
sees(sub { a($tok{f}) }, qr/^failed demo-1 no image$/,
    'one that failed, says its controller');

# --- what must not be routed -----------------------------------------------

sub refused {
    my ($what, $pattern) = @_;
    sees(sub { my $n = () = $host->log =~ /$pattern/g; $n }, 1, $what);
    return;
}

worker('hostile-0', { poolRef => { name => 'demo', namespace => 'other' } });
refused('a pool of another namespace', 'hostile-0 is not used: .*BadPoolRef');
worker('twice-0', alloc($tok{twice}));
pod('twice-0', 'twice-0');
up('twice-0', '10.1.0.30');
sees(sub { a($tok{twice}) }, 'ready twice-0', 'a token');
worker('twice-1', alloc($tok{twice}));
refused('the same once more', 'twice-1 is not used: .*TokenTwice');
is(a($tok{twice}), 'ready twice-0', 'stays where it is');

worker('hostile-1', alloc($tok{one}));
pod('no-owner', 'hostile-1', metadata => { ownerReferences => undef });
up('no-owner', '10.1.0.31');
refused('a Pod of nobody', 'Pod team/no-owner is not used: .*NotOurPod');
pod('stranger', 'hostile-1', owner => '0' x 8 . '-0000-0000-0000-' . '0' x 12);
up('stranger', '10.1.0.32');
pod('elsewhere', 'demo-0', ns => 'other', owner => $uid{'team/hostile-1'});
up('elsewhere', '10.2.0.33', 'other');
pod('node', 'hostile-1', spec => { hostNetwork => JSON::true });
refused('a node\'s network', 'Pod team/node is not used: .*HostNetwork');
my $n = 0;
for my $ip (qw(127.0.0.1 169.254.169.254 ::1)) {
    pod('bad-' . ++$n, 'hostile-1');
    up("bad-$n", $ip);
    refused("$ip", "Pod team/bad-$n is not used: .*BadAddress");
}
is(w('hostile-1'), 'starting', 'none of them is the worker');
is(a($tok{one}), 'starting hostile-1', 'and nobody gets there');
pod('good', 'hostile-1');
up('good', '10.1.0.34');
sees(sub { w('hostile-1') }, 'ready 10.1.0.34:1234', 'its own Pod is');

my $metrics = $t->http('127.0.0.1:' . $t->port('metrics-main'),
    GET => '/metrics')->{body};
like($metrics, qr/kubernetes_refusals_total\{reason="BadAddress"\} 3$/m,
    'they are counted');
like($metrics, qr/kubernetes_watches_up\{kind="pods"\} 2$/m, 'all is watched');

# --- namespaces ---------------------------------------------------------------

{
    local $host = $t->host(conf('part', '[team, default]', 'team'),
        name => 'part');
    sees(sub { a($tok{g}) . a($tok{e}) }, 'noneready demo-0',
        'one that may not be read');
    sees(sub { $host->log }, qr/all first facts are in/,
        'holds up no other');
    sees(sub { $host->log }, qr/pods of namespace default: .*forbidden/i,
        'and is named');
    is(w('demo-0', 'other/demo'), 'none', 'one that is not served');
    is($host->stop, 0, 'the end of it');

    $kube->must('create', 'clusterrolebinding', 'buildkit-gateway',
        '--clusterrole=buildkit-gateway',
        '--serviceaccount=other:buildkit-gateway');
    $kube->account_kubeconfig('other', 'buildkit-gateway');
    $host = $t->host(conf('all', '["*"]', 'other'), name => 'all');
    sees(sub { a($tok{e}) . ', ' . a($tok{other}) },
        'ready demo-0, ready demo-0', 'all of them');
    # neither has it here from before: all gateways say the same
    sees(sub { a($tok{twice}) }, 'none', 'a token twice is nobody\'s');
    is($host->stop, 0, 'the end of it');
}

# --- the API server dies ---------------------------------------------------

# what the model says of when: a change is one
sub when {
    my $all = facts('allocations', 'id');
    return { map { $_ => "$all->{$_}{state} $all->{$_}{changedAt}" }
        grep { $all->{$_}{state} !~ /^(?:released|failed|revoked)$/ }
        keys %$all };
}

# and has forgotten what happened meanwhile
my $before = when();
$host->kill('STOP');
$kube->restart('kube-apiserver');
remove("$API/namespaces/team/buildkitworkers/twice-0");
worker('demo-5', alloc($tok{late}));
pod('demo-5', 'demo-5');
up('demo-5', '10.1.0.5');
$kube->compact;
$host->kill('CONT');
sees(sub { a($tok{late}) }, 'ready demo-5', 'forgotten: what is new is seen');
sees(sub { a($tok{twice}) }, qr/^failed .*its worker was deleted/,
    'what has gone is gone, and nobody else gets it');
my $after = when();
delete $before->{$t->id($tok{twice})};
delete $after->{$t->id($tok{late})};
is_deeply($after, $before, 'and nothing else has changed');
sees(sub { $t->http('127.0.0.1:' . $t->port('metrics-main'), GET => '/metrics')
    ->{body} }, qr/kubernetes_unchanged_total\{kind="pods"\} [1-9]/,
    'what is as it was is not read again');

# one that hangs: nobody here waits for it
$before = when();
my $api = $kube->pid('kube-apiserver');
kill STOP => $api;
is($host->request(GET => "/$_")->{status}, 200, "it hangs: $_")
    for qw(healthz readyz api/v1/pools);
is_deeply(when(), $before, 'and routes stay');
kill CONT => $api;

$before = when();
$kube->restart('kube-apiserver');
edit('demo-2', { %{alloc($tok{g})}, ended => [ended($tok{queued}, 'released',
    '')] });
sees(sub { a($tok{g}) }, 'ready demo-2', 'killed: a change is seen');
delete $before->{$t->id($tok{queued})};
$after = when();
delete $after->{$t->id($tok{g})};
is_deeply($after, $before, 'and nothing else has changed');

# --- and this program --------------------------------------------------------

down('good');
sees(sub { w('hostile-1') }, qr/^starting 10\.1\.0\.34:1234 /,
    'not ready, but it was');
$before = when();
$host->kill('KILL');
edit('demo-5', { allocation => undef, ended => [ended($tok{late}, 'revoked',
    'meanwhile')] });
kill STOP => $kube->pid('kube-apiserver');
$host->restart;
is($host->request(GET => '/readyz')->{status}, 503,
    'killed, and no API server: it does not know');
is(live(), '0 ', 'but nginx does');
kill CONT => $kube->pid('kube-apiserver');
sees(sub { a($tok{late}) }, 'revoked demo-5 meanwhile', 'killed: it knows');
$t->wait_for(sub { $host->log =~ /all first facts are in.*all first facts/s },
    20, 'the table to be live');
delete $before->{$t->id($tok{late})};
is_deeply(when(), $before, 'and has cut nobody');
like(w('hostile-1'), qr/^starting 10\.1\.0\.34:1234 /,
    'nor a Pod that is not ready');

remove("$API/namespaces/team/buildkitpools/demo");
sees(sub { a($tok{e}) }, qr/^failed .*its pool was removed/, 'no pool');
is(a($tok{other}), 'ready demo-0', 'but that of another namespace');

# more pools than there is room for; nobody tells of the rest again
sub many { return join ' ', sort map { $_->{name} =~ m{^team/(many-.*)} }
    @{$host->request(GET => '/api/v1/pools')->{json}} }
my @many = map { sprintf 'many-%02d', $_ } 0 .. 19;
pool($_) for @many;
sees(sub { $host->log }, qr/BuildKitPool team\/many-\d+ is not used: .*TableFull/,
    'no room for all pools');
my %in = map { $_ => 1 } split / /, many();
remove("$API/namespaces/team/buildkitpools/$_") for sort keys %in;
sees(\&many, join(' ', grep { !$in{$_} } @many), 'others have it when it is there');

my $log = $host->log;
is((grep { index($log, $_) >= 0 || index($log, $t->hash($_)) >= 0 }
    values %tok), 0, 'no token is in the log');
is($host->stop, 0, 'the end');
