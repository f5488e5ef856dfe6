#!/usr/bin/perl

# An issuer of OpenID Connect, for the benchmark of allocations: discovery and
# keys on loopback.  issuer.pl PORT; the JWKS is the first line of its standard
# input, and it ends when that does.

use strict;
use warnings;

use IO::Select ();
use IO::Socket::INET ();

my $port = shift;
my $url  = "http://127.0.0.1:$port";
my $jwks = <STDIN> // exit;

my $listen = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port",
    Listen => 16, ReuseAddr => 1) or die "port $port: $!\n";

my %answer = (
    '/.well-known/openid-configuration' =>
        "{\"issuer\": \"$url\", \"jwks_uri\": \"$url/jwks\"}",
    '/jwks' => $jwks,
);

$SIG{PIPE} = 'IGNORE';
STDOUT->autoflush(1);
print "ready\n";

my $select = IO::Select->new($listen, \*STDIN);

while (1) {
    for my $fh ($select->can_read) {
        exit if $fh == \*STDIN;

        my $s = $listen->accept or next;
        my $path = (split ' ', <$s> // '')[1] // '';

        while (defined(my $line = <$s>)) {
            last if $line =~ /^\r?$/;
        }

        my $body = $answer{$path} // '';

        printf $s "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
            . "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
            $body eq '' ? '404 Not Found' : '200 OK', length $body, $body;
        close $s;
    }
}
