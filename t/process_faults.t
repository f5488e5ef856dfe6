#!/usr/bin/perl

# Workers that fail after they were ready: the reason is said in plain
# words, the allocation ends with it, and the worker comes back by itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;
use Time::HiRes qw(time);

my @cases = (
    ['grpc 14', qr/does not answer: it answers with gRPC status 14/],
    ['mute', qr/does not answer: the TLS handshake does not end/],
    ['plain', qr/does not answer: it does not speak HTTP\/2/],
);

plan tests => 4 * @cases + 9;

my $t = Test::Buildkit->new;
my ($host, $r);

for (@cases) {
    my ($mode, $text) = @$_;
    $t->write('mode', "ok\n");
    # what says something has as long for it as a busy machine may need: it is
    # the last of three probes that is told of
    fresh(probeInterval => $mode eq 'mute' ? '1s' : '5s');
    $r = allocate();
    is $r->{status}, 200, "$mode: ready first";
    $t->write('mode', "$mode\n");
    $t->wait_for(sub { lookup($r)->{status} == 410 }, 15, 'it to fail');
    like lookup($r)->{json}{error}, qr/failed at .*$text/,
        "$mode: the allocation ended with the reason";
    $t->write('mode', "ok\n");
    my $new = allocate(wait => '60s');
    is $new->{status}, 200, "$mode: it came back";
    is state(), 'ready', "$mode: ready";
    $host->stop;
}

# killed, when no probe is under way: that would fail as well
$t->write('mode', "ok\n");
fresh(probeInterval => '10m');
$r = allocate();
my $size = length $host->log;
kill KILL => child();
$t->wait_for(sub { lookup($r)->{status} == 410 }, 10, 'it to fail');
unlike substr($host->log, $size), qr/a probe failed|does not answer/,
    'killed: noticed by that, not by its silence';
like lookup($r)->{json}{error}, qr/was killed by signal 9 \(Killed\)/,
    'killed: by what';
my ($row) = journal($t, 'SELECT state, reason FROM allocations');
is $row->{state}, 'failed', 'killed: in the journal';
like $row->{reason}, qr/killed by signal 9/, 'killed: with the reason';
is allocate(wait => '60s')->{status}, 200, 'killed: started again';

# again and again: the pause grows
my @took;
for (1 .. 3) {
    my $pid = child();
    my $from = time;
    kill KILL => $pid;
    $t->wait_for(sub { (child() // $pid) != $pid && state() eq 'ready' }, 30,
        'it to be back');
    push @took, 1000 * (time - $from);
}
my @pauses = ($host->log =~ /starts again in (\d+) ms/g)[-3 .. -1];
cmp_ok $pauses[1], '>', $pauses[0], "back-off: @pauses";
cmp_ok $pauses[2], '>', $pauses[1], 'back-off grows';
is scalar(grep { $took[$_] < $pauses[$_] } 0 .. 2), 0, "... and is kept: @took";
$host->stop;

# stopped by somebody else
fresh();
$r = allocate();
kill TERM => child();
$t->wait_for(sub { lookup($r)->{status} == 410 }, 10, 'it to end');
like lookup($r)->{json}{error}, qr/exited with status 0: bye/, 'TERM';
$host->stop;


sub fresh {
    my (%options) = @_;
    my $dir = $t->dir;
    system 'rm', '-rf', "$dir/state", "$dir/buildkit.table";
    $host = $t->host(conf([fake_pool($t, options => \%options),
        '{name: allocator}']));
}

sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', @_ });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{json}{token} });
}

sub state { $host->request(GET => '/api/v1/workers')->{json}[0]{state} }

sub child {
    return (grep { ($t->read("/proc/$_/cmdline") // '') =~ /fake_buildkitd/ }
        $t->leftovers)[0];
}
