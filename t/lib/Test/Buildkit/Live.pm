package Test::Buildkit::Live;

# Both ends of a live connection in one process: a client of the gateway and
# the worker behind it, which send what a test tells them to.
#
#   my $live = Test::Buildkit::Live->new($t, 'w1');
#   my ($client, $worker) = $live->connect($cert);
#
# Both are HTTP/2 connections of Test::Buildkit::H2; SETTINGS were exchanged.

use strict;
use warnings;

use IO::Select;
use IO::Socket::SSL;
use Test::Buildkit::H2;
use Time::HiRes qw(time);

my $PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

# as every gRPC library sends them: Control/Session, grpc-timeout 20s
our $SESSION = "\x83\x86\x44\x98" . pack 'H*',
    '6293c7e978ed3512753257ee15ef1ea4d87a18dc5420c7ab';
our $TIMEOUT = "\x83\x86\x84\x40\x89" . pack('H*', '9acac8b24d494f6a7f')
    . "\x0320S";


sub new {
    my ($class, $t, $name, %opts) = @_;

    my $tls_name = $opts{tls_name} // "$name.workers.buildkit.internal";
    my $cert = $t->worker_cert($name, $tls_name);
    my $port = $t->port("worker-$name");
    my $listen = IO::Socket::INET->new(Listen => 128, ReuseAddr => 1,
        LocalAddr => '127.0.0.1', LocalPort => $port) or die "listen: $!";
    my $tls = IO::Socket::SSL::SSL_Context->new(SSL_server => 1,
        SSL_cert_file => $cert->{cert}, SSL_key_file => $cert->{key},
        SSL_ca_file => $cert->{ca}, SSL_verify_mode => SSL_VERIFY_PEER,
        SSL_alpn_protocols => ['h2']) or die "TLS: $SSL_ERROR";

    return bless { t => $t, name => $name, listen => $listen, tls => $tls,
        port => $port }, $class;
}


# the table's line of this worker
sub row {
    my ($self, $pool) = @_;

    return join ' ', 'worker', $pool // 'default/demo', $self->{name},
        "127.0.0.1:$self->{port}", "$self->{name}.workers.buildkit.internal",
        'ready';
}


# tls => 1: without any HTTP/2
sub connect {
    my ($self, $cert, %opts) = @_;

    my $socket = $self->{t}->tls($cert, %opts)
        or die "the gateway refused: $SSL_ERROR";
    my $client = $self->_end($socket);
    my $worker = $self->accept;

    if (!$opts{tls}) {
        $worker->{preface} = $PREFACE;
        $client->send($PREFACE . Test::Buildkit::H2::frame(4, 0, 0, ''));
        $worker->send(Test::Buildkit::H2::frame(4, 0, 0, ''));
        $client->until(sub { $client->{settings} });
        $worker->until(sub { $worker->{settings} });
    }

    return ($client, $worker);
}


sub accept {
    my ($self) = @_;

    my $tls;
    until ($tls) {
        IO::Select->new($self->{listen})->can_read($Test::Buildkit::PATIENCE)
            or die "nobody comes\n";
        my $socket = $self->{listen}->accept or die "accept: $!";
        $tls = IO::Socket::SSL->start_SSL($socket, SSL_server => 1,
            SSL_reuse_ctx => $self->{tls},
            Timeout => $Test::Buildkit::PATIENCE);
        # one that nginx has given up since: it comes again
        die "worker: $SSL_ERROR" if !$tls && !$self->knocked(1);
    }

    return $self->_end($tls);
}


# does anybody knock?
sub knocked {
    my ($self, $seconds) = @_;

    return scalar IO::Select->new($self->{listen})->can_read($seconds // 0);
}


sub _end {
    my ($self, $socket) = @_;

    return bless { test => $self->{t}, socket => $socket, buffer => '',
        frames => [], streams => {}, alpn => $socket->alpn_selected },
        'Test::Buildkit::Live::End';
}


package Test::Buildkit::Live::End;

use Time::HiRes qw(time);

our @ISA = ('Test::Buildkit::H2::Connection');

sub send {
    my ($self, $bytes) = @_;

    local $SIG{PIPE} = 'IGNORE';

    return print { $self->{socket} } $bytes;
}

# Reads until the condition holds; false when it does not in time, which is to
# be given where that is what shall be.
sub until {
    my ($self, $code, $seconds) = @_;

    my $deadline = time + ($seconds // $Test::Buildkit::PATIENCE);
    while (!$code->($self)) {
        return 0 if $self->{closed} || time > $deadline;
        $self->_more(0.05);
    }

    return 1;
}

sub frame { my $self = shift; $self->send(Test::Buildkit::H2::frame(@_)) }
sub data  { $_[0]->frame(0, 0, $_[1], $_[2]) }

# a request with END_HEADERS; the stream's own side stays open
sub request {
    my ($self, $id, $block) = @_;

    return $self->frame(1, 4, $id, $block // "\x83\x86\x84");
}

# trailers-only: the end of a stream
sub finish_stream { $_[0]->frame(1, 5, $_[1], "\x88") }

# how often a frame of this type came, on this stream where it is given
sub seen {
    my ($self, $type, $id) = @_;

    return scalar grep { $_->[0] == $type && (!defined $id || $_->[2] == $id) }
        @{$self->{frames}};
}

# all payloads of DATA of a stream
sub body {
    my ($self, $id) = @_;

    return join '', map { $_->[3] }
        grep { $_->[0] == 0 && $_->[2] == $id } @{$self->{frames}};
}

# (code, text) of a stream that was ended
sub said {
    my ($self, $id, $seconds) = @_;

    $self->wait_stream($id, $seconds // $Test::Buildkit::PATIENCE);

    return @{$self->{streams}{$id} // {}}{qw(grpc_status message)};
}

sub _frame {
    my ($self, @frame) = @_;

    # the worker's end sees requests, whose blocks nobody needs to read
    if (defined $self->{preface}) {
        push @{$self->{frames}}, [@frame];
        $self->{settings}++ if $frame[0] == 4 && !($frame[1] & 1);
        return;
    }

    return $self->SUPER::_frame(@frame);
}

sub _more {
    my ($self, @args) = @_;

    # the preface is no frame: its first bytes would be read as one
    if (length($self->{preface} // '')) {
        local $self->{socket} = $self->{socket};
        my $socket = $self->{socket};
        return if !$socket->pending
            && !IO::Select->new($socket)->can_read($args[0]);
        sysread $socket, my $got, length $self->{preface} or do {
            $self->{closed} = 1;
            return;
        };
        die "no preface\n" if $got ne substr $self->{preface}, 0, length $got;
        substr $self->{preface}, 0, length $got, '';
        return;
    }

    return $self->SUPER::_more(@args);
}

1;
