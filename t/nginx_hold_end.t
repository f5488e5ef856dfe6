# How a hold ends that leads nowhere: a client that never asks for anything, a
# process that must stop, an allocation that was just cut here.

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
my @names = qw(silent rude other held hung);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;

my $table = $t->table('pool default/demo', $live->row,
    (map { "alloc token:$token{$_} default/demo w1 starting 0" }
        grep { $_ ne 'hung' } @names),
    "alloc token:$token{hung} default/demo w1 ready 0");

my $conf = $t->gateway_conf(stream => 'log_format bk'
    . ' "$buildkit_allocation $status $buildkit_outcome|";'
    . "buildkit_silence 1s;\n", server => "access_log %%DIR%%/access.log bk;\n"
    . "buildkit_header_timeout 2s;\n");

# for those that ask, however long they take
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
$server =~ s/%%PORT:gw%%/%%PORT:calm%%/;
$server =~ s/buildkit_header_timeout 2s;//;
$conf =~ s/\n\}\n\z/\n$server\n}\n/;
my $nginx = $t->nginx($conf, main => 'worker_shutdown_timeout 4s;');

sub client {
    my ($name, $bytes, $port) = @_;

    my $socket = $t->tls($cert{$name}, port => $port // 'gw')
        or die 'no connection';
    $socket->syswrite($bytes) if length $bytes;
    return bless { test => $t, socket => $socket, buffer => '', frames => [],
        streams => {} }, 'Test::Buildkit::H2::Connection';
}

sub frame { Test::Buildkit::H2::frame(@_) }

# --- asks for nothing

my %h2 = (silent => client('silent', ''),
    rude => client('rude', "GET / HTTP/1.1\r\n\r\n"),
    other => client('other', $preface . frame(4, 0, 0, '')
        . frame(1, 0, 1, "\x83")));
my $held = client('held', $preface . frame(4, 0, 0, '')
    . frame(1, 4, 1, "\x83\x86\x84"), 'calm');

for my $name (qw(silent rude other)) {
    ok($h2{$name}->wait_closed(30), "$name: closed");
    is($h2{$name}{settings}, 1, "$name: was held before");
    ok(!(grep { $_->[0] == 1 } @{$h2{$name}{frames}}), "$name: no answer");
    $h2{$name}->finish;
}

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return (() = $text =~ /\n/g) == 3 && $text;
}, 10, 'the access log');
is(() = $log =~ / 503 refused:timeout\|$/mg, 3, 'which the log says')
    or diag $log;
$t->wait_for(sub { $held->_more(0.1); $held->{settings} }, 30, 'its SETTINGS');
ok(!$held->{closed} && $held->{settings} == 1, 'one that asked waits on');

# a late request is answered: it is refused, not dropped
my $h2 = client('silent', $preface . frame(4, 0, 0, ''));
$t->wait_for(sub { $nginx->log =~ /no request came in 2s \(allocation \S+ *\)/
    && 3 < (() = $nginx->log =~ /no request came in/g) }, 10, 'the time-out');
$h2->open_stream(1);
ok($h2->wait_stream(1, 30), 'a request after that is answered');
is($h2->{streams}{1}{grpc_status}, 9, 'code');
$h2->finish;

# --- an allocation that was just cut: not held, not dialled

my ($client, $worker) = $live->connect($cert{hung}, port => 'calm');
$client->request(1, $Test::Buildkit::Live::SESSION);
$worker->until(sub { $worker->seen(1, 1) });
my ($code, $text) = $client->said(1);
is($code, 9, 'a worker that hangs: cut');
$client->finish;

$h2 = client('hung', $preface . frame(4, 0, 0, '')
    . frame(1, 4, 1, "\x83\x86\x84"), 'calm');
ok($h2->wait_stream(1, 30), 'who comes right after that is told');
is($h2->{streams}{1}{grpc_status}, 9, 'code');
like($h2->{streams}{1}{message}, qr/ of allocation \S+ were cut a moment ago: its worker stopped answering; try again in half a minute/, 'text');
ok(!$live->knocked(0.3), 'and nobody is dialled');
$h2->finish;
$worker->finish;

# --- the process must end

$nginx->kill('QUIT');
ok($held->wait_stream(1, 30), 'at worker_shutdown_timeout: told');
is($held->{streams}{1}{grpc_status}, 9, 'code');
like($held->{streams}{1}{message},
    qr/gateway is shutting down, and allocation \S+ has no worker yet/,
    'text');
$held->finish;
