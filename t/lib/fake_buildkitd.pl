#!/usr/bin/perl

# A stand-in for buildkitd that can misbehave: TLS with client certificates,
# h2, and grpc-status 0 for whatever is called.
#
#   fake_buildkitd.pl --port P --cert F --key F --ca F --mode FILE [--name N]
#       [--root DIR]
#
# A call with a message is taken for Prune: it is noted, DIR/cache removed.
# FILE is read at the start and before each answer; it holds one word and
# perhaps a number: ok; exit N (at the start); late N (seconds until it
# listens); wait (listens when FILE says something else); grpc N (that status);
# mute (takes connections, says nothing);
# plain (answers HTTP/1); deaf (as ok, but does not heed SIGTERM).

use strict;
use warnings;

use Getopt::Long;
use IO::Socket::SSL;

my %o;
GetOptions(\%o, qw(port=i cert=s key=s ca=s mode=s name=s root=s)) or exit 2;
$| = 1;
$SIG{PIPE} = 'IGNORE';

my @kept;
my ($mode, $n) = mode();

if ($mode eq 'exit') {
    print "starting\nfatal: told to exit with $n\n";
    exit $n;
}

sleep $n if $mode eq 'late';
select undef, undef, undef, 0.05 while $mode eq 'wait' && (mode())[0] eq 'wait';
$SIG{TERM} = $mode eq 'deaf' ? 'IGNORE' : sub { print "bye\n"; exit 0 };

my $server = IO::Socket::INET->new(Listen => 64, ReuseAddr => 1,
    LocalAddr => '127.0.0.1', LocalPort => $o{port});
if (!$server) {
    print "listen tcp 127.0.0.1:$o{port}: bind: address already in use\n";
    exit 1;
}
print "listening\n";

while (1) {
    my $client = $server->accept or next;
    ($mode, $n) = mode();

    if ($mode eq 'mute') {
        push @kept, $client;
        next;
    }

    IO::Socket::SSL->start_SSL($client, SSL_server => 1, Timeout => 5,
        SSL_cert_file => $o{cert}, SSL_key_file => $o{key},
        SSL_ca_file => $o{ca}, SSL_alpn_protocols => ['h2'],
        SSL_verify_mode => SSL_VERIFY_PEER
            | SSL_VERIFY_FAIL_IF_NO_PEER_CERT) or next;

    eval {
        local $SIG{ALRM} = sub { die "slow\n" };
        alarm 5;
        serve($client);
    };
    alarm 0;
    close $client;
}


sub mode {
    open my $fh, '<', $o{mode} or return ('ok', 0);
    my ($word, $number) = split ' ', <$fh> // 'ok';

    return ($word // 'ok', $number // 0);
}


sub serve {
    my ($client) = @_;

    if ($mode eq 'plain') {
        print $client "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        # all that comes, or the close becomes a reset
        1 while sysread $client, my $some, 4096;
        return;
    }

    get($client, 24);
    print $client frame(4, 0, 0, '');

    while (1) {
        my ($hi, $lo, $type, $flags, $id) = unpack 'CnCCN', get($client, 9);
        my $payload = get($client, $hi << 16 | $lo);
        print $client frame(4, 1, 0, '') if $type == 4 && !($flags & 1);
        next if $type != 0 || !($flags & 1);
        prune(substr $payload, 5) if length $payload > 5;

        my $status = $mode eq 'grpc' ? $n : 0;
        print $client frame(1, 5, $id, "\x88" . field('content-type',
            'application/grpc') . field('grpc-status', $status)
            . field('grpc-message', $status ? 'told to fail' : ''));
        print $client frame(7, 0, 0, pack 'NN', $id, 0);
        # until it closes, or our close becomes a reset
        1 while sysread $client, my $some, 4096;
        return;
    }
}


sub prune {
    my ($message) = @_;

    unlink "$o{root}/cache";
    print 'asked to prune: ', unpack('H*', $message), "\n";
}


sub get {
    my ($client, $len) = @_;

    my $text = '';
    while (length $text < $len) {
        sysread($client, $text, $len - length $text, length $text)
            or die "gone\n";
    }

    return $text;
}


sub frame {
    my ($type, $flags, $id, $payload) = @_;

    return pack('CnCCN', length($payload) >> 16, length($payload) & 0xffff,
        $type, $flags, $id) . $payload;
}


sub field {
    my ($name, $value) = @_;

    return "\0" . chr(length $name) . $name . chr(length $value) . $value;
}
