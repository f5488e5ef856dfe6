#!/usr/bin/perl

# Plugin oidc: tokens that are signed as they must be and still not good, by
# what they claim: issuer, audience, times, subject.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $main = Oidc->new($t, 'main');
$main->key('ES256', 'ES256');
$main->publish;
my $iss = $main->url;

my $p = Oidc::identify($t, <<"E");
issuers: [{name: main, issuer: "$iss", audience: [builds],
    caFile: "@{[$main->ca]}", leeway: 30s}]
E

# times are of now, so they come after the keys
Oidc::warm($p, made({}));
my $now = time;
sub made { $main->token('ES256', @_) }

my @cases = (
    ['expired', made({ exp => $now - 300 }), 'TokenExpired'],
    ['by more than the leeway', made({ exp => $now - 31 }),
        'TokenExpired'],
    ['not by more', made({ exp => $now - 5 }), 'ok'],
    ['just now', made({ nbf => $now + 25, iat => $now + 25 }),
        'ok'],
    ['not before, by more than the leeway', made({ nbf => $now + 40 }),
        'TokenNotYetValid'],
    ['issued, by more than the leeway', made({ iat => $now + 40 }),
        'TokenNotYetValid'],
    ['no exp', made({ exp => undef }), 'TokenMalformed'],
    ['a text as exp', made({ exp => "$now" }),
        'TokenMalformed'],
    ['exp of 1e300', made({ exp => 1e300 }),
        'TokenMalformed'],
    ['exp is negative', made({ exp => -1 }),
        'TokenMalformed'],
    ['issued in the future', made({ iat => $now + 600 }),
        'TokenNotYetValid'],
    ['not valid yet', made({ nbf => $now + 600 }),
        'TokenNotYetValid'],
    ['wrong audience', made({ aud => 'nobody' }),
        'WrongAudience'],
    ['a longer audience', made({ aud => "builds2" }),
        'WrongAudience'],
    ['no audience', made({ aud => undef }), 'WrongAudience'],
    ['audiences that are none', made({ aud => [7, []] }),
        'WrongAudience'],
    ['no subject', made({ sub => '' }), 'TokenMalformed'],
    ['another issuer', made({ iss => 'https://x.example' }),
        'none'],
    ['the issuer and a slash', made({ iss => "$iss/" }),
        'none'],
    ['the issuer as a list', made({ iss => [$iss] }),
        'none'],
);

plan tests => 7 + @cases;

is($p->{first}, 'ready', 'it starts');

for my $case (@cases) {
    my ($what, $token, $want) = @$case;
    my $a = Oidc::ask($p, $token);
    my $got = $a->{none} ? 'none' : $a->{ok} ? 'ok'
        : "$a->{reason}, $a->{code}";
    is($got, $want =~ /^[a-z]/ ? $want : "$want, 401", $what)
        or diag($a->{line});
}

sub text { Oidc::ask($p, made($_[0]))->{line} }

like(text({ exp => $now - 300 }), qr/the token expired 5m(\d+s)? ago/,
    'it says since when');
like(text({ aud => ["a\e[1mb"] }),
    qr/wrong audience: saw a\?\[1mb, want builds/, 'and what it saw');
like(text({ nbf => $now + 7200 }), qr/not valid for another (2h|1h59m\d+s) /,
    'and since when it will do');
like(text({ sub => undef }), qr/the token has no subject \(sub\)/,
    'what is missing');
my $stats = Oidc::stats($p);
is_deeply({ map { /source="main",result="(?!accepted|cached|unreachable)(.*)"/
        && $stats->{$_} ? ($1 => $stats->{$_}) : () } keys %$stats },
    { expired => 3, not_yet_valid => 5, malformed => 6, wrong_audience => 5 },
    'they are counted, each as what it is');
is(Oidc::quit($p), 0, 'the end');
