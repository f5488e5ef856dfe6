# An allocation whose connections were cut although its entry in the table is
# as it was: its next connections are refused at once, in each process of
# nginx, for a time or until the entry changes; others are not concerned.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

my $TRIES = 12;
plan tests => 15;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { $_ => $t->token } qw(hung closed gone other);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf(server => "buildkit_grace 1h;\n"
    . "buildkit_silence 2s;\n"), workers => 4);

# the worker says nothing any more
my ($client, $worker) = begin('hung', $Test::Buildkit::Live::SESSION);
my ($code, $text) = $client->said(1, 20);
is($code, 9, 'cut');
like($text, qr/stopped answering/, 'with the reason');
$client->finish;

my @said = map { $t->grpc($cert{hung})->{streams}{1}{message} // '' }
    1 .. $TRIES;
is(scalar(grep { /were cut a moment ago: its worker stopped answer/ } @said),
    $TRIES, 'its next connections are refused') or diag "@said";
my %pids = map { $_ => 1 } $nginx->log =~ / (\d+)#\d+: .*cut a moment ago/g;
cmp_ok(scalar keys %pids, '>', 1, 'in more than one process');
ok(!$live->knocked, 'and never dialled');

($client, $worker) = begin('other');
ok($worker->seen(1, 1), 'another allocation is not concerned');
$_->finish for $client, $worker;

# what is in the table is another entry now, if much like the last one
$table->cmd("alloc token:$token{hung} default/demo w1 ready 99999999999999");
ok(welcome('hung'), 'nor is it, when its entry has changed');

# the worker hangs up: what it said is over, the next one may be as well
($client, $worker) = begin('closed');
$worker->{socket}->close(SSL_fast_shutdown => 1);
($code, $text) = $client->said(1);
like($text, qr/closed the connection in the middle/, 'another reason');
$client->finish;
like($t->grpc($cert{closed})->{streams}{1}{message},
    qr/were cut a moment ago: .*worker/, 'refused at once');
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
    my ($name, $block) = @_;

    my ($client, $worker) = $live->connect($cert{$name});
    $client->request(1, $block);
    $worker->until(sub { $worker->seen(1, 1) });

    return ($client, $worker);
}

# is it let in, sooner or later?
sub welcome {
    my ($name) = @_;

    return $t->wait_for(sub {
        my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
        $h2->open_stream(1);
        $t->wait_for(sub {
            $h2->_more(0.01) if !$live->knocked;
            return $live->knocked || $h2->{streams}{1} || $h2->{closed};
        }, 10, 'an answer');
        my $in = $live->knocked;
        $live->accept->finish if $in;
        $h2->finish;
        return $in;
    }, 15, "$name to be let in");
}
