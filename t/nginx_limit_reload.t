# buildkit_max_connections over a reload: who lives in an old process counts,
# and a lower limit ends nobody.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(sum0);
use Report;
use Test::Buildkit;

my $MAX = 5;
plan tests => 10;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

mkdir $t->dir . '/reports' or die;
my $nginx = $t->nginx(conf($MAX), workers => 2);

my @live = map { enter($cert) } 1 .. $MAX - 1;
is(scalar(grep { $_ } @live), $MAX - 1, 'some live connections');
reload();
my $last = enter($cert);
ok($last, 'reload: the last one is let in');
ok(!enter($cert), 'and no more, counted in both generations');
live($MAX);
close shift @live;
live($MAX - 1);
push @live, enter($cert);
ok($live[-1], 'one that ended in the old process makes room');
ok(!enter($cert), 'for exactly one');

# a limit that is lower now ends nobody
reload(conf(2));
is(scalar(grep { talks($_) } @live, $last), $MAX, 'a lower one: all go on');
ok(!enter($cert), 'and nobody else is let in');
live($MAX);
close $_ for @live;
live(1);
my $second = enter($cert);
ok($second, 'until there are fewer than that');
ok(!enter($cert), 'and then as many');
close $_ for $last, $second;

$nginx->stop;
unlike($nginx->log, qr/\[alert\]|\[error\]/, 'without an error');


sub conf {
    my ($max) = @_;

    return $t->gateway_conf(stream =>
        "buildkit_report %%DIR%%/reports;\n",
        server => "buildkit_max_connections $max;\n");
}

# until the old processes take no new connections
sub reload {
    my ($block) = @_;

    my @old = $nginx->worker_pids;
    $nginx->reload($block);
    $t->wait_for(sub {
        my $log = $nginx->log;
        return !grep { $log !~ / $_#\d+: gracefully shutting down/ } @old;
    }, 10, 'the old processes to close their ports');

    return;
}

sub enter {
    my ($who) = @_;

    my $socket = $t->tls($who) or return undef;
    local $SIG{PIPE} = 'IGNORE';
    print $socket "hello\n";

    return $t->read_until($socket, qr/hello\n/, 30) =~ /worker w1/
        ? $socket : undef;
}

sub talks {
    my ($socket) = @_;

    print $socket "more\n";

    return $t->read_until($socket, qr/more\n/, 30) =~ /more/;
}

# as many live ones of all processes; one that is not among them any more has
# made room
sub live {
    my ($n) = @_;

    $t->wait_for(sub {
        $n == sum0(map { report_read($_)->{live} } report_files($t));
    }, 30, "$n live connections");

    return;
}
