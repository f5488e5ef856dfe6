#!/usr/bin/perl

# At start the allocator may come before the plugin whose workers its
# allocations are on: they are kept, hold their worker, and are put back as
# soon as it is there; one that must be started first is started.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 24;

my $t = Test::Buildkit->new;

# 1. static workers, announced after the allocator has started
my $static = static_pool($t, 3);
my $host = $t->host(conf(['{name: allocator}', $static]));
my %a = map { $_->{workerName} => $_ } map { allocate()->{json} } 1 .. 2;
again();
is lookup($a{$_})->{json}{state}, 'ready', "$_ is back" for 'w1', 'w2';
my $r = allocate(wait => '0');
is $r->{json}{workerName}, 'w3', 'only the third one is free';
release($r->{json});

# 2. the worker is not in the file when plugin-host starts
$host->stop;
unlink $t->dir . '/buildkit.table';
(my $less = $t->read('static.yaml')) =~ s/^.*name: w1,.*\n//m;
my $full = $t->read('static.yaml');
$t->write('static.yaml', $less);
$host = $t->host(conf(['{name: allocator}', $static]), no_wait => 1);
$t->wait_for(sub { lookup($a{w1})->{status} }, 15, 'the API');
is lookup($a{w1})->{json}{state}, 'starting', 'it waits for its worker';
is lookup($a{w1})->{json}{workerEndpoint}, '', 'which is nowhere';
is lookup($a{w2})->{json}{state}, 'ready', 'the others do not';
$r = $host->request(POST => '/api/v1/workers/renew',
    { token => $a{w1}{token}, ttl => '2h' });
is $r->{status}, 200, 'it can be renewed';
$t->write('static.yaml', $full);
$t->wait_for(sub { lookup($a{w1})->{json}{state} eq 'ready' }, 15,
    'it to be ready');
is lookup($a{w1})->{json}{workerEndpoint}, 'tcp://127.0.0.1:7001',
    'there it is';
is lookup($a{w1})->{json}{expiresAt}, $r->{json}{expiresAt},
    'with its new time';
is allocate(wait => '0')->{json}{workerName}, 'w3', 'and nobody else has it';

# 3. released while it waits
$host->stop;
unlink $t->dir . '/buildkit.table';
$t->write('static.yaml', $less);
$host = $t->host(conf(['{name: allocator}', $static]), no_wait => 1);
$t->wait_for(sub { lookup($a{w1})->{status} }, 15, 'the API');
is release($a{w1})->{status}, 200, 'released';
is lookup($a{w1})->{status}, 410, 'over';
$t->write('static.yaml', $full);
$t->wait_for(sub {
    ($host->request(GET => '/api/v1/workers')->{body}) =~ /"w1"/;
}, 15, 'w1');
is lookup($a{w1})->{status}, 410, 'and stays over';
is allocate(wait => '0')->{json}{workerName}, 'w1', 'the worker is free';
$host->stop;

# 4. the process plugin after the allocator; its workers are gone (a reboot)
system 'rm', '-rf', $t->dir . '/state', $t->dir . '/buildkit.table';
$host = $t->host(conf(['{name: allocator}', fake_pool($t, options =>
    { workers => 2, onStop => 'leave' })]));
my $b = allocate()->{json};
is $b->{state}, 'ready', 'a worker that runs';
$host->stop('KILL');
is $t->kill_leftovers, 1, 'all is killed';
unlink $t->dir . '/buildkit.table',
    glob $t->dir . '/state/workers/*/run';
$host->restart;
$t->wait_for(sub { lookup($b)->{json}{state} eq 'ready' }, 15,
    'it to be ready');
pass 'the worker is started for an allocation of the last run';
is lookup($b)->{json}{workerName}, $b->{workerName}, 'the same one';

# 5. fewer workers than before: what is too much ends
allocate();
$host->stop;
my @two = children();
is scalar(@two), 2, 'two workers run';
$host = $t->host(conf([fake_pool($t, options => { workers => 1,
    onStop => 'stop' }), '{name: allocator}']));
$t->wait_for(sub { 1 == children() }, 15, 'one to end');
ok $t->wait_for(sub { lookup($b)->{json}{state} eq 'ready' }, 30, 'the other'),
    'the other one is still used';
$host->stop;

# 6. killed before the answer, while the worker starts: nobody has its token,
# and the caller asks again
system 'rm', '-rf', $t->dir . '/state', $t->dir . '/buildkit.table';
$t->write('mode', "mute\n");
$host = $t->host(conf(['{name: allocator}', fake_pool($t)]));
my $asked = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { journal($t, 'SELECT 1 FROM allocations') }, 15,
    'the journal');
$host->kill('KILL');
answers(30, $asked);
is $asked->{status}, 0, 'no answer';
$t->write('mode', "ok\n");
$host->restart;
$t->wait_for(sub { journal($t, q{SELECT 1 FROM allocations
    WHERE state <> 'live'}) }, 10, 'the journal to hear of it');
is_deeply [journal($t, 'SELECT state, reason FROM allocations')],
    [{ state => 'released', reason => 'it was never answered' }],
    'it holds no worker';
$r = allocate(wait => '60s');
is $r->{json}{state}, 'ready', 'the caller gets one when it asks again';
is_deeply [journal($t, q{SELECT answered FROM allocations
    WHERE state = 'live'})], [{ answered => 1 }], 'and that one is answered';
$host->stop;


sub again {
    $host->stop;
    unlink $t->dir . '/buildkit.table';
    $host->restart;
}

sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', @_ });
}

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}

sub children {
    return grep { ($t->read("/proc/$_/cmdline") // '') =~
        /fake_buildkitd/ } $t->leftovers;
}
