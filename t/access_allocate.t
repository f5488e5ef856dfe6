#!/usr/bin/perl

# The whole way: who may allocate gets a worker under its rule, and sees,
# touches and loses only what is its own; another's allocation is 404.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use JSON ();
use Test::Buildkit;

plan tests => 31;

my $t = Test::Buildkit->new;
$t->write('static.yaml', <<'E');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: localhost}
      - {name: w2, endpoint: "127.0.0.1:7002", tlsName: localhost}
  - name: other/pool
    workers: [{name: w1, endpoint: "127.0.0.1:7003", tlsName: localhost}]
E
my $h = Access::host($t, <<'E', plugins => <<'P');
audit: {file: "%%DIR%%/audit.log"}
access:
  rules:
    - {name: ci, sources: [who], match: [{claim: ci, values: ["1"]}], pools: ["default/*"], maxTtl: 10m}
    - {name: sre, match: [{claim: sre, values: ["1"]}], pools: ["default/*"], verbs: [revoke, list, drain]}
E
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
  - {name: allocator}
  - {name: who}
P

sub as {
    my ($user, $claims, @request) = @_;
    return Access::as($t, Access::token('now', $user, $claims), @request);
}

sub audited {
    return grep { $_->{what} eq $_[0] }
        map { JSON::decode_json($_) } split /\n/, $t->read('audit.log');
}

my %ci = (ci => 1);
my %sre = (sre => 1);
my $allocate = '/api/v1/workers/allocate';

# a rule, and what comes with it
my $r = as(ann => \%ci, POST => $allocate, { poolName => 'demo', ttl => '5m' });
is($r->{status}, 200, 'ann gets a worker') or diag($r->{body});
my ($id, $token) = @{$r->{json}}{qw(id token)};
$r = $t->http('127.0.0.1:' . $t->port('api'), POST => '/api/v1/workers/lookup',
    { token => $token });
is($r->{status}, 200, 'lookup is authorised by the token alone');
my ($line) = audited('allocate');
is("$line->{who} $line->{rule} $line->{pool} $line->{allocation}",
    "who:ann ci default/demo $id", 'the audit log says who, by which rule');

# who may not
$r = as(ann => \%ci, POST => $allocate, { poolName => 'other/pool' });
is("$r->{status} $r->{json}{reason}", '403 Forbidden', 'not of every pool');
like($r->{json}{error}, qr/in other\/pool: no rule allows it; claims seen: ci=1/,
    'and why');
is(as(eve => {}, POST => $allocate, { poolName => 'demo' })->{status}, 403,
    'not everybody');
is($t->http('127.0.0.1:' . $t->port('api'), POST => $allocate,
    { poolName => 'demo' })->{status}, 401, 'not nobody');
is(scalar(grep { $_->{outcome} eq 'refused' } audited('allocate')), 3,
    'each refusal has its line');

# another caller of the same rule
my $path = "/api/v1/allocations/$id";
my $none = '/api/v1/allocations/' . '0' x 12;
for my $user (qw(bob ann-x)) {
    for my $request (['GET'], ['DELETE']) {
        my ($there, $not) = map { as($user => \%ci, @$request, $_) }
            $path, $none;
        is($there->{status}, 404, "$user: @$request: 404");
        is($there->{body}, $not->{body}, 'as for one that does not exist');
    }
}
is_deeply(as(bob => \%ci, GET => '/api/v1/allocations')->{json}, [],
    'nor is it in the list');
is(as(bob => \%ci, POST => "$path/release")->{status}, 404, 'nor released');
is(as(bob => \%ci, POST => '/api/v1/workers/w1/drain', {})->{status}, 403,
    'nor is a worker drained');

# the owner
is(as(ann => \%ci, GET => $path)->{json}{id}, $id, 'ann sees it');
is_deeply([map { $_->{id} } @{as(ann => \%ci, GET =>
    '/api/v1/allocations?pool=default/demo')->{json}}], [$id], 'in the list');

# who may list and revoke
is(as(sre => \%sre, GET => $path)->{json}{owner}, 'who:ann',
    'who may list sees whose it is');
is(as(sre => \%sre, POST => $allocate, { poolName => 'demo' })->{status}, 403,
    'but gets none');
$r = as(sre => \%sre, DELETE => "$path?reason=test");
is($r->{status}, 200, 'who may revoke does');
($line) = grep { $_->{outcome} eq 'revoked' } audited('revoke');
is("$line->{who} $line->{rule} $line->{allocation} $line->{outcome}",
    "who:sre sre $id revoked", 'and is written down');
is(as(ann => \%ci, GET => $path)->{json}{state}, 'revoked', 'ann sees it');

# one's own
$r = as(ann => \%ci, POST => $allocate, { poolName => 'demo' });
is(as(ann => \%ci, DELETE => "/api/v1/allocations/$r->{json}{id}")->{status},
    200, 'one may revoke what is one\'s own');

# an operator at the socket sees and touches all
$r = as(bob => \%ci, POST => $allocate, { poolName => 'demo' });
is($h->request(GET => "/api/v1/allocations/$r->{json}{id}")->{json}{owner},
    'who:bob', 'an operator sees it');

# it stays his over a restart
$h->restart;
is(as(bob => \%ci, GET => "/api/v1/allocations/$r->{json}{id}")->{status}, 200,
    'after a restart it is still his');
is(as(ann => \%ci, GET => "/api/v1/allocations/$r->{json}{id}")->{status}, 404,
    'and no other\'s');
unlike(join('', map { $t->read($_) } 'audit.log', $h->{proc}{log}),
    qr/\Q$token\E|who\.now/, 'no token is anywhere');
