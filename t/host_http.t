#!/usr/bin/perl

# The HTTP server: limits, malformed requests, JSON errors.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON ();
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n");
my $h = $t->host(<<'E');
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
my $port = $t->port('api');

# Sends bytes, returns all that comes until the server closes.
sub raw {
    my ($bytes, $half) = @_;
    my $s = IO::Socket::UNIX->new(Peer => $h->api) or die $!;
    local $SIG{PIPE} = 'IGNORE';
    print $s $bytes;
    $s->flush;
    shutdown $s, 1 if $half;
    my $text = '';
    my $select = IO::Select->new($s);
    while ($select->can_read(60)) {
        sysread $s, $text, 65536, length $text or last;
    }
    return $text;
}

sub error_is {
    my ($text, $status, $reason, $name) = @_;
    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my $json = eval { JSON::decode_json($body // '') } // {};
    ok(($head // '') =~ m{^HTTP/1\.1 $status }
        && ($json->{reason} // '') eq $reason && $json->{error}, $name)
        or diag($text);
}

my $end = "Host: x\r\nConnection: close\r\n\r\n";
my $pools = 'GET /api/v1/pools HTTP/1.1';

my @bad = (
    ["hello\r\n\r\n", 400, 'BadRequest', 'no HTTP'],
    ["GET / HTTP/2.0\r\n$end", 505, 'BadVersion', 'HTTP/2'],
    ["GET x HTTP/1.1\r\n$end", 400, 'BadRequest', 'a path without /'],
    ["GET /a b HTTP/1.1\r\n$end", 505, 'BadVersion', 'a blank in the path'],
    ["GET /%zz HTTP/1.1\r\n$end", 400, 'BadRequest', 'bad encoding'],
    ["GET /%00 HTTP/1.1\r\n$end", 400, 'BadRequest', 'an encoded NUL'],
    ["GET /\0 HTTP/1.1\r\n$end", 400, 'BadRequest', 'a NUL'],
    ["GET / HTTP/1.1\r\nA : b\r\n$end", 400, 'BadRequest', 'blank and colon'],
    ["GET / HTTP/1.1\r\nA: b\r\n c\r\n$end", 400, 'BadRequest', 'folding'],
    ["GET / HTTP/1.1\nA: b\r\n$end", 400, 'BadRequest', 'bare LF'],
    ["GET / HTTP/1.1\r\nA: b\rc\r\n$end", 400, 'BadRequest', 'bare CR'],
    ["G(T / HTTP/1.1\r\n$end", 400, 'BadRequest', 'a strange method'],
    ["$pools\r\nContent-Length: 1\r\nContent-Length: 2\r\n$end", 400,
        'BadRequest', 'two lengths'],
    ["$pools\r\nContent-Length: -1\r\n$end", 400, 'BadRequest',
        'a negative length'],
    ["$pools\r\nContent-Length: 1x\r\n$end", 400, 'BadRequest',
        'a length that is no number'],
    ["$pools\r\nTransfer-Encoding: chunked\r\n$end", 411, 'LengthRequired',
        'a chunked body'],
    ["GET /nope HTTP/1.1\r\n$end", 404, 'NotFound', 'an unknown path'],
    ["GET /api/v1/pools/ HTTP/1.1\r\n$end", 404, 'NotFound', 'a slash more'],
    ["POST /api/v1/pools HTTP/1.1\r\n$end", 405, 'MethodNotAllowed',
        'another method'],
    ["DELETE /healthz HTTP/1.1\r\n$end", 405, 'MethodNotAllowed', 'DELETE'],
    ["$pools\r\nOrigin: http://evil\r\n$end", 403, 'CrossSite', 'a web page'],
    ["$pools\r\nContent-Length: 2\r\n$end" . '{}', 415,
        'UnsupportedMediaType', 'a body without its type'],
    ["$pools\r\nContent-Length: 65537\r\n$end" . 'x' x 65537, 413, 'TooLarge',
        'a body of 64 KiB and one'],
    ["$pools\r\nContent-Length: 99999999999999999999999\r\n$end", 413,
        'TooLarge', 'an enormous length'],
    ["$pools\r\nContent-Length: 3000000\r\n$end" . 'x' x 3000000, 413,
        'TooLarge', 'three megabytes that are sent'],
    ["GET / HTTP/1.1\r\nA: " . 'x' x 40000 . "\r\n$end", 431, 'HeadTooLarge',
        'a head of 40 KB'],
    ["GET /api/v1/workers?pool=none/such HTTP/1.1\r\n$end", 404,
        'PoolNotFound', 'an unknown pool'],
    ["GET /api/v1/allocations/zz HTTP/1.1\r\n$end", 404,
        'AllocationNotFound', 'an unknown allocation'],
);
error_is(raw($_->[0]), @$_[1 .. 3]) for @bad;

like(raw("PUT /api/v1/pools HTTP/1.1\r\n$end"), qr/^Allow: GET\r$/m,
    '405 says what is allowed');

# what is right
my $ok = raw("$pools\r\n$end");
like($ok, qr{^HTTP/1\.1 200 OK\r}, 'a request');
like($ok, qr/^X-Content-Type-Options: nosniff\r$/m, 'nosniff');
like($ok, qr/^Cache-Control: no-store\r$/m, 'no-store');
like($ok, qr{^Content-Type: application/json\r$}m, 'JSON');

my $two = raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    . "GET /healthz HTTP/1.1\r\n$end");
is(scalar(() = $two =~ m{HTTP/1\.1 200}g), 2, 'two on one connection');
like(raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1), qr/^HTTP\/1\.1 200/,
    'a client that says no more still reads');
like(raw("HEAD /api/v1/pools HTTP/1.1\r\n$end"),
    qr/Content-Length: [1-9]\d*\r.*\r\n\r\n\z/s, 'HEAD has no body');
like(raw("GET /healthz HTTP/1.0\r\n\r\n"), qr/^HTTP\/1\.1 200.*close/s,
    'HTTP/1.0 is closed');
like(raw("$pools\r\nContent-Type: application/json; charset=utf-8\r\n"
    . "Content-Length: 2\r\n$end" . '{}'), qr/^HTTP\/1\.1 200/,
    'a body of the right type');

# slow ones: a byte each half second, of a head or a body, keeps nothing open
my %slow = (head => "GET /healthz HTTP/1.1\r\nA: ",
    body => "$pools\r\nHost: x\r\nContent-Type: application/json"
    . "\r\nContent-Length: 1000\r\n\r\n{\"a\":\"");
for (values %slow) {
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die $!;
    syswrite $s, $_;
    $_ = { socket => $s, text => '' };
}
my $select = IO::Select->new(map { $_->{socket} } values %slow);
my $began = time;
while ($select->count && time < $began + 60) {
    my %ready = map { $_ => 1 } $select->can_read(0.5);
    for my $one (values %slow) {
        my $s = $one->{socket};
        next if !$select->exists($s);
        if (!$ready{$s}) { syswrite $s, 'x' if !keys %ready; next }
        sysread $s, $one->{text}, 65536, length $one->{text}
            or $select->remove($s);
    }
}
error_is($slow{$_}{text}, 408, 'Timeout', "a $_, a byte each half second")
    for qw(head body);
is($select->count, 0, 'both are ended, though more of them comes');

is($h->request(GET => '/healthz')->{status}, 200, 'the host is well');

done_testing;
