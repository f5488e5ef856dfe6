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
my $silent = qr/worker \w+ stopped answering: allocation ID has a build running, and for 10s no byte came or went; run bkctl allocate for another worker/;
my $failed = qr/allocation ID failed at \S+ \(\d+s ago\): buildkitd was killed by signal 9; run bkctl allocate/;
# (those of one signal go together)
my @cases = (
    ['ctl-kill', 'buildctl', 'KILL', $closed],
    ['ctl-told', 'buildctl', 'KILL', $failed],
    ['x-kill', 'buildx', 'KILL', $closed],
    ['ctl-stop', 'buildctl', 'STOP', $silent],
    ['x-stop', 'buildx', 'STOP', $silent],
);

plan tests => 5 * @cases + 1;

my $naps = 0;       # to find each one's process by

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
# meant to end, and a test is not meant to last.  The one that is told why
# waits until it is told
my $conf = $t->gateway_conf(stream =>
    'log_format bk "$buildkit_allocation $status";', server =>
    "buildkit_silence 10s; access_log %%DIR%%/access.log bk;\n");
my ($server) = $conf =~ /^(    server \{\n.*?^    \}\n)/ms;
my $told = $server =~ s/PORT:gw/PORT:told/r
    =~ s/buildkit on;/buildkit on; buildkit_lost 60s;/r;
my $nginx = $t->nginx($conf =~ s/\Q$server\E/$server$told/r);

my $env = { map { $_ => $t->dir . '/home' }
    qw(HOME BUILDX_CONFIG DOCKER_CONFIG) };

for my $signal (qw(KILL STOP)) {
    my @builds = map { prepare(@$_) } grep { $_->[2] eq $signal } @cases;
    my $before = connections();

    for my $b (@builds) {
        $b->{proc} = $t->start($b->{name}, { env => $env }, @{$b->{cmd}});
    }
    for my $b (@builds) {
        $t->wait_for(sub {
            die "$b->{name} ended:\n" . $t->read($b->{proc}{log})
                if !$t->alive($b->{proc});
            return $t->read($b->{proc}{log}) =~ / $b->{nap}\n/;
        }, 180, "$b->{name} to be in the middle");
    }

    my %pid = map { $_->{name} => $t->buildkitd_process($worker{$_->{name}})
        ->{pid} } @builds;
    kill $signal => values %pid;
    $table->cmd("end token:$token{$_} failed buildkitd was killed by"
        . ' signal 9') for grep { $pid{$_} } 'ctl-told';

    for my $b (@builds) {
        my $name = $b->{name};
        my $id = $t->id($token{$name});
        $t->wait_for(sub { !$t->alive($b->{proc}) }, 60, "$name to end");

        my $said = $t->read($b->{proc}{log}) =~ s/$id/ID/gr;
        isnt($b->{proc}{status}, 0, "$name: exit status");
        like($said, qr/buildkit gateway: $b->{text}/, "$name: the reason")
            or diag $said;
        unlike($said, qr/transport|EOF|GOAWAY|code = Unavailable|reset by peer/i,
            "$name: nothing of a transport") or diag $said;
        is(connections(), $before + @builds, "$name: one connection");
        my $log = sub { ($t->read('access.log') // '') =~ /^$id 503$/m };
        ok($t->wait_for($log, 30, 'the access log'), "$name: the status");
    }

    kill CONT => values %pid;
    kill KILL => map { runs($_->{nap}) } @builds if $signal eq 'KILL';
}

unlike($nginx->log, qr/\[(crit|alert)\]/, 'nothing critical is logged');


# a build of a case, as far as it can be had before it begins
sub prepare {
    my ($name, $client, $signal, $text) = @_;

    my $nap = 1_000_000_000 + 100 * $$ + $naps++;
    my $context = $t->context($name, "FROM scratch\nCOPY busybox /bin/busybox"
        . "\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"while :; do"
        . " /bin/busybox sleep 0.2; echo $nap; done\"]\n");

    return { name => $name, text => $text, nap => $nap,
        cmd => [command($name, $client, $context)] };
}


sub command {
    my ($name, $client, $context) = @_;

    my $cert = $cert{$name};
    my $addr = 'tcp://localhost:' . $t->port($name eq 'ctl-told' ? 'told'
        : 'gw');

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
