# nginx >= 1.25.5: a handshake is counted by the default server of an address,
# and is over as well when its name leads to a server that is not ours.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::Buildkit;

my $t = Test::Buildkit->new;

my ($v) = $t->nginx_version =~ m{nginx/(\d+\.\d+\.\d+)};
my @v = split /\./, $v;
plan skip_all => "nginx $v has no server_name in stream"
    if $v[0] * 1e6 + $v[1] * 1e3 + $v[2] < 1025005;
plan tests => 6;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");
my $silent = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1',
    LocalPort => $t->port('silent')) or die "listen: $!";

my $conf = $t->gateway_conf(server => "server_name ours;\n"
    . "buildkit_max_handshakes 1;\n");
my $theirs = <<'END';
    server {
        listen 127.0.0.1:%%PORT:gw%% ssl;
        server_name theirs;
        ssl_certificate         %%PKI%%/gateway.pem;
        ssl_certificate_key     %%PKI%%/gateway-key.pem;
        proxy_pass              127.0.0.1:%%PORT:silent%%;
    }
END
$conf =~ s/\}\n\z/$theirs}\n/;
$conf =~ s/ ssl;/ ssl default_server;/;
my $nginx = $t->nginx($conf);

my @theirs = map { $t->tls(undef, sni => 'theirs') } 1 .. 3;
is(scalar(grep { $_ } @theirs), 3, 'several sessions of another server');
like($t->say_hello($cert, sni => 'ours'), qr/worker w1/,
    'have no place in a handshake any more');

my $loris = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
    PeerPort => $t->port('gw')) or die "connect: $!";
$t->wait_for(sub { 5 <= (() = $nginx->log =~ / client \S+ connected to/g) }, 5,
    'a silent one');
ok(!$t->tls(undef, sni => 'theirs'), 'one that is in it is in the way');
like($IO::Socket::SSL::SSL_ERROR, qr/access denied/, 'of both');
$loris->close;
like($t->say_hello($cert, sni => 'ours'), qr/worker w1/, 'until it goes');
$_->close for @theirs;
is($nginx->stop, 0, 'a good exit');
