# One leader by a Lease of a real kube-apiserver: two processes, of which the
# leader is paused, comes back, and gives it back.  Beside them a watch of the
# same objects, long enough for its end and a bookmark.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 20;

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
$kube->must('create', 'namespace', 'team');

sub ctl { $t->start_pipe($_[0], $t->tool('k8sctl'), $kube->kubeconfig,
    @_[1 .. $#_]) }

sub lease { ctl($_[0], 'lease', 'team', 'gateway', $_[0]) }

# its exit status: leaks are found at the end
sub quit {
    my ($w) = @_;
    syswrite $w->{in}, "quit\n";
    $t->wait_for(sub { !$t->alive($w) }, 20, 'its end');
    return $w->{status};
}

sub spec { $kube->get('lease', 'gateway', '-n', 'team')->{spec} }

my $w = ctl(w => 'watch', 'coordination.k8s.io', 'v1', 'leases', 'team');
is(join(' ', map { $w->line(20) } 1, 2), 'synced first 0 up', 'a watch');

my $a = lease('a');
is($a->line(20), 'leader a', 'the first one leads');
is($a->ask('valid'), 'valid', 'and may write');
my $b = lease('b');
is($b->line(20), 'follower a', 'the second one knows who does');
is($b->ask('valid'), 'invalid', 'and may not');
my $spec = spec();
is("$spec->{holderIdentity} $spec->{leaseDurationSeconds} "
    . ($spec->{leaseTransitions} // 0), 'a 15 0', 'the object says so');
like($spec->{renewTime}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/,
    'and when it was renewed');
$t->wait_for(sub { spec()->{renewTime} ne $spec->{renewTime} }, 20,
    'the next renewal');
is(spec()->{acquireTime}, $spec->{acquireTime}, 'it is renewed');

# --- the leader is paused --------------------------------------------------

kill STOP => $a->pid;
is($b->line(60), 'leader b', 'another one leads in its place');
$spec = spec();
is("$spec->{holderIdentity} $spec->{leaseTransitions}", 'b 1',
    'the object says so');
# the question is there before it runs again
syswrite $a->{in}, "valid\n";
kill CONT => $a->pid;
my @lines = map { $a->line(20) } 1 .. 3;
is((grep { $_ eq 'valid' } @lines), 0, 'the first may not write any more')
    or diag(explain(\@lines));
is((grep { $_ eq 'invalid' } @lines), 1, 'and knows');
is(join(', ', grep { !/valid/ } @lines), 'follower , follower b',
    'it has lost it, and to whom');
is($b->ask('valid'), 'valid', 'the other one may');

# --- given back ------------------------------------------------------------

is($b->ask('release', 20), 'released', 'given back');
is($a->line(20), 'leader a', 'and taken, without waiting for its end');
is(quit($b), 0, 'the end of one');

# --- the watch, by now -----------------------------------------------------

my $stats = {};
$t->wait_for(sub {
    syswrite $w->{in}, "stats\n";
    my $line;
    do { $line = $w->line(20) } while $line =~ /^put /;
    push @lines, $line if $line !~ /=/;
    $stats = { map { split /=/ } split ' ', $line };
    return $stats->{bookmarks} && $stats->{watches} > 1;
}, 120, 'a bookmark and the end of a watch');
is("$stats->{lists} $stats->{errors} $stats->{gones} $stats->{connected}",
    '1 0 0 1', 'a watch that ends goes on, and nobody notices');
is((grep { /^(?:up|down|synced|gone)/ } @lines), 0, 'really nobody');

is(quit($w) + quit($a), 0, 'the end');
