# Whose connections count together: those of one IPv4 address, of one /64 of
# IPv6, and IPv4 is IPv4 also on a socket of IPv6; behind a load balancer that
# speaks the PROXY protocol it is the client's address.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use IO::Socket::IP;
use Test::Buildkit;
use Test::Buildkit::Net;

plan tests => 10;

my $t = Test::Buildkit->new;
Test::Buildkit::Net->here($t, 'ip link set lo up',
    map { "ip -6 addr add $_/128 dev lo nodad" } qw(fd77:1::1 fd77:1::2
        fd77:1:0:0:ffff::3 fd77:2::1));

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 starting 0");

my $real = $t->nginx_version =~ /--with-stream_realip_module/;
my $conf = $t->gateway_conf(server => "buildkit_max_held 1;\n");
$conf =~ s/listen 127\.0\.0\.1:(\S+) ssl;/listen [::]:$1 ssl ipv6only=off;
    listen 127.0.0.1:%%PORT:proxy%% ssl proxy_protocol;/;
$conf =~ s/buildkit on;/buildkit on; set_real_ip_from 127.0.0.1;/ if $real;
my $nginx = $t->nginx($conf);

my @keep = held('fd77:1::1', 'fd77:2::1');
is(scalar @keep, 1, 'a first one waits');
ok(!held('fd77:1::2', 'fd77:2::1'), 'one of the same /64 does not');
ok(!held('fd77:1:0:0:ffff::3', 'fd77:2::1'), 'nor from its other end');
push @keep, held('fd77:2::1', 'fd77:2::1');
is(scalar @keep, 2, 'one of another /64 does');
push @keep, held('127.0.0.1', '127.0.0.1');
is(scalar @keep, 3, 'and one of IPv4, on the same socket');
ok(!held('127.0.0.1', '127.0.0.1'), 'but not two');
push @keep, held('127.0.0.2', '127.0.0.1');
is(scalar @keep, 4, 'those are counted by address');

SKIP: {
    skip 'nginx has no stream_realip', 2 if !$real;

    push @keep, held('127.0.0.1', 'proxy', '192.0.2.1');
    is(scalar @keep, 5, 'PROXY protocol: a client');
    my @two = (held('127.0.0.1', 'proxy', '192.0.2.1'),
        held('127.0.0.1', 'proxy', '192.0.2.2'));
    is(scalar @two, 1, 'counts by its own address');
}

$_->finish for @keep;
is($nginx->stop, 0, 'a good exit');


# (): was told that it is one too many
sub held {
    my ($from, $to, $client) = @_;

    my $socket = IO::Socket::IP->new(LocalHost => $from,
        PeerHost => $to eq 'proxy' ? '127.0.0.1' : $to,
        PeerPort => $t->port($to eq 'proxy' ? 'proxy' : 'gw'), Timeout => 30)
        // die "$from: $@";
    syswrite $socket, "PROXY TCP4 $client 192.0.2.9 1234 1235\r\n" if $client;
    my $h2 = $t->grpc($cert, socket => $socket, streams => [], keep => 1);
    die "$from: $h2->{error}" if $h2->{error};
    $h2->open_stream(1);
    $t->wait_for(sub { $h2->_more(0.02); $h2->{settings} }, 10, 'SETTINGS');

    # refused ones are answered at once, behind the SETTINGS
    my $other = $t->grpc($cert, socket => IO::Socket::INET->new(
        LocalAddr => '127.0.0.9', PeerAddr => '127.0.0.1',
        PeerPort => $t->port('gw')), streams => [], keep => 1);
    $t->wait_for(sub { $other->_more(0.02); $other->{settings} }, 10, 'pass');
    $other->finish;
    $h2->_more(0.02) for 1 .. 5;

    return $h2 if !$h2->{streams}{1};
    $h2->finish;

    return;
}
