# buildkit_max_handshakes: a burst from one address waits its turn and gets in;
# clients that open a connection and say nothing are bounded, hurt no other
# address, and their own only until ssl_handshake_timeout.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::Buildkit;

my ($CAP, $BURST, $LORIS) = (20, 120, 30);
plan tests => 16;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

my $nginx = $t->nginx(conf($CAP, '50s'));

# all at once, real handshakes
$t->write('certs.list', "$cert->{cert} $cert->{key}\n");
my $r = $t->run($t->tool('storm'), '--addr', '127.0.0.1:' . $t->port('gw'),
    '--ca', $t->pki . '/gateway-ca.pem', '--certs', $t->dir . '/certs.list',
    '--connections', $BURST, '--parallel', $BURST);
is(scalar(() = $r->{out} =~ / worker w1$/mg), $BURST,
    "$BURST at once with $CAP at a time: all get in") or diag $r->{out};
unlike($nginx->log, qr/\[warn\]/, 'without a word');

# more that say nothing than there are places
$nginx->reload(conf($CAP, '2s'));
my @loris = map { loris() } 1 .. $LORIS;
seen('127.0.0.1', $LORIS);
like($t->say_hello($cert, host('127.0.0.2')), qr/worker w1/,
    'another address does not notice');
like($t->say_hello($cert, host('127.0.0.1')), qr/worker w1/,
    'their own has its turn when their time is up');
cmp_ok(scalar(grep { $_->blocking(0); defined sysread $_, my $byte, 1 }
    @loris), '>', $LORIS - $CAP, 'which is when the first were closed');

# those that wait are free to go, and make no room by it
$_->close for @loris;
@loris = map { loris() } 1 .. $CAP + 5;
seen('127.0.0.1', $LORIS + 1 + $CAP + 5);
$_->close for splice @loris, $CAP;
like($t->say_hello($cert, host('127.0.0.1')), qr/worker w1/,
    'some that went while they waited');
$_->close for @loris;

# who waits for too long is told so in TLS
$nginx->reload(conf($CAP, '50s'));
$t->wait_for(sub { 2 <= (() = $nginx->log =~ /exited with code 0/g) }, 20,
    'the old ones');
@loris = map { loris() } 1 .. $CAP;
seen('127.0.0.1', $LORIS + 2 + $CAP + 5 + $CAP);
ok(!$t->tls($cert, host('127.0.0.1')), 'no place for 5 seconds');
like($IO::Socket::SSL::SSL_ERROR, qr/access denied/, 'the alert');
like($t->say_hello($cert, host('127.0.0.2')), qr/worker w1/,
    'another address still does not notice');

# nor do more than so many wait
push @loris, map { loris() } 1 .. 1000;
my $extra = loris();
my $alert = '';
$t->wait_for(sub {
    sysread $extra, $alert, 100, length $alert;
    return length $alert >= 7;
}, 10, 'an alert');
is(unpack('H*', $alert), '15030300020231', 'one more is told at once');
ok(!sysread($extra, $alert, 1), 'and closed');

my @lines = grep { /\[warn\]/ } split /\n/, $nginx->log;
is(scalar @lines, 1, 'one line for many of them') or diag "@lines";
like($lines[0], qr/: more than 20 TLS handshakes at a time from 127\.0\.0\.1: /,
    'that names the address');
like($lines[0], qr/\(buildkit_max_handshakes\)/, 'and the directive');
$_->close for @loris;

# no limit
$nginx->reload(conf(0, '50s'));
@loris = map { loris() } 1 .. $LORIS;
like($t->say_hello($cert, host('127.0.0.1')), qr/worker w1/, '0: no limit');
$_->close for @loris;
is($nginx->stop, 0, 'a good exit');


sub conf {
    my ($max, $timeout) = @_;

    return $t->gateway_conf(server => "buildkit_max_handshakes $max;\n"
        . "ssl_handshake_timeout $timeout;\n");
}

# the address that a connection comes from
sub host {
    my ($addr) = @_;

    return (ssl => { LocalAddr => $addr }, timeout => 20);
}

sub loris {
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->port('gw'), LocalAddr => '127.0.0.1', Timeout => 10)
        // die "connect: $!";
}

sub seen {
    my ($addr, $n) = @_;

    $t->wait_for(sub {
        my $seen = () = $nginx->log =~ /client \Q$addr\E:\d+ connected/g;
        return $seen >= $BURST + $n;
    }, 10, "$n connections");

    return;
}
