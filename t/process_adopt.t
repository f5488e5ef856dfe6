#!/usr/bin/perl

# kill -9 of plugin-host does not touch the workers: the next one finds them
# running, with their allocations, and goes on as if nothing had happened.
# A worker that died meanwhile has failed, and a stranger with its old pid is
# not taken for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 27;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    onStop => 'leave' }), '{name: allocator}']));
my $run = $t->dir . '/state/workers/default_demo_w1/run';

my $a = allocate();
is $a->{status}, 200, 'allocated';
my $endpoint = worker('w1')->{endpoint};
my ($pid) = children();
like $t->read($run), qr/^$pid \d+ \d+ 1 [0-9a-f-]{36}\n$/, 'the run file';

again('KILL');
is_deeply [children()], [$pid], 'the worker lives';
is worker('w1')->{state}, 'ready', 'it is ready at once';
is worker('w1')->{endpoint}, $endpoint, 'at the same place';
is worker('w1')->{allocations}, 1, 'with its allocation';
is lookup($a)->{json}{state}, 'ready', 'which is ready as well';
like $host->log, qr/w1: found running \(pid $pid/, 'the log says so';

# TERM leaves it as well
again('TERM');
is_deeply [children()], [$pid], 'TERM leaves it running';
is lookup($a)->{json}{state}, 'ready', 'TERM: ready';

# an adopted one is watched: it was never our child
kill KILL => $pid;
$t->wait_for(sub { lookup($a)->{status} == 410 }, 10, 'it to be gone');
like lookup($a)->{json}{error}, qr/failed at .* \(pid $pid\) is gone/,
    'its end is noticed';
my $b = allocate();
is $b->{status}, 200, 'and it, or the other one, serves on';
my ($second) = $t->read($t->dir . '/state/workers/default_demo_'
    . "$b->{json}{workerName}/run") =~ /^(\d+)/;

# killed before it was ready
$t->write('mode', "late 2\n");
my $slow = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo' });
$t->wait_for(sub { 2 == children() }, 10, 'the second one to start');
my ($third) = grep { $_ != $second } children();
again('KILL');
is((grep { $_ == $third } children()) + 0, 1, 'one that starts lives on');
$t->wait_for(sub {
    2 == grep { $_->{state} eq 'ready' } @{workers()};
}, 15, 'both to be ready');
is scalar(children()), 2, 'and is the one that gets ready';
$t->write('mode', "ok\n");

# died while nobody looked
my $name = $b->{json}{workerName};
kill9();
kill KILL => $second;
$t->wait_for(sub { 1 == children() }, 10, 'it to be gone');
start();
is lookup($b)->{status}, 410, 'its allocation has failed';
like lookup($b)->{json}{error},
    qr/ended while the gateway's control process was down/, 'and says why';
my ($row) = journal($t, "SELECT state FROM allocations WHERE "
    . "hex(token_hash) LIKE '$b->{json}{id}%'");
$t->wait_for(sub {
    (journal($t, "SELECT state FROM allocations WHERE hex(token_hash) LIKE "
        . "'$b->{json}{id}%'"))[0]{state} eq 'failed'
}, 5, 'the journal');
pass 'the journal knows';

# the pid is there, but it is somebody else
release_all();
my $c = allocate();
is $c->{status}, 200, 'allocated again';
my $file = $t->dir . "/state/workers/default_demo_$c->{json}{workerName}/run";
my $text = $t->read($file);
my ($old) = $text =~ /^(\d+)/;
kill9();
kill KILL => $old;
$t->wait_for(sub { !grep { $_ == $old } children() }, 10, 'it to be gone');
my $stranger = $t->start('stranger', {}, 'sleep', 1000);
$t->write($file, $text =~ s/^\d+/$stranger->{pid}/r);
start();
is worker($c->{json}{workerName})->{state}, 'failed',
    'a stranger is not adopted';
is $t->alive($stranger), 1, 'and not touched';
is -e $file ? 1 : 0, 0, 'its run file is gone';

# another boot: pid and start time could fit by chance
my $d = allocate();
is $d->{status}, 200, 'allocated again';
$file = $t->dir . "/state/workers/default_demo_$d->{json}{workerName}/run";
$text = $t->read($file);
kill9();
$t->write($file, $text =~ s/[0-9a-f-]{36}\n/00000000-0000-0000-0000-000000000000\n/r);
start();
is worker($d->{json}{workerName})->{state}, 'failed',
    'a process of another boot is not adopted';

# damaged
for my $bad ('', "garbage\n", "-1 2 3 4 x\n", 'x' x 5000) {
    kill9();
    $t->write($file, $bad);
    start();
    is $host->alive, 1, 'run file "' . substr($bad =~ s/\n//r, 0, 10)
        . '": plugin-host starts';
}

$host->stop;
$t->kill_leftovers;


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '30s', @_ });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{json}{token} });
}

sub workers { $host->request(GET => '/api/v1/workers')->{json} }

sub worker {
    my ($name) = @_;

    return (grep { $_->{name} eq $name } @{workers()})[0];
}

sub release_all {
    $host->request(DELETE => "/api/v1/allocations/$_->{id}")
        for grep { $_->{state} =~ /ready|starting/ }
            @{$host->request(GET => '/api/v1/allocations')->{json}};
}

sub children {
    return grep { ($t->read("/proc/$_/cmdline") // '') =~
        /fake_buildkitd/ } $t->leftovers;
}

sub kill9 { $host->stop('KILL') }

sub start { $host->restart }

sub again {
    $host->stop($_[0]);
    $host->restart;
}
