# Real builds that are revoked in the middle, in a RUN step and in an upload:
# the person reads our reason and nothing of a transport, the client ends by
# itself and does not come back.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

# [name, client, with a terminal, what goes on]
my @cases = (
    ['ctl-run', 'buildctl', 0, 'run'],
    ['ctl-run-tty', 'buildctl', 1, 'run'],
    ['ctl-upload', 'buildctl', 0, 'upload'],
    ['old-run', 'buildctl-0.12.5', 0, 'run'],
    ['old-run-tty', 'buildctl-0.12.5', 1, 'run'],
    ['old-upload', 'buildctl-0.12.5', 0, 'upload'],
    ['x-run', 'buildx', 0, 'run'],
    ['x-run-tty', 'buildx', 1, 'run'],
    ['x-upload', 'buildx', 0, 'upload'],
);

plan tests => 5 * @cases + 1;

my %token = map { $_->[0] => $t->token } @cases;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->buildkitd('w1')
        . ' w1.workers.buildkit.internal ready',
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$buildkit_allocation $status";',
    server => "access_log %%DIR%%/access.log bk;\n"));

my $n = 0;
# to find each one's process by
my %nap = map { $_->[0] => 1_000_000_000 + 100 * $$ + ++$n } @cases;
my $copy = "FROM scratch\nCOPY busybox /bin/busybox\n";
my %context = (
    upload => $t->context('upload', "${copy}COPY big /big\n"),
    map { $_->[0] => $t->context($_->[0],
        "${copy}RUN [\"/bin/busybox\", \"sh\", \"-c\","
        . " \"exec /bin/busybox sleep $nap{$_->[0]}\"]\n") } @cases);
$t->write('upload/big', '');
# (for as long as nobody looks)
truncate $t->dir . '/upload/big', 32 << 30;

for my $case (@cases) {
    my ($name, $client, $tty, $what) = @$case;
    my $id = $t->id($token{$name});

    my @cmd = command($name, $client, $tty,
        $context{$what eq 'run' ? $name : 'upload'});
    my $before = connections();
    my $used = used();
    my $proc = $t->start($name, { env => { BUILDX_CONFIG => $t->dir . '/bx',
        DOCKER_CONFIG => $t->dir . '/bx', HOME => $t->dir } }, @cmd);

    $t->wait_for(sub {
        die "$name ended:\n" . $t->read($proc->{log}) if !$t->alive($proc);
        return $what eq 'run' ? runs("sleep $nap{$name}")
            : used() > $used + 50_000;
    }, 120, "$name to be in the middle");

    $table->cmd("end token:$token{$name} revoked 100% over budget");
    $t->wait_for(sub { !$t->alive($proc) }, 60, "$name to end");

    # a terminal shows no more of a line than it is wide
    my $said = $t->read($proc->{log}) =~ s/\e\[[0-9;?]*[A-Za-z]|\r//gr;
    isnt($proc->{status}, 0, "$name: exit status");
    like($said, qr/buildkit gateway: allocation $id was revoked at \S+ \(\d+s ago\): 100% over budget; run bkctl allocate/,
        "$name: the reason") or diag $said;
    unlike($said, qr/transport|EOF|GOAWAY|code = Unavailable|closing|connection error|reset by peer/i,
        "$name: nothing of a transport") or diag $said;

    is(connections(), $before + 1, "$name: one connection");
    my $log = sub { ($t->read('access.log') // '') =~ /^$id 403$/m };
    ok($t->wait_for($log, 5, 'the access log'), "$name: the status");
}

unlike($nginx->log, qr/\[(error|crit)\]/, 'no error is logged');


sub command {
    my ($name, $client, $tty, $context) = @_;

    my $cert = $cert{$name};
    my $addr = 'tcp://localhost:' . $t->port('gw');
    my @progress = ('--progress', $tty ? 'tty' : 'plain');
    my @cmd;

    if ($client eq 'buildx') {
        my $r = $t->buildx('x', { env => { BUILDX_CONFIG => $t->dir . '/bx',
            DOCKER_CONFIG => $t->dir . '/bx', HOME => $t->dir } }, 'create',
            '--name', $name, '--driver', 'remote', '--driver-opt',
            "cacert=$cert->{ca},cert=$cert->{cert},key=$cert->{key}", $addr);
        die "create: $r->{err}" if $r->{rc} != 0;
        @cmd = ($t->lab('buildx'), 'build', '--builder', $name, @progress,
            $context);
    } else {
        @cmd = ($t->lab($client), '--addr', $addr, '--tlscacert', $cert->{ca},
            '--tlscert', $cert->{cert}, '--tlskey', $cert->{key}, 'build',
            '--frontend', 'dockerfile.v0', '--local', "context=$context",
            '--local', "dockerfile=$context", @progress);
    }

    return @cmd if !$tty;

    return ('script', '-qec', "stty cols 400; @cmd", '/dev/null');
}


# clients that nginx has seen
sub connections { scalar(() = $nginx->log =~ / client \S+ connected to /g) }


# does a process with this command line run, after its program's name?
sub runs {
    my ($what) = @_;

    for my $file (glob '/proc/[0-9]*/cmdline') {
        my $line = $t->read($file) // '';
        return 1 if $line =~ tr/\0/ /r =~ /^\S+ \Q$what\E $/;
    }

    return 0;
}


# kilobytes that the worker has stored
sub used {
    my ($n) = `du -sk @{[$t->dir]}/buildkitd-w1 2>/dev/null` =~ /^(\d+)/;

    return $n;
}
