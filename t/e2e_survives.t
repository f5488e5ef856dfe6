# Real builds, of buildctl new and old and of buildx, that notice nothing of a
# reload of nginx, an upgrade of its binary, 30 seconds of a stopped
# plugin-host, its kill -9 and restart, and their worker being drained: all of
# it during the same builds.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

my @NAMES = qw(new old x);
my @EVENTS = ('nginx reload', 'binary upgrade', 'plugin-host stopped for 30 s',
    'kill -9 and restart', 'drain');
plan tests => @NAMES * (@EVENTS + 4) + 7;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 3, onStop => 'leave');
$nginx->stop;
my $first = $t->nginx_service($t->gateway_conf(tls => '%%DIR%%/state/tls',
    stream => "buildkit_report %%DIR%%/reports;\n"
        . "log_format bk '\$buildkit_allocation \$status';\n",
    server => "access_log %%DIR%%/access.log bk;\n"));

# each runs until its "sleep", which nobody else has, is killed
my (%alloc, %build);
for my $i (0 .. $#NAMES) {
    my $name = $NAMES[$i];
    $alloc{$name} = $t->allocate($name);
    is($alloc{$name}{run}{rc}, 0, "$name: allocate")
        or diag $alloc{$name}{run}{err};
    $build{$name} = build($name, nap($i));
}
for my $i (0 .. $#NAMES) {
    $t->wait_for(sub {
        die "$NAMES[$i] ended:\n" . $t->read("$NAMES[$i].log")
            if !$t->alive($build{$NAMES[$i]});
        return sleeper(nap($i));
    }, 90, "$NAMES[$i] to be in the middle");
}

my ($old) = $t->children($first);
kill HUP => $first;
$t->wait_for(sub { logged(qr/ $old#\d+: gracefully shutting down/) }, 15,
    'a reload');
all_run('nginx reload');

$host->kill('STOP');
my $stopped = time;
my $new = $t->nginx_upgrade($first);
all_run('binary upgrade');
is($t->whose($alloc{new}), $alloc{new}{worker},
    'the new nginx reaches the workers, with plugin-host stopped');
$t->wait_for(sub { time > $stopped + 30 }, 40, '30 seconds');
all_run('plugin-host stopped for 30 s');
$host->kill('CONT');
is($t->bkctl('pools')->{rc}, 0, 'plugin-host answers again');

$host->kill('KILL');
is($host->stop, 137, 'plugin-host is killed');
$host->restart;
$t->wait_for(sub { $t->bkctl('pools')->{rc} == 0 }, 20, 'plugin-host');
all_run('kill -9 and restart');

for my $name (@NAMES) {
    my $r = $t->bkctl('drain', $alloc{$name}{worker}, '--reason', 'kernel');
    diag $r->{err} if $r->{rc} != 0;
}
my $r = $t->buildctl($alloc{new}, 'debug', 'workers');
like($r->{err}, qr/is draining: running builds may finish/,
    'drained: a new connection is refused');
all_run('drain');

for my $i (0 .. $#NAMES) {
    my $name = $NAMES[$i];
    kill TERM => sleeper(nap($i));
    $t->wait_for(sub { !$t->alive($build{$name}) }, 60, "$name to end");
    is($build{$name}{status}, 0, "$name: ended well");
    my $log = $t->read("$name.log");
    like($log, qr/awake/, "$name: with its last line");
    unlike($log, qr/error|drain|gateway|reconnect|transport/i,
        "$name: and saw nothing") or diag $log;
}

# the old nginx has waited for them, and has nothing else to do
ok($t->wait_for(sub { !kill 0 => $first }, 20, 'the old nginx to end'),
    'the old nginx ends');
is(scalar(() = $t->read('access.log') =~ /^$alloc{old}{id} 200$/mg), 1,
    'a build is one connection through all of it');
kill QUIT => $new;
$t->wait_for(sub { !kill 0 => $new }, 20, 'the new nginx to end');
ok(!logged(qr/open socket|\[(alert|crit|error)\]/), 'nothing is left open');
$host->stop;
$t->kill_leftovers;


sub build {
    my ($name, $nap) = @_;

    my $context = $t->context("context-$name", "FROM scratch\n"
        . "COPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", "
        . "\"/bin/busybox sleep $nap; echo awake\"]\n");
    my $cert = $alloc{$name};
    my %env;
    my @cmd;

    if ($name eq 'x') {
        my $r = $t->buildx_create('x', $cert);
        die "create: $r->{err}" if $r->{rc} != 0;
        %env = map { $_ => $t->dir . '/buildx-x' }
            qw(BUILDX_CONFIG DOCKER_CONFIG HOME);
        @cmd = ($t->lab('buildx'), 'build', '--builder', 'x', '--progress',
            'plain', $context);
    } else {
        @cmd = ($t->lab($name eq 'old' ? 'buildctl-0.12.5' : 'buildctl'),
            '--addr', 'tcp://localhost:' . $t->port('gw'), '--tlscacert',
            $cert->{ca}, '--tlscert', $cert->{cert}, '--tlskey', $cert->{key},
            $t->dockerfile_args($context));
    }

    return $t->start($name, { env => \%env }, @cmd);
}

sub nap { 2_000_000_000 - $$ * 10 - $_[0] }

# the process of a build's RUN step
sub sleeper {
    my ($nap) = @_;

    for my $file (glob '/proc/[0-9]*/cmdline') {
        my $line = ($t->read($file) // '') =~ tr/\0/ /r;
        return $file =~ /(\d+)/ if $line =~ /^\S+ sleep $nap $/;
    }

    return;
}

sub all_run {
    my ($event) = @_;

    for my $i (0 .. $#NAMES) {
        ok($t->alive($build{$NAMES[$i]}) && sleeper(nap($i)),
            "$NAMES[$i]: $event");
    }

    return;
}

sub logged { ($t->read('error.log') // '') =~ $_[0] }
