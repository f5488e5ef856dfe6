#!/usr/bin/perl

# Workers that do not get ready, in every way that we know: the caller is
# told why in plain words.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

# of those that are not ready in time
my $LATE = qr/not ready within 10 s/;

my $t = Test::Buildkit->new;
my ($host, $r);
my $stranger = $t->worker_cert('stranger',
    'w1.stranger.default.workers.buildkit.internal');
my $w2 = $t->dir . '/state/workers/default_demo_w2';

my @cases = (
    # pool, mode, what the caller is told, whose certificate it has
    ['exit', 'exit 3', qr/exited with status 3: fatal: told to exit with 3/],
    ['grpc', 'grpc 13',
        qr/$LATE: it answers with gRPC status 13: told to fail/],
    ['plain', 'plain', qr/$LATE: it does not speak HTTP\/2/],
    ['mute', 'mute', qr/$LATE: the TLS handshake does not end/],
    ['late', 'wait', qr/$LATE: Connection refused/],
    # somebody else at its port: another authority, another of our workers
    ['stranger', 'ok', qr/$LATE: TLS handshake: unable to get local issuer/,
        $stranger->{cert}, $stranger->{key}],
    ['other', 'ok', qr/$LATE: TLS handshake: hostname mismatch/,
        "$w2/cert.pem", "$w2/key.pem"],
);

plan tests => 2 * @cases + 11;

# the wait ends first: the answer says that it is not ready yet
$t->write('mode', "wait\n");
fresh();
$r = allocate(wait => '1s');
is $r->{status}, 200, 'slow: answered';
is $r->{json}{state}, 'starting', 'slow: starting';
$t->write('mode', "ok\n");
$t->wait_for(sub { lookup($r)->{json}{state} eq 'ready' }, 60,
    'it to be ready');
is lookup($r)->{json}{workerEndpoint} =~ /^tcp:/ ? 1 : 0, 1,
    'slow: ready later';
$host->stop;

# two that get certificates
fresh(workers => 2);
my @two = map { allocate() } 1 .. 2;
release($_) for @two;
$host->stop;

# all at once: they share the time that it takes
$host = $t->host(conf([map({ pool(@$_) } @cases), '{name: allocator}']));
my @callers = map { ask($host, POST => '/api/v1/workers/allocate',
    { poolName => $_->[0], wait => '300s' }) } @cases;
refused(@$_) for @cases;
gone(@callers);
$host->stop;

# no such program
$host = $t->host(conf(['{name: process, options: {pool: default/demo, '
    . 'command: ["%%DIR%%/nope", "{port}"], onStop: stop}}',
    '{name: allocator}']));
$r = allocate(wait => '60s');
is $r->{status}, 503, 'no program';
like $r->{json}{error}, qr/nope exited with status 127: cannot run .*nope: /,
    'no program: and why';
is $r->{json}{reason}, 'WorkerFailed', 'no program: reason';
like $r->{headers}{'retry-after'}, qr/^\d+$/, 'no program: Retry-After';
like told(), qr/1 failed \(w1: nope exited with status 127/,
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


# a pool of one worker
sub pool {
    my ($name, $mode, undef, $cert, $key) = @_;

    my $pool = fake_pool($t, options => { pool => "default/$name",
        startTimeout => '10s', probeInterval => '2s' });
    $t->write("mode-$name", "$mode\n");
    $pool =~ s{/mode"}{/mode-$name"} or die 'no mode';
    $pool =~ s/"\{cert\}"/"$cert"/ if $cert;
    $pool =~ s/"\{key\}"/"$key"/ if $key;

    return $pool;
}

# The worker says why.  Its caller still waits, so it is tried again, and there
# are times when it has not failed.
sub refused {
    my ($name, $mode, $text) = @_;

    my $w;
    eval { $t->wait_for(sub {
        ($w) = grep { $_->{pool} eq "default/$name" }
            @{$host->request(GET => '/api/v1/workers')->{json}};
        $w->{state} eq 'failed' && $w->{message} =~ $text;
    }, 60, 'the worker to fail') };
    like $w->{message}, $text, "$name: and why";
    like told(poolName => $name), qr/1 failed \(w1: /,
        "$name: callers hear of it";
}

# what one is told who does not wait
sub told {
    my (@body) = @_;

    $t->wait_for(sub {
        $r = allocate(wait => '0', @body);
        return 1 if $r->{status} == 503;
        release($r);
        return 0;
    }, 60, 'an error');

    return $r->{json}{error};
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

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{json}{token} });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{json}{token} });
}
