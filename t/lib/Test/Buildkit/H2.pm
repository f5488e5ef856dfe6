package Test::Buildkit::H2;

# A small HTTP/2 client, enough to see what the gateway tells a client, and a
# plain TLS client for stand-in workers.

use strict;
use warnings;

use IO::Select;
use IO::Socket::SSL;
use Time::HiRes qw(time);

my $PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

# :method POST, :scheme http, :path /, te: trailers: what matters is that it
# is a HEADERS frame
my $BLOCK = "\x83\x86\x84\x40\x02te\x08trailers";


# tls(CERT or undef, port => 'gw', alpn => ['h2'], host, sni, timeout), or with
# socket => a connected one; returns a connected socket, or undef with $IO::Socket::SSL::SSL_ERROR.
sub tls {
    my ($self, $cert, %opts) = @_;

    my $alpn = exists $opts{alpn} ? $opts{alpn} : ['h2'];

    my @new = $opts{socket} ? () : (PeerAddr => '127.0.0.1',
        PeerPort => $opts{peer_port} // $self->port($opts{port} // 'gw'));
    my $make = $opts{socket} ? 'start_SSL' : 'new';

    return IO::Socket::SSL->$make($opts{socket} // (), @new,
        Timeout => $opts{timeout} // $Test::Buildkit::PATIENCE,
        SSL_verify_mode => SSL_VERIFY_PEER,
        SSL_ca_file => $opts{ca} // $self->pki . '/gateway-ca.pem',
        SSL_verifycn_scheme => 'none',
        SSL_hostname => $opts{sni} // '',
        ($cert ? (SSL_cert_file => $cert->{cert},
            SSL_key_file => $cert->{key}) : ()),
        ($alpn ? (SSL_alpn_protocols => $alpn) : ()),
        ($opts{ssl} ? %{$opts{ssl}} : ()),
    );
}


# Connects, sends a line, returns what comes back until the given pattern,
# the end or the time-out; '' when refused.
sub say_hello {
    my ($self, $cert, %opts) = @_;

    my $socket = $self->tls($cert, %opts) or return '';
    local $SIG{PIPE} = 'IGNORE';
    print $socket $opts{send} // "hello\n";

    return $self->read_until($socket, $opts{until} // qr/hello\n/,
        $opts{timeout} // $Test::Buildkit::PATIENCE);
}


sub read_until {
    my ($self, $socket, $pattern, $seconds) = @_;

    my ($text, $deadline) = ('', time + $seconds);
    $socket->blocking(0);
    while (time < $deadline && $text !~ $pattern) {
        my $n = sysread $socket, $text, 65536, length $text;
        next if $n;
        last if defined $n;
        last if !$SSL_ERROR || ($SSL_ERROR != SSL_WANT_READ
            && $SSL_ERROR != SSL_WANT_WRITE);
        IO::Select->new($socket)->can_read(0.1);
    }
    $socket->blocking(1);

    return $text;
}


# grpc(CERT, streams => [1, 3], seconds => 10, ...): opens the streams, one
# after the other was answered, and returns {settings, closed, frames, alpn,
# streams => {1 => {status, grpc_status, message, end}}, error}.
sub grpc {
    my ($self, $cert, %opts) = @_;

    my $socket = $self->tls($cert, %opts)
        or return { error => $SSL_ERROR // 'no connection', streams => {} };

    local $SIG{PIPE} = 'IGNORE';
    my $h2 = { test => $self, socket => $socket, buffer => '', frames => [],
        streams => {}, alpn => $socket->alpn_selected };
    bless $h2, 'Test::Buildkit::H2::Connection';

    $h2->send($PREFACE . frame(4, 0, 0, ''));
    for my $id (@{$opts{streams} // [1]}) {
        $h2->open_stream($id);
        $h2->wait_stream($id, $opts{seconds}
            // $Test::Buildkit::PATIENCE) or last;
    }

    return $h2 if $opts{keep};
    $h2->finish;

    return $h2;
}


# What a stream was told, in bytes that somebody else has read; undef when it
# was not ended.
sub said_to {
    my ($id, $bytes) = @_;

    my $h2 = bless { buffer => $bytes, frames => [], streams => {} },
        'Test::Buildkit::H2::Connection';
    $h2->_parse;

    return $h2->{streams}{$id}{end} ? $h2->{streams}{$id}{message} // '' : undef;
}


sub frame {
    my ($type, $flags, $id, $payload) = @_;

    return pack('CnCCN', length($payload) >> 16, length($payload) & 0xffff,
        $type, $flags, $id) . $payload;
}


package Test::Buildkit::H2::Connection;

use Time::HiRes qw(time);

sub send {
    my ($self, $bytes) = @_;

    return print { $self->{socket} } $bytes;
}

sub open_stream {
    my ($self, $id) = @_;

    # END_HEADERS; gRPC leaves its side open
    return $self->send(Test::Buildkit::H2::frame(1, 4, $id, $BLOCK));
}

# Waits until the stream was ended by the server; false when the connection
# was closed or nothing came.
sub wait_stream {
    my ($self, $id, $seconds) = @_;

    my $deadline = time + $seconds;
    while (!$self->{streams}{$id}{end}) {
        return 0 if $self->{closed} || time > $deadline;
        $self->_more(0.1);
    }

    return 1;
}

sub wait_closed {
    my ($self, $seconds) = @_;

    my $deadline = time + $seconds;
    while (!$self->{closed} && time < $deadline) {
        $self->_more(0.1);
    }

    return $self->{closed};
}

sub finish {
    my ($self) = @_;

    $self->{socket}->close(SSL_no_shutdown => 1) if $self->{socket};
    delete $self->{socket};

    return;
}

sub _more {
    my ($self, $seconds) = @_;

    my $socket = $self->{socket};
    if (!$socket->pending) {
        return if !IO::Select->new($socket)->can_read($seconds);
    }

    $socket->blocking(0);
    my $n = sysread $socket, $self->{buffer}, 65536, length $self->{buffer};
    my $error = $IO::Socket::SSL::SSL_ERROR;
    $socket->blocking(1);
    if (!defined $n) {
        return if $error == IO::Socket::SSL::SSL_WANT_READ()
            || $error == IO::Socket::SSL::SSL_WANT_WRITE();
    }
    $self->{closed} = 1 if !$n;

    return $self->_parse;
}

# all frames that the buffer has
sub _parse {
    my ($self) = @_;

    while (length $self->{buffer} >= 9) {
        my ($hi, $lo, $type, $flags, $id) = unpack 'CnCCN', $self->{buffer};
        my $len = $hi << 16 | $lo;
        last if length $self->{buffer} < 9 + $len;
        my $payload = substr substr($self->{buffer}, 0, 9 + $len, ''), 9;
        $self->_frame($type, $flags, $id & 0x7fffffff, $payload);
    }

    return;
}

sub _frame {
    my ($self, $type, $flags, $id, $payload) = @_;

    push @{$self->{frames}}, [$type, $flags, $id, $payload];
    $self->{settings}++ if $type == 4 && !($flags & 1);
    $self->{goaway} = substr $payload, 8 if $type == 7;
    return if $type != 1 && $type != 0;

    my $stream = $self->{streams}{$id} //= {};
    $stream->{end} = 1 if $flags & 1;
    return if $type != 1;

    my %headers = _literals($payload);
    $stream->{status} = $headers{':status'};
    $stream->{content_type} = $headers{'content-type'};
    $stream->{grpc_status} = $headers{'grpc-status'};
    $stream->{message} = $headers{'grpc-message'};
    $stream->{message} =~ s/%([0-9a-fA-F]{2})/chr hex $1/ge
        if defined $stream->{message};

    return;
}

# Literal fields without Huffman coding, and :status 200 by its index.
sub _literals {
    my ($block) = @_;

    my %headers;
    while (length $block) {
        my $first = ord substr $block, 0, 1, '';
        if ($first & 0x80) {
            $headers{':status'} = 200 if $first == 0x88;
            next;
        }
        return %headers, error => sprintf 'byte %02x', $first
            if $first != 0x00 && $first != 0x10 && $first != 0x40;
        my $name = _string(\$block);
        my $value = _string(\$block);
        $headers{$name} = $value;
    }

    return %headers;
}

sub _string {
    my ($block) = @_;

    my $len = ord substr $$block, 0, 1, '';
    die "Huffman is not spoken here\n" if $len & 0x80;
    if ($len == 127) {
        for (my $shift = 0; ; $shift += 7) {
            my $byte = ord substr $$block, 0, 1, '';
            $len += ($byte & 127) << $shift;
            last if !($byte & 128);
        }
    }

    return substr $$block, 0, $len, '';
}

1;
