# An honest job never meets the end of its allocation: a build that is twice as
# long as its ttl goes on, on its one connection, also when plugin-host
# dies or hangs meanwhile.  Where it cannot be renewed, that is said.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 23;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 1, onStop => 'leave', nginx => {
    stream => "    buildkit_report %%DIR%%/reports;\n" });
my %env = (BKCTL_ENDPOINT => 'unix:' . $t->dir . '/api.sock', NO_COLOR => 1,
    BKCTL_POOL => 'default/demo', BKCTL_BUILDCTL => $t->lab('buildctl'));

# its worker runs: a ttl counts while one starts
my $warm = $t->allocate('warm');
$t->bkctl('release', $warm->{file});

# a ttl is long enough for all to stand still for a while: it is renewed after
# a third of it, and who asks for that waits for two ninths of it
my $ttl = 18;
my $asked = time;
my ($proc, $nap) = build('long', "${ttl}s");
wait_log('long', qr/line 2\b/, 'the build to run');
my $began = time;
$t->wait_for(sub {
    die "it has ended:\n" . $t->read('long.log') if !$t->alive($proc);
    return time > $began + 2 * $ttl && renewed() >= 4;
}, 2 * $ttl + 60, 'twice its ttl');
$t->end_held($nap);
$t->wait_for(sub { !$t->alive($proc) }, 60, 'the build');
my $took = time - $asked;
is($proc->{status}, 0, 'a build of twice its ttl ends well')
    or diag $t->read('long.log');
like($t->read('long.log'), qr/last line$/m, '... with its last line');
unlike($t->read('long.log') =~ s/^bkctl: (?:warning: cannot renew .* did not
    \ answer\ within\ .*;\ trying\ again|the\ allocation\ \w+\ is\ renewed
    \ after\ all|the\ API\ does\ not\ answer\ \(nothing\ within\ .*)\n//gmrx,
    qr/^bkctl: (?!waited |waiting |worker \S+ is there)|error/m,
    '... and without a word, but that it waits for its worker');
cmp_ok(renewed(), '>=', 4, '... was renewed');
cmp_ok(renewed(), '<=', 4 + 4 * $took / $ttl, '... now and then');
is(() = $nginx->log =~ /client \S+ connected to/g, 1, '... on one connection');

# plugin-host dies, and comes back in time
for (['KILL', 'cannot be reached'], ['STOP', 'did not answer within']) {
    my ($signal, $why) = @$_;
    my $name = lc $signal;
    ($proc, $nap) = build($name, "${ttl}s");
    said($name, qr/line 2\b/, "SIG$signal: the build runs");
    my $before = renewed();
    $host->kill($signal);
    said($name, qr/^bkctl: warning: cannot renew the allocation \w{12}: .*$why.*; trying again$/m,
        '... no renewal: said');
    $signal eq 'KILL' ? $host->restart : $host->kill('CONT');
    said($name, qr/^bkctl: the allocation \w{12} is renewed after all$/m,
        '... then there is');
    $t->end_held($nap);
    $t->wait_for(sub { !$t->alive($proc) }, 60, 'the build');
    is($proc->{status}, 0, '... and the build ends well')
        or diag $t->read("$name.log");
    my %times;
    $times{$_}++ for $t->read("$name.log") =~ /^(.*trying again)$/mg;
    is(join(' ', values %times), join(' ', map { 1 } keys %times),
        '... each trouble said once');
    cmp_ok(renewed(), '>', $before, '... renewed');
}

# it does not come back: the gateway ends the build in time, and bkctl says why
($proc, $nap) = build('gone', "${ttl}s");
said('gone', qr/line 2\b/, 'the build runs');
$host->kill('KILL');
$t->wait_for(sub { !$t->alive($proc) }, 60, 'the end');
is($proc->{status}, 1, 'a build that could not be renewed ends');
my @lines = split /\n/, $t->read('gone.log');
like($lines[-1], qr/^bkctl: allocation \w{12} expired at \S+Z and could not be renewed: the API at .* cannot be reached: .*/,
    '... and why, as the last line');
like($t->read('gone.log'), qr/buildkit gateway: allocation \w{12} expired at/,
    '... as the gateway said');
unlike($t->read('gone.log'), qr/not released/, '... nothing about the release');

$host->stop;
$t->kill_leftovers;


# a build with a ttl, and what it is ended with
sub build {
    my ($name, $ttl) = @_;

    my $nap = $t->held_context("context-$name");
    return ($t->start($name, { env => \%env }, $t->build . '/bkctl',
        'buildctl', '--ttl', $ttl, '--wait', '120s', '--',
        $t->dockerfile_args($t->dir . "/context-$name")), $nap);
}

sub renewed { return scalar(() = $host->log =~ /: renewed until/g) }

sub said {
    my ($name, $pattern, $what) = @_;

    wait_log(@_);
    pass($what);
}

sub wait_log {
    my ($name, $pattern, $what) = @_;

    $t->wait_for(sub { ($t->read("$name.log") // '') =~ $pattern }, 90, $what);
    return;
}
