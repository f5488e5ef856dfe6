# nginx >= 1.25.5: several servers on one address, chosen by name.  A server
# of ours is ours whichever of them is the default; a session or a certificate
# that another server let in is worth nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;

my $t = Test::Buildkit->new;

my ($v) = $t->nginx_version =~ m{nginx/(\d+\.\d+\.\d+)};
my @v = split /\./, $v;
plan skip_all => "nginx $v has no server_name in stream"
    if $v[0] * 1e6 + $v[1] * 1e3 + $v[2] < 1025005;
plan tests => 11;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $other = $t->client_cert('o', cn => "alloc:$token", ca => 'other');
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

# the default server trusts somebody else and hands out sessions
my $conf = $t->gateway_conf(server => "server_name ours;\n"
    . "buildkit_names %%DIR%%/names;\n");
my $default = <<'END';
    server {
        listen 127.0.0.1:%%PORT:gw%% ssl default_server;
        server_name theirs;
        ssl_certificate         %%PKI%%/gateway.pem;
        ssl_certificate_key     %%PKI%%/gateway-key.pem;
        ssl_trusted_certificate %%PKI%%/other-ca.pem;
        ssl_verify_client       optional_no_ca;
        return "theirs";
    }
END
$conf =~ s/(    server \{)/$default\n$1/;

# a certificate of its own for the name of ours
$t->mkcert('--out', $t->dir . '/ours', '--ca', $t->pki . '/gateway-ca', '--cn',
    'ours', '--eku', 'server');
my $pem = join '', map { $t->read($_) } 'ours.pem', 'ours-key.pem';
my $file = sha256_hex($pem) . '.pem';
$t->write("names/$file", $pem);
$t->write('names/names', "buildkit-names 1 1 -\nours default/demo - $file\n");
my $nginx = $t->nginx($conf);

is($t->say_hello($cert, sni => 'theirs', until => qr/theirs/), 'theirs',
    'the default server');
like($t->say_hello($cert, sni => 'ours'), qr/worker w1/, 'ours by name');

for (['ours', 'ours'], ['theirs', 'gateway']) {
    my $socket = $t->tls(undef, sni => $_->[0]);
    is($socket->peer_certificate('commonName'), $_->[1], "certificate: $_->[0]");
    $socket->close;
}

my $got = $t->grpc($other, sni => 'ours')->{streams}{1};
like($got->{message}, qr/not from an authority that this gateway trusts/,
    'whom the default server trusts is nobody here');

for my $version ('TLSv1_2', 'TLSv1_3') {
    my %ssl = (SSL_version => $version, SSL_session_key => 'gw',
        SSL_session_cache => IO::Socket::SSL::Session_Cache->new(10));

    # a session of theirs, then a try with it here, without a certificate
    is($t->say_hello($other, sni => 'theirs', until => qr/theirs/,
        ssl => \%ssl), 'theirs', "$version: a session of theirs");
    my $h2 = $t->grpc(undef, sni => 'ours', ssl => \%ssl, seconds => 2);
    like($h2->{streams}{1}{message} // 'closed',
        qr/^closed$|no client certificate|not verified on this connection/,
        "$version: does not open ours");
    is($t->worker_object('w1')->stats->{accepted}, 1,
        "$version: nobody dialled");
}
