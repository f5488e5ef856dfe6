# buildkit_max_connections: exact for an allocation over all worker processes,
# whatever came and went before.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Handle;
use List::Util qw(sum0);
use Report;
use Test::Buildkit;

my ($MAX, $CHILDREN, $ROUNDS) = (5, 12, 4);
plan tests => 2 * $ROUNDS + 8;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $other = $t->token;
my $other_cert = $t->client_cert('o', cn => "alloc:$other");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0",
    "alloc token:$other default/demo w1 ready 0");

mkdir $t->dir . '/reports' or die;
my $nginx = $t->nginx($t->gateway_conf(stream =>
    "buildkit_report %%DIR%%/reports;\nlog_format n \"\$pid\";\n"
    . "access_log %%DIR%%/access.log n;\n",
    server => "buildkit_max_connections $MAX;\n"), workers => 4);

# children that connect at the same time and keep what they got
my $sessions = 0;
for my $round (1 .. $ROUNDS) {
    my @crowd = map { child() } 1 .. $CHILDREN;
    my ($in, $out) = (0, 0);
    order($_, 'connect') for @crowd;
    for (@crowd) {
        my ($i, $o) = split ' ', answer($_);
        $in += $i;
        $out += $o;
    }
    is($in, $MAX, "round $round: as many as there may be");
    is($out, 2 * $CHILDREN - $MAX, "round $round: and no more");
    if ($round == 1) {
        my $got = $t->grpc($cert)->{streams}{1};
        is($got->{grpc_status}, 8, 'one more: code');
        like($got->{message}, qr/has its $MAX connections already; .* bkctl /,
            'one more: text');
        like($t->say_hello($other_cert), qr/worker w1/,
            'others are not concerned');
        $sessions += 2;
    }

    # some that come and go, with nobody counting, in the way of each other
    order($_, $round % 2 ? 'churn' : 'close') for @crowd;
    $sessions += 2 * $CHILDREN;
    for (@crowd) {
        $sessions += answer($_);
        waitpid $_->{pid}, 0;
    }
    settled();
}

# those that wait for their worker count as well, and for whoever serves them
$table->cmd("alloc token:$other default/demo w1 starting 0");
my @held = map { wait_for_worker() } 1 .. $MAX;
is(scalar(grep { !$_->{streams}{1} } @held), $MAX, 'held: as many');
my $got = $t->grpc($other_cert)->{streams}{1};
is($got->{grpc_status}, 8, 'held: and no more');
(shift @held)->finish;
$t->wait_for(sub { lines() >= $sessions + 2 && counted('held') == $MAX - 1 },
    30, 'one to leave');
push @held, wait_for_worker();
$got = $t->grpc($other_cert)->{streams}{1};
is($got->{grpc_status}, 8, 'held: one leaves, one comes');
$table->cmd("alloc token:$other default/demo w1 ready 0");
for my $h2 (@held) {
    $t->wait_for(sub { $h2->_more(0.02); $h2->{buffer} =~ /worker w1/ }, 10,
        'the worker');
}
$got = $t->grpc($other_cert)->{streams}{1};
is($got->{grpc_status}, 8, 'served: they are the same connections');
$_->finish for @held;

$nginx->stop;
unlike($nginx->log, qr/\[alert\]|\[error\]/, 'without an error');


sub wait_for_worker {
    my $h2 = $t->grpc($other_cert, streams => [], keep => 1);
    $h2->open_stream(1);
    $t->wait_for(sub { $h2->_more(0.02); $h2->{settings} }, 10, 'SETTINGS');
    $h2->_more(0.02) for 1 .. 3;

    return $h2;
}

sub enter {
    my ($who) = @_;

    my $socket = $t->tls($who) or return undef;
    local $SIG{PIPE} = 'IGNORE';
    print $socket "hello\n";

    return $t->read_until($socket, qr/hello\n/, 30) =~ /worker w1/
        ? $socket : undef;
}

# one line for each session that is over
sub lines { scalar(() = ($t->read('access.log') // '') =~ /\n/g) }

# of all processes; a session that is over does not count any more when the
# report says so, which is later than its line
sub counted {
    my ($what) = @_;

    return sum0(map { report_read($_)->{$what} } report_files($t));
}

sub settled {
    return $t->wait_for(sub { lines() >= $sessions && counted('live') == 0 },
        30, 'all to end');
}

sub order { my ($child, $what) = @_; syswrite $child->{to}, "$what\n" }
sub answer { readline($_[0]{from}) // '0 0' }

sub child {
    pipe my $r1, my $w1 or die;
    pipe my $r2, my $w2 or die;
    my $pid = fork // die "fork: $!";
    return { pid => $pid, to => $w1, from => $r2 } if $pid;

    $w2->autoflush(1);
    readline $r1;
    my @got = map { enter($cert) } 1 .. 2;
    my $in = grep { $_ } @got;
    print $w2 $in, ' ', @got - $in, "\n";
    my $what = readline($r1) // '';
    @got = ();
    my $n = 0;
    if ($what eq "churn\n") {
        for (1 .. 15) {
            enter($cert);
            $n++;
        }
    }
    print $w2 "$n\n";
    POSIX::_exit(0);
}
