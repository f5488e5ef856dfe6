#!/usr/bin/perl

# Plugin oidc: tokens of a wrong form, with a wrong signature or algorithm.
# Each is refused for the right reason, in a text without the token.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(decode_base64url encode_base64url);
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my ($main, $other) = map { Oidc->new($t, $_, start => $_ eq 'main') }
    qw(main other);
$main->key($_, $_) for qw(RS256 PS256 ES256 ES384);
$other->key($_, $_) for qw(ES256 ES384);
$main->publish;

my $p = Oidc::identify($t, <<"E");
issuers:
  - name: main
    issuer: "@{[$main->url]}"
    audience: [builds]
    caFile: "@{[$main->ca]}"
    leeway: 30s
  - name: narrow
    issuer: "@{[$main->url]}"
    audience: [narrow]
    caFile: "@{[$main->ca]}"
    algorithms: [ES256]
E

my $good = $main->token('ES256', {});
my ($head, $payload, $sig) = split /\./, $good;
my $pem = $t->run('openssl', 'pkey', '-in', $main->{keys}{RS256}{file},
    '-pubout')->{out};
my $iss = $main->url;

# a token of these parts, whatever they are, signed by a key
sub made {
    my ($kid, $header, $claims) = @_;
    return $main->token($kid, $claims // {}, $header);
}

# the same, with this in place of a signature
sub faked {
    my ($header, $with, $kid) = @_;
    my $text = $main->token($kid // 'RS256', {}, $header);
    $text =~ s/[^.]*\z//;
    return $text . encode_base64url(ref $with
        ? $with->($text =~ s/\.\z//r) : $with);
}

my $claims = qq("iss":"$iss","aud":"builds","exp":@{[time + 99]});
my $deep = qq({$claims,"sub":"s","x":) . '[' x 40 . ']' x 40 . '}';
my @cases = (
    ['another signature', "$head.$payload." . (split /\./,
        $main->token('ES256', {}))[2] =~ s/^(.)/$1 eq 'A' ? 'B' : 'A'/er,
        'BadSignature'],
    ['another payload', join('.', $head, (split /\./, $main->token('ES256',
        { sub => 'root' }))[1], $sig), 'BadSignature'],
    ['no signature', "$head.$payload.", 'BadSignature'],
    ['a short one', substr($good, 0, -4), 'BadSignature'],
    ['bytes after it', "$head.$payload." . encode_base64url(
        decode_base64url($sig) . "\0\0"), 'BadSignature'],
    ['R and S are 0', "$head.$payload." . 'A' x 86, 'BadSignature'],
    ['another issuer\'s key', $other->token('ES256', { iss => $iss }),
        'BadSignature'],
    ['none', faked({ alg => 'none' }, ''), 'BadAlgorithm'],
    ['None, signed', made('RS256', { alg => 'None' }), 'BadAlgorithm'],
    ['no alg', made('RS256', { alg => undef }), 'BadAlgorithm'],
    ['alg is a list', made('RS256', { alg => ['RS256'] }), 'BadAlgorithm'],
    ['HS256 with the public key', faked({ alg => 'HS256' },
        sub { hmac_sha256($_[0], $pem) }), 'BadAlgorithm'],
    ['RS512', made('RS256', { alg => 'RS512' }), 'BadAlgorithm'],
    ['RS256 of an EC key', made('ES256', { alg => 'RS256' }),
        'BadAlgorithm'],
    ['PS256 of an RS256 key', made('RS256', { alg => 'PS256' }),
        'BadAlgorithm'],
    ['ES256 of P-384', made('ES384', { alg => 'ES256' }), 'BadAlgorithm'],
    ['not one of the issuer\'s', made('RS256', undef, { aud => 'narrow' }),
        'BadAlgorithm'],
    ['crit', made('ES256', { crit => ['exp'] }), 'TokenMalformed'],
    ['b64', made('ES256', { b64 => JSON::false() }), 'TokenMalformed'],
    ['no kid, one key of its kind', made('RS256', { kid => undef }, {}), 'ok'],
    ['a number as kid', made('ES256', { kid => 7 }), 'TokenMalformed'],
    ['a kid of 300', made('ES256', { kid => 'k' x 300 }), 'TokenMalformed'],
    ['a path as kid', made('ES256', { kid => '../../etc/passwd' }),
        'UnknownKey'],
    ['jku and jwk of somebody', $other->token('ES384', { iss => $iss }, {
        jku => $other->url . '/jwks', jwk => $other->{keys}{ES384}{jwk},
        x5u => $other->url, kid => 'ES384' }), 'BadSignature'],
    ['nested JSON', made('ES256', undef, $deep), 'TokenMalformed'],
    ['a key twice', made('ES256', undef, qq({$claims,"sub":"a","sub":"b"})),
        'TokenMalformed'],
    ['alg twice', made('ES256', '{"alg":"none","alg":"ES256","kid":"ES256"}'),
        'TokenMalformed'],
    ['no JSON', made('ES256', undef, '{"iss":'), 'TokenMalformed'],
    ['NUL in a string', made('ES256', undef,
        qq({$claims,"sub":"a\\u0000b"})), 'TokenMalformed'],
    ['padding', "$head=.$payload.$sig", 'TokenMalformed'],
    ['another alphabet', "$head.$payload+/.$sig", 'TokenMalformed'],
    ['a blank', "$head.$payload .$sig", 'TokenMalformed'],
    ['1 MiB of it', "$head." . 'A' x 1048576 . ".$sig", 'TokenTooLong'],
    ['a PSS salt of 20 bytes', faked({ alg => 'PS256', kid => 'PS256' },
        sub { Oidc::_openssl($_[0], qw(dgst -sha256 -sign),
        $main->{keys}{PS256}{file}, qw(-sigopt rsa_padding_mode:pss -sigopt
        rsa_pss_saltlen:20)) }), 'BadSignature'],
    ['a header of 8 KiB', made('ES256', { x => 'y' x 8192 }),
        'TokenTooLong'],
);

plan tests => 5 + @cases;

is($p->{first}, 'ready', 'it starts');
Oidc::warm($p, $main->token('ES256', { aud => $_ })) for qw(builds narrow);

my %result = (ok => 'accepted', BadSignature => 'bad_signature',
    BadAlgorithm => 'bad_algorithm', UnknownKey => 'unknown_key',
    TokenMalformed => 'malformed', TokenTooLong => 'too_long');
# keys are looked for once in ten seconds, and waited for no longer than five
Oidc::clock($p, 'stop');
my $before = Oidc::stats($p);
my $fetched = $main->requests('/jwks');
my %want;
for my $case (@cases) {
    my ($what, $token, $want) = @$case;
    my $a = Oidc::ask($p, $token);
    $want{$result{$want}}++;
    my @parts = grep { length > 20 } split /\./, $token;
    my $got = $a->{none} ? 'none' : $a->{ok} ? 'ok' : $a->{reason};
    $got .= ", $a->{code}" if defined $a->{code} && $a->{code} != 401;
    $got .= ', with the token' if !$a->{ok}
        && grep { index($a->{line}, substr $_, 0, 20) >= 0 } @parts;
    is($got, $want, $what) or diag($a->{line});
}

my $after = Oidc::stats($p);
my %moved;
for (grep { /^oidc_tokens_total/ } keys %$after) {
    my ($result) = /result="(.*)"/;
    $moved{$result} += $after->{$_} - $before->{$_};
}
delete @moved{grep { !$moved{$_} } keys %moved};
is_deeply(\%moved, \%want, 'each is counted as what it is');

is($main->requests('/jwks') - $fetched, 1,
    'one more fetch, for all the unknown keys');
my ($secret) = $good =~ /([^.]{20})\z/;
unlike($t->read($p->{log}), qr/\Q$secret\E|eyJ/, 'no token in the log');
is(Oidc::quit($p), 0, 'the end');
