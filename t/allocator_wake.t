#!/usr/bin/perl

# Wake: a worker for whoever comes next, so not one that somebody has.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2 }),
    '{name: allocator}']));

my $has = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' })->{json};
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

# the name alone is of "default", or of the namespace that is asked for
$r = wake('demo?namespace=');
is $r->{poolName}, 'default/demo', 'no namespace: default';
$r = wake('demo?namespace=team');
is $r->{error}, wake('team%2Fdemo')->{error}, 'a namespace';
like $r->{error}, qr{team/demo}, '... of its own';
is wake('default%2Fdemo?namespace=team')->{poolName}, 'default/demo',
    'the whole name says it already';
$host->stop;


sub wake {
    my ($name, $query) = split /(?=\?)/, $_[0] // 'demo';

    return $host->request(POST => "/api/v1/pools/$name/wake" . ($query // ''))
        ->{json};
}
