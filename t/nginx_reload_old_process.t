# Reload: the old process goes on with its sessions.  Live ones live, and end
# when their allocation does; held ones get their worker or their refusal.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Old;

plan tests => Test::Buildkit::Old::CHECKS + 5;

my $t = Test::Buildkit->new;
my $old = Test::Buildkit::Old->new($t);
my $nginx = $t->nginx($t->gateway_conf);
my ($pid) = $nginx->worker_pids;

$old->begin;
$nginx->reload;
ok($t->wait_for(sub { $nginx->log =~ / $pid#\d+: gracefully shutting down/ },
    5, 'the old process to close its port'), 'a new process has the port');

$old->check;

is(scalar(grep { $_ == $pid } $nginx->worker_pids), 1,
    'the old process stays for the last one');
ok($old->end, 'which ends as it likes');
ok($t->wait_for(sub {
    $nginx->log =~ /worker process $pid exited with code 0/;
}, 10, 'the old process to end'), 'and then the process does');
unlike($nginx->log, qr/open socket|\[(alert|crit|error)\]/,
    'nothing is left open');
