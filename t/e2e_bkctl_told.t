# What bkctl run, buildctl and build tell a person: what a held connection
# waits for and for how long; and, when the command failed because of the
# allocation, one clean sentence as the last line.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON;
use Test::Buildkit;

plan tests => 21;

my $t = Test::Buildkit->new;
my $go = $t->dir . '/go';

# a buildkitd that starts when it is told to
# (and a gateway that keeps a client until plugin-host has seen its worker die)
my ($host, $nginx) = $t->gateway(workers => 2, nginx => {
    stream => "    buildkit_report %%DIR%%/reports;\n",
    server => "buildkit_lost 30s;\n" },
    process => ['command: ["sh", "-c", "while [ ! -e ' . $go . ' ]; do sleep '
    . '0.1; done; exec buildkitd \"$@\"", "-", "--addr", '
    . '"tcp://127.0.0.1:{port}", "--root", "{root}", "--tlscert", "{cert}", '
    . '"--tlskey", "{key}", "--tlscacert", "{ca}"]']);
my %env = (BKCTL_ENDPOINT => 'unix:' . $t->dir . '/api.sock', NO_COLOR => 1,
    BKCTL_POOL => 'default/demo', HOME => $t->dir, map({ $_ => $t->lab(lc s/.*_//r) }
    qw(BKCTL_BUILDCTL BKCTL_BUILDX)));
my $slow = $t->context('slow', <<'END');
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo line $i; /bin/busybox sleep 0.1; done"]
END

# a worker that starts: first allocate waits, long enough to say for what also
# where all stands still for a while, then the gateway
my $proc = begin('starts', 'buildctl', '--wait', '12s', '--',
    $t->dockerfile_args($slow));
said('starts', qr/^waiting for a worker of pool default\/demo: worker w1 is starting \.\.\. \d+s$/m,
    'while it allocates: what is up');
said('starts', qr/^bkctl: waited \d+s for worker w1 of pool default\/demo: worker w1 is starting$/m,
    'how long that was');
said('starts', qr/^bkctl: worker w1 of pool default\/demo is still starting; the gateway holds/m,
    'that it goes on');
said('starts', qr/^bkctl: waiting for worker w1: starting \(\d+s\)$/m,
    'what the held connection waits for');
$t->write('go', '');
said('starts', qr/^bkctl: worker w1 is there after \d+s$/m, 'how long that was');
said('starts', qr/line 2\b/, 'and the build runs, on that connection');
my @lines = $t->read('starts.log') =~ /^(bkctl: waiting for worker w1.*)/mg;
is(scalar @lines, scalar uniq(@lines), 'no line twice');

# revoked in the middle
my $one = live();
my $r = $t->bkctl('revoke', $one->{id}, '--reason', 'key leaked');
# plugin-host waits two seconds for the gateway to say so
like($r->{out}, $r->{time} < 2 ? qr/\Arevoked $one->{id}: 1 connection cut\n\z/
    : qr/\Arevoked $one->{id}: [01] connections? cut\n\z/,
    'revoked: one was cut');
ended('starts', $proc, qr/bkctl: allocation $one->{id} was revoked at \S+Z: key leaked/,
    'buildctl');
my $log = $t->read('starts.log');
like($log, qr/FailedPrecondition|Unauthenticated/, 'buildctl got it from the gateway too');
unlike($log, qr/cannot renew|not released/, 'and nothing else is said');

# the same with buildx, in a run of its own
$proc = begin('buildx', 'build', '--', '--progress', 'plain', $slow);
said('buildx', qr/line 2\b/, 'a build with buildx');
$one = live();
$t->bkctl('revoke', $one->{id}, '--reason', 'bad job');
ended('buildx', $proc, qr/bkctl: allocation $one->{id} was revoked at \S+Z: bad job/,
    'buildx');

# its worker is lost
$proc = begin('lost', 'buildctl', '--', $t->dockerfile_args($slow));
said('lost', qr/line 2\b/, 'a build whose worker dies');
$one = live();
my ($pid) = $host->log =~ /.*$one->{worker}: started \(pid (\d+)/s;
kill KILL => $pid;
ended('lost', $proc, qr/bkctl: allocation $one->{id} failed at \S+Z: \S+ was killed by signal 9 .*/,
    'a lost worker');

# drained between two commands of one job
$proc = begin('drained', 'run', '--', 'sh', '-c', "while [ ! -e $go.2 ]; do "
    . 'sleep 0.1; done; $BKCTL_BUILDCTL --addr $BUILDKIT_HOST --tlsdir '
    . '$BKCTL_TLS_DIR debug workers');
$one = $t->wait_for(sub { live() }, 30, 'its allocation');
$t->bkctl('drain', $one->{worker}, '--reason', 'disk');
$t->write('go.2', '');
ended('drained', $proc, qr/bkctl: allocation $one->{id} takes no new connections: worker $one->{worker} is drained: disk/,
    'a drained worker');

# a command that fails by itself has the last word; before it may be said
# that it waited for its worker
$r = $t->bkctl('run', '--', 'sh', '-c', 'echo my fault >&2; exit 3');
is("$r->{rc} " . (split /^/, $r->{err})[-1], "3 my fault\n",
    'nothing to add');


sub begin {
    my ($name, @args) = @_;
    return $t->start($name, { env => \%env }, $t->build . '/bkctl', @args);
}

sub said {
    my ($name, $pattern, $what) = @_;

    $t->wait_for(sub { ($t->read("$name.log") // '') =~ $pattern }, 40, $what);
    pass($what);
}

# with a failure, and this as its last line
sub ended {
    my ($name, $proc, $pattern, $what) = @_;

    $t->wait_for(sub { !$t->alive($proc) }, 40, 'the end');
    is($proc->{status}, 1, "$what: exit status");
    like((split /\n/, $t->read("$name.log"))[-1], qr/\A$pattern\z/,
        '... and why, as the last line');
}

sub live {
    return (grep { $_->{state} eq 'ready' }
        @{$host->request(GET => '/api/v1/allocations')->{json}})[0];
}

sub uniq { my %seen; return grep { !$seen{$_}++ } @_ }
