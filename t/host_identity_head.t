#!/usr/bin/perl

# The Authorization header: what is no bearer token, what is two of them, how
# long they may be.  A token gets into no log.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use IO::Select;
use IO::Socket::INET;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E');
access: {rules: [{name: all, sources: [who], verbs: [admin, list]}]}
log: {level: debug}
E
my $port = $t->port('api');

sub raw {
    my ($head) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die $!;
    local $SIG{PIPE} = 'IGNORE';
    print $s "GET /api/v1/who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        . "$head\r\n\r\n";
    $s->flush;
    my ($text, $select) = ('', IO::Select->new($s));
    while ($select->can_read(60)) {
        sysread $s, $text, 65536, length $text or last;
    }
    return $text;
}

sub asked { $t->http("127.0.0.1:$port", GET => '/api/v1/who/open')->{json}{asked} }

my $good = Access::token('now');
my $b64 = 'Ab9-._~+/';

my %taken = (
    "Authorization: Bearer $good" => 'as it should be',
    "authorization: bearer $good" => 'in small letters',
    "Authorization:Bearer   $good  " => 'with blanks around it',
    "Authorization: Bearer $good==" => 'with padding',
);
for (sort keys %taken) {
    like(raw($_), qr{^HTTP/1\.1 200 }, "taken: $taken{$_}");
}

my $asked = asked();
my %refused = (
    "Authorization: Basic dXNlcjpwYXNz" => 'another scheme',
    'Authorization: Bearer' => 'no token',
    'Authorization: Bearer ' => 'a blank one',
    "Authorization: Bearer$good" => 'no blank between',
    "Authorization: Bearer\t$good" => 'a tab between',
    "Authorization: Bearer $good $good" => 'two in one',
    "Authorization: Bearer $good,Bearer $good" => 'a list',
    "Authorization: Bearer =$good" => 'padding first',
    "Authorization: Bearer $good\"" => 'a quote',
    "Authorization: Bearer $good\xe4" => 'another byte',
    'Authorization: Bearer ' . 'x' x 16385 => 'one of 16 KiB and a byte',
    'Authorization:' => 'an empty header',
);
for (sort keys %refused) {
    my $text = raw($_);
    like($text, qr{^HTTP/1\.1 401 .*WWW-Authenticate: Bearer\r}s,
        "refused: $refused{$_}");
    like($text, qr/is not \\"Bearer TOKEN\\"/, 'and it says why')
        if $refused{$_} eq 'two in one';
}
is(asked(), $asked, 'no plugin was asked about these');

my %bad = (
    "Authorization: Bearer $good\r\nAuthorization: Bearer $good" => 'twice',
    "Authorization: Basic x\r\nAUTHORIZATION: Bearer $good" => 'of two kinds',
    "Authorization : Bearer $good" => 'a blank before the colon',
    "Authorization: Bearer\r\n $good" => 'folded',
    "Authorization: Bearer $good\0x" => 'a NUL',
    "X: y\nAuthorization: Bearer $good" => 'after a bare LF',
    "X: y\rAuthorization: Bearer $good" => 'after a bare CR',
    "Authorization: Bearer a\x01b" => 'a control character',
);
for (sort keys %bad) {
    like(raw($_), qr{^HTTP/1\.1 400 .*"reason":"BadRequest"}s,
        "malformed: $bad{$_}");
}
is(asked(), $asked, 'nor about these');

# the longest that is looked at, and ones that are far too long
like(raw('Authorization: Bearer ' . 'x' x 16384), qr{^HTTP/1\.1 401 .*nobody}s,
    '16 KiB are put to the plugins');
is(asked(), $asked + 1, 'which look at them');
like(raw('Authorization: Bearer ' . 'x' x 40000),
    qr{^HTTP/1\.1 431 .*HeadTooLarge}s, '40 kB are too large a head');
like(raw('Authorization: Bearer ' . 'x' x 1048576),
    qr{^HTTP/1\.1 431 .*HeadTooLarge}s, 'so is 1 MiB');

# an open route does not look at it
like($t->http("127.0.0.1:$port", GET => '/api/v1/who/open', undef,
    headers => { Authorization => 'Basic x' })->{status}, qr/^200$/,
    'an open route takes anything');

is($h->stop, 0, 'stops');
unlike($t->read($h->{proc}{log}), qr/who\.now|\Q$b64\E|dXNlcjpwYXNz/,
    'nothing of it is in the log');

done_testing;
