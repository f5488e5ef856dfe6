#!/usr/bin/perl

# An allocation that ends while its renewal is being written: the caller is
# told that it has ended, not that it lives.  One that is renewed while it gets
# its worker is renewed, and not put off as one that is queued.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 8;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 2), '{name: allocator}']),
    env => { held_journal($t) });
my $a = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo' })->{json};
is $a->{state}, 'ready', 'an allocation';

my $hold = $t->write('hold', '');
my $renewal = ask($host, POST => '/api/v1/workers/renew',
    { token => $a->{token}, ttl => '2h' });
(my $less = $t->read('static.yaml')) =~ s/^.*name: $a->{workerName},.*\n//m;
$t->write('static.yaml', $less);
$t->wait_for(sub { grep { $_->{state} eq 'failed' }
    @{$host->request(GET => '/api/v1/allocations')->{json}} }, 10,
    'its worker to go');
unlink $hold;

answers(60, $renewal);
is "$renewal->{status} " . ($renewal->{json}{reason} // ''),
    '410 AllocationEnded', 'the caller is told';
like $renewal->{json}{error}, qr/failed at .*: its worker was removed/,
    '... and why';
$t->wait_for(sub { (journal($t, 'SELECT state FROM allocations'))[0]{state}
    eq 'failed' }, 10, 'the journal to say so');
pass 'so does the journal';

# w1 or w2 is left: it is taken, the next one waits for others
$host->request(POST => '/api/v1/workers/allocate', { poolName => 'demo' });
my $b = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '0' })->{json};
is $b->{state}, 'queued', 'another one waits';

$t->write('hold', '');
static_pool($t, 3);
$t->wait_for(sub { !defined $host->request(GET =>
    "/api/v1/allocations/$b->{id}")->{json}{position} }, 10,
    'it to get its worker');
$renewal = ask($host, POST => '/api/v1/workers/renew',
    { token => $b->{token}, ttl => '3h' });
# answered after what was asked before it
$host->request(GET => '/api/v1/health');
unlink $hold;

answers(60, $renewal);
is $renewal->{status}, 200, 'it is renewed meanwhile';
my $row = $t->wait_for(sub {
    my ($row) = journal($t, 'SELECT expires_ms - created_ms AS ms, worker FROM'
        . " allocations WHERE hex(token_hash) LIKE '$b->{id}%'");
    return $row->{worker} ne '' && $row;
}, 10, 'the journal to have its worker');
pass '... with its worker';
cmp_ok $row->{ms}, '>=', 3 * 3600 * 1000, '... for as long as it asked';
$host->stop;
