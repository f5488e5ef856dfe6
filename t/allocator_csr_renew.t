#!/usr/bin/perl

# With a signing request the private key never leaves the caller; renew gives
# the same public key a longer life, and never a shorter one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Digest::SHA qw(sha256);
use Test::Buildkit;
use Time::Local qw(timegm);

plan tests => 34;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 4),
    '{name: allocator, options: {maxTtl: 2h, defaultTtl: 10m}}']));
my $dir = $t->dir;

for my $type (['EC', '-newkey ec -pkeyopt ec_paramgen_curve:P-256'],
    ['RSA', '-newkey rsa:2048'])
{
    my ($name, $args) = @$type;
    my $csr = csr($name, $args);
    my $r = allocate(csr => $csr);
    is $r->{status}, 200, "$name: allocated";
    is exists $r->{json}{clientKey} ? 1 : 0, 0, "$name: no key is sent";
    $t->write("$name.pem", pem($r->{json}{clientCert}));
    is pub("$name.pem", 'x509'), pub("$name.key", 'pkey'),
        "$name: a certificate of our key";
    my $subject = $t->run(qw(openssl x509 -noout -subject -ext
        subjectAltName -in), "$dir/$name.pem")->{out};
    like $subject, qr/CN ?= ?alloc:\Q$r->{json}{token}\E$/m,
        "$name: with our name for it";
    unlike $subject, qr/evil/, "$name: and nothing else of the request";
    is bound("$name.key"), 1, "$name: bound to our key in the table";
}

# the same allocation again, with a key of its own
my %again = (idempotencyKey => 'k');
allocate(%again, csr => csr('one', '-newkey ec -pkeyopt '
    . 'ec_paramgen_curve:P-256'));
my $one = bound('one.key');
my $two = allocate(%again, csr => csr('two', '-newkey rsa:2048'))->{json};
is "$one " . bound('two.key'), '1 1', 'asked again: bound to the new key';
is bound('one.key'), 0, '... and to the old one no more';
$host->request(DELETE => "/api/v1/allocations/$two->{id}");

# a request that was changed after it was signed
my $csr = csr('bad', '-newkey ec -pkeyopt ec_paramgen_curve:P-256');
my $der = $t->run({ stdin => $csr }, qw(openssl req -outform DER))->{out};
substr($der, -5, 1) ^= "\x01";
my $bad = $t->run({ stdin => $der }, qw(openssl req -inform DER))->{out};
my $r = allocate(csr => $bad);
is $r->{status}, 400, 'a broken signature';
like $r->{json}{error}, qr/sign/i, 'and says so';
is allocate(csr => 'x')->{status}, 400, 'no PEM';
is allocate(csr => $csr =~ s/CERTIFICATE REQUEST/CERTIFICATE/gr)->{status},
    400, 'another kind of PEM';
my ($row) = journal($t, 'SELECT count(*) AS n FROM allocations');
is $row->{n}, 3, 'nothing was made of them';

# renew
my $a = allocate(ttl => '10m')->{json};
$t->write('a.pem', pem($a->{clientCert}));
my $began = time;
$r = renew($a, ttl => '1h');
my $ended = time;
is $r->{status}, 200, 'renewed';
is $r->{json}{id}, $a->{id}, 'id';
is $r->{json}{state}, 'ready', 'state';
is exists $r->{json}{clientKey} || exists $r->{json}{token} ? 1 : 0, 0,
    'neither key nor token';
is within($r, $began, $ended, 3600), 'so', 'expiresAt';
$t->write('b.pem', pem($r->{json}{clientCert}));
is pub('b.pem', 'x509'), pub('a.pem', 'x509'), 'the same public key';
is $t->run(qw(openssl x509 -noout -checkend), 86400 + 3000, '-in',
    "$dir/b.pem")->{rc}, 0, 'a longer certificate';
like $t->run(qw(openssl x509 -noout -subject -in), "$dir/b.pem")->{out},
    qr/CN ?= ?alloc:\Q$a->{token}\E/, 'with the same token';
is lookup($a)->{json}{expiresAt}, $r->{json}{expiresAt}, 'the model knows';
($row) = journal($t, "SELECT expires_ms FROM allocations WHERE "
    . "hex(token_hash) LIKE '$a->{id}%'");
is $row->{expires_ms} / 1000, stamp($r->{json}{expiresAt}),
    'the journal knows';

# never shorter; the default; the limit
is renew($a, ttl => '5s')->{json}{expiresAt}, $r->{json}{expiresAt},
    'renew never shortens';
my $b = allocate(ttl => '60s')->{json};
$began = time;
$r = renew($b);
is within($r, $began, time, 600), 'so', 'defaultTtl';
is renew($a, ttl => '3h')->{status}, 400, 'not beyond maxTtl';

# it expires by itself, journal and all, and cannot be renewed then
$host->request(DELETE => "/api/v1/allocations/$b->{id}");
my $c = allocate(ttl => '1s')->{json};
$t->wait_for(sub { lookup($c)->{status} == 410 }, 10, 'it to expire');
like lookup($c)->{json}{error}, qr/expired at/, 'expired';
is renew($c)->{status}, 410, 'not to be renewed';
$t->wait_for(sub {
    (journal($t, "SELECT state FROM allocations WHERE hex(token_hash) LIKE "
        . "'$c->{id}%'"))[0]{state} eq 'expired'
}, 5, 'the journal');


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0', @_ });
}

sub renew {
    my ($a, %more) = @_;

    return $host->request(POST => '/api/v1/workers/renew',
        { token => $a->{token}, %more });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}

sub csr {
    my ($name, $args) = @_;
    my $r = $t->run('sh', '-c', "openssl req -new -nodes $args "
        . "-subj '/CN=evil/O=evil' -addext 'subjectAltName=DNS:evil' "
        . "-keyout $dir/$name.key 2>/dev/null");

    return $r->{out};
}

sub pub {
    my ($file, $kind) = @_;

    return $t->run('openssl', $kind, '-in', "$dir/$file",
        $kind eq 'x509' ? ('-noout', '-pubkey') : '-pubout')->{out};
}

# the hash of the public key is in the table, as the gateway looks for it
sub bound {
    my ($file) = @_;
    my $der = $t->run(qw(openssl pkey -pubout -outform DER -in),
        "$dir/$file")->{out};

    return index($t->read('buildkit.table'), sha256($der)) != -1 ? 1 : 0;
}

# its end is that far from when it was asked for, to the second
sub within {
    my ($r, $began, $ended, $ttl) = @_;
    my $at = stamp($r->{json}{expiresAt}) - $ttl;

    return $at >= int($began) - 1 && $at <= $ended + 1 ? 'so'
        : "$at, not $began to $ended";
}

sub stamp {
    my ($y, $mo, $d, $h, $mi, $s) = $_[0] =~ /(\d+)/g;

    return timegm($s, $mi, $h, $d, $mo - 1, $y);
}
