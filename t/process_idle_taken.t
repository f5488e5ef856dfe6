#!/usr/bin/perl

# A worker that is told to stop, since it was idle, at the moment in which
# somebody gets it: it is started again when it has stopped.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 4;

my $t = Test::Buildkit->new;
$t->write('mode', "deaf\n");
my $host = $t->host(conf([fake_pool($t, options => { idle => '400ms',
    linger => '0s' }), '{name: allocator}']), env => { held_journal($t) });
my $r = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
is $r->{json}{state}, 'ready', 'the worker runs';
$host->request(POST => '/api/v1/workers/release',
    { token => $r->{json}{token} });

# chosen while it is ready; it is written down when it stops already
$t->write('hold', '');
my $next = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { $host->log =~ /stopped: idle/ }, 10, 'it to be idle');
unlink $t->dir . '/hold';
$t->wait_for(sub { grep { $_->{state} eq 'starting' }
    @{$host->request(GET => '/api/v1/allocations')->{json}} }, 10,
    'the next allocation');

my ($pid) = $host->log =~ /started \(pid (\d+)/;
$t->write('mode', "ok\n");
kill KILL => $pid;
answers(90, $next);
is $next->{status}, 200, 'the next one is served';
is $next->{json}{state}, 'ready', '... by a worker that runs';
is scalar(() = $host->log =~ /started \(pid/g), 2, '... and was started again';
$host->stop;
