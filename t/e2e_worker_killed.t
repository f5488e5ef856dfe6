# A real build whose buildkitd is killed, or stops dead: the person reads why,
# where nothing would be said for hours (moby/buildkit#2894).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

# [name, client, signal, what is read]
my $closed = qr/worker \w+ of allocation ID closed the connection in the middle of the build; run the build again/;
my $silent = qr/worker \w+ stopped answering: allocation ID has a build running, and for 3s no byte came or went; run bkctl allocate for another worker/;
my $failed = qr/allocation ID failed at \S+ \(\d+s ago\): buildkitd was killed by signal 9; run bkctl allocate/;
my @cases = (
    ['ctl-kill', 'buildctl', 'KILL', $closed],
    ['ctl-told', 'buildctl', 'KILL', $failed],
    ['x-kill', 'buildx', 'KILL', $closed],
    ['ctl-stop', 'buildctl', 'STOP', $silent],
    ['x-stop', 'buildx', 'STOP', $silent],
);

plan tests => 5 * @cases + 1;

my %token = map { $_->[0] => $t->token } @cases;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my %worker = map { $cases[$_][0] => "w$_" } 0 .. $#cases;
my $table = $t->table('pool default/demo',
    (map { "worker default/demo $_ 127.0.0.1:" . $t->buildkitd($_)
        . " $_.workers.buildkit.internal ready" } sort values %worker),
    map { "alloc token:$token{$_} default/demo $worker{$_} ready 0" }
    keys %token);

# real builds are never silent for longer than 5 s (wire.md); these are not
# meant to end, and a test is not meant to last
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$buildkit_allocation $status";', server =>
    "buildkit_silence 3s; access_log %%DIR%%/access.log bk;\n"));

my $env = { map { $_ => $t->dir . '/home' }
    qw(HOME BUILDX_CONFIG DOCKER_CONFIG) };

for my $i (0 .. $#cases) {
    my ($name, $client, $signal, $text) = @{$cases[$i]};
    my $id = $t->id($token{$name});
    my $nap = 200_000 + $i;
    my $context = $t->context($name, "FROM scratch\nCOPY busybox /bin/busybox"
        . "\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"while :; do"
        . " /bin/busybox sleep 0.2; echo $nap; done\"]\n");

    my @cmd = command($name, $client, $context);
    my $before = connections();
    my $proc = $t->start($name, { env => $env }, @cmd);
    $t->wait_for(sub {
        die "$name ended:\n" . $t->read($proc->{log}) if !$t->alive($proc);
        return $t->read($proc->{log}) =~ / $nap\n/;
    }, 60, "$name to be in the middle");

    my $worker = $t->buildkitd_process($worker{$name});
    kill $signal => $worker->{pid};
    $table->cmd("end token:$token{$name} failed buildkitd was killed by"
        . ' signal 9') if $name eq 'ctl-told';
    $t->wait_for(sub { !$t->alive($proc) }, 15, "$name to end");

    my $said = $t->read($proc->{log}) =~ s/$id/ID/gr;
    isnt($proc->{status}, 0, "$name: exit status");
    like($said, qr/buildkit gateway: $text/, "$name: the reason")
        or diag $said;
    unlike($said, qr/transport|EOF|GOAWAY|code = Unavailable|reset by peer/i,
        "$name: nothing of a transport") or diag $said;
    is(connections(), $before + 1, "$name: one connection");
    my $log = sub { ($t->read('access.log') // '') =~ /^$id 503$/m };
    ok($t->wait_for($log, 5, 'the access log'), "$name: the status");

    kill CONT => $worker->{pid};
    kill KILL => runs($nap) if $signal eq 'KILL';
}

unlike($nginx->log, qr/\[(crit|alert)\]/, 'nothing critical is logged');


sub command {
    my ($name, $client, $context) = @_;

    my $cert = $cert{$name};
    my $addr = 'tcp://localhost:' . $t->port('gw');

    if ($client eq 'buildx') {
        my $r = $t->run({ env => $env }, $t->lab('buildx'), 'create',
            '--name', $name, '--driver', 'remote', '--driver-opt',
            "cacert=$cert->{ca},cert=$cert->{cert},key=$cert->{key}", $addr);
        die "create: $r->{err}" if $r->{rc} != 0;
        return ($t->lab('buildx'), 'build', '--builder', $name,
            '--progress', 'plain', $context);
    }

    return ($t->lab($client), '--addr', $addr, '--tlscacert', $cert->{ca},
        '--tlscert', $cert->{cert}, '--tlskey', $cert->{key},
        $t->dockerfile_args($context));
}


# clients that nginx has seen
sub connections { scalar(() = $nginx->log =~ / client \S+ connected to /g) }


# the RUN step that a killed buildkitd leaves behind
sub runs {
    my ($nap) = @_;

    return map { m{/(\d+)/} } grep {
        ($t->read($_) // '') =~ /\0-c\0while.*echo $nap; done\0$/
    } glob '/proc/[0-9]*/cmdline';
}
