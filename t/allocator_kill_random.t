#!/usr/bin/perl

# 2,000 allocations, with releases, revocations and renewals among them, and
# kill -9 of plugin-host in a loop at random moments: what was answered is a
# route in the table afterwards, as a gateway reads it, for as long as it was
# renewed, what was released or revoked is none, and no worker has two.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use JSON qw(decode_json);
use List::Util qw(min shuffle);
use Test::Buildkit;

my ($rounds, $each, $workers) = (20, 100, 60);

plan tests => 8;

my $seed = srand($ENV{BK_SEED} || time ^ $$);
note "BK_SEED=$seed";

my $t = Test::Buildkit->new;
my $path = '/api/v1/workers';
my $host = $t->host(conf([static_pool($t, $workers),
    '{name: allocator, options: {queueLease: 10m}}'], allocations => 6000));
my (%live, %ended, %sum);

for my $round (1 .. $rounds) {
    my @tokens = shuffle(sort keys %live);
    my %going = map { $_ => rand() < 0.8
        ? ask($host, POST => "$path/release", { token => $_ })
        : ask($host, DELETE => "/api/v1/allocations/$live{$_}{id}") }
        splice @tokens, 0, 60;
    # each round for longer than the one before
    my %renewed = map { $_ => ask($host, POST => "$path/renew",
        { token => $_, ttl => 60 + $round . 'm' }) } splice @tokens, 0, 15;
    my @asked = map { ask($host, POST => "$path/allocate",
        { poolName => 'demo', wait => '0' }) } 1 .. $each;
    my @all = shuffle(@asked, values %going, values %renewed);

    # anywhere between the first and the last answer
    my $enough = int rand @all + 1;
    $t->wait_for(sub {
        answers(0.001, @all);
        return $enough <= grep { $_->{status} } @all;
    }, 30, 'some answers');
    $host->kill('KILL');
    answers(60, @all);

    for my $token (keys %going) {
        my $was = delete $live{$token};
        # one without an answer may have been done, or not
        next if $going{$token}{status} != 200;
        $ended{$token} = $was;
        $sum{$going{$token}{json}{state} // 'released'}++;
    }
    for my $token (grep { $renewed{$_}{status} == 200 } keys %renewed) {
        $live{$token}{expiresAt} = $renewed{$token}{json}{expiresAt};
        $sum{renewed}++;
    }
    for (grep { $_->{status} == 200 } @asked) {
        $live{$_->{json}{token}} = $_->{json};
        $sum{answered}++;
    }
    $sum{broken} += grep { !$_->{status} } @all;

    unlink $t->dir . '/buildkit.table' if rand() < 0.3;
    $host->restart;
    look();
}

note join ', ', map { "$_: $sum{$_}" } sort keys %sum;
cmp_ok $sum{answered}, '>', $each, 'many were answered';
cmp_ok $sum{broken}, '>', $rounds, 'and many calls were under way';
is $sum{lost} // 0, 0, 'each one that was answered is a route';
is $sum{moved} // 0, 0, '... to its worker';
is $sum{shorter} // 0, 0, '... for as long as it was told';
cmp_ok min(@sum{qw(released revoked renewed)}), '>', 0,
    'releases, revocations and renewals were answered';
is $sum{back} // 0, 0, 'none that was released or revoked is one';
is $sum{twice} // 0, 0, 'no worker has two';
$host->stop;


# The table as a gateway sees it; then what nobody was told of is revoked.
sub look {
    my $r = $t->run($t->build . '/bkctl', 'routes', '--json', '--table',
        $t->dir . '/buildkit.table');
    my %route = map { $_->{id} => $_ } grep {
        $_->{state} =~ /^(queued|starting|ready|draining)$/
    } @{decode_json($r->{out})->{routes}};

    my %held;
    $sum{twice} += $held{$_}++ > 0
        for grep { $_ ne '' } map { $_->{worker} // '' } values %route;

    for my $a (values %live) {
        my $route = delete $route{$a->{id}};
        if (!$route) {
            diag "lost: $a->{id} $a->{state} $a->{workerName}";
            $sum{lost}++;
        } elsif ($a->{workerName} ne ''
            && $route->{worker} ne $a->{workerName})
        {
            diag "moved: $a->{id} $a->{workerName} to $route->{worker}";
            $sum{moved}++;
        } elsif ($route->{expiresAt} lt $a->{expiresAt}) {
            diag "shorter: $a->{id} $a->{expiresAt} $route->{expiresAt}";
            $sum{shorter}++;
        }
    }
    for my $a (grep { $route{$_->{id}} } values %ended) {
        diag "back: $a->{id}";
        $sum{back}++;
    }
    $host->request(DELETE => "/api/v1/allocations/$_") for keys %route;

    return;
}
