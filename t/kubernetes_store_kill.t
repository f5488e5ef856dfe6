# Allocations in BuildKitWorkers while everything is killed, one after the
# other: the controller that leads, the other one, the API server, etcd, and
# the leader again, by a pause longer than its Lease.  What was answered is
# kept, what was released is over, and no worker is two callers'.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator qw(ask answers);
use JSON ();
use Test::Buildkit;

plan tests => 12;

my $G = 'buildkit.smrt-devops.net';
my $API = "/apis/$G/v1alpha1/namespaces/team";
my $SLOTS = 20;         # of the pool
my $LIVE = 7;           # allocations at a time
my $EACH = 12;          # between two deaths
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');

$kube->must('apply', '-k', $t->root . '/k8s/base');
$kube->must('create', 'namespace', 'team');
$kube->must('-n', 'team', 'create', 'serviceaccount', 'default');
$kube->must('-n', 'team', 'create', 'rolebinding', 'pools',
    '--clusterrole=buildkit-controller-pools',
    '--serviceaccount=buildkit-system:buildkit-controller');
$kube->wait('condition=Established', 'crd', '--all');
my $config = $kube->account_kubeconfig('buildkit-system',
    'buildkit-controller');
my $pool = $kube->api(POST => "$API/buildkitpools", {
    apiVersion => "$G/v1alpha1", kind => 'BuildKitPool',
    metadata => { name => 'demo' }, spec => {
        gateway => { enabled => JSON::false },
        scaling => { min => 0, max => $SLOTS } } });
die $pool->{message} if $pool->{kind} ne 'BuildKitPool';

# --- controllers -------------------------------------------------------------

my %host;

sub controller {
    my ($name) = @_;
    return $t->host(<<"END", name => $name, no_wait => 1,
state: %%DIR%%/$name/state
table: {path: "%%DIR%%/$name/table", allocations: 1000, workers: 64, pools: 16}
reports: %%DIR%%/$name/reports
api: {listen: ["unix:%%DIR%%/$name/api.sock"]}
plugins:
  - name: kubernetes
    options:
      role: controller
      kubeconfig: "$config"
      namespaces: [team]
      leaseDuration: 6s
  - {name: allocator, options: {journal: store}}
END
        env => { POD_NAME => $name });
}

# whoever has ended is started again, as a Deployment does it
sub alive {
    for my $name (qw(one two)) {
        next if $host{$name} && $host{$name}->alive;
        $host{$name}->stop if $host{$name};
        $host{$name} = controller($name);
    }
    return;
}

# one request, in this time; status 0: no answer
sub request {
    my ($h, @what) = @_;
    my $r = eval { ask($h, @what) } // return { status => 0, json => {} };
    answers(15, $r);
    $r->{status} //= 0;
    $r->{json} = {} if ref $r->{json} ne 'HASH';
    return $r;
}

# the name of the one that leads
sub leader {
    my ($but) = @_;
    return $t->wait_for(sub {
        alive();
        for my $name (grep { $_ ne ($but // '') } qw(one two)) {
            my $r = request($host{$name}, GET => '/readyz');
            return $name if $r->{status} == 200;
        }
        return;
    }, 90, 'a controller that leads');
}

# --- what clients know -------------------------------------------------------

my (%live, %over, %unknown, %worker, @wrong);
my $n = 0;

sub allocate {
    my ($name) = @_;
    my $r = request($host{$name}, POST => '/api/v1/workers/allocate', {
        poolName => 'demo', namespace => 'team', wait => '0', ttl => '1h' });
    return $r->{status} if $r->{status} != 200;
    my $a = $r->{json};
    $live{$a->{id}} = $a;
    $n++;
    push @wrong, "$a->{id}: $r->{json}{state}" if !$a->{workerName};
    my $other = $worker{$a->{workerName} // ''};
    push @wrong, "$a->{workerName}: $other and $a->{id}" if $other;
    $worker{$a->{workerName} // ''} = $a->{id};
    return 200;
}

# of one whose answer is lost it is not known; but nobody has that worker any
# more, so another may get it
sub release {
    my ($name, $id) = @_;
    my $a = delete $live{$id};
    delete $worker{$a->{workerName}};
    my $r = request($host{$name}, POST => '/api/v1/workers/release',
        { token => $a->{token} });
    if ($r->{status} == 200) {
        $over{$id} = $a;
    }
    else {
        $unknown{$id} = $a;
    }
    return;
}

# it is asked for again, as clients do
sub certain {
    my ($name) = @_;
    for my $id (sort keys %unknown) {
        my $a = $unknown{$id};
        my $r = request($host{$name}, POST => '/api/v1/workers/release',
            { token => $a->{token} });
        next if $r->{status} != 200 && $r->{status} != 410;
        $over{$id} = delete $unknown{$id};
    }
    return;
}

# the status of what was done with an allocation, whoever leads by then
sub settled {
    my ($what, $a, %more) = @_;
    my $r;
    $t->wait_for(sub {
        $r = request($host{leader()}, POST => "/api/v1/workers/$what",
            { token => $a->{token}, %more });
        return $r->{status} && $r->{status} != 503;
    }, 60, $what);
    return $r->{status};
}

# so many more answered allocations, and at most $LIVE at a time
sub some {
    my ($more, $but) = @_;
    my $until = $n + $more;
    my $name = leader($but);
    $t->wait_for(sub {
        while ($n < $until) {
            my $code = allocate($name);
            if ($code != 200) {
                $name = leader($but);
                certain($name);
                return 0;
            }
            my @ids = sort keys %live;
            release($name, $ids[rand @ids]) if @ids > $LIVE;
        }
        return 1;
    }, 150, "$more allocations");
    return $name;
}

alive();
my $leads = some($EACH);
ok($n >= $EACH, 'allocated and released');

$host{$leads}->kill('KILL');
my $next = some($EACH);
ok($n >= 2 * $EACH, 'the leader was killed: it goes on');

my ($other) = grep { $_ ne $next } qw(one two);
$host{$other}->kill('KILL');
$leads = some($EACH);
ok($n >= 3 * $EACH, 'the other one was killed');

kill KILL => $kube->pid('kube-apiserver');
some($EACH);
ok($n >= 4 * $EACH, 'the API server was killed');

kill KILL => $kube->pid('etcd');
$leads = some($EACH);
ok($n >= 5 * $EACH, 'etcd was killed');

# amid what it does, and what it is asked for in the meantime
my @late;
$t->wait_for(sub {
    $leads = leader();
    @late = map { eval { ask($host{$leads}, POST => '/api/v1/workers/allocate',
        { poolName => 'demo', namespace => 'team', wait => '0', ttl => '1h' })
        } // () } 1 .. 3;
    return @late == 3;
}, 60, 'who leads to be asked');
$host{$leads}->kill('STOP');
some($EACH, $leads);
ok($n >= 6 * $EACH, 'the leader was paused');
$host{$leads}->kill('CONT');
answers(60, @late);
for my $a (map { $_->{json} } grep { ($_->{status} // 0) == 200 } @late) {
    my $was = $worker{$a->{workerName}};
    push @wrong, "$a->{workerName}: $was and, late, $a->{id}" if $was;
    $live{$a->{id}} = $a;
}

$kube->wait_api;
$t->wait_for(sub { certain(leader()); !keys %unknown }, 90,
    'all releases to be kept');
is(join("\n", @wrong), '', 'no worker was two callers\'');

# --- what is kept ------------------------------------------------------------

# some whose answer was lost may be there, too: nobody has their token
my %kept = map { $_->{spec}{allocation}{id} => $_->{metadata}{name} }
    grep { $_->{spec}{allocation} }
    @{$kube->api(GET => "$API/buildkitworkers")->{items}};
is(join(' ', grep { !$kept{$_} } sort keys %live), '',
    'what was answered is kept');
is(join(' ', grep { ($kept{$_} // '') ne $live{$_}{workerName} }
    sort keys %live), '', '... on the worker that it was said');
is(join(' ', grep { $kept{$_} } keys %over), '', 'what was released is not');
is(join(' ', grep { settled('renew', $live{$_}, ttl => '2h') != 200 }
    sort keys %live), '', 'and each can be renewed');
is(join(' ', grep { settled('lookup', $over{$_}) !~ /^4(10|04)$/ } keys %over),
    '', 'what was released is over');
