#!/usr/bin/perl

# Plugin static: a good file, every bad one (which changes nothing and says
# why, never with the token), and a file that changes in every way.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
my ($a, $b, $c) = map { $t->token } 1 .. 3;
my $hash = $t->hash($c);
my $key = 'ab' x 32;

my $good = <<"E";
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: localhost, arch: amd64}
      - {name: w2, endpoint: "[::1]:7002", tlsName: w2.example}
  - {name: team/shared, shared: true}
allocations:
  - {token: "$a", pool: default/demo, worker: w1, expires: "2037-01-01T00:00:00Z"}
  - {token: "$b", pool: default/demo, worker: w1, expires: "2037-01-01T00:00:00+02:00", state: revoked, reason: "key leaked"}
  - {tokenHash: "$hash", clientKeyHash: "$key", pool: default/demo, worker: w2}
E
my $file = $t->write('static.yaml', $good);
chmod 0600, $file;
my $h = $t->host(<<'E');
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E

sub facts {
    return { map { my $what = $_; $what => { map { ($_->{id} // $_->{name}) =>
        { %$_{grep { $_ ne 'changedAt' } keys %$_} } }
        @{$h->request(GET => "/api/v1/$what")->{json}} } }
        qw(pools workers allocations) };
}

my $facts = facts();
my $alloc = $facts->{allocations};
is(scalar keys %$alloc, 3, 'three allocations');
is($alloc->{$t->id($a)}{state}, 'ready', 'ready is the default');
is($alloc->{$t->id($a)}{expiresAt}, '2037-01-01T00:00:00.000Z', 'its end');
is($alloc->{$t->id($b)}{state}, 'revoked', 'a revoked one');
is($alloc->{$t->id($b)}{reason}, 'key leaked', 'with its reason');
is($alloc->{$t->id($b)}{expiresAt}, '2036-12-31T22:00:00.000Z', 'an offset');
ok($alloc->{$t->id($c)}{keyBound}, 'one by its hash, bound to a key');
is($alloc->{$t->id($c)}{expiresAt}, undef, 'without an end');
is($facts->{workers}{w2}{endpoint}, '[::1]:7002', 'IPv6');
is($facts->{workers}{w1}{state}, 'ready', 'workers are up');
is($facts->{pools}{'team/shared'}{shared}, JSON::true(), 'a shared pool');

# bad ones: [what to replace, with what, what the log says]
my @bad = (
    [qr/tlsName: localhost, /, '',
        qr/:4: .*\[0\]: the key "tlsName" is missing/],
    [qr/default\/demo\n/, "demo\n", qr/:2: pools\.0\.name: must be namespace/],
    [qr/127\.0\.0\.1:7001/, 'localhost:7001',
        qr/:4: .*endpoint: must be a numer/],
    [qr/127\.0\.0\.1:7001/, '127.0.0.1:0', qr/endpoint: must be/],
    [qr/127\.0\.0\.1:7001/, '127.0.0.1:70000', qr/endpoint: must be/],
    [qr/name: w2/, 'name: w1', qr/:5: .*worker w1 is given twice/],
    [qr/name: w2/, 'name: "w 2"', qr/:5: pools\.0\.workers\.1\.name: must be/],
    [qr/team\/shared/, 'default/demo', qr/:6: .*pool default\/demo is given/],
    [qr/shared: true/, 'shared: 1', qr/:6: .*shared: must be true, false or/],
    [qr/"$a"/, '"short"', qr/:8: allocations\[0\]\.token: must have 32 to 256/],
    [qr/"$a"/, '"' . 'x' x 257 . '"', qr/token: must have 32 to 256/],
    [qr/"$a"/, '"' . ' ' x 43 . '"', qr/:8: allocations\.0\.token: must be of/],
    [qr/token: "$a"/, "token: \"$a\", tokenHash: \"$hash\"",
        qr/:8: allocations\.0: needs either a token or a tokenHash/],
    [qr/token: "$a", /, '', qr/:8: allocations\.0: needs either a token/],
    [qr/"$hash"/, '"' . 'zz' x 32 . '"', qr/tokenHash: must be 64 hex/],
    [qr/"$key"/, '"abc"', qr/clientKeyHash: must have 64 to 64/],
    [qr/"$b"/, "\"$a\"", qr/:9: allocations\.1: is given twice/],
    [qr/"$hash"/, '"' . $t->hash($a) . '"', qr/:10: .*is given twice/],
    [qr/worker: w2/, 'worker: w3', qr/:10: allocations\.2\.worker: is no/],
    [qr/pool: default\/demo, worker: w2/, 'pool: no/pool, worker: w2',
        qr/:10: allocations\.2\.pool: is no pool of this file/],
    [qr/, worker: w2/, '', qr/:10: allocations\.2: needs a worker/],
    [qr/2037-01-01T00:00:00Z/, 'tomorrow', qr/:8: .*expires: must be a time/],
    [qr/2037-01-01T00:00:00Z/, '2037-01-01', qr/expires: must be a time/],
    [qr/state: revoked/, 'state: dead', qr/:9: .*state: must be one of: queued/],
    [qr/reason:/, 'why:', qr/:9: allocations\[1\]: unknown key "why"/],
    [qr/^.*\z/s, '', qr/:1: is empty/],
    [qr/^.*\z/s, "\0\1\2", qr/static\.yaml:\d/],
    [qr/allocations:/, 'allocations: 7', qr/static\.yaml:\d/],
);

for my $case (@bad) {
    my ($from, $to, $want) = @$case;
    my $size = length $h->log;
    my $text = $good =~ s/$from/$to/r;
    die "nothing changed: $from" if $text eq $good;
    $t->write('static.yaml', $text);
    chmod 0600, $file;
    my $new;
    $t->wait_for(sub { $new = substr $h->log, $size;
        $new =~ /nothing was changed/ }, 10, "the refusal of $to");
    like($new, $want, 'refused: ' . substr($to, 0, 40));
}
is_deeply(facts(), $facts, 'nothing was changed by any of them');

unlink $file;
$t->wait_for(sub { $h->log =~ /static\.yaml: No such file/ }, 10, 'its loss');
is_deeply(facts(), $facts, 'nor by its loss');

# changes: in place, by rename, by a link
open my $fh, '>', $file or die $!;
print $fh $good =~ s/name: w1, endpoint: "127.0.0.1:7001"/
    name: w1, endpoint: "127.0.0.1:7009"/r;
close $fh;
chmod 0600, $file;
$t->wait_for(sub { facts()->{workers}{w1}{endpoint} eq '127.0.0.1:7009' }, 10,
    'a change in place');
$alloc = facts()->{allocations};
is($alloc->{$t->id($a)}{state}, 'failed',
    'another address is another worker: its allocation failed');
like($alloc->{$t->id($a)}{reason}, qr/replaced by another/, 'and says why');
is($alloc->{$t->id($c)}{state}, 'ready', 'that of the other worker did not');

my $size = length $h->log;
$t->write('static.yaml', $good);
$t->wait_for(sub { substr($h->log, $size) =~ /has ended \(failed\)/ }, 10,
    'word that it cannot be brought back');

$t->write('static.yaml', "pools: []\n");
$t->wait_for(sub { !%{facts()->{pools}} }, 10, 'a file without anything');
is(facts()->{allocations}{$t->id($c)}{state}, 'released',
    'what is no longer listed is released');

my $d = $t->token;
$t->write('elsewhere/real.yaml', $good =~ s/$a/$d/r);
unlink $file;
symlink 'elsewhere/real.yaml', $file or die $!;
$t->wait_for(sub { (facts()->{allocations}{$t->id($d)}{state} // '')
    eq 'ready' }, 10, 'a link');
pass('a link is followed');

my $text = $h->log;
is(scalar(grep { index($text, $_) >= 0 } $a, $b, $c, $d, $hash, $key), 0,
    'no token, no whole hash in the log');
is($h->stop, 0, 'stops');

done_testing;
