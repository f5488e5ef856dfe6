# While a worker is tried again the table is still looked at: another address
# is dialled at once, an allocation that ends is told at once; a worker that
# closes before it has said anything gets every byte again, one that has said
# something does not; and a client that goes is not dialled for any more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 18;

my $t = Test::Buildkit->new;
my %live = map { $_ => Test::Buildkit::Live->new($t, $_) } qw(w1 w2);
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $alloc = "alloc token:$token default/demo";

my $table = $t->table('pool default/demo', map({ $_->row } values %live),
    'worker default/demo w3 127.0.0.1:' . $t->port('nobody')
        . ' w3.workers.buildkit.internal ready', "$alloc w3 ready 0");
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status $upstream_addr $bytes_received $buildkit_outcome|";'
    . "buildkit_retry 60s;\n", server => "access_log %%DIR%%/access.log bk;\n"));

# how often the worker that nobody is was dialled, and how often before the
# client came
sub tried { scalar(() =
    $nginx->log =~ /connect\(\)[^\n]*:@{[$t->port('nobody')]}/g) }
my $before;

sub client {
    $before = tried();
    my $h2 = $t->grpc($cert, streams => [], keep => 1);
    bless $h2, 'Test::Buildkit::Live::End';
    $h2->request(1);

    return $h2;
}

sub tries {
    my ($n) = @_;

    return $t->wait_for(sub { tried() >= $before + $n }, 30, "$n tries");
}

# --- the table changes its mind

my $h2 = client();
tries(1);
$table->cmd("$alloc w1 ready 0");
my $worker = $live{w1}->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'another worker: dialled');
$worker->frame(4, 0, 0, '');
$worker->finish_stream(1);
ok($h2->wait_stream(1, 30), 'and answers');
$h2->finish;
$worker->finish;

$table->cmd("$alloc w3 ready 0");
$h2 = client();
tries(1);
$table->cmd('worker default/demo w3 127.0.0.1:' . $t->port('worker-w2')
    . ' w2.workers.buildkit.internal ready');
$worker = $live{w2}->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'another address: dialled');
$h2->finish;
$worker->finish;

$table->cmd('worker default/demo w3 127.0.0.1:' . $t->port('nobody')
    . ' w3.workers.buildkit.internal ready');
$h2 = client();
tries(1);
$table->cmd('end ' . $t->hash($token) . ' revoked enough');
my ($code, $text) = $h2->said(1);
is($code, 16, 'revoked: code');
like($text, qr/was revoked at .*: enough/, 'text');
$h2->finish;

# --- the client goes

my $other = $t->token;
my $gone = $t->client_cert('gone', cn => "alloc:$other");
$table->cmd("alloc token:$other default/demo w3 ready 0");
$before = tried();
$h2 = $t->grpc($gone, streams => [], keep => 1);
tries(2);
$h2->finish;
my $log = $t->wait_for(sub {
    my ($line) = ($t->read('access.log') // '') =~ /^(.* 33 gone\|)$/m;
    return $line;
}, 10, 'the client to be missed');
like($log, qr/^200 127\.0\.0\.1:\d+ 33 gone/, 'a client that goes: noticed');

# --- closed before its first byte: once more, from the beginning

$table->cmd("alloc token:$other default/demo w1 ready 0");
$h2 = $t->grpc($gone, streams => [], keep => 1);
bless $h2, 'Test::Buildkit::Live::End';
$h2->request(1);
$worker = $live{w1}->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'first try: all of it');
$worker->finish;
$h2->data(1, 'more');

$worker = $live{w1}->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->body(1) eq 'more' }),
    'second try: and what came in between');
$worker->finish;

$worker = $live{w1}->accept;
$worker->{preface} = $preface;
$h2->data(1, 'and more');
ok($worker->until(sub { $worker->body(1) eq 'moreand more' }),
    'third try: the same again, and more');
is($worker->seen(1, 1), 1, 'once');
is($worker->{settings}, 1, 'from the beginning');
ok(!$h2->{closed}, 'the client is still there');

# --- closed after its first byte: never again

$worker->frame(4, 0, 0, '');
ok($h2->until(sub { ($h2->{settings} // 0) == 2 }), 'it said something');
$worker->finish;
($code, $text) = $h2->said(1);
is($code, 9, 'closed then: the client is told');
ok(!$live{w1}->knocked(0.5), 'and nobody is dialled again');
$h2->finish;

# --- TLS 1.2 and a reset in place of a close_notify

$table->cmd("alloc token:$token default/demo w2 ready 0");
$h2 = client();
$worker = $live{w2}->accept;
setsockopt $worker->{socket}, 1, 13, pack 'ii', 1, 0;
$worker->finish;
$worker = $live{w2}->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'reset: once more');
$h2->finish;
$worker->finish;

$log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return (() = $text =~ /\n/g) >= 6 && $text;
}, 10, 'the access log');
is(() = $log =~ /^\d+ 127\.0\.0\.1:\d+ \d+ /mg, 6, 'one address each')
    or diag $log;
unlike($nginx->log, qr/\[alert\]|\[crit\]/, 'nothing alarming in the log');
