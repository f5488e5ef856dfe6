# Clients that take their time: each step up to the first request has a
# deadline that bytes in between do not extend, whatever the allocation waits
# for; who has asked in time stays.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
my $SETTINGS = "\0\0\0\4\0\0\0\0\0";
my $HEADERS = "\0\0\3\1\4\0\0\0\1\x83\x86\x84";

# what a client says at once, what it says byte by byte afterwards; in the
# clear with "tcp"
my @slow = (
    ['tcp, silent', '', ''],
    ['tcp, some of a ClientHello', "\x16\x03\x01\x02\x00\x01", ''],
    ['tcp, a ClientHello in drops', "\x16\x03\x01\x02\x00", "\x01\0\1\xfc\3\3"],
    map {
        my $state = $_;
        map { ["$state, $_->[0]", @$_[1, 2]] }
            ['silent', '', ''],
            ['half a preface', substr($PREFACE, 0, 12), ''],
            ['a preface in drops', '', $PREFACE],
            ['no request', $PREFACE . $SETTINGS, ''],
            ['SETTINGS for ever', $PREFACE, $SETTINGS],
            ['half a frame header', $PREFACE . $SETTINGS . "\0\0\3\1", ''],
            ['half a request', $PREFACE . $SETTINGS . substr($HEADERS, 0, 10),
                ''],
            ['a request in drops', $PREFACE . $SETTINGS,
                "\0\x40\0\1\4\0\0\0\1" . "\x83" x 90],
    } qw(ready starting),
);
my @good = qw(ready starting);

plan tests => 2 * @slow + @good + 3;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');

my (%token, %cert);
for my $name (@good, map { $_->[0] } @slow) {
    $token{$name} = $t->token;
    $cert{$name} = $t->client_cert($name =~ tr/ ,/_/r,
        cn => "alloc:$token{$name}");
}
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$token{$_} default/demo w1 "
        . (/^starting/ ? 'starting' : 'ready') . ' 0' } sort keys %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    "log_format bk '\$buildkit_allocation|\$status';\n",
    server => "access_log %%DIR%%/access.log bk;\n"
        . "buildkit_header_timeout 5s;\nssl_handshake_timeout 5s;\n"
        . "buildkit_max_connections 1;\nbuildkit_retry 10m;\n"));

my @workers;            # those that the gateway dials for some of them
my %good = map { $_ => client($_, $PREFACE . $SETTINGS . $HEADERS, '') } @good;
my @clients = map { client(@$_) } @slow;

# all of them at once, until the last one is closed
my $deadline = time + 60;
while (time < $deadline && grep { !$_->{closed} } @clients) {
    push @workers, $live->accept if $live->knocked;
    look($_) for @clients;
    select undef, undef, undef, 0.02;
}
ok($_->{closed}, "$_->{name}: closed") for @clients;

# the time was over for them first
$t->wait_for(sub {
    return @slow <= scalar(() = ($t->read('access.log') // '') =~ /\n/g);
}, 10, 'the log');
for my $name (@good) {
    look($good{$name});
    ok(!$good{$name}{closed}, "$name, asked in time: stays");
}

# none of them is counted any more
for my $client (@clients) {
    my $name = $client->{name};
    my $h2 = $name =~ /^tcp/ ? undef
        : $t->grpc($cert{$name}, streams => [], keep => 1);
    $h2->open_stream(1) if $h2;
    push @workers, $live->accept if $name =~ /^ready/;
    ok(!$h2 || !$h2->{closed}, "$name: may come again");
    $h2->_more(0.01) if $h2;
    $h2->finish if $h2;
}

$_->{socket}->close for values %good;
$_->finish for @workers;
is($nginx->stop, 0, 'a good exit');
unlike($nginx->log, qr/\[(alert|crit|error)\]/, 'without an error');
unlike($nginx->log, qr/has its 1 connections already/,
    'none was refused for being too many');


sub client {
    my ($name, $first, $drops) = @_;

    my $socket = $name =~ /^tcp/
        ? IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('gw'))
        : $t->tls($cert{$name});
    die "$name: no connection" if !$socket;
    push @workers, $live->accept if $name =~ /^ready/;
    print $socket $first if length $first;
    $socket->flush;
    $socket->blocking(0);

    return { name => $name, socket => $socket, drops => $drops };
}

# says a byte, reads what there is
sub look {
    my ($c) = @_;

    return if $c->{closed};
    local $SIG{PIPE} = 'IGNORE';
    if (length $c->{drops}) {
        my $byte = substr $c->{drops}, 0, 1;
        syswrite $c->{socket}, $byte;
        # around and around
        $c->{drops} = substr($c->{drops}, 1)
            . ($c->{name} =~ /for ever/ ? $byte : '');
    }
    my $n = sysread $c->{socket}, my $text, 4096;
    $c->{closed} = 1 if defined $n && $n == 0 || !defined $n
        && $c->{name} !~ /^tcp/ && $SSL_ERROR && $SSL_ERROR != SSL_WANT_READ
        && $SSL_ERROR != SSL_WANT_WRITE || $!{ECONNRESET} && !defined $n;

    return;
}
