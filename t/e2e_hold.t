# Real builds whose worker starts 45 s after the client has connected (clients
# themselves give up after 20 s): they succeed, on that one connection; also a
# script of two builds that waits twice, and the looks that buildx has first.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 29;

my $t = Test::Buildkit->new;

# what a client may wait for; more would only take longer
my ($first, $second) = (45, 22);

my @names = qw(buildctl buildctl-0.12.5 buildx script);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my %port = map { $_ => $t->port("buildkitd-$_") } qw(w1 w2);

my $table = $t->table('pool default/demo',
    (map { "worker default/demo $_ 127.0.0.1:$port{$_}"
        . " $_.workers.buildkit.internal starting" } qw(w1 w2)),
    map { "alloc token:$token{$_} default/demo w1 starting 0" } @names);
mkdir $t->dir . '/reports' or die;
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'buildkit_report %%DIR%%/reports; log_format bk'
    . ' "$buildkit_allocation|$status|$buildkit_kind|$buildkit_wait_ms";',
    server => "access_log %%DIR%%/access.log bk;\n"));

sub lines {
    my ($name) = @_;

    my $id = $t->id($token{$name});
    return grep { /^$id\|/ } split /\n/, $t->read('access.log') // '';
}

# --- buildx has a look when it makes a builder, and does not wait

my $r = $t->buildx_create('x', $cert{buildx});
is($r->{rc}, 0, 'buildx create') or diag $r->{err};
cmp_ok($r->{time}, '<', 15, 'does not wait for a worker');
$r = $t->buildx('x', 'ls');
is($r->{rc}, 0, 'buildx ls');
like($r->{out}, qr/^ \\_ x0\s+\\_ tcp:\S+\s+inactive/m, 'says inactive');
cmp_ok($r->{time}, '<', 15, 'at once');
is(scalar(grep { !/\|200\|look\|/ } lines('buildx')), 0, 'looks, all of them');
my $looks = lines('buildx');

# --- all clients at once, and their worker later

my $context = $t->context('app');
my %cmd = (map({
    my @cmd = ($t->lab($_), '--addr', 'tcp://localhost:' . $t->port('gw'),
        '--tlscacert', $cert{$_}{ca}, '--tlscert', $cert{$_}{cert}, '--tlskey',
        $cert{$_}{key}, $t->dockerfile_args($context, '--no-cache'));
    ($_ => \@cmd) } qw(buildctl buildctl-0.12.5)),
    buildx => [$t->lab('buildx'), 'build', '--builder', 'x', '--no-cache',
        '--progress', 'plain', $context],
    script => ['/bin/sh', '-ec', <<'END', 'script', $t->dir,
dir=$1
shift
"$@"
: > "$dir/first"
until test -e "$dir/go"; do sleep 0.05; done
"$@"
END
        $t->lab('buildctl'), '--addr', 'tcp://localhost:' . $t->port('gw'),
        '--tlscacert', $cert{script}{ca}, '--tlscert', $cert{script}{cert},
        '--tlskey', $cert{script}{key},
        $t->dockerfile_args($context, '--no-cache')]);

# those that wait, since they are in the report: a handshake may take its time
sub held {
    my ($report) = map { report_read($_) } report_files($t);
    return $report ? $report->{held} : 0;
}

my %proc;
for my $name (@names) {
    $proc{$name} = $t->start("client-$name", { env => { HOME => $t->dir,
        BUILDX_CONFIG => $t->dir . '/buildx-x',
        DOCKER_CONFIG => $t->dir . '/buildx-x' } }, @{$cmd{$name}});
    $t->wait_for(sub { held() == keys %proc }, 60, "$name to be held");
}
my $began = time;

$t->wait_for(sub { time - $began >= $first }, $first + 5, 'a late worker');
for my $name (@names) {
    ok($t->alive($proc{$name}), "$name still waits")
        or diag $t->read($proc{$name}{log});
}

is($t->buildkitd('w1'), $port{w1}, 'the worker starts');
$table->cmd("worker default/demo w1 127.0.0.1:$port{w1}"
    . ' w1.workers.buildkit.internal ready');
$table->cmd("alloc token:$token{$_} default/demo w1 ready 0") for @names;

# --- the script is through with its first build, and waits again

$t->wait_for(sub { -e $t->dir . '/first' || !$t->alive($proc{script}) }, 180,
    "the script's first build");
$t->wait_for(sub { scalar lines('script') }, 30, 'the access log');
is(scalar lines('script'), 1, 'script: the first build, on one connection');
$table->cmd("alloc token:$token{script} default/demo w2 starting 0");
$t->wait_for(sub { held() == 0 }, 60, 'nobody to be held');
$t->write('go', '');
$t->wait_for(sub { held() == 1 }, 60, 'the script to be held');
$began = time;

for my $name (grep { $_ ne 'script' } @names) {
    $t->wait_for(sub { !$t->alive($proc{$name}) }, 180, "$name to end");
    ended($name, 1);
}

$t->wait_for(sub { time - $began >= $second }, $second + 5, 'a late worker');
ok($t->alive($proc{script}), 'script: still waits')
    or diag $t->read($proc{script}{log});
$t->buildkitd('w2');
$table->cmd("worker default/demo w2 127.0.0.1:$port{w2}"
    . ' w2.workers.buildkit.internal ready');
$table->cmd("alloc token:$token{script} default/demo w2 ready 0");
$t->wait_for(sub { !$t->alive($proc{script}) }, 180, 'script to end');
ended('script', 2);

sub ended {
    my ($name, $builds) = @_;

    my $log = $t->read($proc{$name}{log});
    is($proc{$name}{status}, 0, "$name: succeeds") or diag $log;
    my $ran = () = $log =~ /^#\d+ \[2\/2\] RUN .*$/mg;
    cmp_ok($ran, '>=', $builds, "$name: its RUN step ran");

    my @lines = $t->wait_for(sub {
        my @got = grep { !/\|look\|/ } lines($name);
        return @got >= $builds && @got;
    }, 10, "$name in the access log") && grep { !/\|look\|/ } lines($name);
    is(scalar @lines, $builds, "$name: one connection for a build")
        or diag @lines;
    my $least = ($builds == 1 ? $first : $second) - 2;
    is(scalar(grep { /\|200\|build\|(\d+)$/ && $1 > $least * 1000 } @lines),
        $builds, "$name: which was held");

    return;
}
