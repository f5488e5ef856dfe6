package Test::Buildkit::Net;

# Network namespaces: the test runs in one of its own, "far" is another host,
# 10.77.2.2, behind a router that can stop to forward.  Here is 10.77.1.1.
#
#   use Test::Buildkit;
#   use Test::Buildkit::Net;    # starts the test again, in a namespace
#
# Skips the test where that is not allowed.

use strict;
use warnings;

use Test::More ();


sub import {
    return if $ENV{BK_NETNS};
    my $out = `unshare -n sh -c 'ip link add x0 type veth peer name x1 &&
        ip link del x0' 2>&1`;
    Test::More::plan(skip_all => 'no network namespaces here') if $?;
    $ENV{BK_NETNS} = 1;
    exec 'unshare', '-n', $^X, $0 or die "unshare: $!";
}


# only this one, with some commands in it
sub here {
    my ($class, $t, @commands) = @_;

    my $self = bless { t => $t }, $class;
    $self->run($_) for @commands;

    return $self;
}


sub new {
    my ($class, $t) = @_;

    my $self = $class->here($t);
    for my $name (qw(router far)) {
        $self->{$name} = $t->start_pipe($name, 'unshare', '-n', 'sh', '-c',
            'echo ready; exec cat');
        $self->{$name}->line;
    }

    my ($r, $f) = ($self->{router}->pid, $self->{far}->pid);
    $self->run($_) for split /\n/, <<"END";
ip link set lo up
ip link add a0 type veth peer name a1 netns $r
ip addr add 10.77.1.1/24 dev a0
ip link set a0 up
ip route add 10.77.2.0/24 via 10.77.1.254
nsenter -t $r -n ip addr add 10.77.1.254/24 dev a1
nsenter -t $r -n ip link set a1 up
nsenter -t $r -n ip link add b1 type veth peer name b0 netns $f
nsenter -t $r -n ip addr add 10.77.2.254/24 dev b1
nsenter -t $r -n ip link set b1 up
nsenter -t $f -n ip link set lo up
nsenter -t $f -n ip addr add 10.77.2.2/24 dev b0
nsenter -t $f -n ip link set b0 up
nsenter -t $f -n ip route add 10.77.1.0/24 via 10.77.2.254
END
    $self->forward(1);

    return $self;
}


# the beginning of a command that runs over there
sub far { ('nsenter', '-t', $_[0]{far}->pid, '-n') }


# packets that are not forwarded are dropped without an answer
sub forward {
    my ($self, $on) = @_;

    my $pid = $self->{router}->pid;
    my $r = $self->{t}->run('nsenter', '-t', $pid, '-n', 'sh', '-c',
        "echo $on >/proc/sys/net/ipv4/ip_forward");

    return $r->{rc} == 0 || die $r->{err};
}


sub run {
    my ($self, $command) = @_;

    my $r = $self->{t}->run(split ' ', $command);

    return $r->{rc} == 0 || die "$command: $r->{err}";
}

1;
