package Test::Buildkit::Host;

# plugin-host, a writer of the route table in its place (t/lib/tablectl), and
# stand-in workers (t/lib/worker).

use strict;
use warnings;

use File::Path qw(make_path);
use IO::Handle;
use IO::Select;
use IO::Socket::UNIX;
use JSON ();
use Socket qw(SOCK_DGRAM SOCK_STREAM);
use Time::HiRes qw(time);


# A long-lived program that is talked to by lines.
sub start_pipe {
    my ($self, $name, @cmd) = @_;

    pipe my $in_r, my $in_w or die "pipe: $!";
    pipe my $out_r, my $out_w or die "pipe: $!";
    my $proc = $self->start($name, { stdin => $in_r, stdout => $out_w }, @cmd);
    close $in_r;
    close $out_w;
    $in_w->autoflush(1);

    @$proc{qw(in out)} = ($in_w, $out_r);

    return bless $proc, 'Test::Buildkit::Pipe';
}


# table(@commands) or table({path, allocations, workers, pools, name}, ...):
# a writer; every command must be answered with ok.
sub table {
    my ($self, @commands) = @_;
    my $opts = ref $commands[0] eq 'HASH' ? shift @commands : {};

    my $name = $opts->{name} // 'tablectl' . ++$self->{ntables};
    my $pipe = $self->start_pipe($name, $self->tool('tablectl'),
        $opts->{path} // "$self->{dir}/buildkit.table",
        $opts->{allocations} // 1000, $opts->{workers} // 64,
        $opts->{pools} // 16);

    # no reader may see a table that misses half of its rows
    $pipe->cmd($_) for @commands, 'live';

    return $pipe;
}


# worker(NAME, tls_name => ..., mode => echo|name|sink|mute|close, alpn => 0,
#   ca => ..., port => 'other name'): starts one, returns its port.
# worker_object(NAME) is its pipe: ->cmd('stats'), ->stats->{resumed}.
sub worker {
    my ($self, $name, %opts) = @_;

    my $tls_name = $opts{tls_name} // "$name.workers.buildkit.internal";
    my $cert = $self->worker_cert($name, $tls_name,
        map { $_ => $opts{$_} } grep { $_ eq 'ca' } keys %opts);
    my $port = $self->port($opts{port} // "worker-$name");

    my $pipe = $self->start_pipe("worker-$name", $self->tool('worker'),
        '--name', $name, '--listen', "127.0.0.1:$port",
        '--cert', $cert->{cert}, '--key', $cert->{key},
        '--ca', $opts{client_ca} // $cert->{ca},
        '--mode', $opts{mode} // 'echo', '--alpn',
        $opts{alpn} // 1 ? 'yes' : 'no');
    my $ready = $pipe->line(10);
    die "worker $name: $ready" if $ready !~ /^ready/;

    $self->{workers}{$name} = $pipe;

    return $port;
}


sub worker_object { $_[0]{workers}{$_[1]} }


# host(YAML, name => 'host', env => {}, args => [], no_wait => 1,
# program => PATH): starts plugin-host and waits until it says that it is ready.
sub host {
    my ($self, $yaml, %opts) = @_;

    my $name = $opts{name} // 'host';
    my $conf = $self->write("$name.yaml", $yaml);
    my $text = $self->read($conf);
    my ($api) = $text =~ /unix:([^"'\s,\]]+)/;
    my ($reports) = $text =~ /^reports:\s*"?([^"\s]+)/m;
    for my $path (grep { defined } $api, $reports) {
        make_path($path =~ s{/[^/]*$}{}r);
    }

    my $notify = "$self->{dir}/$name.notify";
    unlink $notify;
    my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $notify)
        or die "$notify: $!";

    my $program = $opts{program} // $self->build . '/buildkit-plugin-host';
    my $proc = $self->start($name, {
        env => { NOTIFY_SOCKET => $notify, %{$opts{env} // {}} },
    }, $program, '-c', $conf,
        @{$opts{args} // []});

    my $host = bless { test => $self, proc => $proc, conf => $conf,
        program => $program,
        api => $api, notify => $socket }, 'Test::Buildkit::Host::Server';
    $host->wait_ready($opts{timeout} // 20) if !$opts{no_wait};

    return $host;
}


# One HTTP request over a unix socket or "ADDR:PORT"; returns {status,
# headers, body, json}.  body may be a hash (sent as JSON).
sub http {
    my ($self, $where, $method, $path, $body, %opts) = @_;

    my $socket = $where =~ m{^/}
        ? IO::Socket::UNIX->new(Peer => $where, Type => SOCK_STREAM)
        : IO::Socket::INET->new(PeerAddr => $where,
            Timeout => $Test::Buildkit::PATIENCE);
    return { status => 0, body => "$where: $!" } if !$socket;

    my %headers = (Host => 'localhost', Connection => 'close');
    if (ref $body) {
        $body = JSON->new->canonical->encode($body);
        $headers{'Content-Type'} = 'application/json';
    }
    $headers{'Content-Length'} = length $body if defined $body;
    %headers = (%headers, %{$opts{headers} // {}});

    my $request = "$method $path HTTP/1.1\r\n" . join('',
        map { "$_: $headers{$_}\r\n" } grep { defined $headers{$_} }
        sort keys %headers) . "\r\n" . ($body // '');
    # an early answer to a large body is no error
    local $SIG{PIPE} = 'IGNORE';
    $socket->syswrite($request);

    my ($text, $deadline) = ('', time + ($opts{timeout} // 65));
    my $select = IO::Select->new($socket);
    while (time < $deadline) {
        next if !$select->can_read(0.5);
        sysread($socket, $text, 65536, length $text) or last;
    }

    my ($head, $rest) = split /\r\n\r\n/, $text, 2;
    my ($status, %got) = (0);
    for (split /\r\n/, $head // '') {
        $status = $1 if m{^HTTP/1\.\d (\d+)};
        $got{lc $1} = $2 if /^([\w-]+):\s*(.*)$/;
    }
    $rest = _unchunk($rest) if ($got{'transfer-encoding'} // '') =~ /chunked/;

    return { status => $status, headers => \%got, body => $rest // '',
        json => scalar eval { JSON->new->allow_nonref->decode($rest // '') } };
}


sub _unchunk {
    my ($text) = @_;

    my $out = '';
    $text //= '';
    while ($text =~ s/^([0-9a-fA-F]+)[^\r\n]*\r\n//) {
        my $len = hex $1 or last;
        $out .= substr $text, 0, $len, '';
        $text =~ s/^\r\n//;
    }

    return $out;
}


package Test::Buildkit::Pipe;

use Time::HiRes qw(time);

sub pid { $_[0]{pid} }

sub line {
    my ($self, $seconds) = @_;

    $seconds = $Test::Buildkit::PATIENCE
        if ($seconds // 0) < $Test::Buildkit::PATIENCE;
    my $deadline = time + $seconds;
    my $select = IO::Select->new($self->{out});
    $self->{rest} //= '';
    while ($self->{rest} !~ /\n/) {
        my $left = $deadline - time;
        die "$self->{name} says nothing\n" if $left <= 0;
        next if !$select->can_read($left);
        sysread $self->{out}, $self->{rest}, 65536, length $self->{rest}
            or die "$self->{name} ended: "
                . ($self->{test}->read($self->{log}) // '') . "\n";
    }
    $self->{rest} =~ s/^(.*)\n// or die;

    return $1;
}

# Sends one command, returns its answer.
sub ask {
    my ($self, $command, $seconds) = @_;

    local $SIG{PIPE} = 'IGNORE';
    syswrite $self->{in}, "$command\n";

    return $self->line($seconds);
}

# As ask, but the answer must be good.
sub cmd {
    my ($self, $command) = @_;

    my $answer = $self->ask($command);
    die "$self->{name}: $command: $answer\n" if $answer !~ /^ok/;

    return $answer;
}

# Many commands at once.
sub cmds {
    my ($self, @commands) = @_;

    while (my @some = splice @commands, 0, 100) {
        syswrite $self->{in}, join '', map { "$_\n" } @some;
        for (@some) {
            my $answer = $self->line;
            die "$self->{name}: $_: $answer\n" if $answer !~ /^ok/;
        }
    }

    return;
}

sub stats {
    my ($self) = @_;

    return { map { split /=/ } split ' ', $self->ask('stats') };
}

sub quit {
    my ($self) = @_;

    close $self->{in};

    return $self->{test}->stop($self);
}

sub stop { $_[0]{test}->stop($_[0], $_[1]) }


package Test::Buildkit::Host::Server;

sub pid { $_[0]{proc}{pid} }
sub api { $_[0]{api} }
sub log { $_[0]{test}->read($_[0]{proc}{log}) // '' }
sub kill { CORE::kill $_[1], $_[0]->pid }
sub stop { $_[0]{test}->stop($_[0]{proc}, $_[1]) }
sub alive { $_[0]{test}->alive($_[0]{proc}) }

# One request of the API; returns {status, headers, body, json}.
sub request { my $self = shift; $self->{test}->http($self->{api}, @_) }

sub wait_ready {
    my ($self, $seconds) = @_;

    my $t = $self->{test};
    my $select = IO::Select->new($self->{notify});
    $t->wait_for(sub {
        die "plugin-host ended with status $self->{proc}{status}:\n"
            . $self->log if !$self->alive;
        return 0 if !$select->can_read(0.05);
        $self->{notify}->recv(my $text, 4096);
        return $text =~ /^READY=1$/m;
    }, $seconds, 'plugin-host to be ready');

    return $self;
}

# After kill('KILL'): the same again.
sub restart {
    my ($self) = @_;

    my $t = $self->{test};
    $self->stop('TERM');
    my $cmd = [$self->{program}, '-c', $self->{conf}];
    $self->{proc} = $t->start($self->{proc}{name}, { env => {
        NOTIFY_SOCKET => $self->{notify}->hostpath } }, @$cmd);

    return $self->wait_ready(20);
}

1;
