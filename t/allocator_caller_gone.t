#!/usr/bin/perl

# A caller who goes away while its worker starts: the allocation is released,
# the worker serves the next one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 9;

my $t = Test::Buildkit->new;
$t->write('mode', "wait\n");
my $host = $t->host(conf([fake_pool($t), '{name: allocator}']),
    env => { held_journal($t) });

my $gone = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { rows("state = 'live'") == 1 }, 10, 'the allocation');
my $next = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
gone($gone);

$t->wait_for(sub { rows("state = 'released'") == 1 }, 10, 'its end');
is((rows("state = 'released'"))[0]{reason}, 'caller went away',
    'released, and why');

$t->write('mode', "ok\n");
answers(90, $next);
is $next->{status}, 200, 'the next one is served';
is $next->{json}{state}, 'ready', 'when the worker is ready';
is $next->{json}{workerName}, 'w1', 'by the same worker';
is rows("state = 'live'") + 0, 1, 'and holds it alone';

# one who goes while his allocation is being written, on a worker that is
# ready: nobody has its token, whatever the journal says
$host->request(POST => '/api/v1/workers/release',
    { token => $next->{json}{token} });
$t->write('hold', '');
my $made = () = $host->log =~ /: made for /g;
$gone = ask($host, POST => '/api/v1/workers/allocate', { poolName => 'demo' });
$t->wait_for(sub { $made < (() = $host->log =~ /: made for /g) }, 10,
    'the allocation');
gone($gone);
unlink $t->dir . '/hold';
$t->wait_for(sub { rows("state = 'released'") == 3 }, 10, 'its end');
is((rows("state = 'released'"))[-1]{reason}, 'caller went away',
    'released as well');

# those that wait when plugin-host stops are told so
$next = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
answers(90, $next);
my $last = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { rows("state = 'live' AND worker = ''") == 1 }, 10,
    'it to wait');
$host->stop;
answers(30, $last);
is $last->{status}, 503, 'a stop is told to who waits';
is $last->{json}{reason}, 'ShuttingDown', 'with its reason';
is rows("state = 'live'") + 0, 1, 'and its place is given back';


sub rows {
    my ($where) = @_;

    my @rows = journal($t, "SELECT hex(token_hash) AS h, state, reason "
        . "FROM allocations WHERE $where ORDER BY id");

    return @rows;
}
