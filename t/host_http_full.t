#!/usr/bin/perl

# Strangers who hold all the connections that there may be over TCP keep no
# operator out at the unix socket.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::Buildkit;

plan tests => 4;

my $ASK = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n");

# few descriptors, so that this needs no more of ours
my $few = $t->write('few', '#!/bin/sh' . "\nulimit -n 2200\nexec '"
    . $t->build . q{/buildkit-plugin-host' "$@"} . "\n");
chmod 0755, $few;
my $h = $t->host(<<'E', program => $few);
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
plugins: [{name: static, options: {file: "%%DIR%%/static.yaml"}}]
E
my $tcp = '127.0.0.1:' . $t->port('api');

# each has some, until the host takes no more: it closes those at once
my @strangers = map { stranger(400) } 1 .. 3;
my $closed = 0;
for (@strangers) {
    sysread $_->{says}, my $n, 16;
    $closed += $n;
}
cmp_ok($closed, '>', 0, 'there is an end to them');
is($t->http($tcp, GET => '/healthz')->{status}, 0, 'no more over TCP');
is($h->request(GET => '/healthz')->{status}, 200, 'but at the socket');

close $_->{stays} for @strangers;
waitpid $_->{pid}, 0 for @strangers;
$t->wait_for(sub { $t->http($tcp, GET => '/healthz')->{status} == 200 }, 10,
    'room again');
pass('and over TCP when they have gone');


sub stranger {
    my ($n) = @_;

    pipe my $says, my $tell or die;
    pipe my $wait, my $stays or die;
    my $pid = fork // die;
    if ($pid) {
        return { pid => $pid, says => $says, stays => $stays };
    }

    close $stays;
    close $_->{stays} for @strangers;
    local $SIG{PIPE} = 'IGNORE';
    # who says nothing for ten seconds is closed
    my @all = map {
        my $s = IO::Socket::INET->new(PeerAddr => $tcp, Timeout => 60)
            or die "$tcp: $!";
        syswrite $s, $ASK;
        $s;
    } 1 .. $n;
    # what was refused is at its end before an answer to one of the others is
    my @stay = answered(@all);
    syswrite $tell, @all - @stay;
    # nor does the host keep those that are idle for a minute
    until (IO::Select->new($wait)->can_read(10)) {
        syswrite $_, $ASK for @stay;
        @stay = answered(@stay);
    }
    POSIX::_exit(0);
}

# those of them that are not at their end
sub answered {
    my $select = IO::Select->new(@_);
    my @stay;
    while ($select->count) {
        for my $s ($select->can_read(10)) {
            push @stay, $s if sysread $s, my $text, 4096;
            $select->remove($s);
        }
    }

    return @stay;
}
