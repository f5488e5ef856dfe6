# Everything at once, for a short time: clients of many kinds, allocations that
# wait, move and end, workers that die, reloads, kill -9 of nginx processes and
# of plugin-host.  Nobody reaches a wrong worker, everybody is told what is the
# matter, nothing is left behind.  tools/soak (make soak) runs the same for ten
# minutes, by BK_SOAK_SECONDS and BK_SOAK_RATE.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Soak;
use Test::Buildkit;

my $seconds = $ENV{BK_SOAK_SECONDS} // 20;
my $rate = $ENV{BK_SOAK_RATE} // ($ENV{BK_SAN} ? 40 : 120);

plan tests => 6;

my $t = Test::Buildkit->new;
my $soak = Soak->new($t, seconds => $seconds, rate => $rate);

$soak->run;
$soak->say($soak->summary);
diag sprintf '%7d %s', $soak->{texts}{$_}, $_ for sort keys %{$soak->{texts}};

# the first one in the name: of a test elsewhere often nothing else is seen
my @faults = $soak->faults;
my ($first) = map { s/\n.*//sr } @faults;
ok(!@faults, 'no fault' . (@faults ? ": $first" : ''))
    or diag map { "$_\n" } @faults;

cmp_ok($soak->count, '>=', $ENV{BK_SOAK_CONNECTIONS} // 1,
    $soak->count . ' connections');
cmp_ok($soak->{seen}{served}, '>', $soak->count / 3, 'many were served');
cmp_ok($soak->{seen}{refused}, '>', $soak->count / 100, 'some were refused');
# few of them after their worker was seen
cmp_ok($soak->{cuts}, '>', 0, 'some were cut');

# The judge finds what it must find.
is_deeply([$soak->self_test], [], 'the judge is no pushover');
