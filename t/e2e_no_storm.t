# No storm: a client that is refused connects once, for every reason that
# there is to refuse it, and whichever client it is.  A gateway that just
# closes gets up to twenty connections of each, all of them with a handshake.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

my @all = qw(buildctl buildctl-0.12.5 buildx);

# name => [state in the table, the word for the code, text, clients]; down is
# a worker that nobody listens for, busy one that has a connection already
my @rows = (
    unknown   => [undef, 'Unauthenticated', 'is not known here', @all],
    released  => ['w1 released 0', 'Unauthenticated', 'was released at', @all],
    revoked   => ['w1 revoked 0 over budget', 'Unauthenticated',
        'was revoked at .*: over budget', @all, 'tty', 'bake', 'du'],
    expired   => ['w1 ready 1000', 'Unauthenticated', 'expired at', @all],
    failed    => ['w1 failed 0 its node is gone', 'FailedPrecondition',
        'failed at .*: its node is gone', @all, 'bake'],
    draining  => ['w1 draining 0', 'FailedPrecondition', 'drain', @all],
    queued    => ['- queued 0', 'ResourceExhausted', '', @all, 'tty', 'bake'],
    starting  => ['w1 starting 0', 'FailedPrecondition', '', @all, 'du'],
    down      => ['down ready 0', 'FailedPrecondition', 'down', @all, 'bake'],
    busy      => ['w1 ready 0', 'ResourceExhausted', 'connections', @all],
);

my $runs = 0;
for (my $i = 1; $i < @rows; $i += 2) {
    $runs += @{$rows[$i]} - 3;
}
plan tests => 3 * $runs + 3;

my $w1 = $t->worker('w1');
my @table = ('pool default/demo',
    "worker default/demo w1 127.0.0.1:$w1 w1.workers.buildkit.internal ready",
    'worker default/demo down 127.0.0.1:' . $t->port('nobody')
        . ' down.workers.buildkit.internal ready');

my (%cert, %token, %id);
for (my $i = 0; $i < @rows; $i += 2) {
    my ($name, $row) = @rows[$i, $i + 1];

    $token{$name} = $t->token;
    $id{$name} = $t->id($token{$name});
    $cert{$name} = $t->client_cert($name, cn => "alloc:$token{$name}");
    push @table, "alloc token:$token{$name} default/demo $row->[0]"
        if defined $row->[0];
}

$t->table(@table);
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$buildkit_allocation $status";',
    server => <<'END'));
        buildkit_wait            1s;
        buildkit_grace           300ms;
        buildkit_retry           6s;
        buildkit_max_connections 1;
        access_log               %%DIR%%/access.log bk;
END

my $context = $t->context('app');
$t->write('app/docker-bake.hcl', join '', 'group "default" { targets = ["a",'
    . " \"b\", \"c\"] }\n", map { "target \"$_\" { context = \".\" }\n" }
    qw(a b c));

# the only connection that this one may have
my $busy = $t->tls($cert{busy}) or die 'no connection';
print $busy "hello\n";
$t->read_until($busy, qr/hello\n/, 10);

for (my $i = 0; $i < @rows; $i += 2) {
    my ($name, $row) = @rows[$i, $i + 1];
    my (undef, $code, $text, @clients) = @$row;

    # which looks at its builder, and so connects as well
    $t->buildx_create($name, $cert{$name});

    for my $client (@clients) {
        my $before = connections();
        my $r = client($client, $name);

        isnt($r->{rc}, 0, "$name, $client: fails");
        # a terminal wraps its lines
        my $said = "$r->{err}$r->{out}" =~ s/\e\[[0-9;?]*[A-Za-z]|\r//gr;
        like($said, qr/$code: buildkit gateway: (?=.*$id{$name})(?=.*$text)/s,
            "$name, $client: text") or diag $said;
        is(connections() - $before, 1, "$name, $client: one connection");
    }
}

# a look that gets no text comes once as well
for my $what (['ls'], ['inspect', 'queued']) {
    my $before = connections();
    $t->buildx('queued', @$what);
    is(connections() - $before, 1, "buildx @$what: one connection");
}

$busy->close;

# nobody comes later either: each that was accepted is over
my $all = connections();
$t->wait_for(sub { ($t->read('access.log') // '') =~ tr/\n// == $all }, 30,
    'all connections to end');
is(connections(), $all, 'nobody came back');


sub client {
    my ($client, $name) = @_;

    my $cert = $cert{$name};

    return $t->buildctl($cert, { program => $client },
        $t->dockerfile_args($context)) if $client =~ /^buildctl/;

    my @build = ('build', '--builder', $name, '--progress', 'plain',
        $context);

    return $t->buildx($name, @build) if $client eq 'buildx';
    return $t->buildx($name, 'du', '--builder', $name)
        if $client eq 'du';
    return $t->buildx($name, { dir => $context }, 'bake', '--builder',
        $name, '--progress', 'plain') if $client eq 'bake';

    # tty
    $build[4] = 'tty';
    my $home = $t->dir . "/buildx-$name";

    return $t->run({ env => { BUILDX_CONFIG => $home, DOCKER_CONFIG => $home,
        HOME => $home } }, 'script', '-qec',
        "stty cols 400; @{[$t->lab('buildx')]} @build", '/dev/null');
}


# clients that nginx has seen
sub connections { scalar(() = $nginx->log =~ / client \S+ connected to /g) }
