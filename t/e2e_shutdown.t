# SIGQUIT with worker_shutdown_timeout: real builds that are done in time notice
# nothing, those that are not are told that the gateway is shutting down, and
# so is one that waits for its worker.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my @LATE = qw(buildctl buildctl-0.12.5 buildx);
plan tests => 4 * @LATE + 10;

my $t = Test::Buildkit->new;

my %token = map { $_ => $t->token } @LATE, qw(quick held);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
$_->{ca} = $t->pki . '/gateway-ca.pem' for values %cert;
my $port = $t->buildkitd('w1');
my $table = $t->table('pool default/demo shared',
    "worker default/demo w1 127.0.0.1:$port w1.workers.buildkit.internal ready",
    map { "alloc token:$token{$_} default/demo w1 "
        . ($_ eq 'held' ? 'starting 0' : 'ready 0') } sort keys %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    "log_format bk '\$buildkit_allocation \$status';\n",
    server => "access_log %%DIR%%/access.log bk;\n"),
    main => "worker_shutdown_timeout 35s;\n");

my %build;
my $i = 0;
for my $name (@LATE, 'quick') {
    my $nap = 1_900_000_000 - $$ * 10 - $i++;
    $build{$name} = { nap => $nap, proc => build($name, $nap) };
}
for my $name (sort keys %build) {
    $t->wait_for(sub {
        die "$name ended:\n" . $t->read("$name.log")
            if !$t->alive($build{$name}{proc});
        return sleeper($build{$name}{nap});
    }, 90, "$name to be in the middle");
}
my $before = connections();
my $held = $t->start('held', {}, $t->lab('buildctl'), args('held'), 'debug',
    'workers');
$t->wait_for(sub {
    $before < connections();
}, 20, 'the one that waits');

$nginx->kill('QUIT');
$t->wait_for(sub { $nginx->log =~ /gracefully shutting down/ }, 10, 'the end');

kill TERM => sleeper($build{quick}{nap});
ended('quick', $build{quick}{proc});
is($build{quick}{proc}{status}, 0, 'one that is done in time ends well');
unlike($t->read('quick.log'), qr/error|gateway/i, 'and sees nothing');
ok($t->alive($_->{proc}), 'the others run')
    for map { $build{$_} } 'buildctl', 'buildx';

my $words = qr/transport|EOF|GOAWAY|code = Unavailable|closing|reset by peer/i;
for my $name (@LATE) {
    ended($name, $build{$name}{proc});
    my $log = $t->read("$name.log");
    isnt($build{$name}{proc}{status}, 0, "$name: exit status");
    like($log, qr/buildkit gateway: gateway is shutting down/, "$name: why")
        or diag $log;
    unlike($log, $words, "$name: nothing of a transport") or diag $log;
}
ended('held', $held);
isnt($held->{status}, 0, 'held: exit status');
like($t->read('held.log'), qr/buildkit gateway: gateway is shutting down/,
    'held: why');
unlike($t->read('held.log'), $words, 'held: nothing of a transport');

$t->wait_for(sub { !$t->alive($nginx->{proc}) }, 15, 'nginx to end');
is($nginx->{proc}{status}, 0, 'a good exit');
unlike($nginx->log, qr/open socket|\[(alert|crit)\]/, 'nothing is left open');
my $lines = $t->read('access.log');
is(scalar(() = $lines =~ /^$_ 503/mg), 1, 'one connection each')
    for map { $t->id($token{$_}) } @LATE;
is(scalar(() = $lines =~ /^@{[$t->id($token{quick})]} 200$/mg), 1,
    'and the one that is done');


sub connections { scalar(() = $nginx->log =~ / client \S+ connected to /g) }

sub args {
    my ($name) = @_;

    return ('--addr', 'tcp://localhost:' . $t->port('gw'), '--tlscacert',
        $cert{$name}{ca}, '--tlscert', $cert{$name}{cert}, '--tlskey',
        $cert{$name}{key});
}

sub build {
    my ($name, $nap) = @_;

    my $context = $t->context("context-$name", "FROM scratch\n"
        . "COPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", "
        . "\"/bin/busybox sleep $nap; echo awake\"]\n");
    return $t->start($name, {}, $t->lab($name eq 'quick' ? 'buildctl' : $name),
        args($name), $t->dockerfile_args($context)) if $name ne 'buildx';

    my $r = $t->buildx_create('x', $cert{buildx}, addr => 'tcp://localhost:'
        . $t->port('gw'));
    die "create: $r->{err}" if $r->{rc} != 0;
    my %env = map { $_ => $t->dir . '/buildx-x' }
        qw(BUILDX_CONFIG DOCKER_CONFIG HOME);

    return $t->start('buildx', { env => \%env }, $t->lab('buildx'), 'build',
        '--builder', 'x', '--progress', 'plain', $context);
}

# the process of a build's RUN step
sub sleeper {
    my ($nap) = @_;

    for my $file (glob '/proc/[0-9]*/cmdline') {
        my $line = ($t->read($file) // '') =~ tr/\0/ /r;
        return $file =~ /(\d+)/ if $line =~ /^\S+ sleep $nap $/;
    }

    return;
}

sub ended {
    my ($name, $proc) = @_;

    return $t->wait_for(sub { !$t->alive($proc) }, 90, "$name to end");
}
