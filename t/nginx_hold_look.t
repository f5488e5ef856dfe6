# A client that only has a look (its requests have a time-out) is told what
# there is to wait for and wakes nobody; one that goes on to ask for something
# is held and passed on like any other, on the same connection.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 23;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
my @names = qw(ls bootstrap late queued unknown gone);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;

my $table = $t->table('pool default/demo', $live->row,
    'worker default/demo w2 - w2.workers.buildkit.internal starting unpacking',
    'worker default/demo w3 127.0.0.1:' . $t->port('nobody')
        . ' w3.workers.buildkit.internal ready',
    (map { "alloc token:$token{$_} default/demo w2 starting 0" }
        qw(ls bootstrap late)),
    "alloc token:$token{queued} default/demo - queued 0",
    "alloc token:$token{gone} default/demo w3 ready 0");

my $nginx = $t->nginx($t->gateway_conf(stream => 'log_format bk'
    . ' "$buildkit_allocation $status $buildkit_kind $buildkit_reason|";'
    . "buildkit_grace 30s;\n", server => "access_log %%DIR%%/access.log bk;\n"));

sub ready {
    my ($name) = @_;

    return $table->cmd("alloc token:$token{$name} default/demo w1 ready 0");
}

sub client {
    my ($name) = @_;

    my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
    return bless $h2, 'Test::Buildkit::Live::End';
}

sub look {
    my ($name, $text) = @_;

    my $h2 = client($name);
    $h2->request(1, $Test::Buildkit::Live::TIMEOUT);
    my ($code, $said) = $h2->said(1);
    is($code, 9, "$name: code");
    like($said, $text, "$name: text");

    return $h2;
}

my $ls = look('ls', qr/^buildkit gateway: the worker of allocation \S+ is starting: unpacking; this was only a look$/);
my $bootstrap = look('bootstrap', qr/starting: unpacking; this was only/);
my $late = look('late', qr/starting: unpacking; this was only/);
look('queued', qr/waits for a free worker of .*; this was only a look/)->finish;
look('unknown', qr/ is not known here; this was only a look/)->finish;
my $gone = look('gone', qr/worker w3 .* cannot be reached: connection refused; this was only a look/);

is($ls->{settings}, 1, 'one SETTINGS');
ok(!$ls->{closed} && !$ls->{goaway}, 'the connection stays');

# the byte of the time-out's name that decides may be in another record
my $h2 = client('ls');
my $frame = Test::Buildkit::H2::frame(1, 4, 1, $Test::Buildkit::Live::TIMEOUT);
$h2->{socket}->syswrite($_) for split //, $frame;
is(($h2->said(1))[0], 9, 'a byte at a time: the same');
$h2->finish;

# --- ready: a look is not passed on

ready($_) for qw(ls bootstrap late);
$bootstrap->_more(0.3);
ok(!$live->knocked, 'ready: nobody is dialled for a look');
$ls->finish;

# --- asks for something when its worker is there already

$bootstrap->request(3);
my $worker = $live->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 3) }), 'then it asks: passed on');
ok($worker->seen(1, 1), 'with the look before it, for HPACK');
$worker->frame(4, 0, 0, '');
$worker->finish_stream(1);
$worker->finish_stream(3);
ok($bootstrap->wait_stream(3, 60), 'and answered');
$bootstrap->finish;
$worker->finish;

# --- asks for something, and has to wait for it

$table->cmd("alloc token:$token{late} default/demo w2 starting 0");
$late->request(3);
$late->_more(0.3);
ok(!$live->knocked && !$late->{streams}{3}, 'asks too early: held');
ready('late');
$worker = $live->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 3) }), 'and passed on in time');
$late->finish;
$worker->finish;

# --- one whose worker does not answer

$gone->finish;

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return (() = $text =~ /\n/g) >= 7 && $text;
}, 10, 'the access log');
my %id = map { $_ => $t->id($token{$_}) } @names;
like($log, qr/^$id{queued} 200 look -\|$/m, 'logged as a look, not a refusal');
unlike($log, qr/only a look/, 'what a look was told is nobody\'s reason');
