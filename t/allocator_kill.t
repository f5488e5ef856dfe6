#!/usr/bin/perl

# kill -9 of plugin-host in the middle of many allocations, again and again,
# with and without the route table: none that was answered is lost, none that
# was released or revoked comes back, no worker is given twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

my $rounds = 6;

plan tests => 4 * $rounds + 5;

my $t = Test::Buildkit->new;
my $workers = 50;
my $host = $t->host(conf([static_pool($t, $workers), '{name: allocator}']));
my $path = '/api/v1/workers';
my (%live, %ended, %doubt);

for my $round (1 .. $rounds) {
    # allocations and releases at once, and the kill in their middle
    my @asked = map { ask($host, POST => "$path/allocate",
        { poolName => 'demo', wait => '5m' }) } 1 .. 30;
    my @going = (sort keys %live)[0 .. 9];
    my %released = map { $_ => ask($host, POST => "$path/release",
        { token => $_ }) } grep { defined } @going;
    # answers beyond these are under way when it dies
    $t->wait_for(sub {
        answers(0.001, @asked, values %released);
        2 * $round <= grep { $_->{status} } @asked, values %released;
    }, 20, 'some answers');
    $host->kill('KILL');
    answers(60, @asked, values %released);

    my $answered = 0;
    for (@asked) {
        next if $_->{status} != 200;
        $answered++;
        $live{$_->{json}{token}} = $_->{json};
    }
    for my $token (keys %released) {
        my $to = $released{$token}{status} == 200 ? \%ended : \%doubt;
        $to->{$token} = delete $live{$token};
    }
    note "round $round: $answered answered, " . keys(%ended) . ' released';

    unlink $t->dir . '/buildkit.table' if $round % 2 == 0;
    $host->restart;

    my @lost = grep { lookup($_)->{status} != 200 } keys %live;
    is scalar(@lost), 0, "round $round: none is lost";
    my @moved = grep { lookup($_)->{json}{workerName}
        ne $live{$_}{workerName} } grep { lookup($_)->{status} == 200 }
        keys %live;
    is scalar(@moved), 0, "round $round: none has moved";
    my @back = grep { lookup($_)->{status} == 200 } keys %ended;
    is scalar(@back), 0, "round $round: none is back";

    my (%by, $twice);
    for (@{$host->request(GET => '/api/v1/allocations')->{json}}) {
        next if $_->{state} !~ /^(ready|starting)$/;
        $twice++ if $by{$_->{worker}}++;
    }
    is $twice // 0, 0, "round $round: no worker is used twice";
    delete @doubt{grep { lookup($_)->{status} != 200 } keys %doubt};

    # those that nobody was told of hold their workers until they expire
    for (@{$host->request(GET => '/api/v1/allocations')->{json}}) {
        next if $_->{state} !~ /^(ready|starting)$/;
        my $id = $_->{id};
        next if grep { $t->id($_) eq $id } keys %live;
        $host->request(DELETE => "/api/v1/allocations/$id");
    }
}

# a revocation that was journalled and never reached the table
my ($token) = sort keys %live;
$host->stop('KILL');
my $id = $t->id($token);
my $now = int(time) * 1000;
is $t->run('sqlite3', $t->dir . '/state/journal.db', "UPDATE allocations SET "
    . "state = 'revoked', reason = 'leaked', changed_ms = $now WHERE hex(token_hash) LIKE "
    . "'$id%'")->{rc}, 0, 'revoked in the journal alone';
$host->restart;
is lookup($token)->{status}, 410, 'it is over for the table as well';
is((grep { $_->{id} eq $id }
    @{$host->request(GET => '/api/v1/allocations')->{json}})[0]{reason},
    'leaked', 'with its reason');

# one that expired while nobody looked, and the table is lost
($token) = grep { $_ ne $token } sort keys %live;
$id = $t->id($token);
$host->stop('KILL');
unlink $t->dir . '/buildkit.table';
$t->run('sqlite3', $t->dir . '/state/journal.db', "UPDATE allocations SET "
    . "expires_ms = 1000 WHERE hex(token_hash) LIKE '$id%'");
$host->restart;
like lookup($token)->{json}{error}, qr/expired at/,
    'expired meanwhile';
$t->wait_for(sub {
    (journal($t, "SELECT state FROM allocations WHERE hex(token_hash) LIKE "
        . "'$id%'"))[0]{state} eq 'expired'
}, 10, 'the journal to hear of it');
pass 'and the journal says so';


sub lookup {
    return $host->request(POST => "$path/lookup", { token => $_[0] });
}
