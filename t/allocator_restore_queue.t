#!/usr/bin/perl

# At start the allocator may come before the plugin whose pool its queue is
# for, and the table may be gone: who was told to wait waits on.  Of those
# that have ended only the last ones are put back, however many there are.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 9;

my $t = Test::Buildkit->new;
my $host = $t->host(conf(['{name: allocator}', static_pool($t, 1)],
    allocations => 30000));
my ($has, @waits) = map { allocate()->{json} } 1 .. 3;
is $has->{state}, 'ready', 'one has the worker';
is $_->{state}, 'queued', 'another one waits' for @waits;

$host->kill('KILL');
$host->stop;
unlink $t->dir . '/buildkit.table';
my $now = int(1000 * time);
my $r = $t->run('sqlite3', $t->dir . '/state/journal.db', <<"END");
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
    WHERE i < 12000)
INSERT INTO allocations (token_hash, spki, pool, worker, created_ms,
    expires_ms, state, changed_ms, answered)
    SELECT randomblob(32), randomblob(91), 'default/demo', 'w1',
    $now - 3000000, $now + 3600000, 'released', $now - 100000 + i, 1 FROM n;
END
is $r->{rc}, 0, 'a busy hour' or diag $r->{err};
$host->restart;

$t->wait_for(sub { look($waits[1])->{state} eq 'queued' }, 10,
    'the queue to be there');
is look($_)->{position}, $_ == $waits[0] ? 1 : 2, 'it waits, in its place'
    for @waits;
is look($has)->{state}, 'ready', 'the worker is held';
$host->request(POST => '/api/v1/workers/release', { token => $has->{token} });
$t->wait_for(sub { look($waits[0])->{state} eq 'ready' }, 10, 'its turn');
pass 'and the next one gets it';

# the pool is in the table now
$host->stop;
$host->restart;
my ($all) = reverse $host->log =~ /first facts are in: \d+ pools, (\d+) alloc/g;
ok $all >= 10000 && $all < 10010, 'the last ended ones are put back'
    or diag $all;
$host->stop;


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' });
}

sub look {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} })->{json};
}
