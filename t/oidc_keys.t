#!/usr/bin/perl

# Plugin oidc: a key set with every key that must not be used, next to a good
# one, which goes on being of use.  What the libraries take and must not: an
# exponent of 1 (anybody can sign), short moduli, secret keys, other curves.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use MIME::Base64 qw(decode_base64url encode_base64url);
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $issuer = Oidc->new($t, 'main');
$issuer->key($_, $_) for qw(ES256 RS256 ES384);
my %jwk = map { $_ => $issuer->{keys}{$_}{jwk} } keys %{$issuer->{keys}};

# a smaller key of a real one's form
my $short = $t->run('openssl', 'genpkey', '-algorithm', 'RSA', '-pkeyopt',
    'rsa_keygen_bits:1024', '-out', $t->dir . '/short.pem');
my ($hex) = $t->run('openssl', 'rsa', '-in', $t->dir . '/short.pem',
    '-noout', '-modulus')->{out} =~ /=(\w+)/;
my $n = encode_base64url(pack 'H*', $hex);

# [what, the key, {header}]: signed with the real one of its kind
my @bad = (
    ['1024 bits', { %{$jwk{RS256}}, n => $n }],
    ['2041 bits', { %{$jwk{RS256}}, n => 'AA' . substr $jwk{RS256}{n}, 2 }],
    ['e is 1', { %{$jwk{RS256}}, e => 'AQ' }],
    ['e is 3', { %{$jwk{RS256}}, e => 'Aw' }],
    ['e is even', { %{$jwk{RS256}}, e => 'AQAC' }],
    ['e is long', { %{$jwk{RS256}}, e => 'AQAB' x 3 }],
    ['n is even', { %{$jwk{RS256}}, n => substr($jwk{RS256}{n}, 0, -2)
        . 'AA' }],
    ['n is huge', { %{$jwk{RS256}}, n => $jwk{RS256}{n} x 100 }],
    ['n is padded', { %{$jwk{RS256}}, n => "$jwk{RS256}{n}==" }],
    ['no n', { %{$jwk{RS256}}, n => undef }],
    ['alg of another kind', { %{$jwk{RS256}}, alg => 'ES256' }],
    ['alg HS256', { %{$jwk{RS256}}, alg => 'HS256' }],
    ['alg is a number', { %{$jwk{RS256}}, alg => 256 }],
    ['for encryption', { %{$jwk{ES256}}, use => 'enc' }],
    ['use is a list', { %{$jwk{ES256}}, use => ['sig'] }],
    ['to sign only', { %{$jwk{ES256}}, key_ops => ['sign'] }],
    ['a private key', { %{$jwk{ES256}}, d => $jwk{ES256}{x} }],
    ['a secret', { kty => 'oct', k => $jwk{ES256}{x}, alg => 'HS256' }],
    ['off the curve', { %{$jwk{ES256}}, y => $jwk{ES256}{x} }],
    ['the point 0', { %{$jwk{ES256}}, x => 'A' x 43, y => 'A' x 43 }],
    ['x is short', { %{$jwk{ES256}}, x => substr $jwk{ES256}{x}, 1 }],
    ['x is long', { %{$jwk{ES256}}, x => "AAAA$jwk{ES256}{x}" }],
    ['another curve', { %{$jwk{ES256}}, crv => 'secp256k1' }],
    ['the wrong curve', { %{$jwk{ES256}}, crv => 'P-384' }],
    ['alg of the wrong curve', { %{$jwk{ES384}}, alg => 'ES256' }],
    ['Ed25519', { kty => 'OKP', crv => 'Ed25519', x => $jwk{ES256}{x} }],
    ['no type', { %{$jwk{ES256}}, kty => undef }],
    ['kid is a number', { %{$jwk{ES256}}, kid => 5 }],
    ['kid is long', { %{$jwk{ES256}}, kid => 'k' x 300 }],
);
my @good = (
    ['key_ops verify', { %{$jwk{ES256}}, key_ops => ['verify'] }],
    ['no alg', { %{$jwk{RS256}}, alg => undef }],
    ['no use', { %{$jwk{RS256}}, use => undef }],
    ['other members', { %{$jwk{ES384}}, x5c => ['x'], nbf => 5 }],
);

plan tests => 6 + @bad + @good;

my $i = 0;
my @keys = map { { kid => 'key-' . $i++, %$_,
    $_->{kid} && $_->{kid} =~ /^[RE]S/ ? (kid => 'key-' . ($i - 1)) : () } }
    map { $_->[1] } @bad, @good;
for my $key (@keys) {
    delete $key->{$_} for grep { !defined $key->{$_} } keys %$key;
}
$issuer->publish;
$issuer->set('/jwks', JSON->new->encode({ keys => [$jwk{ES256}, 'x', {},
    @keys], more => 1 }));

my $p = Oidc::identify($t, <<"E");
issuers: [{name: main, issuer: "@{[$issuer->url]}", audience: [builds],
    caFile: "@{[$issuer->ca]}"}]
E
is($p->{first}, 'ready', 'it starts');
ok(Oidc::warm($p, $issuer->token('ES256', {})), 'the good one is used');
# unknown keys are looked for once in ten seconds: when they are over here
Oidc::clock($p, 'stop');

$i = 0;
for my $case (@bad, @good) {
    my $good = $i >= @bad;
    my $key = $keys[$i];
    my $with = ($key->{kty} // '') eq 'RSA' ? 'RS256'
        : defined $key->{crv} && $key->{crv} eq 'P-384'
            && $case->[0] ne 'the wrong curve' ? 'ES384' : 'ES256';
    my $a = Oidc::ask($p, $issuer->token($with, {}, { kid => "key-$i" }));
    is($a->{ok} ? 'ok' : $a->{reason}, $good ? 'ok' : 'UnknownKey',
        $case->[0]) or diag($a->{line});
    $i++;
}

# PKCS #1 v1.5 with e = 1: the padded hash is its own signature
my $forged = $issuer->token('RS256', { sub => 'root' }, { kid => 'key-2' });
$forged =~ s/\.[^.]*\z//;
my $em = "\0\1" . "\xff" x 202 . "\0" . pack('H*',
    '3031300d060960864801650304020105000420') . Digest::SHA::sha256($forged);
is(Oidc::ask($p, "$forged." . encode_base64url($em))->{reason}, 'UnknownKey',
    'what anybody can sign');

my $log = $t->read($p->{log});
like($log, qr/issuer main: 5 keys; others cannot be used, the first: it is no/,
    'the log counts them');

# of a set in which none is left, nothing is taken
$issuer->set('/jwks', '{"keys":[{"kty":"oct","k":"AAAA"}]}');
Oidc::clock($p, 11_000);
is(Oidc::ask($p, $issuer->token('ES256', {}, { kid => 'new' }))->{code}, 503,
    'a set without a key is no set');
ok(Oidc::ask($p, $issuer->token('ES256', {}))->{ok}, 'the old one is kept');
