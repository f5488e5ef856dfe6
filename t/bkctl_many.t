#!/usr/bin/perl

# 200 bkctl at once for 20 workers, and plugin-host killed in the middle: never
# two on one worker, nobody is lost or gets two, and all get their worker in
# the order in which they came.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Buildkit;
use Ctl;
use Allocator qw(conf static_pool journal);

my ($JOBS, $WORKERS, $KILLS) = (200, 20, 2);
plan tests => 9 + $KILLS;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
mkdir "$dir/$_" for qw(busy done);
ctl($t, BKCTL_POOL => 'demo', DIR => $dir);
my $host = $t->host(conf(['{name: allocator}', static_pool($t, $WORKERS)]));

$t->write('job', <<'END');
#!/bin/sh
worker=$(sed -n 's/.*"workerName": "\(.*\)".*/\1/p' "$BKCTL_TLS_DIR/alloc.json")
mkdir "$DIR/busy/$worker" || echo "two on $worker" >>"$DIR/two"
while [ ! -e "$DIR/go" ]; do sleep 0.1; done
i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done
rmdir "$DIR/busy/$worker"
: >"$DIR/done/$1"
END
chmod 0755, "$dir/job";

my @jobs = map { start("job$_", 'run', '--wait', '500s', '--', "$dir/job",
    $_) } 1 .. $JOBS;
$t->wait_for(sub { $JOBS == journal($t, 'SELECT id FROM allocations') }, 120,
    'all have asked');
$t->write('go', '');
for my $kill (1 .. $KILLS) {
    my $want = $kill * 100 - 60;
    $t->wait_for(sub { done() >= $want }, 120, "$want jobs");
    $host->kill('KILL');
    is($host->stop, 137, 'killed with ' . done() . " of $JOBS jobs done");
    $host->restart;
}
$t->wait_for(sub { !grep { $t->alive($_) } @jobs }, 300, 'all jobs');

my @bad = grep { $_->{status} != 0 } @jobs;
is(scalar @bad, 0, 'every job ended well')
    or diag map { $t->read($_->{log}) } @bad[0 .. ($#bad < 2 ? $#bad : 2)];
is(done(), $JOBS, '... each did its work');
is($t->read('two'), undef, 'never two on one worker');

# what the journal says
my @rows = journal($t, 'SELECT id, state, reason FROM allocations');
is(scalar @rows, $JOBS, 'nobody had two');
is_deeply([grep { $_->{state} ne 'released' } @rows], [],
    '... and all are released');

# those who waited, in the order of their workers
my @order = map { $_->{id} } journal($t, 'SELECT a.id AS id FROM history h'
    . ' JOIN allocations a USING (token_hash) WHERE h.what = \'placed\''
    . ' ORDER BY h.id');
is(scalar @order, $JOBS - $WORKERS, 'all but the first had to wait');
is_deeply(\@order, [sort { $a <=> $b } @order],
    '... and were served in the order in which they came');
is(scalar(my @files = glob "$dir/bkctl-*"), 0, 'no files are left');
unlike(join('', map { $t->read("job$_.log") // '' } 1 .. $JOBS),
    qr/not released|cannot be reached/, 'nobody gave up');


sub done { return scalar(my @done = glob "$dir/done/*") }
