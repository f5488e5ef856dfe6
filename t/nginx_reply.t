# How a refused client is spoken to: frames in pieces, header blocks in parts,
# PINGs, streams late or many, clients that are no HTTP/2 clients, say nothing,
# ask without end or never go.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 30;

my $t = Test::Buildkit->new;

my $cert = $t->client_cert('c', cn => 'alloc:' . $t->token);
my $table = $t->table('pool default/demo');
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'buildkit_grace 0; log_format bk "$status $bytes_received $session_time";',
    server => "access_log %%DIR%%/access.log bk;\n"));
my ($pid) = $nginx->worker_pids;

my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
my $block = "\x83\x86\x84";
sub frame { Test::Buildkit::H2::frame(@_) }

sub connected {
    my $h2 = $t->grpc($cert, streams => [], keep => 1);
    return $h2;
}

sub raw {
    my (@bytes) = @_;

    my $socket = $t->tls($cert) or die 'no connection';
    $socket->syswrite($_) for @bytes;
    return bless { test => $t, socket => $socket, buffer => '', frames => [],
        streams => {} }, 'Test::Buildkit::H2::Connection';
}

# --- good clients

my $h2 = raw(split //, $preface . frame(4, 0, 0, '')
    . frame(1, 4, 1, $block));
ok($h2->wait_stream(1, 30), 'a byte at a time: answered');
is($h2->{streams}{1}{grpc_status}, 16, 'with its code');
$h2->finish;

$h2 = raw($preface . frame(1, 0, 1, "\x83") . frame(9, 0, 1, "\x86")
    . frame(9, 4, 1, "\x84"));
ok($h2->wait_stream(1, 30), 'a header block in three frames: answered');
is(scalar(grep { $_->[0] == 1 } @{$h2->{frames}}), 1, 'once');
$h2->finish;

# PADDED and PRIORITY are of no interest
$h2 = raw($preface . frame(1, 0x2c, 1, "\1\0\0\0\0\0" . "$block\0"));
ok($h2->wait_stream(1, 30), 'padded, with priority: answered');
$h2->send(frame(6, 0, 0, 'pingpong') . frame(6, 1, 0, 'nonono!!')
    . frame(8, 0, 0, "\0\0\1\0") . frame(0, 0, 1, 'data' x 1000)
    . frame(1, 5, 1, $block) . frame(0xfe, 0, 0, 'who knows'));
$h2->open_stream(5);
ok($h2->wait_stream(5, 30), 'a later stream: answered');
is_deeply([map { $_->[3] } grep { $_->[0] == 6 && $_->[1] == 1 }
    @{$h2->{frames}}], ['pingpong'], 'a PING is acknowledged, an ACK is not');
is(scalar(grep { $_->[0] == 1 } @{$h2->{frames}}), 2,
    'trailers of an old stream get no second answer');
ok(!$h2->{goaway}, 'no GOAWAY');
$h2->finish;

$h2 = raw($preface, map { frame(1, 4, 2 * $_ + 1, $block) } 0 .. 199);
ok($h2->wait_stream(399, 30), '200 streams: the last one answered');
is(scalar(grep { $_->{end} } values %{$h2->{streams}}), 200, 'all of them');
$h2->finish;

# --- others

sub dropped {
    my ($name, $bytes, $least) = @_;

    my $began = time;
    my $h = raw($bytes);
    ok($h->wait_closed(30), "$name: closed");
    my $took = time - $began;
    ok(!(grep { $_->[0] == 1 } @{$h->{frames}}) && $took >= ($least // 0),
        "$name: without an answer") or diag "took $took";
    $h->finish;

    return;
}

dropped('HTTP/1.1', "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
dropped('a preface with an error', "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
dropped('an even stream', $preface . frame(1, 4, 2, $block));
dropped('stream 0', $preface . frame(1, 4, 0, $block));
dropped('CONTINUATION out of place', $preface . frame(9, 4, 1, $block));
dropped('a frame too large', $preface . "\xff\xff\xff\0\0\0\0\0\1");
dropped('silence', '', 4);

# answered, but stays: closed in the end, and its last word is not lost
my $began = time;
$h2 = raw($preface . frame(1, 4, 1, $block));
ok($h2->wait_closed(60), 'a client that stays is closed');
ok($h2->{streams}{1}{end} && time - $began >= 9,
    'after it had time to read its answer');
$h2->finish;

# asks more than it reads: bounded
$h2 = raw($preface);
my $n = 0;
local $SIG{PIPE} = 'IGNORE';
$h2->{socket}->blocking(0);
my $deadline = time + 60;
while (time < $deadline && $n < 200_000) {
    my $some = join '', map { frame(1, 4, 2 * $n++ + 1, $block) } 1 .. 300;
    my $got = $h2->{socket}->syswrite($some);
    last if !defined $got && $IO::Socket::SSL::SSL_ERROR
        != IO::Socket::SSL::SSL_WANT_WRITE();
    select undef, undef, undef, 0.001 if !defined $got;
}
ok(time < $deadline, 'a client that only asks is dropped');
$h2->finish;

# --- the end of it

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return (() = $text =~ /\n/g) >= 13 && $text;
}, 15, 'all sessions to be logged');
like($log, qr/^403 \d+ /m, 'status 403');

$h2 = raw($preface . frame(1, 4, 1, $block));
$h2->wait_stream(1, 30);
is(join(' ', $nginx->worker_pids), $pid, 'the same process all along');
$h2->finish;
