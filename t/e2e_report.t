# Real clients in the reports: while a build runs it is listed as one, with its
# bytes; a mere look (buildx inspect) is told from it and is no use of a worker;
# afterwards log, counters and lists agree.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 19;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 1, nginx => {
    stream => "buildkit_report %%DIR%%/reports;\n"
        . 'log_format o "$buildkit_outcome $buildkit_kind $buildkit_worker'
        . ' $bytes_received $bytes_sent";',
    server => "access_log %%DIR%%/access.log o;\n" });

my $cert = $t->allocate('one', '--pool', 'default/demo');
is($cert->{worker}, 'w1', 'an allocation');
sub get { $host->request(GET => "/api/v1/$_[0]")->{json} }
sub session { get('sessions?allocation=' . $cert->{id})->[0] // {} }
sub lines { split /\n/, $t->read('access.log') // '' }
sub connections { scalar(() = $nginx->log =~ / client \S+ connected to /g) }

# a look, and one that is not: buildx prints both as the same
is($t->buildx_create('b', $cert)->{rc}, 0, 'buildx create');
my $r = $t->buildx('b', 'inspect', '--bootstrap', 'b');
like($r->{out}, qr/Status:\s+running/, 'buildx inspect');
$t->wait_for(sub { lines() == connections() }, 30, 'their lines');
my @looks = lines();
is(scalar(grep { /^routed look w1 \d+ \d+$/ } @looks), scalar @looks,
    'nothing but looks in the log') or diag join "\n", @looks;
ok(@looks > 0, 'and some of them');
$t->wait_for(sub { !@{get('sessions')} }, 10, 'their end');
my ($w) = @{get('workers')};
is($w->{lastUsedAt}, undef, 'a look is no use of a worker');

# a build, and its upload
my $context = $t->context('app', <<'END');
FROM scratch
COPY busybox /bin/busybox
COPY big /big
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox sleep 600"]
END
$t->write('app/big', join '', map { chr int rand 256 } 1 .. 1 << 20);
my $build = $t->start('build', {}, $t->lab('buildctl'), '--addr',
    'tcp://localhost:' . $t->port('gw'), '--tlscacert', $cert->{ca},
    '--tlscert', $cert->{cert}, '--tlskey', $cert->{key},
    $t->dockerfile_args($context));
$t->wait_for(sub { ($t->read($build->{log}) // '') =~ m{\[3/3\] RUN}
    || !$t->alive($build) }, 60, 'its RUN step');
$t->wait_for(sub { (session()->{bytesUp} // 0) > 1 << 20 }, 30,
    'its bytes to be counted');
my $s = session();
is($s->{phase}, 'live', 'live');
is($s->{kind}, 'build', 'a build');
is($s->{worker}, 'w1', 'on its worker');
ok($s->{bytesUp} > 1 << 20, 'with what was uploaded');
ok($s->{bytesDown} > 100, 'and what came back');
$t->wait_for(sub { get('workers')->[0]{builds} == 1 }, 10, 'the worker');
pass('its worker has one build');
$t->wait_for(sub { get("allocations/$cert->{id}")->{connections} == 1 }, 30,
    'the allocation');
pass('its allocation as well');

$t->stop($build, 'INT');
$t->wait_for(sub { lines() > @looks && lines() == connections() }, 30,
    'its line in the log');
my ($line) = (lines())[scalar @looks];
my ($up, $down) = $line =~ /^routed build w1 (\d+) (\d+)$/;
ok($up, 'its line in the log') or diag $line;
$t->wait_for(sub { get('workers')->[0]{connections} == 0 }, 10, 'its end');
ok($t->wait_for(sub { get('workers')->[0]{lastUsedAt} }, 30, 'its use'),
    'when its worker was used last is known');

# the counters are those of the log
my ($all_up, $all_down) = (0, 0);
for (lines()) {
    my ($u, $d) = /(\d+) (\d+)$/;
    $all_up += $u;
    $all_down += $d;
}
my $n = lines();
my $pool = 'pool="default/demo"';
my %m;
# all of it: a look reads the counters before it reads who is connected
eval { $t->wait_for(sub { %m = %{metrics($t)};
    ($m{"connections_total{$pool,outcome=\"routed\"}"} // 0) == $n
    && $m{"bytes_total{$pool,direction=\"up\"}"} == $all_up
    && $m{"bytes_total{$pool,direction=\"down\"}"} == $all_down }, 30,
    'the counters') };
is($m{"connections_total{$pool,outcome=\"routed\"}"}, $n, 'all were routed');
is($m{"accepted_total{$pool}"}, $n, 'and counted once');
is($m{"bytes_total{$pool,direction=\"up\"}"}, $all_up, 'bytes up');
is($m{"bytes_total{$pool,direction=\"down\"}"}, $all_down, 'bytes down');
