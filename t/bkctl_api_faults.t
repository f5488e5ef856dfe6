#!/usr/bin/perl

# bkctl and an API that is not well: each fault is one sentence, a hint and
# the right exit code, in bounded time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Socket qw(SOCK_STREAM);
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $sock = $t->dir . '/api.sock';
my $port = $t->port('api');
my %env = (map({ $_ => undef } qw(BKCTL_POOL BKCTL_NAMESPACE BKCTL_TOKEN
    BKCTL_TLS_DIR http_proxy)), BKCTL_ENDPOINT => "unix:$sock");

# pool => [answer, exit code, what stderr says]
my %fault = (
    garbage => [{ body => "\x00\xffnot json" }, 1, qr/not JSON\n +is BKCTL/],
    empty => [{ body => '' }, 1, qr/not JSON/],
    list => [{ json => [] }, 1, qr/without a token/],
    tokenless => [{ json => { id => 'x' } }, 1, qr/without a token/],
    e500 => [{ status => 500, body => '<html>' }, 1,
        qr/answered 500 without saying why/],
    e400 => [{ status => 400, json => { error => "bad\e[31m thing",
        reason => 'Bad', hint => 'do it well' } }, 1,
        qr/^bkctl: bad\?\[31m thing\n +do it well$/m],
    e401 => [{ status => 401 }, 3, qr/answered 401.*\n +set BKCTL_TOKEN/],
    e403 => [{ status => 403, json => { error => 'not yours' } }, 3,
        qr/^bkctl: not yours$/m],
    e404 => [{ status => 404, json => { error => 'no pool e404',
        hint => 'bkctl pools lists the pools' } }, 1,
        qr/no pool e404\n +bkctl pools/],
    e502 => [{ status => 502, body => '<html>' }, 5, qr/answered 502/],
    full => [{ status => 503, json => { error => 'no worker is free',
        reason => 'NoCapacity', hint => 'wait longer' },
        headers => { 'Retry-After' => 100 } }, 4, qr/no worker is free/],
    queue => [{ status => 429, json => { error => 'the queue is full',
        reason => 'QueueFull', hint => 'come again' },
        headers => { 'Retry-After' => 100 } }, 4, qr/the queue is full/],
    redirect => [{ status => 302, headers => { Location => '/elsewhere' } },
        1, qr/answered 302/],
    dropped => [{ drop => 1 }, 5, qr/cannot be reached: Empty reply/],
    oversized => [{ zeros => 65 * 1024 * 1024 }, 1, qr/more than 64 MiB/],
    headers => [{ headers => { map { ("X-$_" => 'x' x 1000) } 1 .. 400 } },
        5, qr/cannot be reached/],
    badpem => [{ json => { token => $t->token, caCert => '!!!!',
        gatewayEndpoint => 'tcp://x:1' } }, 1, qr/caCert is not PEM/],
);

plan tests => keys(%fault) * 3 + 18;

my $n = 0;
for my $name (sort keys %fault) {
    my ($rule, $rc, $says) = @{$fault{$name}};
    my $api = fake("f" . $n++, $sock, { on => 'release', json => {} },
        { on => '.', %$rule });

    my $got = $t->run({ env => \%env }, $bkctl, 'allocate', '--pool', $name,
        '--wait', '0s', '--out', $t->dir . "/out-$name");
    is($got->{rc}, $rc, "$name: exit $rc");
    like($got->{err}, $says, "$name: text");
    ok(!-e $t->dir . "/out-$name/key.pem" && $got->{out} eq '',
        "$name: nothing written, nothing printed");
    $t->stop($api);
    unlink $sock;
}

like($t->read('f0.req'), qr/"path":"\/api\/v1\/workers\/release"/,
    'an allocation that could not be written is given back');

# nobody there

my $got = $t->run({ env => \%env }, $bkctl, 'pools');
is($got->{rc}, 5, 'no socket: exit 5');
like($got->{err}, qr/No such file.*\n +start it with: buildkit-plugin-host/,
    'no socket: says how to start it');

my $dead = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $sock,
    Listen => 1);
close $dead;
like($t->run({ env => \%env }, $bkctl, 'pools')->{err},
    qr/Connection refused/, 'a socket of the dead');
unlink $sock;

$got = $t->run({ env => { %env, BKCTL_ENDPOINT => "http://127.0.0.1:$port" }},
    $bkctl, 'status');
is($got->{rc}, 5, 'no port: exit 5');

# silence, on a request with a wait of its own: wait + 15 s would be long, so
# the API ends it by going away

my $api = fake('hang', $sock, { on => '.', hang => 1 });
my $run = $t->start('waiter', { env => \%env }, $bkctl, 'allocate', '--pool',
    'silent', '--wait', '3s', '--json');
$t->wait_for(sub { -s $t->dir . '/hang.req' }, 10, 'the request');
$t->wait_for(sub { ($t->read('waiter.log') // '') =~ /waiting/ }, 20,
    'progress on stderr');
like($t->read('waiter.log'),
    qr/^waiting for a worker of pool default\/silent \.\.\. \d+s\n/,
    'progress is a plain line without a terminal');
$t->stop($api);
unlink $sock;
$t->wait_for(sub { !$t->alive($run) }, 20, 'the end of waiting');
is($run->{status}, 5, 'gone while it waited, not back in time: exit 5');

# gone and back within the wait

$api = fake('before', $sock, { on => '.', hang => 1 });
$run = $t->start('patient', { env => \%env }, $bkctl, 'allocate', '--pool',
    'p', '--wait', '60s', '--json');
$t->wait_for(sub { -s $t->dir . '/before.req' }, 10, 'the request');
$t->stop($api);
unlink $sock;
my $token = $t->token;
$api = fake('after', $sock, { on => '.', json => { token => $token } });
$t->wait_for(sub { !$t->alive($run) }, 90, 'the answer');
is($run->{status}, 0, 'an API that comes back is asked again');
like($t->read('patient.log'), qr/"token": "\Q$token\E"/,
    'and its answer is printed');
$t->stop($api);
unlink $sock;

# 503 with Retry-After within the wait, over TCP, with a bearer token

$api = fake('retry', $port,
    { on => '.', times => 1, status => 503,
        headers => { 'Retry-After' => 1 },
        json => { error => 'stopping', reason => 'ShuttingDown' } },
    { on => '.', json => { token => $token } });
$got = $t->run({ env => { %env, BKCTL_ENDPOINT => "http://127.0.0.1:$port/",
    BKCTL_TOKEN => 'bearer-secret', http_proxy => 'http://127.0.0.1:1' } },
    $bkctl, 'allocate', '--pool', 'p', '--wait', '60s', '--json');
is($got->{rc}, 0, 'Retry-After is honoured within the wait');
my @seen = map { decode_json($_) } split /\n/, $t->read('retry.req');
is($seen[1]{headers}{authorization}, 'Bearer bearer-secret',
    'BKCTL_TOKEN is the bearer token');
is($seen[1]{path}, '/api/v1/workers/allocate', 'the path, once a slash');
unlike($got->{out} . $got->{err}, qr/bearer-secret/, 'and never printed');

$got = $t->run({ env => { %env, BKCTL_TOKEN => "two\nlines" } }, $bkctl,
    'pools');
like($got->{err}, qr/BKCTL_TOKEN has a character/, 'no header injection');

# a worker that did not start within the wait

$api = fake('slow', $sock, { on => 'release', json => {} }, { on => '.',
    json => { token => $token, state => 'starting', workerName => 'w1' } });
$got = $t->run({ env => \%env }, $bkctl, 'run', '--pool', 'p', '--wait', '0s',
    '--', 'touch', $t->dir . '/touched');
ok($got->{rc} == 0 && -e $t->dir . '/touched',
    'run: a worker that is not ready: the gateway holds connections');
like($got->{err}, qr/^bkctl: worker w1 of pool default\/p is still starting; /m,
    '... said');
like($t->read('slow.req'), qr/release.*\Q$token\E|\Q$token\E.*release/,
    '... and given back');
like($t->run({ env => \%env }, $bkctl, 'allocate', '--pool', 'p', '--wait',
    '0s')->{err}, qr/the worker is still starting/, 'allocate: a note');


sub fake {
    my ($name, $where, @list) = @_;

    $t->write("$name.rules", encode_json(\@list));
    my $proc = $t->start($name, {}, "$FindBin::Bin/lib/fake_api", $where,
        $t->dir . "/$name.rules", $t->dir . "/$name.req");
    $t->wait_for(sub {
        $where =~ /^\d/ ? IO::Socket::INET->new("127.0.0.1:$where")
            : IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $where)
    }, 10, "the fake $name");

    return $proc;
}
