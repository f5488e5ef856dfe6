#!/usr/bin/perl

# Wake: a worker for whoever comes next, so not one that somebody has.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 7;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2 }),
    '{name: allocator}']));

my $has = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '20s' })->{json};
is $has->{state}, 'ready', 'a worker is taken';

my $r = wake();
isnt $r->{workerName}, $has->{workerName}, 'the other one is woken';
ok !$r->{ready}, '... and is not ready';
my $other = $r->{workerName};
$t->wait_for(sub { wake()->{ready} }, 20, 'it to be ready');
is wake()->{workerName}, $other, 'then it is';

my $next = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '0' })->{json};
is "$next->{workerName} $next->{state}", "$other ready", 'and is given';
ok wake()->{ready}, 'all taken: they run';
$host->request(POST => '/api/v1/workers/release',
    { token => $has->{token} });
is wake()->{workerName}, $has->{workerName}, 'the free one';
$host->stop;


sub wake { return $host->request(POST => '/api/v1/pools/demo/wake')->{json} }
