#!/usr/bin/perl

# Who sees a few of very many allocations holds no more than these few: the
# others are left out before the list is begun, and it is answered at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;

plan tests => 5;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
    . "      - {name: w1, endpoint: \"127.0.0.1:1\", tlsName: w1}\n"
    . "allocations:\n" . join '', map { '  - {tokenHash: ' . sha256_hex($_)
    . ', pool: default/demo, worker: w1, expires: "2100-01-01T00:00:00Z"}'
    . "\n" } 1 .. 300);
my $h = $t->host(<<'E', program => Access::program($t));
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 1000, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
access:
  rules:
    - {name: ci, match: [{claim: ci, values: ["one"]}], pools: [default/one]}
    - {name: all, match: [{claim: ci, values: ["all"]}], verbs: [list]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
  - {name: who}
E

sub get {
    return Access::as($t, Access::token('now', 'ann', { ci => $_[0] }),
        GET => '/api/v1/allocations');
}

my $r = get('all');
cmp_ok(scalar @{$r->{json}}, '>', 300, 'who sees all');
is($r->{headers}{'transfer-encoding'}, 'chunked', 'gets them in parts');
$r = get('one');
is_deeply([map { $_->{id} } @{$r->{json}}], ['1' x 12], 'who sees his own');
is($r->{headers}{'content-length'}, length $r->{body}, 'gets it at once');
is($h->stop, 0, 'stops');
