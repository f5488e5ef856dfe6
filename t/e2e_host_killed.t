# Invariants 3 and 4: kill -9 of plugin-host in the middle of allocations
# loses none that was answered; builds in flight do not notice, and its
# workers are found again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use Test::Buildkit;
use Time::HiRes qw(sleep time);

my $KILLS = 4;
plan tests => 13 + $KILLS;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 1, shared => 1,
    onStop => 'leave');

# a build that runs for as long as it is let
my $one = $t->allocate('one');
is($one->{run}{rc}, 0, 'allocate') or diag $one->{run}{err};

my $nap = $t->held_context('held');
my $context = $t->dir . '/held';
my @buildctl = ($t->lab('buildctl'), '--addr',
    'tcp://localhost:' . $t->port('gw'), '--tlscacert', $one->{ca},
    '--tlscert', $one->{cert}, '--tlskey', $one->{key},
    $t->dockerfile_args($context));
my $build = $t->start('build', {}, @buildctl);
$t->wait_for(sub { ($t->read('build.log') // '') =~ /line 2\b/ }, 90,
    'the build to run');

# clients that allocate as fast as they can, while plugin-host is killed
my (@answered, @clients);
for my $round (1 .. $KILLS) {
    my @pids = map { client($_, $round) } 1 .. 3;
    my $count = $round * 7;
    $t->wait_for(sub { answered($round) >= $count }, 60, 'some answers');
    $host->kill('KILL');
    is($host->stop, 137, "killed with @{[answered($round)]} answered");
    waitpid $_, 0 for @pids;
    $host->restart;
}

for my $file (glob $t->dir . '/answers.*') {
    push @answered, grep { length } split /\n/, $t->read($file);
}
cmp_ok(scalar @answered, '>', $KILLS * 10, scalar(@answered) . ' were answered');

# its worker is looked at first
my (%known, @lost);
eval { $t->wait_for(sub {
    %known = map { $_->{id} => $_->{state} }
        @{$host->request('GET', '/api/v1/allocations')->{json}};
    @lost = grep { ($known{$t->id($_)} // 'unknown') ne 'ready' } @answered;
    return !@lost;
}, 30, 'all to be ready') };
is(scalar @lost, 0, 'plugin-host knows every one of them') or
    diag explain [map { [$t->id($_), $known{$t->id($_)}] } @lost];

my $r = $t->bkctl('routes', '--table', $t->dir . '/buildkit.table', '--json');
my $routes = $r->{out};
is(scalar(grep { index($routes, $t->id($_)) < 0 } @answered), 0,
    'each is in the route table');

# and they work: release takes the token
is(scalar(grep { $host->request('POST', '/api/v1/workers/lookup',
    { token => $_ })->{status} != 200 } @answered), 0, 'each is looked up');
is($host->request('POST', '/api/v1/workers/lookup',
    { token => $t->token })->{status}, 404, 'which a made-up one is not');
is(scalar(grep { $host->request('POST', '/api/v1/workers/release',
    { token => $_ })->{status} != 200 } @answered), 0, 'each is released');

# the build did not notice
is($t->alive($build), 1, 'the build runs still');
$t->end_held($nap);
$t->wait_for(sub { !$t->alive($build) }, 60, 'the build to end');
is($build->{status}, 0, 'the build ended well');
unlike($t->read('build.log'), qr/error|reconnect/i, 'and saw nothing');

# the worker is the same process as before, and in use
is(() = $host->log =~ /default\/demo\/w1: started \(pid/g, 1,
    'its worker was started once and found again');
is($t->whose($one), 'w1', 'and reached');

$host->stop;
is($t->kill_leftovers >= 1 ? 1 : 0, 1, 'a stopped plugin-host leaves it');


# Allocates over and over until plugin-host is gone; notes each token that it
# was given.
sub client {
    my ($n, $round) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    open my $out, '>>', $t->dir . "/answers.$round.$n" or POSIX::_exit(1);
    $out->autoflush(1);
    for (1 .. 10000) {
        my $r = $host->request('POST', '/api/v1/workers/allocate',
            { poolName => 'demo', namespace => 'default', ttl => '1h' });
        POSIX::_exit(0) if $r->{status} == 0 || !$r->{json};
        next if $r->{status} != 200;
        print $out "$r->{json}{token}\n";
    }
    POSIX::_exit(0);
}


sub answered {
    my ($round) = @_;

    my $n = 0;
    $n += () = ($t->read($_) // '') =~ /\n/g for glob $t->dir
        . "/answers.$round.*";

    return $n;
}
