# No storm, the other half: a build that is cut does not come back, whatever
# the reason and whoever builds, a bake of three targets too: one connection,
# our text and nothing of a transport.  e2e_cut.t has revocation for the plain
# commands.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

my %text = (
    revoked => 'was revoked at \S+ .*: over budget',
    expired => 'expired at',
    failed  => 'failed at \S+ .*: its node is gone',
    killed  => 'closed the connection',
);

my $transport = qr/transport|EOF|GOAWAY|code\ =\ Unavailable|closing
    |connection\ error|reset\ by\ peer/ix;

# [client, why]; those of one why are cut together, killed ones come last
my @cases = (['bake', 'revoked'], ['bake-tty', 'revoked'],
    (map { my $why = $_; map { [$_, $why] } 'buildctl', 'buildctl-0.12.5',
        'buildx', 'buildx-tty', 'bake' } 'expired', 'failed', 'killed'));

plan tests => 4 * @cases + 2;

my $port = $t->buildkitd('w1');
my $table = $t->table('pool default/demo', "worker default/demo w1"
    . " 127.0.0.1:$port w1.workers.buildkit.internal ready");
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$buildkit_allocation $buildkit_outcome";',
    server => "access_log %%DIR%%/access.log bk;\n"));

for my $why (qw(revoked expired failed killed)) {
    my @builds = map { start($_->[0], $why) } grep { $_->[1] eq $why } @cases;

    $t->wait_for(sub {
        for my $b (@builds) {
            die $t->read($b->{proc}{log}) if !$t->alive($b->{proc});
        }
        return !grep { !runs($_->{nap}) } @builds;
    }, 150, "the builds to run ($why)");

    strike($why, @builds);
    judge($why, $_) for @builds;
    # what a killed buildkitd leaves behind
    kill KILL => map { runs($_->{nap}) } @builds;
}

# nobody comes later
my $all = connections();
$t->wait_for(sub { ($t->read('access.log') // '') =~ tr/\n// == $all }, 30,
    'all connections to end');
is(connections(), $all, 'nobody came back');
unlike($nginx->log, qr/\[crit\]/, 'nothing critical is logged');


sub start {
    my ($client, $why) = @_;
    my $name = "$client-$why" =~ tr/./-/r;
    my $token = $t->token;
    my $cert = $t->client_cert($name, cn => "alloc:$token");
    my $nap = 1_000_000 + int rand 8_000_000;
    my $context = $t->context("c-$name", "FROM scratch\nARG T=a\n"
        . "COPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\","
        . " \"exec /bin/busybox sleep $nap\"]\n");
    $t->write("c-$name/docker-bake.hcl", join '', 'group "default" { targets'
        . " = [\"a\", \"b\", \"c\"] }\n", map { "target \"$_\" {\n"
        . "context = \".\"\nargs = { T = \"$_\" }\n}\n" } qw(a b c));

    $table->cmd("alloc token:$token default/demo w1 ready 0");
    my ($tool, $tty) = $client =~ /^(\w+?)(-tty)?$/ ? ($1, $2) : ($client);
    my @progress = ('--progress', $tty ? 'tty' : 'plain');
    my $home = $t->dir . "/buildx-$name";
    my @cmd = ($t->lab('buildx'), $tool eq 'bake' ? 'bake' : 'build',
        '--builder', $name, @progress, $tool eq 'bake' ? () : '.');

    if ($tool =~ /^buildctl/) {
        @cmd = ($t->lab($tool), '--addr', 'tcp://localhost:' . $t->port('gw'),
            '--tlscacert', $cert->{ca}, '--tlscert', $cert->{cert},
            '--tlskey', $cert->{key}, $t->dockerfile_args($context));
    } else {
        $t->buildx_create($name, $cert);
        $t->wait_for(sub { lines($t->id($token)) }, 10, 'its connection');
    }

    @cmd = ('script', '-qec', "stty cols 400; @cmd", '/dev/null') if $tty;
    my $id = $t->id($token);
    return { name => $name, token => $token, id => $id, nap => $nap,
        before => lines($id), proc => $t->start($name, { dir => $context,
            env => { BUILDX_CONFIG => $home, DOCKER_CONFIG => $home,
            HOME => $home } }, @cmd) };
}


sub strike {
    my ($why, @builds) = @_;

    if ($why eq 'killed') {
        kill KILL => $t->buildkitd_process('w1')->{pid};
        return;
    }

    for my $b (@builds) {
        $table->cmd($why eq 'revoked'
            ? "end token:$b->{token} revoked over budget"
            : $why eq 'failed'
            ? "end token:$b->{token} failed its node is gone"
            : "alloc token:$b->{token} default/demo w1 ready +100");
    }
}


sub judge {
    my ($why, $b) = @_;
    $t->wait_for(sub { !$t->alive($b->{proc}) }, 60, "$b->{name} to end");
    my $said = $t->read($b->{proc}{log}) =~ s/\e\[[0-9;?]*[A-Za-z]|\r//gr;

    isnt($b->{proc}{status}, 0, "$b->{name}: fails");
    like($said, qr/buildkit gateway: (?=.*$b->{id})(?=.*$text{$why})/,
        "$b->{name}: the reason") or diag $said;
    unlike($said, $transport, "$b->{name}: nothing of a transport")
        or diag $said;
    $t->wait_for(sub { lines($b->{id}) > $b->{before} }, 10, 'the access log');
    is(lines($b->{id}) - $b->{before}, 1, "$b->{name}: one connection");
}


# Connections of an allocation that are over; and all that nginx has seen.
sub lines {
    my ($id) = @_;

    return scalar(() = ($t->read('access.log') // '') =~ /^$id /mg);
}

sub connections { scalar(() = $nginx->log =~ / client \S+ connected to /g) }


# the processes with this command line
sub runs {
    my ($nap) = @_;

    return map { m{/(\d+)/} } grep {
        ($t->read($_) // '') =~ tr/\0/ /r =~ /^\S+ sleep $nap $/
    } glob '/proc/[0-9]*/cmdline';
}
