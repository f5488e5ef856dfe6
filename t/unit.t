# Every program of t/unit: C code of plugin-host tested from within.  Each
# prints TAP; here each is one test, and what it said is shown if it failed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Basename qw(basename);
use Test::Buildkit;

my $t = Test::Buildkit->new;
my @units = map { basename($_, '.c') } sort glob "$FindBin::Bin/unit/*.c";

plan tests => 1 + @units;

ok(@units > 5, 'there are unit tests');

for my $unit (@units) {
    my $r = $t->run({ timeout => 240 }, $t->build . "/t/unit/$unit");
    my $checks = () = $r->{out} =~ /^ok /mg;
    my ($plan) = $r->{out} =~ /^1\.\.(\d+)$/m;

    my $good = $r->{rc} == 0 && $r->{out} !~ /^not ok|^Bail out/m
        && $r->{err} !~ /Sanitizer|runtime error/
        && defined $plan && $plan == $checks && $checks > 0;

    ok($good, "$unit: $checks checks") or diag("exit $r->{rc}\n",
        join("\n", grep { !/^ok / } split /\n/, $r->{out}), "\n$r->{err}");
}
