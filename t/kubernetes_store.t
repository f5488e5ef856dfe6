# The allocator with its journal in BuildKitWorkers, and a real kube-apiserver:
# what is kept where, others who write the same objects, a killed controller,
# two of them, an API server that is restarted.  No kubelet: Pods' status is
# written by the test.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Allocator qw(ask answers);
use IO::Select;
use JSON ();
use MIME::Base64 qw(encode_base64);
use Test::Buildkit;
use Test::Buildkit::Kube qw(good);
use Time::HiRes qw(time);

plan tests => 105;

my $G = 'buildkit.smrt-devops.net';
my $API = "/apis/$G/v1alpha1/namespaces/team";
my $MERGE = 'application/merge-patch+json';
my $WORKERS = '/api/v1/workers';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my (%tokens, $address);

$kube->must('apply', '-k', $t->root . '/k8s/base');
$kube->must('create', 'namespace', 'team');
$kube->must('-n', 'team', 'create', 'serviceaccount', 'default');
$kube->must('-n', 'team', 'create', 'rolebinding', 'pools',
    '--clusterrole=buildkit-controller-pools',
    '--serviceaccount=buildkit-system:buildkit-controller');
$kube->wait('condition=Established', 'crd', '--all');
my $config = $kube->account_kubeconfig('buildkit-system',
    'buildkit-controller');

# --- helpers ----------------------------------------------------------------

sub pool {
    my ($name, $max) = @_;
    return good("pool $name", sub { $kube->api(POST => "$API/buildkitpools", {
        apiVersion => "$G/v1alpha1", kind => 'BuildKitPool',
        metadata => { name => $name }, spec => {
            gateway => { enabled => JSON::false },
            scaling => { min => 0, max => $max } } }) });
}

# the object, or undef
sub object {
    my ($name) = @_;
    my $o = $kube->api(GET => "$API/buildkitworkers/$name");
    return ref $o && $o->{kind} eq 'BuildKitWorker' ? $o : undef;
}

sub spec { my $o = object(@_); return $o ? $o->{spec} : {} }
sub names {
    return join ' ', sort map { $_->{metadata}{name} }
        @{$kube->api(GET => "$API/buildkitworkers")->{items}};
}

sub edit {
    my ($name, $patch) = @_;
    return good("edit $name", sub { $kube->api(PATCH =>
        "$API/buildkitworkers/$name", $patch, $MERGE) });
}

sub remove {
    my ($name) = @_;
    return good("delete $name", sub {
        $kube->api(DELETE => "$API/buildkitworkers/$name") });
}

# what of it is over: "STATE REASON"
sub ended {
    my ($name, $a) = @_;
    my ($e) = grep { $_->{id} eq $a->{id} } @{spec($name)->{ended} // []};
    return $e ? "$e->{state} " . ($e->{reason} // '') : 'none';
}

# its Pod is ready, as a kubelet says it
sub up {
    my ($name) = @_;
    my $path = "/api/v1/namespaces/team/pods/$name";
    $t->wait_for(sub { $kube->api(GET => $path)->{kind} eq 'Pod' }, 30,
        "Pod $name");
    my $ip = '10.9.0.' . ++$address;
    good("status of $name", sub {
        $kube->api(PATCH => "$path/status", { status => {
        phase => 'Running', podIP => $ip, podIPs => [{ ip => $ip }],
        conditions => [{ type => 'Ready', status => 'True' }] } }, $MERGE) });
    return;
}

sub sees {
    my ($code, $want, $name, $seconds) = @_;
    my $got;
    eval { $t->wait_for(sub { $got = $code->();
        ref $want ? $got =~ $want : $got eq $want }, $seconds // 60, $name) };
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

# controller(NAME, lease): of its own folder, with the Pod's name NAME
sub controller {
    my ($name, $lease) = @_;
    return $t->host(<<"END", name => $name, env => { POD_NAME => $name },
state: %%DIR%%/$name/state
table:
  path: "%%DIR%%/$name/buildkit.table"
  allocations: 1000
  workers: 64
  pools: 16
reports: %%DIR%%/$name/reports
api: {listen: ["unix:%%DIR%%/$name/api.sock", "127.0.0.1:%%PORT:$name%%"]}
log: {level: debug, format: text}
access:
  rules:
    - {name: forks, match: [{claim: fork, values: ["yes"]}], untrusted: true}
    - {name: all, sources: [unix, who]}
plugins:
  - {name: who}
  - name: kubernetes
    options:
      role: controller
      kubeconfig: "$config"
      namespaces: [team]
      leaseDuration: $lease
  - {name: allocator, options: {journal: store}}
END
        program => Access::program($t));
}

# what the companion of a gateway makes of the objects: "STATE WORKER REASON"
my $gateway = $t->host(<<"END", name => 'gateway');
state: %%DIR%%/gateway/state
table:
  path: "%%DIR%%/gateway/buildkit.table"
  allocations: 1000
  workers: 64
  pools: 16
reports: %%DIR%%/gateway/reports
api: {listen: ["unix:%%DIR%%/gateway/api.sock"]}
plugins:
  - {name: kubernetes, options: {kubeconfig: "$config", namespaces: [team]}}
END

sub route {
    my ($a) = @_;
    my ($is) = grep { $_->{id} eq $a->{id} }
        @{$gateway->request(GET => '/api/v1/allocations')->{json} // []};
    return $is ? join ' ', $is->{state}, grep { length } $is->{worker} // '',
        $is->{reason} // '' : 'none';
}

my ($one, $two);

sub allocate_ {
    my ($h, %body) = @_;
    my $r = $h->request(POST => "$WORKERS/allocate", { poolName => 'demo',
        namespace => 'team', wait => '0', %body });
    $tokens{$r->{json}{token}} = 1 if $r->{json}{token};
    return $r;
}

sub allocate {
    my $r = allocate_(@_);
    die "allocate: $r->{status} $r->{body}" if $r->{status} != 200;
    return $r->{json};
}

sub token_ {
    my ($what, $h, $a, %more) = @_;
    return $h->request(POST => "$WORKERS/$what",
        { token => $a->{token}, %more });
}

sub lookup { token_('lookup', @_) }
sub release { token_('release', @_)->{status} }
sub renew { token_('renew', @_) }
sub state_ {
    my ($h, $a) = @_;
    my $r = lookup($h, $a);
    return $r->{status} == 200 ? "$r->{json}{state} "
        . ($r->{json}{workerName} // '') : $r->{status} == 410
        ? "over: $r->{json}{error}" : $r->{status};
}

sub ready {
    my ($h) = @_;
    return $t->wait_for(sub { $h->request(GET => '/readyz')->{status} == 200 },
        90, 'a controller to be ready');
}

# --- what is kept ------------------------------------------------------------

pool('demo', 2);
# longer than the API server is away below
$one = controller('one', '60s');
ready($one);

my $a = allocate($one, jobId => 'j1', cacheKey => 'octo/app', idempotencyKey =>
    'k1', ttl => '30m', metadata => { ref => 'main', n => '1' });
is($a->{state}, 'starting', 'allocated; its worker is started');
my $w = $a->{workerName};
my $is = spec($w)->{allocation};
is($is->{tokenHash}, $t->hash($a->{token}), 'its object has the hash');
is("$is->{id} $is->{state} $is->{jobId}", "$a->{id} ready j1",
    '... id, state and job');
is_deeply($is->{metadata}, { ref => 'main', n => '1' }, '... metadata');
is("$is->{ttl} $is->{cacheKey} $is->{idempotencyKey} $is->{rule}",
    '1800000ms octo/app k1 operators', '... what only the allocator knows');
like($is->{allocatedAt}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
    '... since when, in milliseconds');
like($is->{clientKeyHash}, qr/^[0-9a-f]{64}$/, '... its key');
ok($is->{answered}, '... that somebody has it');
like($is->{requestedBy}, qr/^unix:/, '... whose it is');
is(spec($w)->{trust}, 'trusted', 'and whose its worker is');
up($w);
sees(sub { state_($one, $a) }, "ready $w", 'its Pod is ready, so it is');

sees(sub { route($a) }, "ready $w", '... and routed by every gateway');

my $until = $is->{expiresAt};
is(renew($one, $a, ttl => '2h')->{status}, 200, 'renewed');
cmp_ok(spec($w)->{allocation}{expiresAt}, 'gt', $until, '... there, too');

# --- the queue ---------------------------------------------------------------

my $b = allocate($one);
isnt($b->{workerName}, $w, 'a second one has the other worker');
my $c = allocate($one);
is($c->{state}, 'queued', 'a third one waits');
is(spec("queued-$c->{id}")->{allocation}{state}, 'queued',
    'in an object of its own');
is($kube->api(GET => "/api/v1/namespaces/team/pods/queued-$c->{id}")->{code},
    404, '... without Pod');
sees(sub { route($c) }, 'queued', '... and held by every gateway');
is(release($one, $b), 200, 'the second one is released');
like(ended($b->{workerName}, $b), qr/^released/, 'its end is kept');
sees(sub { state_($one, $c) }, qr/^\w+ $b->{workerName}$/,
    'the third one gets that worker');
sees(sub { spec($b->{workerName})->{allocation}{id} // '' }, $c->{id},
    '... in its object');
sees(\&names, 'demo-0 demo-1', 'and nothing is left of the queue');
sees(sub { route($c) }, "starting $b->{workerName}", 'gateways know');
sees(sub { route($b) }, qr/^released $b->{workerName}/, '... both');
my $d = allocate($one, idempotencyKey => 'k2');
is($d->{state}, 'queued', 'another one waits');
my $e = allocate($one);
is(release($one, $e), 200, 'one that waits is released');
sees(\&names, "demo-0 demo-1 queued-$d->{id}", '... and leaves nothing');

# --- others write the same objects -------------------------------------------

my $v = $b->{workerName};
for my $n (1 .. 3) {
    edit($v, { metadata => { labels => { "example.com/n$n" => 'x' } } });
    is(renew($one, $c, ttl => '1h' . $n . 'm')->{status}, 200,
        "renewed amid others' writes: $n");
}
up($v);
sees(sub { state_($one, $c) }, "ready $v", 'ready');

edit($v, { spec => { allocation => { expiresAt => '2036-01-01T00:00:00Z' } } });
sees(sub { lookup($one, $c)->{json}{expiresAt} }, qr/^2036-01-01T00:00:00/,
    'somebody else extends it: so it is');
edit($v, { spec => { allocation => undef, ended => [{ tokenHash =>
    $t->hash($c->{token}), id => $c->{id}, state => 'revoked', reason =>
    'by hand', at => '2036-01-01T00:00:00Z' }] } });
sees(sub { state_($one, $c) }, qr/^over.*by hand/,
    'somebody else revokes it: so it is');
sees(sub { state_($one, $d) }, qr/^\w+ $v$/, 'and who waits gets its worker');

remove($v);
sees(sub { state_($one, $d) }, qr/^over.*its BuildKitWorker was deleted/,
    'the object is deleted: over');
my $f = allocate($one);
is(spec($v)->{allocation}{id}, $f->{id}, 'the next one makes it again');
is(spec($v)->{trust}, 'trusted', '... with whose it is');
is($one->request(DELETE => "/api/v1/allocations/$f->{id}?reason=leaked")
    ->{status}, 200, 'revoked');
like(ended($v, $f), qr/^revoked leaked/, '... there, too');
sees(sub { route($f) }, qr/^revoked $v leaked/, '... and by every gateway');
is($one->request(POST => "$WORKERS/$v/drain", { poolName => 'demo',
    namespace => 'team', reason => 'disk' })->{status}, 200, 'drained');
is(spec($v)->{drained}{reason}, 'disk', '... there, too');
$f = allocate($one);
is($f->{state}, 'queued', 'and not given');

# --- the end of time ---------------------------------------------------------

my $g = allocate($one, ttl => '1s');
is($g->{state}, 'queued', 'one of a second waits');
is(release($one, $f), 200, 'the one before it goes');
is($one->request(POST => "$WORKERS/$v/drain", { poolName => 'demo',
    namespace => 'team', undo => JSON::true })->{status}, 200, 'taken back');
ok(!spec($v)->{drained}, '... there, too');
sees(sub { ended($v, $g) }, qr/^expired/, 'it expires on its worker');

# --- somebody else's ---------------------------------------------------------

pool('mine', 1);
my $token = $t->token;
$tokens{$token} = 0;
good('foreign', sub { $kube->api(POST => "$API/buildkitworkers", {
    apiVersion => "$G/v1alpha1", kind => 'BuildKitWorker',
    metadata => { name => 'mine-0' }, spec => { poolRef => { name => 'mine' },
        allocation => { token => $token, allocatedAt =>
            '2026-01-01T00:00:00Z' } } }) });
sees(sub { $_ = allocate_($one, poolName => 'mine')->{json};
    release($one, $_) if $_->{token};
    join ' ', $_->{state} // $_->{reason} }, qr/^(NoWorker|WorkerFailed)/,
    'a worker with a token of another controller is not given');
edit('mine-0', { spec => { allocation => { expiresAt =>
    '2026-01-02T00:00:00Z' } } });
sees(sub { spec('mine-0')->{allocation} ? 'there' : 'gone' }, 'gone',
    'when that has expired it is ended', 70);
is(spec('mine-0')->{ended}[0]{tokenHash}, $t->hash($token), '... as such');

# --- an object that may not be made ---------------------------------------------

# as a webhook or a quota has it; 0 is the one that is taken first
my $POLICIES = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic';
good('policy', sub { $kube->api(POST => "${POLICIES}ies", {
    apiVersion => 'admissionregistration.k8s.io/v1',
    kind => 'ValidatingAdmissionPolicy', metadata => { name => 'picky' },
    spec => { matchConstraints => { resourceRules => [{ apiGroups => [$G],
        apiVersions => ['*'], operations => ['CREATE'],
        resources => ['buildkitworkers'] }] }, validations => [{
        expression => "object.metadata.name != 'picky-0'",
        message => 'not this one' }] } }) });
good('binding', sub { $kube->api(POST => "${POLICIES}ybindings", {
    apiVersion => 'admissionregistration.k8s.io/v1',
    kind => 'ValidatingAdmissionPolicyBinding', metadata => { name => 'picky' },
    spec => { policyName => 'picky', validationActions => ['Deny'] } }) });
sees(sub { my $r = $kube->api(POST => "$API/buildkitworkers?dryRun=All", {
    apiVersion => "$G/v1alpha1", kind => 'BuildKitWorker', metadata => {
        name => 'picky-0' }, spec => { poolRef => { name => 'picky' } } });
    $r->{message} // 'made' }, qr/not this one/, 'a worker that may not be');
pool('picky', 2);
my $p;
sees(sub { ($p = allocate_($one, poolName => 'picky'))->{status} }, 200,
    'somebody asks for a worker');
$p = $p->{json};
sees(sub { state_($one, $p) }, 'starting picky-1', 'he gets the other one');
like($one->log, qr/picky-0: .*not this one/, 'and the log says why');
release($one, $p);

# --- an object that says otherwise ---------------------------------------------

pool('odd', 2);
good('odd', sub { $kube->api(POST => "$API/buildkitworkers", {
    apiVersion => "$G/v1alpha1", kind => 'BuildKitWorker',
    metadata => { name => 'odd-0' }, spec => { poolRef => { name => 'odd' },
        trust => 'untrusted', ended => [{ tokenHash => 'a' x 64, state =>
            'released', at => '2036-01-01T00:00:00Z' }] } }) });
my %odd;
sees(sub {
    my $r = allocate_($one, poolName => 'odd', wait => '5s')->{json};
    $odd{$r->{workerName} // $r->{reason} // ''} = $r;
    release($one, $r) if $r->{token};
    $r->{workerName} || $r->{reason} }, 'odd-1',
    'who cannot have a worker gets another one');
ok(!$odd{'odd-0'}, '... and never that one');
is(allocate_($one, poolName => 'odd', metadata => { map { $_ => 'x' } 1 .. 65 })
    ->{status}, 400, 'what the kind cannot hold is refused');

# --- whose workers are -------------------------------------------------------

sub fork_ {
    my ($name, $pool) = @_;
    my $r = $t->http('127.0.0.1:' . $t->port($name), POST =>
        "$WORKERS/allocate", { poolName => $pool, namespace => 'team',
        wait => '0' }, headers => { Authorization => 'Bearer '
        . Access::token('now', 'eve', { fork => 'yes' }) });
    $tokens{$r->{json}{token}} = 1 if $r->{json}{token};
    return $r->{json};
}

is(fork_('one', 'demo')->{reason}, 'NoCapacity',
    'a fork gets none of the trusted');
pool('forks', 1);
my $fork = $t->wait_for(sub { my $is = fork_('one', 'forks');
    $is->{token} && $is }, 20, 'an allocation of the new pool');
is(spec('forks-0')->{trust}, 'untrusted', 'one that has none is untrusted');
is(release($one, $fork), 200, '... and free again');

# --- the API server dies -----------------------------------------------------

pool('many', 8);
sees(sub { my $r = allocate_($one, poolName => 'many')->{json};
    release($one, $r) if $r->{token}; $r->{state} // $r->{reason} },
    'starting', 'another pool');

# first it hangs: who does not wait for what it says would answer within some
# other requests
my @held = map { allocate($one, poolName => 'many') } 1 .. 2;
my $server = $kube->pid('kube-apiserver');
kill STOP => $server;
my ($new, @asked) = (ask($one, POST => "$WORKERS/allocate", { poolName =>
    'many', namespace => 'team', wait => '0' }), map { ask($one, POST =>
    "$WORKERS/$_->[0]", { token => @$_[1 .. $#$_] }) }
    ['renew', $held[0]{token}, ttl => '3h'], ['release', $held[1]{token}]);
state_($one, $a) for 1 .. 10;
my @early = IO::Select->new(map { $_->{socket} } $new, @asked)->can_read(0);
is(scalar @early, 0, 'nobody is answered before it is written');
kill CONT => $server;
answers(60, $new, @asked);
is(join(' ', map { $_->{status} } $new, @asked), '200 200 200',
    '... and then everybody');
$tokens{$new->{json}{token}} = 1;
is(spec($new->{json}{workerName})->{allocation}{id}, $new->{json}{id},
    'who asked has what he was told');
is(release($one, $_), 200, '... until he releases it')
    for $new->{json}, $held[0];

my @first = map { allocate($one, poolName => 'many') } 1 .. 2;
kill KILL => $kube->pid('kube-apiserver');
my @amid = map { ask($one, POST => "$WORKERS/allocate", { poolName => 'many',
    namespace => 'team', wait => '0' }) } 1 .. 4;
my $over = ask($one, POST => "$WORKERS/release", { token =>
    $first[0]{token} });
$kube->wait_api;
push @amid, map { ask($one, POST => "$WORKERS/allocate", { poolName => 'many',
    namespace => 'team', wait => '0' }) } 1 .. 2;
answers(120, @amid, $over);
is(join(' ', sort grep { $_ != 200 && $_ != 503 }
    map { $_->{status} } @amid, $over), '',
    'who asks meanwhile gets it, or is told to ask again');
my @got = map { $_->{json} } grep { $_->{status} == 200 } @amid;
$tokens{$_->{token}} = 1 for @got;
my $live = join ' ', sort map { $_->{id} } $first[1], @got;
sees(sub { kept('many') }, $live,
    'what was answered is kept, and nothing else');
sees(sub { join ' ', map { state_($one, $_) =~ /^over/ ? 'over' : 'live' }
    @first }, 'over live', 'what was released is over, even so');
sees(sub { ended($first[0]{workerName}, $first[0]) }, qr/^released/,
    '... and kept as that');

sub kept {
    my ($pool) = @_;
    return join ' ', sort map { $_->{spec}{allocation}{id} // () }
        grep { $_->{spec}{poolRef}{name} eq $pool }
        @{$kube->api(GET => "$API/buildkitworkers")->{items}};
}

# --- it stops, and another begins --------------------------------------------

is($one->stop, 0, 'it stops');
# soon somebody else's, but not for a pause of ten seconds
$one = controller('one', '18s');
ready($one);
is(kept('many'), $live, 'and begins again, with all');

# --- killed ------------------------------------------------------------------

my $i = allocate($one);
is($i->{workerName}, $v, 'the free worker is given');
my $j = allocate($one, idempotencyKey => 'k2');
is($j->{state}, 'queued', 'another one waits');
$one->kill('KILL');
unlink $t->dir . '/one/buildkit.table';
$one->restart;
ready($one);
sees(sub { state_($one, $a) }, "ready $w", 'after kill -9: ready');
sees(sub { state_($one, $i) }, "starting $v", '... starting');
is(state_($one, $j), 'queued ', '... queued');
like(state_($one, $g), qr/^over/, '... over');
my $again = allocate($one, idempotencyKey => 'k1');
is($again->{token}, $a->{token}, 'by its key it is the same once more');
is($one->request(GET => "/api/v1/allocations/$g->{id}")->{json}{owner},
    $is->{requestedBy}, 'whose the ended one was is known');
is(release($one, $i), 200, 'one is released');
sees(sub { state_($one, $j) }, qr/^\w+ $v$/, 'and the next one has its worker');

# --- two of them -------------------------------------------------------------

pool('split', 1);
sees(sub { my $r = allocate_($one, poolName => 'split')->{json};
    release($one, $r) if $r->{token}; $r->{state} // $r->{reason} },
    'starting', 'a pool of one worker');
$two = controller('two', '18s');
$t->wait_for(sub { $two->log =~ /namespace team: / }, 60, 'it to know all');
is(allocate_($two)->{json}{reason}, 'StoreNotReady', 'who does not lead gives '
    . 'nothing');
$one->kill('STOP');
my $late = ask($one, POST => "$WORKERS/allocate", { poolName => 'split',
    namespace => 'team', wait => '0' });
ready($two);
sees(sub { state_($two, $a) }, "ready $w",
    'the leader hangs: the other one knows all');
is(join(' ', grep { state_($two, $_) !~ /^starting/ } @got), '',
    '... that was answered');
is(route($a), "ready $w", '... and no gateway has noticed');
like(state_($two, $first[0]), qr/^over/, '... and what is over');
my $h = allocate($two, poolName => 'split');
is($h->{workerName}, 'split-0', 'and gives the worker');
$one->kill('CONT');
answers(60, $late);
isnt($late->{json}{workerName} // '', 'split-0',
    'who asked the other one does not get it');
sees(sub { $one->alive ? 'lives' : 'ended' }, 'ended',
    'which ends, as it does not lead any more');
like($one->log, qr/lost the Lease/, '... and says why');
is(spec('split-0')->{allocation}{id}, $h->{id}, 'the worker is the one\'s who '
    . 'got it');
is(renew($two, $h, ttl => '1h')->{status}, 200, '... who can renew it');

$one = controller('one', '18s');
$two->kill('KILL');
ready($one);
sees(sub { state_($one, $h) . ' ' . state_($one, $a) },
    "starting split-0 ready $w", 'the leader is killed: the other one goes on');
is(kept('many'), $live, '... with all');
is(fork_('one', 'demo')->{reason}, 'NoCapacity',
    'and knows whose workers are');
is(allocate_($one, poolName => 'forks')->{json}{reason} // '', 'NoCapacity',
    '... which are a fork\'s, too');
is(release($one, $h), 200, 'what the other one gave is released');
like(ended('split-0', $h), qr/^released/, '... and that is kept');

# --- it stops ----------------------------------------------------------------

is($one->stop, 0, 'stops');
my $all = JSON->new->canonical->encode($kube->api(GET =>
    "$API/buildkitworkers"));
is(join(' ', grep { $tokens{$_} && index($all, $_) >= 0 } keys %tokens), '',
    'no token is in any object');
