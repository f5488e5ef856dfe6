# The same with plugin-host as the one who knows: a local buildkitd that is
# killed under a build is told of by the signal it died of, not by a guess.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 5;

my $t = Test::Buildkit->new;

# as long as plugin-host needs to see it
my ($host, $nginx) = $t->gateway(workers => 1, nginx => {
    server => "buildkit_lost 30s;\n" });
my $a = $t->allocate('a');
my $nap = 300_000 + $$ % 100_000;
my $context = $t->context('app', "FROM scratch\nCOPY busybox /bin/busybox\n"
    . "RUN [\"/bin/busybox\", \"sh\", \"-c\", \"while :; do"
    . " /bin/busybox sleep 0.2; echo $nap; done\"]\n");

my $proc = $t->start('build', {}, $t->lab('buildctl'), '--addr',
    'tcp://localhost:' . $t->port('gw'), '--tlscacert', $a->{ca}, '--tlscert',
    $a->{cert}, '--tlskey', $a->{key}, $t->dockerfile_args($context));
$t->wait_for(sub {
    die "the build ended:\n" . $t->read($proc->{log}) if !$t->alive($proc);
    return $t->read($proc->{log}) =~ / $nap\n/;
}, 90, 'the build to be in the middle');

my ($pid) = grep {
    my ($parent) = ($t->read("/proc/$_/stat") // '') =~ /\) \S (\d+)/;
    ($parent // 0) == $host->pid
        && ($t->read("/proc/$_/cmdline") // '') =~ /buildkitd/;
} map { m{(\d+)$} } glob '/proc/[0-9]*';
ok($pid, 'there is a buildkitd');
kill KILL => $pid;

$t->wait_for(sub { !$t->alive($proc) }, 10, 'the build to end');
kill KILL => runs();

my $said = $t->read($proc->{log});
isnt($proc->{status}, 0, 'the build failed');
like($said, qr/buildkit gateway: (?:allocation|worker) .*buildkitd was killed by signal 9/,
    'the reason') or diag $said;
unlike($said, qr/transport|EOF|GOAWAY|code = Unavailable|reset by peer/i,
    'nothing of a transport') or diag $said;
like($nginx->log, qr/cut: code 9, allocation $a->{id}/, 'it was cut');


# the RUN step that a killed buildkitd leaves behind
sub runs {
    return map { m{/(\d+)/} } grep {
        ($t->read($_) // '') =~ /\0-c\0while.*echo $nap; done\0$/
    } glob '/proc/[0-9]*/cmdline';
}
