#!/usr/bin/perl

# What a gateway holds keeps a place in the queue if it waits for something:
# a look (buildx ls) does not, and extends nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Report;
use Test::Buildkit;

plan tests => 6;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 1),
    '{name: allocator, options: {queueLease: 2s}}']));
my ($has, $build, $look) = map { $host->request(
    POST => '/api/v1/workers/allocate', { poolName => 'demo', wait => '0' })
    ->{json} } 1 .. 3;
is $has->{state}, 'ready', 'one has the worker';
is $_->{state}, 'queued', 'another one waits' for $build, $look;

report_make($t->dir . '/reports', words => [2], sessions => [
    { worker => '', phase => 'held', kind => 'other',
      allocation => $build->{id} },
    { worker => '', phase => 'held', kind => 'look',
      allocation => $look->{id} }]);

$t->wait_for(sub { state($look) eq 'released' }, 20, 'the lease to end');
pass 'a look keeps no place';
is state($build), 'queued', 'who waits for a worker does';
is state($has), 'ready', 'and nothing happened to the first one';
$host->stop;


# from the list: to look at its page would show interest
sub state {
    return (grep { $_->{id} eq $_[0]{id} }
        @{$host->request(GET => '/api/v1/allocations')->{json}})[0]{state};
}
