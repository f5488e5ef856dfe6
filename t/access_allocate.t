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

plan tests => 45;

my $t = Test::Buildkit->new;
$t->write('static.yaml', <<'E');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: localhost}
      - {name: w2, endpoint: "127.0.0.1:7002", tlsName: localhost}
  - name: other/pool
    workers:
      - {name: w1, endpoint: "127.0.0.1:7003", tlsName: localhost}
      - {name: w3, endpoint: "127.0.0.1:7004", tlsName: localhost}
E
my $h = Access::host($t, <<'E', plugins => <<'P');
audit: {file: "%%DIR%%/audit.log"}
access:
  rules:
    - {name: ci, sources: [who], match: [{claim: ci, values: ["1"]}], pools: ["default/*"], maxTtl: 10m}
    - {name: sre, match: [{claim: sre, values: ["1"]}], pools: [default/demo], verbs: [revoke, list, drain]}
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

# wake, in the pools of the rule
my $d = as(bob => \%ci, POST => '/api/v1/pools/demo/wake');
is("$d->{status} $d->{json}{poolName}", '200 default/demo', 'bob wakes a pool');
($line) = audited('wake');
is_deeply([@$line{qw(who rule pool outcome)}],
    ['who:bob', 'ci', 'default/demo', 'done'], 'and that is written down');
is(as(bob => \%ci, POST => "/api/v1/pools/$_")->{status}, 403,
    "not one of another rule: $_") for 'other%2Fpool/wake',
    'pool/wake?namespace=other';
is(as(sre => \%sre, POST => '/api/v1/pools/demo/wake')->{status}, 403,
    'nor does who may only drain');

# drain, likewise; w1 is in both pools
sub drain { as($_[0], $_[1], POST => "/api/v1/workers/$_[2]/drain", $_[3] // {}) }
$d = drain(sre => \%sre, 'w1', { reason => 'old' });
is_deeply([$d->{status}, @{$d->{json}}{qw(pool worker drained)}],
    [200, 'default/demo', 'w1', JSON::true], 'sre drains the one he may');
($line) = grep { $_->{outcome} eq 'drained' } audited('drain');
is_deeply([@$line{qw(who rule pool worker reason)}],
    ['who:sre', 'sre', 'default/demo', 'w1', 'old'], 'and is written down');
is(drain(sre => \%sre, 'w3')->{status}, 404, 'not one of another pool');
my ($there, $not) = map { drain(sre => \%sre, 'w1', { poolName => $_ }) }
    'other/pool', 'other/none';
is("$there->{status} $there->{json}{reason}", '403 Forbidden',
    'nor that of another pool by its name');
is($there->{body} =~ s/pool:/none:/r, $not->{body},
    'in the words of a pool that does not exist');
sub look { as(@_[0, 1], GET => "/api/v1/workers/w1/drain?pool=$_[2]") }
is(look(sre => \%sre, 'default/demo')->{json}{reason}, 'old', 'who may list looks');
is(look(sre => \%sre, 'other/pool')->{status}, 403, 'not into another pool');
is(look(bob => \%ci, 'default/demo')->{status}, 403, 'who may not does not');
is_deeply({ map { ("$_->{pool}/$_->{name}" => $_->{state}) }
    grep { $_->{pool} =~ /demo|other/ }
    @{$h->request(GET => '/api/v1/workers')->{json}} },
    { 'default/demo/w1' => 'draining', 'default/demo/w2' => 'ready',
    'other/pool/w1' => 'ready', 'other/pool/w3' => 'ready' },
    'nothing else was drained');

# it stays his over a restart
$h->restart;
is(as(bob => \%ci, GET => "/api/v1/allocations/$r->{json}{id}")->{status}, 200,
    'after a restart it is still his');
is(as(ann => \%ci, GET => "/api/v1/allocations/$r->{json}{id}")->{status}, 404,
    'and no other\'s');
unlike(join('', map { $t->read($_) } 'audit.log', $h->{proc}{log}),
    qr/\Q$token\E|who\.now/, 'no token is anywhere');
