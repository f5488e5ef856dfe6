#!/usr/bin/perl

# The route table's file is removed, or replaced, under a running host: it
# says so and stops, and the next start has every route again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 8;

my $t = Test::Buildkit->new;
my $token = $t->token;
my $table = $t->dir . '/bk.table';

$t->write('static.yaml', <<"E");
pools:
  - {name: default/demo, workers: [{name: w1, endpoint: "127.0.0.1:7001", tlsName: w1}]}
allocations:
  - {token: $token, pool: default/demo, worker: w1}
E
my $h = $t->host(<<'E');
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
routed('at first');

for (['removed', sub { unlink $table }],
    ['replaced', sub {
        $t->write('other', 'x');
        rename $t->dir . '/other', $table;
    }])
{
    my ($what, $do) = @$_;

    ok $do->(), "it is $what";
    $t->wait_for(sub { !$h->alive }, 10, 'the host to stop');
    like $h->log, qr/bk\.table was removed or replaced under us; stopping/,
        "$what: it says why";
    $h->restart;
    routed($what);
}

# a table that is where it was is no reason to stop: two beats are enough
my $before = heartbeat();
$t->wait_for(sub { heartbeat() > $before + 1500 }, 10, 'two heartbeats');
ok $h->alive, 'it goes on when nothing is wrong';

sub routed {
    my $r = $t->run($t->build . '/bkctl', 'routes', '--table', $table);
    like $r->{out}, qr/^\Q@{[$t->id($token)]}\E .* ready /m,
        "$_[0]: the route is there";
    return;
}

sub heartbeat {
    open my $fh, '<:raw', $table or die "$table: $!";
    seek $fh, 224, 0;
    read $fh, my $word, 8;
    return unpack 'Q<', $word;
}
