# An honest job never meets the end of its allocation: a build that is much
# longer than its ttl goes on, on its one connection, also when plugin-host
# dies or hangs meanwhile.  Where it cannot be renewed, that is said.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 1, onStop => 'leave', nginx => {
    stream => "    buildkit_report %%DIR%%/reports;\n" });
my %env = (BKCTL_ENDPOINT => 'unix:' . $t->dir . '/api.sock', NO_COLOR => 1,
    BKCTL_POOL => 'default/demo', BKCTL_BUILDCTL => $t->lab('buildctl'));

# four times its ttl
my $proc = build('long', '4s', 160);
$t->wait_for(sub { !$t->alive($proc) }, 60, 'the build');
is($proc->{status}, 0, 'a build of four times its ttl ends well')
    or diag $t->read('long.log');
like($t->read('long.log'), qr/line 160\b/, '... with its last line');
unlike($t->read('long.log'),
    qr/^bkctl: (?!waited |waiting |worker \S+ is there)|error/m,
    '... and without a word, but that it waits for its worker');
cmp_ok(renewed(), '>=', 4, '... was renewed');
cmp_ok(renewed(), '<=', 16, '... now and then');
is(() = $nginx->log =~ /client \S+ connected to/g, 1, '... on one connection');

# plugin-host dies, and comes back in time
for (['KILL', 'cannot be reached'], ['STOP', 'did not answer within']) {
    my ($signal, $why) = @$_;
    my $name = lc $signal;
    $proc = build($name, '9s', 140);
    said($name, qr/line 2\b/, "SIG$signal: the build runs");
    my $before = renewed();
    $host->kill($signal);
    said($name, qr/^bkctl: warning: cannot renew the allocation \w{12}: .*$why.*; trying again$/m,
        '... no renewal: said');
    $signal eq 'KILL' ? $host->restart : $host->kill('CONT');
    said($name, qr/^bkctl: the allocation \w{12} is renewed after all$/m,
        '... then there is');
    $t->wait_for(sub { !$t->alive($proc) }, 60, 'the build');
    is($proc->{status}, 0, '... and the build ends well')
        or diag $t->read("$name.log");
    is(() = $t->read("$name.log") =~ /trying again$/mg, 1, '... said once');
    cmp_ok(renewed(), '>', $before, '... renewed');
}

# it does not come back: the gateway ends the build in time, and bkctl says why
$proc = build('gone', '5s', 600);
said('gone', qr/line 2\b/, 'the build runs');
$host->kill('KILL');
$t->wait_for(sub { !$t->alive($proc) }, 40, 'the end');
is($proc->{status}, 1, 'a build that could not be renewed ends');
my @lines = split /\n/, $t->read('gone.log');
like($lines[-1], qr/^bkctl: allocation \w{12} expired at \S+Z and could not be renewed: the API at .* cannot be reached: .*/,
    '... and why, as the last line');
like($t->read('gone.log'), qr/buildkit gateway: allocation \w{12} expired at/,
    '... as the gateway said');
unlike($t->read('gone.log'), qr/not released/, '... nothing about the release');

$host->stop;
$t->kill_leftovers;


# a build of so many tenths of a second, with a ttl
sub build {
    my ($name, $ttl, $lines) = @_;

    my $context = $t->context("context-$name", <<"END");
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", ": $name; i=0; while [ \$i -lt $lines ]; do i=\$((i+1)); echo line \$i; /bin/busybox sleep 0.1; done"]
END
    return $t->start($name, { env => \%env }, $t->build . '/bkctl',
        'buildctl', '--ttl', $ttl, '--wait', '60s', '--',
        $t->dockerfile_args($context));
}

sub renewed { return scalar(() = $host->log =~ /: renewed until/g) }

sub said {
    my ($name, $pattern, $what) = @_;

    $t->wait_for(sub { ($t->read("$name.log") // '') =~ $pattern }, 40, $what);
    pass($what);
}
