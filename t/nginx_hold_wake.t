# Clients that come before their worker: held with one SETTINGS frame, passed
# on when the table says so, each on its one connection.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

plan tests => 21;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

my @names = qw(queued starting unknown early ready);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;

my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status $buildkit_state $bytes_received";'
    . "buildkit_grace 30s;\n", server => "access_log %%DIR%%/access.log bk;\n"));

# a client that is held: what it sent, what it got
sub held {
    my ($name) = @_;

    my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
    $h2->open_stream(1);
    $t->wait_for(sub { $h2->_more(0.1); $h2->{settings} }, 10, 'SETTINGS');

    return $h2;
}

sub passed {
    my ($name, $h2) = @_;

    my $worker = $live->accept;
    $worker->{preface} = $preface;
    $worker->until(sub { $worker->seen(1, 1) });
    is($worker->{settings}, 1, "$name: the client's SETTINGS arrive");
    $worker->send(Test::Buildkit::H2::frame(4, 0, 0, ''));
    $worker->send(Test::Buildkit::H2::frame(0, 1, 1, 'served'));
    $t->wait_for(sub { $h2->_more(0.1); $h2->{streams}{1}{end} }, 10, 'data');
    is($h2->{settings}, 2, "$name: the worker's SETTINGS are the second");
    is(join('', map { $_->[3] } grep { $_->[0] == 0 } @{$h2->{frames}}),
        'served', "$name: served");
    $h2->finish;
    $worker->finish;

    return;
}

# --- no table at all

my $h2 = held('early');
ok(!$h2->{closed}, 'no table: held');

my $table = $t->table('pool default/demo', $live->row,
    "alloc token:$token{early} default/demo w1 ready 0",
    "alloc token:$token{queued} default/demo - queued 0",
    "alloc token:$token{starting} default/demo w1 starting 0",
    "alloc token:$token{ready} default/demo w1 ready 0");
passed('early', $h2);

# --- queued, then starting, then ready

$h2 = held('queued');
my $other = held('starting');
$table->cmd("alloc token:$token{queued} default/demo w1 starting 0");
$table->cmd("alloc token:$token{starting} default/demo w1 starting 0");
$h2->_more(0.3);
ok(!$live->knocked, 'starting: nobody is dialled');
ok(!$h2->{closed} && @{$h2->{frames}} == 1, 'nor told anything');

$table->cmd("alloc token:$token{queued} default/demo w1 ready 0");
passed('queued', $h2);
ok(!$live->knocked, 'the other one waits on');
$table->cmd("alloc token:$token{starting} default/demo w1 ready 0");
passed('starting', $other);

# --- a token that becomes known

$h2 = held('unknown');
$table->cmd("alloc token:$token{unknown} default/demo - queued 0");
$h2->_more(0.3);
ok(!$h2->{closed}, 'known, but queued: still held');
$table->cmd("alloc token:$token{unknown} default/demo w1 ready 0");
passed('unknown', $h2);

# --- one that ends while it waits is told at once

$token{ends} = $t->token;
$cert{ends} = $t->client_cert('ends', cn => "alloc:$token{ends}");
$table->cmd("alloc token:$token{ends} default/demo - queued 0");
$h2 = held('ends');
$table->cmd('end ' . $t->hash($token{ends}) . ' revoked changed my mind');
ok($h2->wait_stream(1, 60), 'revoked while it waits');
is($h2->{streams}{1}{grpc_status}, 16, 'code');
like($h2->{streams}{1}{message}, qr/was revoked at .*: changed my mind/,
    'text');
$h2->finish;

# --- one that need not wait: not a byte of ours

# (for three seconds: where this process stood still for as long, once more)
my ($client, $worker);
for (1 .. 5) {
    my $began = time;
    ($client, $worker) = $live->connect($cert{ready});
    last if time - $began < 3;
    $_->finish for $client, $worker;
}
is(scalar(grep { $_->[0] == 4 && !($_->[1] & 1) } @{$client->{frames}}), 1,
    "ready: the worker's SETTINGS alone");
$client->finish;
$worker->finish;
