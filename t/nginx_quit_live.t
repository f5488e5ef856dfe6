# SIGQUIT: live sessions finish on their connections, held ones get what they
# wait for, and nobody new is let in.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::Buildkit;
use Test::Buildkit::Old;

plan tests => Test::Buildkit::Old::CHECKS + 5;

my $t = Test::Buildkit->new;
my $old = Test::Buildkit::Old->new($t);
my $nginx = $t->nginx($t->gateway_conf);
my ($pid) = $nginx->worker_pids;

$old->begin;
$nginx->kill('QUIT');
# the log has it before the ports are closed
$t->wait_for(sub { $nginx->log =~ / $pid#\d+: gracefully shutting down/ }, 60,
    'word of the end');
$t->wait_for(sub { !grep { $nginx->_listens($_) } $nginx->pid, $pid }, 60,
    'the port to be closed');
ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->port('gw')),
    'nobody is let in');

$old->check;

ok($t->alive($nginx->{proc}), 'nginx waits for the last one');
ok($old->end, 'which ends as it likes');
ok($t->wait_for(sub { !$t->alive($nginx->{proc}) }, 10, 'nginx to end'),
    'and then nginx does');
unlike($nginx->log, qr/open socket|\[(alert|crit|error)\]/,
    'nothing is left open');
