# An allocation whose connections were cut although its entry in the table is
# as it was: its next connections are refused at once, in each process of
# nginx, for a time or until the entry changes; others are not concerned.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $TRIES = 12;
plan tests => 15;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { $_ => $t->token } qw(hung closed gone other);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);

# one port where a worker that says nothing is cut, and one for the others
my $conf = $t->gateway_conf(server => "buildkit_grace 1h;\n");
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
$server =~ s/%%PORT:gw%%/%%PORT:silent%%/;
$server =~ s/buildkit on;/buildkit on; buildkit_silence 2s;/;
$conf =~ s/\n\}\n\z/\n$server\n}\n/;
my $nginx = $t->nginx($conf, workers => 4);

# the worker says nothing any more
my ($client, $worker) = begin('hung', $Test::Buildkit::Live::SESSION,
    port => 'silent');
my ($code, $text) = $client->said(1);
is($code, 9, 'cut');
like($text, qr/stopped answering/, 'with the reason');
$client->finish;

# several at once, so that no process gets all; they are refused for 30 s
my (@said, %pids);
for (my $began = time; keys %pids < 2 && time - $began < 10; ) {
    my @sockets = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->port('gw')) // die 'no connection' } 1 .. $TRIES;
    push @said, $t->grpc($cert{hung}, socket => $_)->{streams}{1}{message} // ''
        for @sockets;
    %pids = map { $_ => 1 } $nginx->log =~ / (\d+)#\d+: .*cut a moment ago/g;
}
is(scalar(grep { /were cut a moment ago: its worker stopped answer/ } @said),
    scalar(@said), 'its next connections are refused') or diag "@said";
cmp_ok(scalar keys %pids, '>', 1, 'in more than one process');
ok(!$live->knocked, 'and never dialled');

($client, $worker) = begin('other');
ok($worker->seen(1, 1), 'another allocation is not concerned');
$_->finish for $client, $worker;

# what is in the table is another entry now, if much like the last one
$table->cmd("alloc token:$token{hung} default/demo w1 ready 99999999999999");
ok(welcome('hung'), 'nor is it, when its entry has changed');

# the worker hangs up: what it said is over, the next one may be as well; for
# 2 s, which a machine that stands still may miss
my $next;
for (1 .. 10) {
    ($client, $worker) = begin('closed');
    my $began = time;
    $worker->{socket}->close(SSL_fast_shutdown => 1);
    ($code, $text) = $client->said(1);
    $client->finish;
    $next = try('closed');
    last if $next || time - $began < 2;
}
like($text, qr/closed the connection in the middle/, 'another reason');
like($next, qr/were cut a moment ago: .*worker/, 'refused at once');
ok(welcome('closed'), 'and then not, though nothing changed');

# one that is not there any more is not waited for, as an unknown one would be
($client, $worker) = begin('gone');
$table->cmd('remove ' . $t->hash($token{gone}));
($code, $text) = $client->said(1);
like($text, qr/is not known here any more/, 'removed: cut');
$client->finish;
like($t->grpc($cert{gone})->{streams}{1}{message},
    qr/were cut a moment ago: it is not known/, 'refused at once');
$table->cmd("alloc token:$token{gone} default/demo w1 ready 0");
ok(welcome('gone'), 'until it is there again');

is($nginx->stop, 0, 'a good exit');
unlike($nginx->log, qr/\[(alert|crit)\]/, 'without an alarm');


sub begin {
    my ($name, $block, @port) = @_;

    my ($client, $worker) = $live->connect($cert{$name}, @port);
    $client->request(1, $block);
    $worker->until(sub { $worker->seen(1, 1) });

    return ($client, $worker);
}

# what one is told; '': it is let in
sub try {
    my ($name) = @_;

    my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
    $h2->open_stream(1);
    $t->wait_for(sub {
        $h2->_more(0.01) if !$live->knocked;
        return $live->knocked || ($h2->{streams}{1} // {})->{end}
            || $h2->{closed};
    }, 10, 'an answer');
    my $in = $live->knocked;
    $live->accept->finish if $in;
    my $said = $in ? '' : $h2->{streams}{1}{message} // 'closed';
    $h2->finish;

    return $said;
}

# is it let in, sooner or later?
sub welcome {
    my ($name) = @_;

    return $t->wait_for(sub { try($name) eq '' }, 15, "$name to be let in");
}
