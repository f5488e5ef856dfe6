#!/usr/bin/perl

# 200 callers at once for 20 workers, and plugin-host is killed twice in the
# middle: never two on one worker, each caller's order is kept, nobody
# starves, nobody is lost.  Each does what bkctl does: it asks again with its
# idempotencyKey when the connection breaks.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal);
use Queue;
use Test::Buildkit;

plan tests => 11;

my ($callers, $workers, $who) = (200, 20, 10);
my $t = Test::Buildkit->new;
my $host = start($t, rules(), workers => $workers,
    options => 'reconnect: 60s, queueLease: 60s');

my @jobs = map { { n => $_, who => 'u' . $_ % $who,
    key => { idempotencyKey => "job-$_" } } } 1 .. $callers;
ask($_) for @jobs;

my (%holder, %tokens, @order, $twice, $killed, $another);
my $done = 0;
while ($done < $callers) {
    $t->wait_for(sub {
        collect();
        return values %holder > 0 || @order == $callers;
    }, 30, 'somebody to be served');

    # killed when a quarter and when half of them are through
    if (($killed // 0) < 2 && $done >= ($killed ? 100 : 50)) {
        $killed++;
        $host->kill('KILL');
        $host->stop;
        unlink $t->dir . '/buildkit.table' if $killed == 2;
        $host->restart;
        next;
    }

    my ($worker) = sort keys %holder;
    my $job = delete $holder{$worker};
    my $r = release_as($t, $job->{token});
    die "release: $r->{status} $r->{body}" if $r->{status} != 200;
    $done++;
}

is $killed, 2, 'killed twice in the middle';
is scalar(@order), $callers, 'everybody was served';
is scalar(keys %tokens), $callers, '... by an allocation of his own';
is $twice // 0, 0, 'never two on one worker';
is $another // 0, 0, 'nobody got another allocation for the same key';

# each identity's jobs in their order; those that ask at the same moment (the
# first, and all after a kill) have no order among themselves
my ($worst, %last) = (0);
for my $i (0 .. $#order) {
    my $job = $order[$i];
    $worst = abs($i - $job->{n}) if abs($i - $job->{n}) > $worst;
    $last{$job->{who}} = $i;
}
note "moved by at most $worst places";
cmp_ok $worst, '<=', $workers, 'order: nobody is far from his place';

my @shares = map { my $u = $_; scalar grep { $_->{who} eq "u$u" }
    @order[0 .. $callers / 2 - 1] } 0 .. $who - 1;
is scalar(grep { $_ == 0 } @shares), 0, 'nobody starves';
cmp_ok((sort { $b <=> $a } @shares)[0], '<=', 2 * $callers / 2 / $who,
    "turns are fair: @shares");

my ($row) = journal($t, "SELECT count(*) AS n, count(DISTINCT token_hash) AS d
    FROM allocations");
is "$row->{n} $row->{d}", "$callers $callers", 'the journal has each once';
$t->wait_for(sub { !journal($t, "SELECT 1 FROM allocations
    WHERE state = 'live'") }, 10, 'all to be over');
is queued($host), 0, 'the queue is empty';
is $host->alive, 1, 'plugin-host lives';


sub ask {
    my ($job) = @_;

    my $r = ask_as($t, $job->{who}, $job->{key}) or return;
    $job->{asked} = $r;

    return;
}

# Reads what has come; whose connection broke asks again.
sub collect {
    my @asked = grep { !$_->{token} } @jobs;
    answers(0.02, map { $_->{asked} // () } @asked);

    for my $job (@asked) {
        my $r = $job->{asked};
        if (!$r || (defined $r->{status} && $r->{status} != 200)) {
            ask($job);
            next;
        }
        next if !$r->{status};
        my $a = $r->{json};
        $job->{id} //= $a->{id};
        $another++ if $job->{id} ne $a->{id};
        if ($a->{state} ne 'ready') {
            ask($job);
            next;
        }
        $job->{token} = $a->{token};
        $tokens{$a->{token}} = 1;
        $twice++ if $holder{$a->{workerName}};
        $holder{$a->{workerName}} = $job;
        push @order, $job;
    }

    return;
}
