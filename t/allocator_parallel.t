#!/usr/bin/perl

# Many callers at once: two never get one worker unless the pool is shared,
# those who find none wait in the order in which they came, and a caller who
# goes away gives back its place or its worker.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 25;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 8), '{name: allocator, '
    . 'options: {maxQueued: 100}}']));
my $path = '/api/v1/workers/allocate';

# 60 callers, 8 workers: 8 are served, 52 wait
my @asked = map { ask($host, POST => $path, { poolName => 'demo',
    wait => '5m', jobId => "j$_" }) } 1 .. 60;
$t->wait_for(sub {
    answers(0.3, @asked);
    8 <= grep { $_->{status} } @asked;
}, 20, '8 answers');

$t->wait_for(sub { queued() == 52 }, 60, 'the others to wait');
my @served = grep { $_->{status} } @asked;
is scalar(@served), 8, 'as many as there are workers';
is_deeply [map { $_->{json}{workerName} } sort { $a->{json}{workerName}
    cmp $b->{json}{workerName} } @served], [map { "w$_" } 1 .. 8],
    'each another one';

# one that does not wait: it has its token, and its place
my $r = $host->request(POST => $path, { poolName => 'demo', wait => '0' });
is "$r->{status} $r->{json}{state}", '200 queued', 'no wait';
is $r->{json}{position}, 53, 'no wait: position';
is $r->{json}{workerName}, '', 'no wait: no worker';
is $host->request(POST => '/api/v1/workers/release',
    { token => $r->{json}{token} })->{status}, 200, 'no wait: given back';

# released ones are handed over in order, and never to two
my %holder = map { $_->{json}{workerName} => $_ } @served;
my @rest = grep { !$_->{status} } @asked;
my ($twice, $disorder, $last) = (0, 0, 0);
while (@rest) {
    for my $worker (sort keys %holder) {
        my $token = delete($holder{$worker})->{json}{token};
        $host->request(POST => '/api/v1/workers/release',
            { token => $token });
    }
    my $want = @rest < 8 ? @rest : 8;
    $t->wait_for(sub {
        answers(0.1, @rest);
        $want <= grep { $_->{status} } @rest;
    }, 20, 'the next ones');
    for my $got (grep { $_->{status} } @rest) {
        $twice++ if $holder{$got->{json}{workerName}};
        $holder{$got->{json}{workerName}} = $got;
    }
    # whoever was served was ahead of all who were not
    my $seen = 0;
    for (@rest) {
        $seen = 1 if !$_->{status};
        $disorder++ if $seen && $_->{status};
    }
    @rest = grep { !$_->{status} } @rest;
}
is $twice, 0, 'no worker was given to two';
is $disorder, 0, 'first come, first served';
is scalar(grep { $_->{status} == 200 } @asked), 60, 'all were served';

my ($row) = journal($t, "SELECT count(*) AS n, count(DISTINCT worker) AS w "
    . "FROM allocations WHERE state = 'live'");
is $row->{n}, scalar(keys %holder), 'the journal agrees';
is $row->{w}, $row->{n}, 'and has each worker once';

# all taken: one that waits and goes away loses its place only
my $full = 8 - keys %holder;
$host->request(POST => $path, { poolName => 'demo' }) for 1 .. $full;
my ($first, $second) = map { ask($host, POST => $path,
    { poolName => 'demo', wait => '5m' }) } 1 .. 2;
$t->wait_for(sub { position() == 3 }, 10, 'two in the queue');
gone($first);
$t->wait_for(sub { position() == 2 }, 10, 'one in the queue');
my ($any) = values %holder;
$host->request(POST => '/api/v1/workers/release',
    { token => $any->{json}{token} });
answers(60, $second);
is $second->{status}, 200, 'the place of a caller who left is given on';

# too many waiting; all are taken, by those that wait as well
my @many = map { ask($host, POST => $path, { poolName => 'demo',
    wait => '5m' }) } 1 .. 105;
$t->wait_for(sub {
    answers(0.2, @many);
    5 <= grep { $_->{status} } @many;
}, 10, 'the queue to be full');
my @refused = grep { $_->{status} } @many;
is_deeply [map { $_->{status} } @refused], [(429) x 5],
    'the queue has an end';
is $refused[0]{json}{reason}, 'QueueFull', 'and says so';
like $refused[0]{head}, qr/^Retry-After: \d+/mi, 'with Retry-After';
gone(@many);
$t->wait_for(sub { position() == 1 }, 10, 'the queue to be empty');

# revoked: the id frees the worker
my $id = $second->{json}{id};
$r = $host->request(DELETE => "/api/v1/allocations/$id?reason=why%20not");
is $r->{status}, 200, 'revoked';
is_deeply $r->{json}, { id => $id, state => 'revoked', reason => 'why not',
    connectionsCut => 0, connectionsLeft => 0 }, 'revoked: answer';
$r = $host->request(DELETE => "/api/v1/allocations/$id",
    { reason => 'another' });
is $r->{json}{reason}, 'why not', 'twice is once';
$r = $host->request(POST => '/api/v1/workers/lookup',
    { token => $second->{json}{token} });
is $r->{status}, 410, 'it is over';
like $r->{json}{error}, qr/was revoked at .*: why not$/, 'and says why';
($row) = journal($t, "SELECT state, reason FROM allocations WHERE "
    . "hex(token_hash) LIKE '$id%'");
is "$row->{state} $row->{reason}", 'revoked why not', 'journal: revoked';
is $host->request(POST => $path, { poolName => 'demo', wait => '0' })
    ->{json}{workerName}, $second->{json}{workerName}, 'the worker is free';

# arch
is $host->request(POST => $path, { poolName => 'demo', arch => 'arm64',
    wait => '0' })->{json}{error}, 'pool default/demo has no worker for arm64',
    'no worker of that architecture';

# a shared pool
$t->write('static.yaml', <<'END');
pools:
  - name: default/demo
    shared: true
    workers:
      - {name: s1, endpoint: "127.0.0.1:7001", tlsName: s1.test, arch: amd64}
      - {name: s2, endpoint: "127.0.0.1:7002", tlsName: s2.test, arch: amd64}
END
$t->wait_for(sub {
    my $w = $host->request(GET => '/api/v1/workers');
    $w->{body} =~ /"s2"/ && $w->{body} !~ /"w1"/;
}, 10, 'the shared pool');
my %count;
$count{$host->request(POST => $path, { poolName => 'demo' })
    ->{json}{workerName}}++ for 1 .. 10;
is_deeply \%count, { s1 => 5, s2 => 5 }, 'shared: spread evenly';
is $host->alive, 1, 'plugin-host lives';


sub queued {
    my ($pool) = grep { $_->{name} eq 'default/demo' }
        @{$host->request(GET => '/api/v1/pools')->{json}};

    return $pool->{queue};
}

sub position {
    my $r = $host->request(POST => $path, { poolName => 'demo', wait => '0' });

    $host->request(POST => '/api/v1/workers/release',
        { token => $r->{json}{token} }) if $r->{status} == 200;

    return $r->{json}{position} // 0;
}
