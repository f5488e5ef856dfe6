#!/usr/bin/perl

# A worker goes while it is being written down for somebody, who is in the
# queue again; the journal says so in the end, even if it refuses at first.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 7;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 2),
    '{name: allocator, options: {queueLease: 10m}}']),
    env => { held_journal($t) });
my $full = $t->read('static.yaml');
(my $less = $full) =~ s/^.*name: w2,.*\n//m;
$t->write('static.yaml', $less);
workers(1);
my ($has, $waits) = map { $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '0' })->{json} } 1, 2;
is $has->{state}, 'ready', 'one has the worker';
is "$waits->{state} $waits->{position}", 'queued 1', 'another one waits';

sql('CREATE TRIGGER no BEFORE UPDATE OF worker ON allocations '
    . "WHEN NEW.worker = '' BEGIN SELECT RAISE(FAIL, 'not now'); END");
my $hold = $t->write('hold', '');
$t->write('static.yaml', $full);
workers(2);
$t->wait_for(sub { !exists look()->{position} }, 10, 'its turn');
$t->write('static.yaml', $less);
workers(1);
unlink $hold;

$t->wait_for(sub { $host->log =~ /refuses this: not now; trying again/ }, 10,
    'the journal to refuse');
is look()->{position}, 1, 'it is in the queue';
is row()->{worker}, 'w2', 'the journal says otherwise';
sql('DROP TRIGGER no');
$t->wait_for(sub { row()->{worker} eq '' }, 10, 'the journal to follow');
is row()->{state}, 'live', 'then it follows';
$host->kill('KILL');
$host->restart;
is look()->{state}, 'queued', 'after a restart it waits';
$host->request(POST => '/api/v1/workers/release',
    { token => $has->{token} });
$t->wait_for(sub { look()->{state} eq 'ready' }, 10, 'its turn');
pass 'until it is its turn';
$host->stop;


sub look {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $waits->{token} })->{json};
}

sub row {
    return (journal($t, 'SELECT worker, state FROM allocations WHERE '
        . "hex(token_hash) LIKE '$waits->{id}%'"))[0];
}

sub sql {
    my $r = $t->run('sqlite3', '-cmd', '.timeout 60000',
        $t->dir . '/state/journal.db', @_);
    die $r->{err} if $r->{rc} != 0;
    return;
}

sub workers {
    my ($n) = @_;
    $t->wait_for(sub { $n == @{$host->request(GET => '/api/v1/workers')
        ->{json}} }, 10, "$n workers");
    return;
}
