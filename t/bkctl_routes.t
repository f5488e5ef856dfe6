#!/usr/bin/perl

# bkctl routes: the route table from its file alone, and what is said when the
# file is no good.  It never crashes and never writes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;

plan tests => 46;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $table = $t->dir . '/buildkit.table';
my %env = (BKCTL_TABLE => undef, BKCTL_POOL => undef,
    BKCTL_ENDPOINT => 'unix:/nonexistent/api.sock', NO_COLOR => 1);

my ($ready, $revoked, $other) = map { $t->token } 1 .. 3;
my $w = $t->table({ allocations => 100 },
    'pool default/demo', 'pool team/shared shared',
    'worker default/demo w1 127.0.0.1:7001 w1.tls ready',
    'worker team/shared w9 [::1]:7009 w9.tls ready',
    "alloc token:$ready default/demo w1 ready +3600000",
    "alloc token:$revoked default/demo w1 revoked +3600000 key leaked",
    "alloc token:$other team/shared w9 ready 0",
    'live', 'heartbeat');

my $got = routes();
is($got->{rc}, 0, 'routes: exit 0');
is($got->{err}, '', 'routes: nothing on stderr');
like($got->{out}, qr/^ID +POOL +WORKER +ENDPOINT +STATE +EXPIRES/, 'header');
my $id = $t->id($ready);
like($got->{out}, 
    qr{^$id +default/demo +w1 +127\.0\.0\.1:7001 +ready +in (59m|1h)}m,
    'a ready route');
$id = $t->id($revoked);
like($got->{out}, qr{^$id .* revoked .* key leaked$}m,
    'a revoked one with its reason');
$id = $t->id($other);
like($got->{out}, qr{^$id +team/shared +w9 +\[::1\]:7009 +ready +never}m,
    'IPv6, no expiry');
like($got->{out}, qr{^table\ \Q$table\E:\ live,\ generation\ \d+,\ heartbeat
    \ \d+\.\ds\ ago,\ 2\ live\ and\ 1\ ended\ of\ \d+$}mx, 'summary');
unlike($got->{out}, qr/\Q$ready\E|\Q$revoked\E|\Q$other\E/, 'no token');
unlike($got->{out}, qr/\e/, 'no colour where there is no terminal');

$got = routes('--json');
my $json = decode_json($got->{out});
is(scalar @{$json->{routes}}, 3, '--json: all routes');
is($json->{state}, 'live', '--json: state of the table');
is($json->{capacity} >= 100, 1, '--json: capacity');
my ($route) = grep { $_->{id} eq $t->id($revoked) } @{$json->{routes}};
is($route->{reason}, 'key leaked', '--json: reason');
is($route->{tlsName}, 'w1.tls', '--json: TLS name');

$got = routes('--pool', 'demo');
unlike($got->{out}, qr{team/shared}, '--pool NAME narrows');
like($got->{out}, qr{default/demo}, '... to that one');
like(routes('--pool', 'team/shared')->{out}, qr{team/shared}, '--pool N/NAME');

$w->cmd('del-worker default/demo w1');
like(routes()->{out}, qr{default/demo +- +- +ready},
    'a worker that is gone is a dash');

# the environment names it too

is($t->run({ env => { %env, BKCTL_TABLE => $table } }, $bkctl, 'routes')
    ->{rc}, 0, 'BKCTL_TABLE');

# --live: whether nginx can use it, also when nobody writes it any more

my $good = $t->read('buildkit.table');
$w->quit;
$got = routes('--live');
is("$got->{rc} $got->{out}$got->{err}", '0 ', '--live: it can');
for (['building', 1], ['retired', 3]) {
    my ($state, $value) = @$_;
    open my $fh, '>:raw', $t->dir . '/bad.table' or die $!;
    print $fh substr($good, 0, 192) . pack('Q<', $value) . substr $good, 200;
    close $fh;
    $got = $t->run({ env => \%env }, $bkctl, 'routes', '--live', '--table',
        $t->dir . '/bad.table');
    is("$got->{rc} $got->{out}", '1 ', "--live: $state");
    like($got->{err}, qr/^bkctl: the route table \S+ is $state$/, 'why');
}
is($t->run({ env => \%env }, $bkctl, 'routes', '--live', '--table',
    '/nonexistent')->{rc}, 1, '--live: no table');

# files that are no table

my @bad = (
    ['', qr/is empty/],
    ['x' x 100, qr/shorter than a table's header/],
    ['x' x 100_000, qr/not a route table \(wrong magic\)/],
    [substr($good, 0, 8192), qr/is truncated/],
    [$good . "\0" x 4096, qr/longer than its header says/],
    [substr($good, 0, 7) . '9' . substr($good, 8), qr/layout version/],
    [substr($good, 0, 192) . pack('Q<', 77) . substr($good, 200),
        qr/a state that no writer sets/],
    [substr($good, 0, 512) . "\xff" x (length($good) - 512),
        qr/damaged/],
);

for (@bad) {
    my ($bytes, $says) = @$_;
    $t->write('bad.table', '');
    open my $fh, '>:raw', $t->dir . '/bad.table' or die $!;
    print $fh $bytes;
    close $fh;
    $got = $t->run({ env => \%env }, $bkctl, 'routes', '--table',
        $t->dir . '/bad.table');
    is($got->{rc}, 1, "$says: exit 1");
    like($got->{err}, $says, "$says: said");
}

# every byte of the entries at random, many times: an answer, never a signal

my $crashes = 0;
srand 7;
for (1 .. 60) {
    my $bytes = $good;
    substr($bytes, 200 + int(rand(length($good) - 200)), 1)
        = chr int rand 256 for 1 .. 2000;
    open my $fh, '>:raw', $t->dir . '/bad.table' or die $!;
    print $fh $bytes;
    close $fh;
    $got = $t->run({ env => \%env }, $bkctl, 'routes', '--table',
        $t->dir . '/bad.table', $_ % 2 ? '--json' : ());
    $crashes++ if $got->{rc} != 0 && $got->{rc} != 1;
}
is($crashes, 0, 'no crash on random bytes');

$got = $t->run({ env => \%env }, $bkctl, 'routes', '--table', $t->dir);
like($got->{err}, qr/is not a file/, 'a folder');
$got = $t->run({ env => \%env }, $bkctl, 'routes', '--table', '/nonexistent');
like($got->{err}, qr/No such file.*\n.*--table or BKCTL_TABLE/, 'no file');

# A file that is cut while it is read: a sparse one, so large that there is
# time to cut it when it was mapped.

my $n = 4_000_000;
my ($offset) = unpack 'Q<', substr $good, 88, 8;
my $size = $offset + $n * 192;
my $big = substr $good, 0, $offset;
substr($big, 16, 8) = pack 'Q<', $size;
substr($big, 60, 4) = pack 'L<', $n;
# what lay behind the entries: none of it, at the end of the file
substr($big, 64, 12) = pack 'L<3', 0, 0, 0;
substr($big, 96, 24) = pack 'Q<3', ($size & ~63) x 3;

my $cut;
for (1 .. 10) {
    open my $fh, '>:raw', "$table.big" or die $!;
    print $fh $big;
    truncate $fh, $size or die $!;
    close $fh;
    my $proc = $t->start("cut$_", { env => \%env }, $bkctl, 'routes',
        '--table', "$table.big");
    $t->wait_for(sub {
        ($t->read("/proc/$proc->{pid}/maps") // '') =~ /table\.big/
            || !$t->alive($proc)
    }, 10, 'the mapping');
    truncate "$table.big", 4096;
    $t->wait_for(sub { !$t->alive($proc) }, 20, 'the end');
    $cut = $t->read("cut$_.log");
    is($proc->{status}, 1, 'no SIGBUS'), last if $cut =~ /cut short/;
}
like($cut, qr/was cut short while it was read/, 'a file that shrinks under '
    . 'our hands is an error');


sub routes {
    return $t->run({ env => \%env }, $bkctl, 'routes', '--table', $table, @_);
}
