#!/usr/bin/perl

# What a rule says beyond yes: how many at a time (more wait, and others go
# past them), for how long, and untrusted ones, which never share a worker
# with trusted ones, not even after a restart.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal gone);
use Queue;
use Test::Buildkit;

plan tests => 30;

my $t = Test::Buildkit->new;
my %fork = (fork => 'yes');
my $host = start($t, rules(<<'END'), workers => 4);
    - name: two
      match: [{claim: few, values: ["yes"]}]
      concurrency: 2
      maxTtl: 10m
    - {name: forks, match: [{claim: fork, values: ["yes"]}], untrusted: true}
END
my %few = (few => 'yes');

# as many as the rule allows; the rest waits though there are workers
my @ann = map { allocate_as($t, 'ann', {}, \%few)->{json} } 1 .. 4;
is_deeply [map { $_->{state} } @ann], [qw(ready ready queued queued)],
    'two at a time';
is $ann[2]{waitsFor}, 'rule two allows 2 at a time', 'and why';
is $ann[3]{position}, 2, 'with a place';
my $bob = allocate_as($t, 'bob', {}, \%few)->{json};
is $bob->{state}, 'ready', 'another caller of that rule goes past them';
my $eve = allocate_as($t, 'eve', {})->{json};
is $eve->{state}, 'ready', 'so does one of another rule';
release_as($t, $ann[0]{token});
$t->wait_for(sub { state($ann[2]) eq 'ready' }, 10, 'the next one');
pass 'one is given back, the next one is let in';
is state($ann[3]), 'queued', '... and no more';
release_as($t, $ann[3]{token});
release_as($t, $_->{token}) for @ann[1, 2], $bob, $eve;

# kept over a restart
@ann = map { allocate_as($t, 'ann', {}, \%few)->{json} } 1 .. 3;
is $ann[2]{state}, 'queued', 'two again';
$host->kill('KILL');
$host->restart;
# whoever comes now has the queue looked at
release_as($t, allocate_as($t, 'bob', {}, \%few)->{json}{token});
is state($ann[2]), 'queued', 'after a restart: still two at a time';
is state($ann[1]), 'ready', '... with what they have';
release_as($t, $ann[0]{token});
$t->wait_for(sub { state($ann[2]) eq 'ready' }, 10, 'the next one');
pass '... and the next one when one ends';
release_as($t, $_->{token}) for @ann;

# how long
my $r = allocate_as($t, 'ann', { ttl => '11m' }, \%few);
is "$r->{status} $r->{json}{reason}", '400 BadTtl', 'longer than the rule';
like $r->{json}{error}, qr/longer than the 600s that rule two allows/,
    'which is named';
$r = allocate_as($t, 'ann', {}, \%few);
my ($row) = journal($t, "SELECT max(expires_ms - created_ms) AS ms "
    . "FROM allocations WHERE state = 'live'");
cmp_ok $row->{ms}, '<', 700_000, 'no ttl: what the rule allows';
$r = as($t, 'ann', POST => '/api/v1/workers/renew',
    { token => $r->{json}{token}, ttl => '11m' }, \%few);
is $r->{status}, 400, 'nor is it renewed for longer';
like $r->{json}{error}, qr/600s, by rule two/, '... by the rule';
$host->stop;
system 'rm', '-rf', $t->dir . '/state', $t->dir . '/buildkit.table';

# untrusted: two workers, one for each kind
$host = start($t, rules(<<'END'), workers => 2);
    - {name: forks, match: [{claim: fork, values: ["yes"]}], untrusted: true}
END
my $own = allocate_as($t, 'ann', {})->{json};
release_as($t, $own->{token});
my $fork = allocate_as($t, 'bob', {}, \%fork)->{json};
isnt $fork->{workerName}, $own->{workerName}, 'a fork gets a fresh worker';
my $more = allocate_as($t, 'eve', {}, \%fork)->{json};
is $more->{state}, 'queued', '... or none, though one is free';
like $more->{waitsFor}, qr/1 of the other trust/, 'and why';
release_as($t, $more->{token});
release_as($t, $fork->{token});
my $one = allocate_as($t, 'ann', {})->{json};
my $two = allocate_as($t, 'ann', {})->{json};
is $one->{workerName}, $own->{workerName}, 'trusted ones get theirs';
is $two->{state}, 'queued', '... and never the other one';
release_as($t, $_->{token}) for $one, $two;

$host->kill('KILL');
$host->stop;
unlink $t->dir . '/buildkit.table';
$host->restart;
for my $who (1 .. 2) {
    $r = allocate_as($t, "u$who", {}, \%fork)->{json};
    is $r->{workerName}, $fork->{workerName}, 'after a restart: forks';
    release_as($t, $r->{token});
    $r = allocate_as($t, "t$who", {})->{json};
    is $r->{workerName}, $own->{workerName}, '... and the others';
    release_as($t, $r->{token});
}

# none left of one kind
(my $less = $t->read('static.yaml')) =~ s/^.*name: $own->{workerName},.*\n//m;
$t->write('static.yaml', $less);
$t->wait_for(sub {
    1 == grep { $_->{pool} eq 'default/demo' }
        @{$host->request(GET => '/api/v1/workers')->{json}}
}, 10, 'a worker to go');
$r = allocate_as($t, 'ann', {});
is "$r->{status} $r->{json}{reason}", '503 NoCapacity',
    'no worker that could ever take it';
like $r->{json}{error}, qr/no worker for trusted allocations/, 'and says so';
$r = allocate_as($t, 'ann', { arch => 'riscv64' });
like $r->{json}{error}, qr/no worker for riscv64/, 'so for an architecture';
is allocate_as($t, 'bob', {}, \%fork)->{status}, 200, 'the other kind is fine';
is queued($host), 0, 'and nobody was left in the queue';
$host->stop;


sub state { lookup_as($t, $_[0]{token})->{json}{state} // 'none' }
