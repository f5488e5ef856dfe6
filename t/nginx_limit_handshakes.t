# buildkit_max_handshakes: a burst from one address waits its turn and gets in;
# clients that open a connection and say nothing are bounded, hurt no other
# address, and their own only until ssl_handshake_timeout.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::Buildkit;
use Time::HiRes qw(time);

my ($CAP, $BURST, $LORIS) = (20, 50, 30);
my $WAIT = 5;               # for a place
my $QUIET = 10;             # between two lines of a log
my $TIMEOUT = 2;            # of a handshake
my $connected = 0;          # from 127.0.0.1
plan tests => 16;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

my $nginx = $t->nginx(conf($CAP, '50s'));

# all at once, real handshakes; what took longer than that is done again
$t->write('certs.list', "$cert->{cert} $cert->{key}\n");
my ($r, $in, $from);
for (1 .. 5) {
    my $began = time;
    $from = length $nginx->log;
    $r = $t->run($t->tool('storm'), '--addr', '127.0.0.1:' . $t->port('gw'),
        '--ca', $t->pki . '/gateway-ca.pem', '--certs',
        $t->dir . '/certs.list', '--connections', $BURST, '--parallel',
        $BURST);
    $in = () = $r->{out} =~ / worker w1$/mg;
    $connected += $BURST;
    last if $in == $BURST || time - $began < $WAIT;
}
is($in, $BURST, "$BURST at once with $CAP at a time: all get in")
    or diag $r->{out};
unlike(substr($nginx->log, $from), qr/\[warn\]/, 'without a word');
$from = length $nginx->log;

# more that say nothing than there are places
$nginx->reload(conf($CAP, "${TIMEOUT}s"));
my @loris = map { loris() } 1 .. $LORIS;
seen();
like(hello('127.0.0.2'), qr/worker w1/,
    'another address does not notice');
like(hello('127.0.0.1'), qr/worker w1/,
    'their own has its turn when their time is up');
cmp_ok(scalar(grep { $_->blocking(0); defined sysread $_, my $byte, 1 }
    @loris), '>', $LORIS - $CAP, 'which is when the first were closed');

# those that wait are free to go, and make no room by it
$_->close for @loris;
@loris = map { loris() } 1 .. $CAP + 5;
seen();
$_->close for splice @loris, $CAP;
like(hello('127.0.0.1'), qr/worker w1/,
    'some that went while they waited');
$_->close for @loris;

# who waits for too long is told so in TLS
$nginx->reload(conf($CAP, '50s'));
$t->wait_for(sub { 2 <= (() = $nginx->log =~ /exited with code 0/g) }, 20,
    'the old ones');
@loris = map { loris() } 1 .. $CAP;
seen();
my $full = time;
ok(!$t->tls($cert, host('127.0.0.1')), 'no place for 5 seconds');
like($IO::Socket::SSL::SSL_ERROR, qr/access denied/, 'the alert');
like(hello('127.0.0.2'), qr/worker w1/,
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

my @lines = grep { /\[warn\]/ } split /\n/, substr $nginx->log, $from;
my $most = 1 + int((time - $full) / $QUIET);
ok(@lines >= 1 && @lines <= $most, 'one line for many of them')
    or diag "@lines";
like($lines[0], qr/: more than 20 TLS handshakes at a time from 127\.0\.0\.1: /,
    'that names the address');
like($lines[0], qr/\(buildkit_max_handshakes\)/, 'and the directive');
$_->close for @loris;

# no limit
$nginx->reload(conf(0, '50s'));
@loris = map { loris() } 1 .. $LORIS;
like(hello('127.0.0.1'), qr/worker w1/, '0: no limit');
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

    $connected++ if $addr eq '127.0.0.1';

    return (ssl => { LocalAddr => $addr }, timeout => 60);
}

# One that was given up since its own handshake took too long, and not told to
# go, comes again.
sub hello {
    my ($addr) = @_;

    my $got;
    for (1 .. 5) {
        my $began = time;
        $IO::Socket::SSL::SSL_ERROR = '';
        $got = $t->say_hello($cert, host($addr));
        last if $got ne '' || time - $began < $TIMEOUT
            || $IO::Socket::SSL::SSL_ERROR =~ /access denied/;
    }

    return $got;
}

sub loris {
    $connected++;

    return IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->port('gw'), LocalAddr => '127.0.0.1', Timeout => 60)
        // die "connect: $!";
}

sub seen {
    $t->wait_for(sub {
        my $seen = () = $nginx->log =~ /client 127\.0\.0\.1:\d+ connected/g;
        return $seen >= $connected;
    }, 60, "$connected connections");

    return;
}
