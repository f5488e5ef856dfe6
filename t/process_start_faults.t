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
        qr/not ready within 1 s: it answers with gRPC status 13: told to fail/],
    ['plain', qr/not ready within 1 s: it does not speak HTTP\/2/],
    ['mute', qr/not ready within 1 s: the TLS handshake does not end/],
    ['late 60', qr/not ready within 1 s: Connection refused/],
);

plan tests => 2 * @cases + 11;

my $t = Test::Buildkit->new;
my ($host, $r);

# each from nothing, so that no back-off counts
for (@cases) {
    my ($mode, $text) = @$_;
    $t->write('mode', "$mode\n");
    fresh(startTimeout => '1s');
    $r = allocate(wait => '30s');
    is $r->{status}, 503, "$mode: refused";
    like $r->{json}{error}, $text, "$mode: and why";
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
