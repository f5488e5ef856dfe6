# A handshake that is turned away by buildkit_max_handshakes is counted as
# such, and its line in the log says so.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Report;
use Test::Buildkit;

plan tests => 3;

my $t = Test::Buildkit->new;
mkdir $t->dir . '/reports' or die;
$t->table('pool default/demo');
my $nginx = $t->nginx($t->gateway_conf(
    stream => "buildkit_report %%DIR%%/reports;\n"
        . 'log_format o "$remote_port $buildkit_outcome";',
    server => "access_log %%DIR%%/access.log o;\n"
        . "buildkit_max_handshakes 1; ssl_handshake_timeout 1m;\n    }\n"
        . "    server {\n        listen 127.0.0.1:%%PORT:turn%%; return '';\n"));
my $file = $t->wait_for(sub { (report_files($t))[0] }, 10, 'the report');

# a line is counted a little later, but before the process does anything else
sub counted {
    my $turn = IO::Socket::INET->new(PeerAddr => '127.0.0.1:'
        . $t->port('turn')) or die "turn: $!";
    sysread $turn, my $nothing, 1;
    return report_read($file)->{handshake};
}

my ($first, $second) = map {
    IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('gw')) or die
} 1 .. 2;
my ($port) = map { $_->sockport } $second;
my $log = $t->wait_for(sub { $t->read('access.log') }, 20, 'a line');
is($log, "$port handshake:limit\n", 'the second one is turned away');
is(counted()->{limit}, 1, 'and counted');

close $first;
$t->wait_for(sub { $t->read('access.log') =~ /\n.*handshake:closed\n/ }, 10,
    'the end of the first');
is_deeply([@{counted()}{qw(closed limit)}], [1, 1],
    'each once');
