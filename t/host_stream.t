#!/usr/bin/perl

# An answer in parts: chunked, for HEAD and HTTP/1.0, to a client that goes
# away and to one that does not read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use IO::Select;
use IO::Socket::UNIX;
use Test::Buildkit;

plan tests => 16;

my $t = Test::Buildkit->new;
my $h = Access::host($t, '');
my $path = '/api/v1/who/stream';

sub open_raw {
    my ($bytes) = @_;

    my $s = IO::Socket::UNIX->new(Peer => $h->api) or die $!;
    syswrite $s, $bytes;
    return $s;
}

sub rest {
    my ($s) = @_;

    my ($text, $select) = ('', IO::Select->new($s));
    while ($select->can_read(60)) {
        sysread $s, $text, 65536, length $text or last;
    }
    return $text;
}

sub gone { $h->request(GET => '/api/v1/who/open')->{json}{gone} }

my $r = $h->request(GET => "$path?parts=3&size=5");
is($r->{status}, 200, 'a stream');
is($r->{headers}{'transfer-encoding'}, 'chunked', 'is chunked');
is($r->{headers}{'x-stream'}, 'yes', 'has extra headers');
is($r->{headers}{'content-length'}, undef, 'and no length');
is($r->{body}, "xxxx\n" x 3, 'each part came');

my $text = rest(open_raw("GET $path?parts=2&size=3 HTTP/1.1\r\nHost: x\r\n\r\n"
    . "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"));
like($text, qr{\r\n\r\n3\r\nxx\n\r\n3\r\nxx\n\r\n0\r\n\r\nHTTP/1\.1\ 200\ .*
    \{"status":"ok"\}$}sx, 'the connection goes on after its last part');

$text = rest(open_raw("GET $path?parts=2&size=3 HTTP/1.0\r\n\r\n"));
like($text, qr{\r\nConnection: close\r\n\r\nxx\nxx\n$}s,
    'HTTP/1.0: until the connection ends');
unlike($text, qr/chunked/, 'and not chunked');

$text = rest(open_raw("HEAD $path?parts=2 HTTP/1.1\r\nConnection: close\r\n"
    . "\r\n"));
like($text, qr{^HTTP/1\.1 200 .*chunked.*\r\n\r\n\z}s, 'HEAD: no body');

# a client that goes away: the handler hears of it
my $s = open_raw("GET $path?parts=0 HTTP/1.1\r\nHost: x\r\n\r\n");
sysread $s, $text, 10;
close $s;
ok($t->wait_for(sub { gone() == 1 }, 5, 'gone'), 'a reader that goes away');

# one that never reads: broken off, without a last part
$s = open_raw("GET $path?parts=0&size=60000 HTTP/1.1\r\nHost: x\r\n\r\n");
ok($t->wait_for(sub { gone() == 2 }, 15, 'the writer to be told'),
    'one that does not read: the writer is told');
$text = rest($s);
ok(length $text < 4 * 1048576, 'not much was kept for it');
unlike($text, qr/\r\n0\r\n\r\n\z/, 'and it can see that something is missing');

# a part that is larger than what is kept
$text = rest(open_raw("GET $path?parts=1&size=2000000 HTTP/1.1\r\n\r\n"));
unlike($text, qr/xx|0\r\n\r\n\z/, 'too large a part is not begun');

# it stops while one is under way
$s = open_raw("GET $path?parts=0 HTTP/1.1\r\nHost: x\r\n\r\n");
sysread $s, $text, 10;
$h->kill('TERM');
like(rest($s), qr/\r\n0\r\n\r\n\z/, 'stopping: a last part');
$t->wait_for(sub { !$t->alive($h->{proc}) }, 10, 'its end');
is($h->{proc}{status}, 0, 'stopped well');
