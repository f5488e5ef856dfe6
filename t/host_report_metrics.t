# /metrics from the reports: a file whose every counter is another number, of
# a process that lives, and all of them are found again under their names;
# histograms as Prometheus wants them; a bounded number of labels; strange
# files change nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 21;

my $t = Test::Buildkit->new;
my $dir = $t->dir . '/reports';
my $host = $t->host(reports_conf($t, { w1 => 1 }));

my %before = %{metrics($t)};
is($before{'reports_readable'}, 1, 'the folder can be read');
is($before{'gateways{state="serving"}'}, 0, 'nobody reports');

# accepted held routed gone looks retries up down, refused, cut, hold, connect
my @words = (1001 .. 1008, 2000 .. 2023, 3000 .. 3015, 1 .. 16, 160500,
    101 .. 116, 80250);
my $path = report_make($dir, words => \@words, held => 71, live => 72,
    lost => 73, dead_clients => 74, dead_workers => 75,
    handshake => [0, 81 .. 85]);
$t->wait_for(sub { metrics($t)->{'gateways{state="serving"}'} == 1 }, 10,
    'the file to be read');
my %m = %{metrics($t)};
my $pool = 'pool="default/demo"';

is_deeply([map { $m{"$_\{$pool}"} } qw(accepted_total held_total looks_total
    retries_total)], [1001, 1002, 1005, 1006], 'plain counters');
is_deeply([map { $m{"connections_total{$pool,outcome=\"$_\"}"} }
    qw(routed gone refused)], [1003, 1004, sum(2000 .. 2020)], 'outcomes');
is_deeply([map { $m{"bytes_total{$pool,direction=\"$_\"}"} } qw(up down)],
    [1007, 1008], 'bytes');

my @refused = qw(certificate no_token unknown key pool expired released
    revoked failed draining queued starting worker table connections held
    shutdown cut timeout lookup);
is_deeply([map { $m{"refused_total{$pool,reason=\"$_\"}"} } @refused],
    [2001 .. 2020], 'every reason of a refusal');
my @cut = qw(expired released revoked failed worker silence shutdown gone
    moved timeout);
is_deeply([map { $m{"cut_total{$pool,reason=\"$_\"}"} } @cut],
    [3001 .. 3010], 'every reason of a cut');
is_deeply([map { $m{"handshake_failures_total{reason=\"$_\"}"} }
    qw(closed timeout tls certificate limit)], [81 .. 85],
    'every failure of a handshake');
is_deeply([map { $m{"dead_peers_total{side=\"$_\"}"} } qw(client worker)],
    [74, 75], 'dead peers');
is($m{unlisted_total}, 73, 'sessions without a record');
is_deeply([map { $m{"sessions{phase=\"$_\"}"} } qw(held live)], [71, 72],
    'gauges');

my @le = qw(0.001 0.002 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 10 30 60
    300 +Inf);
is_deeply([map { $m{"hold_seconds_bucket{$pool,le=\"$_\"}"} } @le],
    [map { sum(1 .. $_) } 1 .. 16], 'hold: the buckets add up');
is_deeply([map { $m{"hold_seconds_$_\{$pool}"} } qw(sum count)],
    [160.5, sum(1 .. 16)], 'hold: sum and count');
is_deeply([map { $m{"connect_seconds_$_\{$pool}"} } qw(sum count)],
    [80.25, sum(101 .. 116)], 'connect: sum and count');

my $text = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')
    ->{body};
like($text, qr/^# TYPE buildkit_gateway_hold_seconds histogram$/m,
    'typed as a histogram');
my %type;
$type{$1}++ while $text =~ /^# TYPE (\S+)/mg;
is_deeply([grep { $type{$_} > 1 } sort keys %type], [],
    'each metric is described once, its lines together');

# the document names them all
my ($table) = $t->read($t->root . '/plugin-host/doc/report.md')
    =~ /^\| metric .*?\n\|---.*?\n(.*?)\n\n/ms;
my @named = sort map { split /, / } $table =~ /^\| (\S[^|]*?) \|/mg;
my @of_reports = grep { !/^(?:build_|start_|resident|settled|alloc|table_|http_
    |workers$|identities_|access_|audit_)/x } map { s/^buildkit_gateway_//r } sort keys %type;
is_deeply(\@of_reports, \@named, 'those that the document names');

# a second process; then one that nobody wrote
report_make($dir, words => [1 .. 60], pid => getppid(), exiting => 1);
$t->wait_for(sub { metrics($t)->{'gateways{state="exiting"}'} == 1 }, 10,
    'the second file');
is(metrics($t)->{'gateways{state="serving"}'}, 1, 'one serves, one exits');
is(metrics($t)->{"accepted_total{$pool}"}, 1002, 'two are added up');

$t->write("$dir/nginx-1-1-1.report", 'x' x 10000);
$t->wait_for(sub { metrics($t)->{reports_bad_total} == 1 }, 10,
    'the bad one to be seen');
ok(-e "$dir/nginx-1-1-1.report.bad", 'a bad file is set aside');
is(metrics($t)->{"accepted_total{$pool}"}, 1002, 'and changes nothing');


sub sum {
    my $n = 0;
    $n += $_ for @_;

    return $n;
}
