#!/usr/bin/perl

# A worker of the process plugin: not there until it is wanted, then started
# and probed, with a folder, port and certificate of its own; stopped when
# nobody has had an allocation on it for the idle time; started again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 38;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '1s', arch => 'arm64' }), '{name: allocator}']));
my $state = $t->dir . '/state/workers';

is state('w1') . state('w2'), 'stoppedstopped', 'not running at first';
is scalar(children()), 0, 'no process';

my $r = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo' });
is $r->{status}, 200, 'allocated';
is $r->{json}{state}, 'ready', 'it was waited for';
my $name = $r->{json}{workerName};
is $name, 'w1', 'the first';
is state('w1') . state('w2'), 'readystopped', 'only one runs';
is scalar(children()), 1, 'one process';

my $w = worker('w1');
is $w->{tlsServerName}, 'w1.demo.default.workers.buildkit.internal',
    'TLS name has the pool';
is $w->{arch}, 'arm64', 'arch';
like $w->{endpoint}, qr/^127\.0\.0\.1:\d+$/, 'endpoint';
is "tcp://$w->{endpoint}", $r->{json}{endpoint}, 'as it was answered';

for ("$state/default_demo_w1", "$state/default_demo_w1/root") {
    is sprintf('%o', (stat $_)[2] & 0777), '700', "$_: mode" =~ s/.*state//r;
}
for (qw(key.pem cert.pem ca.pem run log)) {
    is sprintf('%o', (stat "$state/default_demo_w1/$_")[2] & 0777), '600',
        "$_: mode";
}

my ($pid) = children();
is process_group($pid), $pid, 'a session of its own';
my @fds = grep { !/^[012]$/ } map { s{.*/}{}r } glob "/proc/$pid/fd/*";
my @links = map { readlink("/proc/$pid/fd/$_") // '' } @fds;
is_deeply [grep { m{buildkit\.table|journal|\.sock|/lock$} } @links], [],
    'it has nothing of ours open';
is $t->read("/proc/$pid/environ") =~ /NOTIFY_SOCKET/ ? 1 : 0, 0,
    'and no NOTIFY_SOCKET';
# make spawns with glibc's own two signals (32, 33) ignored, which is for ever,
# but for one that glibc took for a thread
like(($t->read("/proc/$pid/status") =~ /^SigIgn:\s*(\w+)/m)[0],
    qr/^0{7}[01][08]0001080$/,
    'signals as they should be (perl ignores SIGFPE, this one SIGPIPE)');
is grep({ /PRIVATE/ } $t->read("/proc/$pid/cmdline")), 0,
    'no key in its arguments';

# longer than idle: an allocation keeps it
my $second = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo' });
is $second->{json}{workerName}, 'w2', 'the other one';
isnt worker('w2')->{endpoint}, $w->{endpoint}, 'another port';
release($second);
$t->wait_for(sub { state('w2') eq 'stopped' }, 15, 'w2 to be idle');
is state('w1'), 'ready', 'w1 has an allocation and stays';
is worker('w2')->{message}, 'stopped: idle', 'w2 says why';

release($r);
$t->wait_for(sub { state('w1') eq 'stopped' }, 15, 'w1 to be idle');
is scalar(children()), 0, 'no process is left';
is -e "$state/default_demo_w1/run" ? 1 : 0, 0, 'nor its run file';

# wake: as long as it starts it is not idle
my ($said, $woken) = (length $host->log, time);
$t->write('mode', "wait\n");
$r = $host->request(POST => '/api/v1/pools/demo/wake', {});
is $r->{status}, 200, 'woken';
is $r->{json}{ready} ? 1 : 0, 0, 'not ready yet';
$t->wait_for(sub { time > $woken + 1.5 }, 30, 'longer than idle');
is state('w1'), 'starting', 'starting';
$t->write('mode', "ok\n");
$t->wait_for(sub { substr($host->log, $said) =~ m{/w1: ready$}m }, 30,
    'w1 to be ready');
# a busy machine may find it idle again
$t->wait_for(sub {
    $r = $host->request(POST => '/api/v1/pools/default%2Fdemo/wake', {});
    $r->{json}{ready} }, 30, 'it to be found ready');
is $r->{json}{ready} ? 1 : 0, 1, 'ready';
like $r->{json}{endpoint}, qr{^tcp://localhost:}, 'the endpoint of clients';
is $r->{json}{poolName}, 'default/demo', 'pool';
$t->wait_for(sub { state('w1') eq 'stopped' }, 15, 'w1 to be idle again');

# what is started last is stopped with plugin-host (onStop: stop)
$host->request(POST => '/api/v1/workers/allocate', { poolName => 'demo' });
is scalar(children()), 1, 'runs again';
is $host->stop, 0, 'plugin-host stops';
is scalar(children()), 0, 'and takes it along';


sub worker {
    my ($name) = @_;
    my $r = $host->request(GET => '/api/v1/workers');

    return (grep { $_->{name} eq $name } @{$r->{json}})[0];
}

sub state { worker($_[0])->{state} }

sub release {
    $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{json}{token} });
}

sub children {
    return grep { ($t->read("/proc/$_/cmdline") // '') =~
        /fake_buildkitd/ } $t->leftovers;
}

sub process_group {
    my ($pid) = @_;
    my ($rest) = $t->read("/proc/$pid/stat") =~ /.*\) (.*)/;

    return (split ' ', $rest)[3];
}
