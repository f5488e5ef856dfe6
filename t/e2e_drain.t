# A worker is drained while a real build runs on it: the build ends well, the
# next connection of its allocation is refused with why and where to go, other
# jobs get another worker, and at the end the worker is stopped.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON;
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 2, nginx => {
    stream => "    buildkit_report %%DIR%%/reports;\n" });

my $one = $t->allocate('one');
is($one->{worker}, 'w1', 'allocate') or diag $one->{run}{err};

my $nap = $t->held_context('held');
my $context = $t->dir . '/held';
my $build = $t->start('build', {}, $t->lab('buildctl'), '--addr',
    'tcp://localhost:' . $t->port('gw'), '--tlscacert', $one->{ca},
    '--tlscert', $one->{cert}, '--tlskey', $one->{key},
    $t->dockerfile_args($context));
$t->wait_for(sub { ($t->read('build.log') // '') =~ /line 2\b/ }, 90,
    'the build to run');

$t->wait_for(sub { grep { $_->{kind} eq 'build' }
    @{$host->request(GET => '/api/v1/sessions')->{json}} }, 30, 'its report');
$t->wait_for(sub { worker('w1')->{builds} }, 30, 'its worker to have it');

my $r = $t->bkctl('drain', 'w1', '--reason', 'kernel update', '--json');
is($r->{rc}, 0, 'drained') or diag $r->{err};
my $json = decode_json($r->{out});
is("$json->{state} $json->{builds} $json->{allocations}", 'draining 1 1',
    'one build runs on it');
is($t->bkctl('drain', 'w1', '--reason', 'kernel update')->{out},
    "drained worker w1 of pool default/demo: 1 build still runs; 1 allocation\n",
    '... for people');
like($t->bkctl('sessions')->{out}, qr{^$one->{id} +default/demo +w1 .* live +build }m,
    '... in the list of sessions');

my $wait = $t->start('wait', { env => { NO_COLOR => 1,
    BKCTL_ENDPOINT => 'unix:' . $t->dir . '/api.sock' } },
    $t->build . '/bkctl', 'drain', 'w1', '--reason', 'kernel update',
    '--wait');

# the allocation takes nothing new, and says so
$r = $t->buildctl($one, 'debug', 'workers');
is($r->{rc}, 1, 'a new connection is refused');
is($r->{err}, 'error: failed to list workers: FailedPrecondition: buildkit'
    . " gateway: allocation $one->{id} is draining: running builds may finish,"
    . ' new connections are refused: worker w1 is drained: kernel update; run'
    . " bkctl allocate\n", '... with why and where to go');
# who believes in another try waits for 20 s
cmp_ok($r->{time}, '<', 15, '... at once');

# other jobs go elsewhere, and not to it
my $two = $t->allocate('two');
is($two->{worker}, 'w2', 'the next job gets another worker');
is($t->whose($two), 'w2', '... which works');
is($t->bkctl('allocate', '--wait', '0s', '--json')->{rc}, 4,
    'and there is no third');

# all the while the build runs, and it ends well
$t->wait_for(sub { $t->read('wait.log') =~
    /^waiting for worker w1: 1 build still runs \.\.\. \d/ }, 30, '--wait');
pass('--wait shows it');
ok($t->alive($build), 'the build runs still');
$t->end_held($nap);
$t->wait_for(sub { !$t->alive($build) }, 60, 'the build to end');
is($build->{status}, 0, 'it ended well');
my $log = $t->read('build.log');
like($log, qr/last line$/m, '... with its last line');
unlike($log, qr/error|drain|gateway/i, '... and saw nothing');
$t->wait_for(sub { !$t->alive($wait) }, 30, '--wait');
is($wait->{status}, 0, '--wait is over');
like($t->read('wait.log'), qr/nothing runs on it; 1 allocation$/m, '... said');

# released, the worker is stopped: no idle time, no linger
is($t->bkctl('release', $one->{file})->{rc}, 0, 'released');
$t->wait_for(sub { worker('w1')->{state} eq 'stopped' }, 60, 'w1 to stop');
is($t->bkctl('allocate', '--wait', '0s', '--json')->{rc}, 4,
    'it is not started again');

is($t->bkctl('drain', 'w1', '--undo')->{out},
    "took back worker w1 of pool default/demo: it is stopped\n", 'taken back');
my $three = $t->allocate('three');
is($three->{worker}, 'w1', 'it is given out again');
is($t->whose($three), 'w1', '... and works');


sub worker {
    my ($name) = @_;
    return (grep { $_->{name} eq $name }
        @{$host->request(GET => '/api/v1/workers')->{json}})[0];
}
