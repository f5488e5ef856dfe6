# kill -9 of an nginx worker process: its sessions are gone and count no more,
# those of the others go on, another process takes its place, and what it had
# written down is left for plugin-host.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my ($MAX, $KILLS) = (6, 6);
plan tests => 12 + $KILLS;

my $t = Test::Buildkit->new;
$t->allow_log(qr/worker process \d+ exited on signal 9|zone "buildkit" was lo/);

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

mkdir $t->dir . '/reports' or die;
my $nginx = $t->nginx($t->gateway_conf(stream =>
    "buildkit_report %%DIR%%/reports;\n",
    server => "buildkit_max_connections $MAX;\n"), workers => 2);
my ($a, $b) = $nginx->worker_pids;

# some in both
my %live;
$t->wait_for(sub {
    my $socket = enter() or return 0;
    my $pid = pid_of($socket);
    if (@{$live{$pid} //= []} >= 3) {
        close $socket;
        return 0;
    }
    push @{$live{$pid}}, $socket;
    return @{$live{$a} // []} == 3 && @{$live{$b} // []} == 3;
}, 90, 'sessions in both processes');
ok(!enter(), 'and no more than that');
ok(-s report($a) && -s report($b), 'both have a report');

killed($a);
my $now = $t->wait_for(sub {
    (grep { $_ != $a && $_ != $b } $nginx->worker_pids)[0];
}, 10, 'another process');
pass('another process takes its place');
is(scalar(grep { $t->read_until($_, qr/./, 30) eq '' } @{$live{$a}}), 3,
    'its sessions are gone');
is(scalar(grep { talks($_) } @{$live{$b}}), 3, 'those of the other go on');

my @more = map { enter() } 1 .. 3;
is(scalar(grep { $_ } @more), 3, 'there is room for as many as were lost');
ok(!enter(), 'and for no more');
is(scalar(grep { talks($_) } @{$live{$b}}, @more), $MAX, 'all of them talk');
ok(-s report($a), 'the report of the dead one is left');
ok($t->wait_for(sub { -s report($now) }, 5, 'a report'),
    'the new one has its own');

# killed while connections come and go, wherever they were
close $_ for @{$live{$b}}, @more;
my @churn = map { churn() } 1 .. 3;
for (1 .. $KILLS) {
    my ($pid) = $nginx->worker_pids;
    my $count = 5 + rand(30) + connections();
    $t->wait_for(sub { connections() >= $count }, 90, 'connections');
    killed($pid);
    ok($t->wait_for(sub { $nginx->worker_pids == 2 }, 10, 'two workers'),
        'two processes again');
}
kill TERM => @churn;
waitpid $_, 0 for @churn;

# each process has noticed the end of the last ones when it lets all in
my @last;
$t->wait_for(sub {
    push @last, grep { $_ } enter();
    return @last == $MAX;
}, 90, 'room for all');
ok(!enter(), "then $MAX may come, and no more");
close $_ for @last;
is($nginx->stop, 0, 'a good exit');


sub enter {
    my $socket = $t->tls($cert) or return ();
    local $SIG{PIPE} = 'IGNORE';
    print $socket "hello\n";

    return $t->read_until($socket, qr/hello\n/, 30) =~ /worker w1/
        ? $socket : ();
}

sub talks {
    my ($socket) = @_;

    print $socket "more\n";

    return $t->read_until($socket, qr/more\n/, 30) =~ /more/;
}

sub pid_of {
    my $port = $_[0]->sockport;

    return $t->wait_for(sub {
        my @pids = $nginx->log =~ / (\d+)#\d+: \*\d+ client \S+:$port conn/g;
        return $pids[-1];
    }, 5, 'the log');
}

sub killed {
    my ($pid) = @_;

    kill KILL => $pid;
    $t->wait_for(sub { $nginx->log =~ /process $pid exited on signal 9/ }, 10,
        'the master to notice');

    return;
}

sub connections { scalar(() = $nginx->log =~ / connected to /g) }

sub report { (glob $t->dir . "/reports/nginx-$_[0]*")[0] // "" }

sub churn {
    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    $SIG{TERM} = sub { POSIX::_exit(0) };
    eval { enter() } while 1;
}
