package Controller;

# For tests of the plugin controller: a controller that answers as the Go
# project's does (t/lib/fake_controller), plugin-host as its gateway, and
# questions at the plugin's socket as nginx asks them.

use strict;
use warnings;

use Digest::SHA qw(sha256);
use IO::Select;
use IO::Socket::UNIX;
use JSON ();
use Socket qw(SOCK_SEQPACKET);
use Time::HiRes qw(time);

my @VERDICTS = (undef, qw(known unknown pool trouble));


# new(TEST, tls => 1): the controller runs, and knows nobody.
sub new {
    my ($class, $t, %opts) = @_;

    my $name = $opts{name} // 'controller';
    my $self = bless { t => $t, name => $name, tokens => {},
        port => $t->port($name), scheme => $opts{tls} ? 'https' : 'http',
        tls => $opts{tls} ? [map { $t->pki . "/gateway$_.pem" } '', '-key']
            : [] }, $class;
    $self->say;
    $self->start;

    return $self;
}


sub url { "$_[0]{scheme}://127.0.0.1:$_[0]{port}" }

sub start {
    my ($self) = @_;

    my $t = $self->{t};
    $self->{proc} = $t->start($self->{name}, {},
        $t->root . '/t/lib/fake_controller', $self->{port},
        $t->dir . "/$self->{name}.state", $t->dir . "/$self->{name}.requests",
        @{$self->{tls}});
    $t->wait_port($self->{port});

    return;
}


sub stop { $_[0]{t}->stop($_[0]{proc}) }


# what it answers from now on: say(status => 503, ...); say(): the usual
sub say {
    my ($self, %how) = @_;

    my $t = $self->{t};
    my $file = $t->dir . "/$self->{name}.state";
    $t->write("$self->{name}.state.new",
        JSON->new->encode({ tokens => $self->{tokens}, %how }));
    rename "$file.new", $file or die "$file: $!";

    return;
}


# put(TOKEN, worker, port, [pool]), gone(TOKEN)
sub put {
    my ($self, $token, $worker, $port, $pool) = @_;

    $self->{tokens}{$token} = { workerName => $worker, poolName =>
        $pool // 'demo', workerEndpoint => "tcp://127.0.0.1:$port" };
    $self->say;

    return $token;
}


sub gone {
    my ($self, $token) = @_;

    delete $self->{tokens}{$token};
    $self->say;

    return;
}


# requests since the last call, those of TOKEN alone where one is given
sub requests {
    my ($self, $token) = @_;

    # the last one may be under way
    my @all = map { JSON->new->decode($_) }
        ($self->{t}->read("$self->{name}.requests") // '') =~ /^(.+)\n/mg;

    return grep { !defined $token || $_->{token} eq $token } @all;
}


# plugin-host with the plugin: host(TEST, OPTIONS of the plugin, name => ...)
sub host {
    my ($self, $options, %opts) = @_;

    my $name = $opts{name} // 'host';
    my $text = join '', map { ", $_: $options->{$_}" } sort keys %$options;

    $self->{socket} = $self->{t}->dir . "/$name.lookup/socket";

    return $self->{t}->host(<<"END", %opts);
state: %%DIR%%/$name.state
table: {path: "%%DIR%%/buildkit.table", allocations: 1000, workers: 100, pools: 8}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/$name.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:$name-metrics%%"]}
plugins:
  - {name: controller, options: {endpoint: "@{[$self->url]}",
     pool: team/demo, socket: "$self->{socket}"$text}}
  - {name: metrics}
END
}


sub connect {
    my ($self) = @_;

    return IO::Socket::UNIX->new(Type => SOCK_SEQPACKET,
        Peer => $self->{socket}) // die "$self->{socket}: $!";
}


# a question as nginx asks it; whatever is given instead of a part of it
sub question {
    my ($token, %but) = @_;

    return pack 'a8 Q< L< L< a256', $but{magic} // 'BKLOOKU1',
        1000 * ($but{until} // time + 3600), $but{len} // length $token, 0,
        $token;
}


# {verdict, text} for TOKEN; undef: none in time
sub answer {
    my ($self, $socket, $token, $seconds) = @_;

    my $deadline = time + ($seconds // $Test::Buildkit::PATIENCE);
    while ((my $left = $deadline - time) > 0) {
        IO::Select->new($socket)->can_read($left) or last;
        my $n = sysread $socket, my ($bytes), 4096;
        return if !$n;
        my ($magic, $verdict, $len, $hash, $text)
            = unpack 'a8 L< L< a32 a208', $bytes;
        next if $hash ne sha256($token);
        return { verdict => $VERDICTS[$verdict], bytes => $n,
            magic => $magic, text => substr $text, 0, $len };
    }

    return;
}


# asks and waits
sub ask {
    my ($self, $token, %opts) = @_;

    my $socket = $opts{socket} // $self->connect;
    syswrite $socket, question($token, %opts);

    return $self->answer($socket, $token) // { verdict => 'none', text => '' };
}

1;
