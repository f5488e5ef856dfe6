#!/usr/bin/perl

# plugin-host is killed or stopped while many bkctl wait for few workers, and
# started again: nobody is lost, nobody gets two, never two are on one worker,
# those who wait keep their order; what ended meanwhile is released after all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;
use Ctl;

my $JOBS = 16;
my $KILLS = 3;
plan tests => 16 + $KILLS;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
mkdir "$dir/$_" for qw(busy done);
ctl($t, BKCTL_POOL => 'demo', DIR => $dir);
$t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
    . join '', map { "      - {name: w$_, endpoint: \"127.0.0.1:700$_\","
    . " tlsName: w$_.tls, arch: amd64}\n" } 1 .. 2);
my $host = $t->host(<<'END');
state: %%DIR%%/state
reports: %%DIR%%/reports
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:1"}
plugins:
  - {name: allocator}
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
END

# both workers are taken, three wait

my @held = map { decode_json(run('allocate', '--json')->{out}) } 1 .. 2;
my @waiting;
for my $n (1 .. 3) {
    push @waiting, start("wait$n", 'allocate', '--json', '--wait', '120s');
    $t->wait_for(sub { queued() == $n }, 20, "number $n in the queue");
}
my @ids = map { $_->{id} } grep { $_->{state} eq 'queued' } all();

$host->kill('KILL');
is($host->stop, 137, 'plugin-host is killed');
said("wait$_", qr/the API does not answer \(connection refused\), trying/,
    'says that nobody answers') for 1 .. 3;
$host->restart;
is(queued(), 3, 'they are in the queue again');
is(scalar all(), 5, '... and nobody twice');
is(scalar(grep { $t->alive($_) } @waiting), 3, '... all wait');

# in their order

my @order;
for my $n (1 .. 3) {
    my $free = shift @held;
    $t->write('held', $free->{token});
    run('release', "$dir/held");
    $t->wait_for(sub { !$t->alive($waiting[$n - 1]) }, 20, "number $n");
    push @order, scalar grep { !$t->alive($_) } @waiting;
    my ($json) = $t->read("wait$n.log") =~ /^(\{.*^\}\n)/ms;
    push @held, decode_json($json // '{}');
}
is("@order", '1 2 3', 'each gets the worker that becomes free, in order');
is_deeply([sort map { $_->{id} // '' } @held, { id => $ids[0] }],
    [sort @ids[0 .. 2]], '... with the allocation that it had');
for (@held) {
    $t->write('held', $_->{token});
    run('release', "$dir/held");
}

# jobs that come, wait, work and go, while it is killed again and again

$t->write('job', <<'END');
#!/bin/sh
worker=$(sed -n 's/.*"workerName": "\(.*\)".*/\1/p' "$BKCTL_TLS_DIR/alloc.json")
mkdir "$DIR/busy/$worker" || echo "two on $worker" >>"$DIR/two"
i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done
rmdir "$DIR/busy/$worker"
: >"$DIR/done/$1"
END
chmod 0755, "$dir/job";
my @jobs = map { start("job$_", 'run', '--wait', '300s', '--', "$dir/job",
    $_) } 1 .. $JOBS;
for my $kill (1 .. $KILLS) {
    my $want = $kill * 3;
    my ($signal, $status) = $kill == 2 ? ('TERM', 0) : ('KILL', 137);
    $t->wait_for(sub { done() >= $want }, 60, "$want jobs");
    $host->kill($signal);
    is($host->stop, $status, "SIG$signal with @{[done()]} of $JOBS jobs done");
    $host->restart;
}
$t->wait_for(sub { !grep { $t->alive($_) } @jobs }, 120, 'all jobs');
is(scalar(grep { $_->{status} != 0 } @jobs), 0, 'every job ended well');
is(done(), $JOBS, '... each did its work');
is($t->read('two'), undef, 'never two on one worker');
is(scalar(grep { $_->{state} =~ /ready|queued|starting/ } all()), 0,
    'everything is given back');
is(scalar(grep { ($t->read("job$_.log") // '') =~ /not released/ }
    1 .. $JOBS), 0, '... nobody gave up on that');
is(scalar all(), 5 + $JOBS, 'nobody had two');
is(scalar(my @files = glob "$dir/bkctl-*"), 0, 'no files are left');


sub all { return @{decode_json(run('allocations', '--json')->{out} || '[]')} }

sub queued { return scalar grep { $_->{state} eq 'queued' } all() }

sub done { return scalar(my @done = glob "$dir/done/*") }
