#!/usr/bin/perl

# Plugin oidc: keys that change.  An unknown key id makes it look, at most
# once in ten seconds; what is not in the set any more is not taken, tokens
# that were verified before neither; while the issuer is down the old keys
# go on being used, though not for ever.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oidc;
use Test::Buildkit;

plan tests => 33;

my $t = Test::Buildkit->new;
my $issuer = Oidc->new($t, 'main');
$issuer->key('first', 'ES256');
$issuer->publish;

my $p = Oidc::identify($t, <<"E");
issuers: [{name: main, issuer: "@{[$issuer->url]}", audience: [builds],
    caFile: "@{[$issuer->ca]}", jwksRefresh: 15m, staleFor: 2h}]
E
is($p->{first}, 'ready', 'it starts');

my %day = (exp => time + 86400);
my $first = $issuer->token('first', \%day);
ok(Oidc::warm($p, $first), 'the first key');
is(fetched(), 1, 'its keys are fetched once');

# from here on ten seconds are over when it is said
Oidc::clock($p, 'stop');

# what becomes of a token, when the issuer has answered in time
sub told {
    my ($token) = @_;

    return $t->wait_for(sub {
        my $a = Oidc::ask($p, $token);
        ($a->{reason} // '') ne 'IssuerUnreachable' && $a;
    }, 60, 'the issuer');
}

# of many with made-up key ids
sub made_up {
    return $t->wait_for(sub {
        my @ids = map { Oidc::begin($p, $issuer->token('first', {}, {
            kid => "made-up-$_" })) } 1 .. 20;
        my %reasons = map { Oidc::answer($p, $_)->{reason} => 1 } @ids;
        !$reasons{IssuerUnreachable} && \%reasons;
    }, 60, 'the issuer');
}

sub fetched {
    return Oidc::stats($p)->{'oidc_key_fetches_total{issuer="main",'
        . 'result="ok"}'};
}

# a second key next to it
$issuer->key('second', 'RS256');
$issuer->publish;
my $second = $issuer->token('second', \%day);
ok(told($second)->{ok}, 'a new key is found at once');
is(fetched(), 2, 'by one more fetch');

# many unknown ones
is_deeply(made_up(), { UnknownKey => 1 }, 'made-up key ids are refused');
is(fetched(), 2, 'without a fetch in these ten seconds');
Oidc::clock($p, 10_000);
is_deeply(made_up(), { UnknownKey => 1 }, 'the same in the next ten');
is(fetched(), 3, 'with one, for all of them');

# a key that is withdrawn: so are tokens that were verified with it
my $cached = 'oidc_tokens_total{source="main",result="cached"}';
ok(Oidc::ask($p, $first)->{ok}, 'a token that was verified before');
is(Oidc::stats($p)->{$cached}, 1, 'is remembered');
my $stolen = $issuer->token('first', \%day);
$issuer->forget('first');
$issuer->publish;
Oidc::clock($p, 10_000);
$issuer->key('third', 'ES384');
$issuer->publish(jwks_uri => $issuer->url . '/moved');
$issuer->set('/moved', JSON->new->encode($issuer->jwks));
$issuer->forget('second');
$issuer->key('second', 'RS256');        # same name, another key
ok(told($issuer->token('third', {}))->{ok},
    'the document is read again too');
is(Oidc::ask($p, $first)->{reason}, 'UnknownKey',
    'a withdrawn key is forgotten, with what it signed');
is(Oidc::ask($p, $stolen)->{reason}, 'UnknownKey', 'and what it signs');
is(Oidc::ask($p, $issuer->token('second', {}))->{reason}, 'BadSignature',
    'a new key of an old name is not yet known');

# and at times without being asked: nobody names a key that is unknown
ok(Oidc::ask($p, $second)->{ok}, 'what the earlier key of that name signed');
my $age = 'oidc_keys_age_seconds{issuer="main"}';
my $n = fetched();
$issuer->set('/moved', JSON->new->encode($issuer->jwks));
Oidc::clock($p, 600_000);
my $stats = Oidc::stats($p);
is(fetched(), $n, 'not in ten minutes');
cmp_ok($stats->{$age}, '>=', 600, 'which is the age of its keys');
Oidc::clock($p, 300_000);
$t->wait_for(sub { fetched() > $n }, 60, 'the keys to be read again');
$stats = Oidc::stats($p);
is(fetched(), $n + 1, 'but in fifteen');
cmp_ok($stats->{$age}, '<', 300, 'they are new');
is(Oidc::ask($p, $second)->{reason}, 'BadSignature',
    'the earlier key is forgotten, with what was verified by it');
ok(Oidc::ask($p, $issuer->token('second', \%day))->{ok}, 'the new one is not');

# the issuer goes down
$issuer->stop;
my $failed = 'oidc_key_fetches_total{issuer="main",result="failed"}';
my $before = Oidc::stats($p)->{$failed};
my $begins = length $t->read($p->{log});
my $a;
for (1 .. 3) {
    Oidc::clock($p, 11_000);
    $a = Oidc::ask($p, $issuer->token('third', \%day, { kid => 'fourth' }));
}
is("$a->{code} $a->{reason}", '503 IssuerUnreachable',
    'an unknown key while it is down');
like($a->{text}, qr/issuer main .*(?:refused|connect)/i, 'says so');
ok(Oidc::ask($p, $issuer->token('third', \%day))->{ok},
    'the old keys are still good');
$a = Oidc::stats($p);
cmp_ok($a->{$failed} - $before, '>=', 3, 'failures are counted');
my $log = substr $t->read($p->{log}), $begins;
is(scalar(() = $log =~ /^2: issuer main: .*going on with its keys/mg), 1,
    'one warning, not one for each try');
Oidc::clock($p, 7_200_000);
my $known = $issuer->token('third', \%day);
ok(Oidc::ask($p, $known)->{ok}, 'two hours later');
Oidc::clock($p, 900_000);
$a = Oidc::ask($p, $issuer->token('third', { exp => time + 86400,
    sub => 'late' }));
is("$a->{code} $a->{reason}", '503 IssuerUnreachable', 'not for ever');
is(Oidc::ask($p, $known)->{reason}, 'IssuerUnreachable',
    'nor is a token that was verified before');

# and comes up again
$issuer->start;
Oidc::clock($p, 'go');
$a = $t->wait_for(sub {
    my $one = Oidc::ask($p, $issuer->token('third', \%day));
    $one->{ok} && $one }, 15, 'the issuer to be asked again');
is($a->{name}, 'main:somebody', 'all is well again');
ok(Oidc::ask($p, $second)->{reason}, 'with the keys of now');
is(Oidc::quit($p), 0, 'the end');
