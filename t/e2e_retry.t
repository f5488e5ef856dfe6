# Real builds whose worker is said to be ready but does not answer yet: tried
# again for longer than clients wait by themselves, then built on the one
# connection; and what a person reads when it never does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 14;

my $t = Test::Buildkit->new;
my $wait = 22;

my @names = qw(buildctl buildx never);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;

my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->port('buildkitd-w1')
        . ' w1.workers.buildkit.internal ready',
    'worker default/demo w2 127.0.0.1:' . $t->port('nobody')
        . ' w2.workers.buildkit.internal ready',
    (map { "alloc token:$token{$_} default/demo w1 ready 0" }
        qw(buildctl buildx)),
    "alloc token:$token{never} default/demo w2 ready 0");
my $log = 'log_format bk "$buildkit_allocation|$status|$buildkit_wait_ms|";';
my $nginx = $t->nginx($t->gateway_conf(stream => "$log buildkit_retry 90s;\n",
    server => "access_log %%DIR%%/access.log bk;\n"));

# a look, answered though nobody is there
is($t->buildx_create('x', $cert{buildx})->{rc}, 0, 'buildx create');

my $context = $t->context('app');
my %cmd = (
    buildctl => [$t->lab('buildctl'), '--addr', 'tcp://localhost:'
        . $t->port('gw'), '--tlscacert', $cert{buildctl}{ca}, '--tlscert',
        $cert{buildctl}{cert}, '--tlskey', $cert{buildctl}{key},
        $t->dockerfile_args($context, '--no-cache')],
    buildx => [$t->lab('buildx'), 'build', '--builder', 'x', '--no-cache',
        '--progress', 'plain', $context]);

my $before = connected();
my $began = time;
my %proc = map { $_ => $t->start("client-$_", { env => { HOME => $t->dir,
    BUILDX_CONFIG => $t->dir . '/buildx-x',
    DOCKER_CONFIG => $t->dir . '/buildx-x' } }, @{$cmd{$_}}) } keys %cmd;

$t->wait_for(sub { connected() >= $before + keys %cmd }, 60, 'them to connect');
my $since = time;
$t->wait_for(sub { time - $since >= $wait }, $wait + 5, 'a late worker');
ok($t->alive($proc{$_}), "$_ still waits") or diag $t->read($proc{$_}{log})
    for sort keys %cmd;

$t->buildkitd('w1');
my $waited = time - $began;

for my $name (sort keys %cmd) {
    $t->wait_for(sub { !$t->alive($proc{$name}) }, 120, "$name to end");
    my $out = $t->read($proc{$name}{log});
    is($proc{$name}{status}, 0, "$name: succeeds") or diag $out;
    like($out, qr/^#\d+ \[2\/2\] RUN /m, "$name: its RUN step ran");

    my $id = $t->id($token{$name});
    my @lines;
    $t->wait_for(sub {
        @lines = grep { /^$id\|200\|(\d+)\|/ && $1 > 15_000 }
            split /\n/, $t->read('access.log') // '';
    }, 10, "$name in the access log");
    is(scalar @lines, 1, "$name: on one connection");
}

# SETTINGS came with the first failure, and the log was not flooded: a few
# tries at first, then one every two seconds
my $tries = () = $nginx->log =~ /\[error\].*connect\(\) (?:failed|to)/g;
cmp_ok($tries, '<', 36 + 2 * $waited, 'a line a try, and few tries')
    or diag "$tries in $waited s";
$nginx->stop;

# --- never

unlink $t->dir . '/access.log';
$nginx = $t->nginx($t->gateway_conf(stream => "$log buildkit_retry 2s;\n",
    server => "access_log %%DIR%%/access.log bk;\n"));
my $r = $t->buildctl($cert{never}, $t->dockerfile_args($context));
is($r->{rc}, 1, 'a worker that never answers: fails');
my $id = $t->id($token{never});
like($r->{err}, qr/FailedPrecondition: buildkit gateway: worker w2 \(127\.0\.0\.1:\d+\) of allocation $id cannot be reached: connection refused \(waited \d+s\); try again, or run bkctl allocate for another one$/m,
    'and the person reads why');
unlike($r->{err}, qr/context deadline|EOF|transport/, 'and nothing else');

my @lines;
$t->wait_for(sub {
    @lines = split /\n/, $t->read('access.log') // '';
}, 10, 'the access log');
is(scalar @lines, 1, 'on one connection');


# clients that nginx has seen
sub connected { scalar(() = $nginx->log =~ / client \S+ connected to /g) }
