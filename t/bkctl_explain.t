#!/usr/bin/perl

# bkctl explain and the real plugin-host: who it is, its claims, each rule
# with why, and the decision, for a token of a file, of the environment and
# for the peer of the socket; the exit code is the decision.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON;
use Test::Buildkit;
use Ctl;

plan tests => 30;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
ctl($t, BKCTL_POOL => 'demo');

my ($main, $fork) = ($t->token, $t->token);
my ($main_hash, $fork_hash) = map { sha256_hex($_) } $main, $fork;
$t->write('main', "$main\n");
$t->write('oidc.yaml', <<"END");
tokens:
  - name: main
    sha256: "$main_hash"
    claims:
      - {name: repository, value: octo/app}
      - {name: ref, value: refs/heads/main}
  - name: fork
    sha256: "$fork_hash"
    claims:
      - {name: repository, value: mallory/app}
END
$t->write('static.yaml', <<'END');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: w1.tls, arch: amd64}
END
my $host = $t->host(<<'END');
state: %%DIR%%/state
reports: %%DIR%%/reports
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:1"}
access:
  rules:
    - name: releases
      match:
        - {claim: repository, values: [octo/app]}
        - {claim: ref, pattern: "refs/tags/.*"}
    - name: main-builds
      match:
        - {claim: repository, values: [octo/app]}
        - {claim: ref, pattern: "refs/heads/(main|release/.*)"}
      pools: ["default/*"]
      maxTtl: 2h
plugins:
  - {name: allocator}
  - {name: oidc, options: {file: "%%DIR%%/oidc.yaml"}}
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
END

my $got = run('explain', '--token-file', "$dir/main");
is($got->{rc}, 0, 'allowed: exit 0') or diag($got->{err});
like($got->{out}, qr/^identity  \S*main$/m, 'the identity');
like($got->{out}, qr/^repository  octo\/app$/m, 'a claim');
like($got->{out}, qr/^ref +refs\/heads\/main$/m, 'another one');
like($got->{out}, qr/^RULE +MATCHES +WHY$/m, 'a table of rules');
like($got->{out}, qr/^releases +no +\S.*ref/m, 'one that does not match, why');
like($got->{out}, qr/^main-builds +decides +\S/m, 'the one that decides');
like($got->{out}, qr/^may allocate in default\/demo, by rule main-builds/m,
    'the decision');

$got = run({ BKCTL_TOKEN => $fork }, 'explain');
is($got->{rc}, 3, 'a token that no rule is for: exit 3');
like($got->{out}, qr/^may not allocate in default\/demo: \S/m, '... said');
like($got->{out}, qr/^main-builds +no +.*repository/m, '... why');
is($got->{err}, '', '... which is no error of bkctl\'s');

$got = run({ BKCTL_TOKEN => $main }, 'explain', '--pool', 'team/two');
is($got->{rc}, 3, 'another pool: exit 3');
like($got->{out}, qr/^main-builds +no +.*pool/m, '... why');
$got = run({ BKCTL_TOKEN => $main }, 'explain', '--verb', 'drain');
is($got->{rc}, 3, 'another verb: exit 3');
like($got->{out}, qr/^may not drain in default\/demo/m, '... named');
is(run('explain', '--verb', 'fly')->{rc}, 1, 'no such verb: exit 1');

$got = run('explain');
is($got->{rc}, 0, 'the peer of the socket: exit 0');
like($got->{out}, qr/^identity  unix:\w+$/m, '... who');
like($got->{out}, qr/^may .*, by rule operators/m, '... by which rule');

$got = run({ BKCTL_TOKEN => 'made-up' }, 'explain');
is($got->{rc}, 3, 'a token that nobody knows: exit 3');
like($got->{err}, qr/^bkctl: .*\n +\S/, '... with a hint');

my $json = decode_json(run({ BKCTL_TOKEN => $fork }, 'explain', '--json')
    ->{out});
is($json->{allowed}, JSON::false, '--json: allowed');
is($json->{claims}{repository}, 'mallory/app', '--json: claims');
is(ref $json->{rules}, 'ARRAY', '--json: rules');
is(run({ BKCTL_TOKEN => $fork }, 'explain', '--json')->{rc}, 3,
    '--json: exit 3');

# what it says is what happens

is(run({ BKCTL_TOKEN => $fork }, 'allocate', '--json')->{rc}, 3,
    'allocate: exit 3');
is(run({ BKCTL_TOKEN => $main }, 'allocate', '--json')->{rc}, 0,
    'allocate: exit 0');
is(run({ BKCTL_POOL => undef }, 'explain')->{rc}, 2, 'no pool: exit 2');
unlike(printed(), qr/\Q$main\E|\Q$fork\E/, 'no token is printed');
