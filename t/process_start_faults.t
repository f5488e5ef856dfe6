#!/usr/bin/perl

# Workers that do not get ready, in every way that we know: the caller is
# told why in plain words.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

my @cases = (
    # mode, what the caller is told
    ['exit 3', qr/exited with status 3: fatal: told to exit with 3/],
    ['grpc 13',
        qr/not ready within 3 s: it answers with gRPC status 13: told to fail/],
    ['plain', qr/not ready within 3 s: it does not speak HTTP\/2/],
    ['mute', qr/not ready within 3 s: the TLS handshake does not end/],
    ['late 60', qr/not ready within 3 s: Connection refused/],
);

plan tests => 2 * @cases + 15;

my $t = Test::Buildkit->new;
my ($host, $r);

# each from nothing, so that no back-off counts
for (@cases) {
    my ($mode, $text) = @$_;
    $t->write('mode', "$mode\n");
    fresh(startTimeout => '3s');
    refused($mode, $text);
    $host->stop;
}

# the wait ends first: the answer says that it is not ready yet
$t->write('mode', "late 3\n");
fresh();
$r = allocate(wait => '1s');
is $r->{status}, 200, 'slow: answered';
is $r->{json}{state}, 'starting', 'slow: starting';
$t->wait_for(sub { lookup($r)->{json}{state} eq 'ready' }, 20,
    'it to be ready');
is lookup($r)->{json}{workerEndpoint} =~ /^tcp:/ ? 1 : 0, 1,
    'slow: ready later';
$host->stop;

# somebody else at its port: another authority, and another of our workers
$t->write('mode', "ok\n");
fresh(workers => 2);
allocate() for 1 .. 2;
$host->stop;
my $stranger = $t->worker_cert('stranger',
    'w1.demo.default.workers.buildkit.internal');
my $w2 = $t->dir . '/state/workers/default_demo_w2';
for ([$stranger->{cert}, $stranger->{key}, qr/unable to get local issuer/],
    ["$w2/cert.pem", "$w2/key.pem", qr/hostname mismatch/])
{
    my ($cert, $key, $text) = @$_;
    my $pool = fake_pool($t, options => { startTimeout => '3s' });
    $pool =~ s/"\{cert\}"/"$cert"/;
    $pool =~ s/"\{key\}"/"$key"/;
    unlink $t->dir . '/buildkit.table';
    $host = $t->host(conf([$pool, '{name: allocator}']));
    $host->request(DELETE => "/api/v1/allocations/$_->{id}")
        for @{$host->request(GET => '/api/v1/allocations')->{json}};
    refused('not verified', qr/not ready within 3 s: TLS handshake: $text/);
    $host->stop;
}

# no such program
$host = $t->host(conf(['{name: process, options: {pool: default/demo, '
    . 'command: ["%%DIR%%/nope", "{port}"], onStop: stop}}',
    '{name: allocator}']));
$r = allocate(wait => '8s');
is $r->{status}, 503, 'no program';
like $r->{json}{error}, qr/nope exited with status 127: cannot run .*nope: /,
    'no program: and why';
is $r->{json}{reason}, 'WorkerFailed', 'no program: reason';
like $r->{headers}{'retry-after'}, qr/^\d+$/, 'no program: Retry-After';
$r = allocate(wait => '0');
like $r->{json}{error}, qr/1 failed \(w1: nope exited with status 127/,
    'no program: who does not wait is told as well';
$host->stop;

# bad options
for (['pool: nope', qr/pool "nope" is not namespace\/name/],
    ['workers: 0', qr/workers must be between 1 and/],
    ['onStop: maybe', qr/onStop is "leave" or "stop"/])
{
    my $conf = $t->write('bad.yaml', conf(["{name: process, options: "
        . "{$_->[0]}}"]));
    like $t->run($t->build . '/buildkit-plugin-host', '-t', '-c', $conf)
        ->{err}, $_->[1], "option $_->[0]";
}


# The worker says why, and the caller still waits: it is tried again.
sub refused {
    my ($name, $text) = @_;

    my $caller = ask($host, POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '30s' });
    my $w;
    $t->wait_for(sub {
        ($w) = @{$host->request(GET => '/api/v1/workers')->{json}};
        $w->{state} eq 'failed';
    }, 15, 'the worker to fail');
    like $w->{message}, $text, "$name: and why";
    $r = allocate(wait => '0');
    like $r->{json}{error}, qr/1 failed \(w1: /, "$name: callers hear of it";
    gone($caller);
}

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
