#!/usr/bin/perl

# A signing request that says that it is encrypted: OpenSSL would ask the
# terminal for its pass phrase, or read it from stdin, and all wait for that.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 4;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 1), '{name: allocator}']));

my $csr = $t->run(qw(openssl req -new -nodes -subj /CN=a -newkey ec -pkeyopt
    ec_paramgen_curve:P-256 -keyout), $t->dir . '/key.pem')->{out};
my $locked = $csr =~ s/(REQUEST-----\n)/${1}Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n/r;

my $r = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', csr => $locked });
is "$r->{status} $r->{json}{reason}", '400 BadCsr', 'it is none';
is $host->request(GET => '/healthz')->{status}, 200, 'goes on';
is $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', csr => $csr })->{status}, 200, 'without that it is one';
is $t->read($host->{proc}{log}) =~ /pass phrase/i ? 1 : 0, 0,
    'nobody is asked for a pass phrase';
