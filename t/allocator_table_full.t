#!/usr/bin/perl

# The route table is full of live allocations: one more is refused with a
# clear error, nothing is overwritten, and it works again as soon as one of
# them has ended.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 9;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 2, shared => 1),
    '{name: allocator}'], allocations => 64));

my (@live, $full);
for (1 .. 2000) {
    my $r = allocate();
    if ($r->{status} != 200) {
        $full = $r;
        last;
    }
    push @live, $r->{json};
}

is $full->{status}, 503, 'full after ' . @live;
is $full->{json}{reason}, 'TableFull', 'reason';
like $full->{headers}{'retry-after'}, qr/^\d+$/, 'Retry-After';
is scalar(grep { lookup($_)->{json}{state} ne 'ready' } @live), 0,
    'all others live';
# its end is written when the caller has been told already
$t->wait_for(sub { rows('failed') == 1 }, 30, 'the journal to hear of it');
pass 'the journal knows the attempt';
is rows('live'), scalar(@live), '... and has no more than those';

# any of them may be in the way of the next token: end them all
$host->request(DELETE => "/api/v1/allocations/$_->{id}") for @live;
is allocate()->{status}, 200, 'room again';

$host->stop('KILL');
$host->restart;
is scalar(grep { lookup($_)->{status} == 200 } @live), 0,
    'none is back after a restart';
is allocate()->{status}, 200, 'and it works';


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' });
}

sub rows {
    my ($row) = journal($t, "SELECT count(*) AS n FROM allocations "
        . "WHERE state = '$_[0]'");
    return $row->{n};
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}
