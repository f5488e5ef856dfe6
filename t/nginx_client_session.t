# Clients get no TLS sessions to resume: a resumed one would prove neither the
# key nor that the certificate is still good.  And a certificate that was
# verified before is refused once it has expired.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 20;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

# asked for both, by name
my $nginx = $t->nginx($t->gateway_conf(server => <<'END'));
    ssl_session_tickets on;
    ssl_session_cache   builtin:1000;
END

# one that ages while the other one is looked at; on a machine that stands still
# one with a longer life
my ($short, $hello);
for my $seconds (10, 20, 40) {
    $short = $t->client_cert("s$seconds", cn => "alloc:$token",
        days => $seconds / 86400);
    $hello = $t->say_hello($short);
    last if $hello =~ /worker w1/;
}
like($hello, qr/worker w1/, 'a short-lived certificate');

for my $version ('TLSv1_2', 'TLSv1_3') {
    my $cache = IO::Socket::SSL::Session_Cache->new(10);
    my %ssl = (SSL_version => $version, SSL_session_cache => $cache,
        SSL_session_key => 'gw');

    for my $try (1, 2) {
        my $socket = $t->tls($cert, ssl => \%ssl);
        ok($socket, "$version, $try: connected")
            or diag $IO::Socket::SSL::SSL_ERROR;
        print $socket "hello\n";
        like($t->read_until($socket, qr/hello/, 30), qr/worker w1/,
            "$version, $try: served");
        ok(!$socket->get_session_reused, "$version: not resumed")
            if $try == 2;
        close $socket;
    }
}

# what openssl saw: no ticket, and with a session ID nothing either
my @openssl = ('openssl', 's_client', '-connect',
    '127.0.0.1:' . $t->port('gw'), '-cert', $cert->{cert}, '-key',
    $cert->{key}, '-CAfile', $cert->{ca}, '-msg');

for my $args (['-tls1_3'], ['-tls1_2'], ['-tls1_2', '-no_ticket'],
    ['-tls1_2', '-reconnect'])
{
    my $r = $t->run({ stdin => '' }, @openssl, @$args);
    like($r->{out}, qr/^New, TLS/m, "@$args: connected");
    unlike($r->{out}, qr/NewSessionTicket|^Reused/m,
        "@$args: no session, none resumed");
}

# a chain that was verified once is not verified again, but it ages
my $got = $t->wait_for(sub {
    my $h2 = $t->grpc($short, seconds => 0.5);
    return $h2->{streams}{1}{message};
}, 60, 'it to expire');
like($got, qr/the client certificate expired at/, 'is refused in time');
