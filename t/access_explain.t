#!/usr/bin/perl

# GET /api/v1/explain: which rule decides for the caller, and what each of the
# others says; to whom what a rule wants is told.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use JSON ();
use Test::Buildkit;

plan tests => 25;

my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E');
access:
  rules:
    - {name: lab, sources: [gitlab]}
    - name: main
      match: [{claim: repository, values: [octo/secret]}, {claim: ref, pattern: "refs/heads/main"}]
      pools: ["default/*"]
      maxTtl: 90m
      concurrency: 3
      priority: -1
      untrusted: true
    - {name: forks, match: [{claim: fork, values: ["true"]}], deny: true, pools: ["default/*"]}
    - {name: rest, match: [{claim: team, values: [a]}], verbs: [list]}
    - {name: wide, match: [{claim: team, values: ["xäääääääääääääääääääääääääääääääääääääääääääääääääääää"]}], verbs: [drain]}
  pools:
    - {name: default/two, rules: [{name: own, match: [{claim: team, values: [b]}]}]}
E

sub ask {
    my ($claims, $query) = @_;
    return Access::as($t, Access::token('now', 'ann', $claims),
        GET => "/api/v1/explain?$query");
}

sub rule { (grep { $_->{rule} eq $_[1] } @{$_[0]{rules}})[0] }

my %main = (repository => 'octo/secret', ref => 'refs/heads/main');
my $e = ask(\%main, 'pool=default/one')->{json};
ok($e->{allowed}, 'allowed');
is_deeply([@$e{qw(rule verb pool identity source error)}],
    ['main', 'allocate', 'default/one', 'who:ann', 'who', ''],
    'by which rule; who asks for what');
is_deeply([@$e{qw(maxTtl concurrency priority untrusted)}],
    ['1h30m', 3, -1, JSON::true], 'and what comes with it');
is_deeply($e->{claims}, \%main, 'with these claims');
is_deeply([map { $_->{rule} } @{$e->{rules}}], [qw(lab main forks rest wide)],
    'every rule, in order');
is_deeply([map { $_->{decides} ? 1 : 0 } @{$e->{rules}}], [0, 1, 0, 0, 0],
    'one decides');
is(rule($e, 'lab')->{why}, 'it is not for the source "who"', 'a source');
is(rule($e, 'forks')->{why}, 'there is no claim "fork"', 'a claim');
is(rule($e, 'rest')->{why}, 'it is not for the verb allocate', 'a verb');

$e = ask({ %main, fork => JSON::true, ref => 'x' }, 'pool=one&verb=wake')->{json};
is("$e->{rule} $e->{pool} $e->{verb}", 'forks default/one wake',
    'a pool of the default namespace; another verb');
ok(!$e->{allowed}, 'refused');
like($e->{error}, qr/rule forks refuses it/, 'as the API would say it');
is($e->{maxTtl}, undef, 'which brings nothing');
is(rule($e, 'main')->{why}, 'claim "ref" is "x", which does not match',
    'what was seen');
is(ask(\%main, 'pool=one&namespace=ci')->{json}{pool}, 'ci/one', 'a namespace');

$e = ask({ team => 'b' }, 'pool=two')->{json};
is_deeply([map { $_->{rule} } @{$e->{rules}}], [qw(own lab main forks rest wide)],
    'those of a pool come first');
is(rule($e, 'own')->{pool}, 'default/two', 'and say whose they are');

is(ask(\%main, 'verb=fly')->{status}, 400, 'no such verb');
is($t->http('127.0.0.1:' . $t->port('api'), GET => '/api/v1/explain')->{status},
    401, 'nobody');

# whose names others have is for operators
unlike(ask({ repository => 'evil/x' }, 'pool=one')->{body},
    qr/octo|refs/, 'a stranger does not hear what would have matched');
my $r = $t->http($h->api, GET => '/api/v1/explain?pool=one', undef, headers => {
    Authorization => 'Bearer '
        . Access::token('now', 'ann', { repository => 'evil/x' }) });
like($r->{json}{rules}[1]{why}, qr/is "evil\/x", .*; wanted: "octo\/secret"$/,
    'an operator who holds the token does');
$e = $h->request(GET => '/api/v1/explain?pool=one&verb=admin')->{json};
is("$e->{rule} $e->{rules}[0]{rule}", 'operators operators',
    'he himself needs no rule');

# what is cut is not cut within a character
my $long = 'other/' . 'a' x 53 . '%C3%A4' x 4;
$r = ask(\%main, "pool=$long");
is($r->{status}, 200, 'a name that is long, and not ASCII')
    or diag($r->{body});
like($r->{json}{error}, qr/may not allocate in other\/a+.?: no rule/,
    'is cut in what is said');
$r = $t->http($h->api, GET => '/api/v1/explain?pool=one&verb=drain', undef,
    headers => { Authorization => 'Bearer '
        . Access::token('now', 'ann', { team => 'b' }) });
like(rule($r->{json}, 'wide')->{why}, qr/^claim "team" is "b", .*; wanted: "x/,
    'and so is what a rule wants');
