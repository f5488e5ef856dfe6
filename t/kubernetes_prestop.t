# What a worker's Pod does before it ends: it waits until nobody is connected to
# its buildkitd any more, and no longer.  The command is the manifest's own, in
# a network of its own, by any shell.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::IP;
use JSON ();
use Test::Buildkit;
use Test::Buildkit::Net;

plan tests => 8;

my $t = Test::Buildkit->new;
Test::Buildkit::Net->here($t, 'ip link set lo up');

my $r = $t->run({ stdin => '{"metadata": {"name": "demo", "namespace": "a",'
    . ' "uid": "u"}, "spec": {}}' }, $t->tool('k8smake'), 'n', 'g', 'c', 'b');
my $command = JSON->new->decode($r->{out})->{pod}{spec}{containers}[0]
    {lifecycle}{preStop}{exec}{command};
is("@$command[0, 1]", 'sh -c', 'a shell');

my @shells = grep { defined } map { my $shell = $_; (grep { -x } map {
    "$_/" . (split / /, $shell)[0] } split /:/, $ENV{PATH})[0] && $shell }
    'dash', 'busybox sh';
is("@shells", 'dash busybox sh', 'this and that');

sub waits {
    my ($shell) = @_;
    return $t->start("prestop-" . $shell =~ s/ .*//r, {}, split(/ /, $shell),
        @$command[1 .. $#$command]);
}

sub ended {
    my ($proc) = @_;
    return $t->wait_for(sub { !$t->alive($proc) }, 15, 'its end') && 1;
}

# a listener alone is nobody, nor is a client of something else
my $buildkitd = IO::Socket::IP->new(LocalHost => '::', LocalPort => 1234,
    Listen => 5, V6Only => 0) // IO::Socket::IP->new(LocalHost => '0.0.0.0',
    LocalPort => 1234, Listen => 5) // die "listen: $@";
my $other = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 4660,
    Listen => 5) // die "listen: $@";
my $elsewhere = IO::Socket::IP->new(PeerHost => '127.0.0.1',
    PeerPort => 4660) // die "connect: $@";
ok(ended(waits($_)), "$_: nobody is there, so it ends") for @shells;

my @waiting;
my $client = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => 1234)
    // die "connect: $@";
my $session = $buildkitd->accept;
for (@shells) {
    my $proc = waits($_);
    push @waiting, $proc;
    # it has looked at least once: its sleep is there
    $t->wait_for(sub { $t->run('pgrep', '-P', $proc->{pid}, '-x', 'sleep')
        ->{rc} == 0 }, 15, 'a look');
}
is(scalar(grep { $t->alive($_) } @waiting), 2, 'a build holds them');
close $session;
close $client;
ok(ended($_), 'until it is over') for @waiting;
is($waiting[0]{status}, 0, 'all is well');
