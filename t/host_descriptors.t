#!/usr/bin/perl

# A host that runs out of descriptors says so, waits, and goes on serving; it
# does not turn in a loop, and its routes stay.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use Test::Buildkit;
use Time::HiRes qw(time);

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n");
my $conf = $t->write('host.yaml', <<'E');
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
my $api = $t->dir . '/api.sock';
my $host = $t->start('host', {}, 'sh', '-c', 'ulimit -n 48; exec "$@"', 'sh',
    $t->build . '/buildkit-plugin-host', '-c', $conf);
$t->wait_for(sub { $t->http($api, GET => '/readyz')->{status} == 200 }, 20,
    'the host');

sub cpu {
    my @f = split ' ', $t->read("/proc/$host->{pid}/stat") =~ s/^.*\) //sr;
    return $f[11] + $f[12];
}

# each is let go after ten seconds: so many that it takes long
my @many = map { IO::Socket::UNIX->new(Peer => $api) } 1 .. 250;
ok($t->wait_for(sub { $t->read($host->{log}) =~ /cannot accept a connection/ },
    10, 'word of it'), 'it says that it cannot accept');

my $began = time;
my $lines = () = $t->read($host->{log}) =~ /cannot accept/g;
my $before = cpu();
$t->wait_for(sub { (() = $t->read($host->{log}) =~ /cannot accept/g)
    >= $lines + 3 }, 10, 'three more tries');
cmp_ok(time - $began, '>=', 0.9, 'it tries twice a second');
cmp_ok(cpu() - $before, '<', 50, 'and not all the time');

undef @many;
ok($t->wait_for(sub { $t->http($api, GET => '/api/v1/pools')->{status} == 200 },
    10, 'an answer'), 'when they have gone it serves again');
is($t->stop($host), 0, 'stops');

done_testing;
