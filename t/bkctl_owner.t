#!/usr/bin/perl

# bkctl and the real plugin-host as owner, as somebody else and as operator:
# allocations, one with its history, watched to its end, released by its id,
# and a backup of the journal.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON;
use Test::Buildkit;
use Ctl;
use Allocator qw(conf static_pool);

plan tests => 32;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
ctl($t, BKCTL_POOL => 'demo');
my %token = map { $_ => $t->token } qw(alice bob);
$t->write('oidc.yaml', "tokens:\n" . join '', map { "  - {name: $_, sha256: \""
    . sha256_hex($token{$_}) . "\"}\n" } sort keys %token);
$t->write("$_.token", "$token{$_}\n") for keys %token;
my $host = $t->host(<<'END' . conf(['{name: allocator}', static_pool($t, 1),
access:
  rules:
    - {name: everybody, pools: ["default/*"], concurrency: 1}
END
    '{name: oidc, options: {file: "%%DIR%%/oidc.yaml"}}']));
my @alice = ('--token-file', "$dir/alice.token");
my @bob = ('--token-file', "$dir/bob.token");

my $mine = decode_json(run('allocate', '--json', @alice)->{out});
my $id = $mine->{id};
is($mine->{state}, 'ready', 'alice has a worker');

# the next one waits, with a place

my $proc = start('bob', 'allocate', '--json', '--wait', '60s', @bob);
said('bob', qr/: place 1\b/, 'bob has a place');
my ($wait) = grep { $_->{state} eq 'queued' }
    @{decode_json(run('allocations', '--json')->{out})};

# who sees what

like(run('allocations')->{out}, qr/ OWNER .*^$id .* token:alice /ms,
    'an operator sees whose it is');
is(run('allocations', '--names', @alice)->{out}, "$id\n",
    'alice sees her own');
is(run('allocations', '--names', @bob)->{out}, "$wait->{id}\n",
    'bob sees his own');
my $got = run('allocations', $id, @bob);
is($got->{rc}, 1, 'bob asks for alice\'s: exit 1');
like($got->{err}, qr/^bkctl: there is no such allocation$/m,
    '... as if it were not there');
$got = run('allocations', $id, @alice);
is($got->{rc}, 0, 'alice asks for her own: exit 0') or diag $got->{err};
like($got->{out}, qr/^owner +token:alice\nrule +everybody\n/m, '... owner');
like($got->{out}, qr/^TIME .*\n\S+Z +made +token:alice /m, '... history');

# released by its id: not by others, by its owner

is(run('release', $id, @bob)->{rc}, 1, 'bob releases alice\'s: exit 1');
is(run('revoke', $id, '--reason', 'x', @bob)->{rc}, 1, '... or revokes it');
my $watch = start('watch', 'allocations', $id, '--watch', @alice);
said('watch', qr/"state": ?"ready"/, 'alice watches');
$got = run('release', $id, @alice);
is("$got->{rc} $got->{out}", "0 released $id\n", 'alice releases it');
ended($watch, 0, '... and the watch ends');
my @states = map { decode_json($_)->{state} } split /\n/, $t->read('watch.log');
is("@states", 'ready released', '... with that');
is(run('release', $id, @alice)->{rc}, 0, 'again: no error');

ended($proc, 0, 'bob gets the worker');
my ($json) = $t->read('bob.log') =~ /^(\{.*^\}\n)/ms;
is(decode_json($json)->{id}, $wait->{id}, '... with the allocation he had');
like(run('allocations', $wait->{id}, @bob)->{out},
    qr/^\S+Z +made .*^\S+Z +placed /ms, '... its history');

# his rule allows one at a time; an API that does not answer by the end of the
# wait, on a busy machine, is another end of it

my $tries = 0;
do {
    $got = run('allocate', '--wait', '2s', '--json', @bob);
} while (++$tries < 5 && $got->{rc} == 5);
is($got->{rc}, 4, 'bob wants a second one: exit 4');
like($got->{err}, qr/\(rule everybody allows 1 at a time\)/, '... why not');

# an operator releases anybody's

is(run('release', $wait->{id})->{rc}, 0, 'an operator releases it');
is((grep { $_->{id} eq $wait->{id} }
    @{decode_json(run('allocations', '--json')->{out})})[0]{state},
    'released', '... so it is');

# a backup is an operator's

is(run('backup', 'one', @alice)->{rc}, 3, 'alice may make no backup: exit 3');
$got = run('backup', 'one');
is($got->{rc}, 0, 'an operator may') or diag $got->{err};
my ($path) = $got->{out} =~ /^backup in (\S+), /;
is($t->run('sqlite3', '-readonly', $path // 'none',
    'SELECT count(*) FROM allocations')->{out}, 2 + $tries . "\n",
    '... it is whole');
is(run('backup', 'one')->{rc}, 1, 'the same name again: exit 1');
is(run('backup')->{rc}, 0, 'without a name');
is(run('backup', '../x')->{rc}, 1, 'a name that is a path: exit 1');
is(run('workers', '--names', '--token-file', "$dir/none")->{rc}, 2,
    'a token file that is not there: exit 2');
unlike(printed(), qr/$token{alice}|$token{bob}/, 'no token is printed');
