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

Oidc::warm($p, made({}));
my $now = time;

# seconds from when the token is made, just before it is shown
sub at { my ($seconds) = @_; return \$seconds }
sub made {
    my %claims = %{$_[0]};
    ref $_ eq 'SCALAR' and $_ = int(time) + $$_ for values %claims;
    return $main->token('ES256', \%claims);
}

my @cases = (
    ['expired', { exp => at(-300) }, 'TokenExpired'],
    ['by more than the leeway', { exp => at(-31) },
        'TokenExpired'],
    ['not by more', { exp => at(-5) }, 'ok'],
    ['just now', { nbf => at(25), iat => at(25) },
        'ok'],
    # more than the leeway, less than the usual one of a minute; what remains
    # is for a busy machine
    ['not before, by more than the leeway', { nbf => at(55) },
        'TokenNotYetValid'],
    ['issued, by more than the leeway', { iat => at(55) },
        'TokenNotYetValid'],
    ['no exp', { exp => undef }, 'TokenMalformed'],
    ['a text as exp', { exp => "$now" },
        'TokenMalformed'],
    ['exp of 1e300', { exp => 1e300 },
        'TokenMalformed'],
    ['exp is negative', { exp => -1 },
        'TokenMalformed'],
    ['issued in the future', { iat => at(600) },
        'TokenNotYetValid'],
    ['not valid yet', { nbf => at(600) },
        'TokenNotYetValid'],
    ['wrong audience', { aud => 'nobody' },
        'WrongAudience'],
    ['a longer audience', { aud => "builds2" },
        'WrongAudience'],
    ['no audience', { aud => undef }, 'WrongAudience'],
    ['audiences that are none', { aud => [7, []] },
        'WrongAudience'],
    ['no subject', { sub => '' }, 'TokenMalformed'],
    ['another issuer', { iss => 'https://x.example' },
        'none'],
    ['the issuer and a slash', { iss => "$iss/" },
        'none'],
    ['the issuer as a list', { iss => [$iss] },
        'none'],
);

plan tests => 7 + @cases;

is($p->{first}, 'ready', 'it starts');

for my $case (@cases) {
    my ($what, $claims, $want) = @$case;
    my $a = Oidc::ask($p, made($claims));
    my $got = $a->{none} ? 'none' : $a->{ok} ? 'ok'
        : "$a->{reason}, $a->{code}";
    is($got, $want =~ /^[a-z]/ ? $want : "$want, 401", $what)
        or diag($a->{line});
}

sub text { Oidc::ask($p, made($_[0]))->{line} }

like(text({ exp => at(-300) }), qr/the token expired 5m(\d+s)? ago/,
    'it says since when');
like(text({ aud => ["a\e[1mb"] }),
    qr/wrong audience: saw a\?\[1mb, want builds/, 'and what it saw');
like(text({ nbf => at(7200) }), qr/not valid for another (2h|1h59m\d+s) /,
    'and since when it will do');
like(text({ sub => undef }), qr/the token has no subject \(sub\)/,
    'what is missing');
my $stats = Oidc::stats($p);
is_deeply({ map { /source="main",result="(?!accepted|cached|unreachable)(.*)"/
        && $stats->{$_} ? ($1 => $stats->{$_}) : () } keys %$stats },
    { expired => 3, not_yet_valid => 5, malformed => 6, wrong_audience => 5 },
    'they are counted, each as what it is');
is(Oidc::quit($p), 0, 'the end');
