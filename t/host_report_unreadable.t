# The folder of reports cannot be read for a while: no counter falls to zero,
# since one that comes back would be counted twice by whoever adds up.  And
# what stands in the folder and cannot be set aside is said once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 9;

my $t = Test::Buildkit->new;
my $dir = $t->dir . '/reports';
# where there is none plugin-host makes one: in place of a link another file is
# in one step, and the link again
mkdir "$dir.away" or die $!;
sub link_it {
    symlink "$dir.away", "$dir.link" or die $!;
    rename "$dir.link", $dir or die $!;
}
link_it();
my $host = $t->host(reports_conf($t, { w1 => 1 }));

report_make($dir, words => [77], handshake => [0, 5]);
sub until_readable {
    my ($is) = @_;
    $t->wait_for(sub { metrics($t)->{reports_readable} == $is }, 10,
        "reports_readable $is");
}
sub numbers {
    my $m = metrics($t);
    return join ' ', $m->{'accepted_total{pool="default/demo"}'},
        $m->{'handshake_failures_total{reason="closed"}'};
}

$t->wait_for(sub { metrics($t)->{'gateways{state="serving"}'} == 1 }, 10,
    'the file to be read');
is(numbers(), '77 5', 'counted');

$t->write('reports', 'no folder');
until_readable(0);
my $m = metrics($t);
is($m->{$_}, undef, "unreadable: no $_") for qw(accepted_total{pool=""}
    handshake_failures_total{reason="closed"} sessions{phase="live"});

link_it();
until_readable(1);
$t->wait_for(sub { metrics($t)->{'gateways{state="serving"}'} }, 10,
    'the file to be read again');
is(numbers(), '77 5', 'and all is back');

# a folder where a report should be, in the way of its own name
my $bad = "$dir/nginx-1-1-1.report";
mkdir $_ or die $! for "$bad.bad", "$bad.bad/x", $bad;
$t->wait_for(sub { metrics($t)->{reports_bad_total} }, 10, 'it to be seen');
my $beat = looks();
$t->wait_for(sub { looks() >= $beat + 3 }, 20, 'three more looks');
is(metrics($t)->{reports_bad_total}, 1, 'counted once');
is(scalar(() = $host->log =~ /cannot be set aside/g), 1, 'said once');
rmdir $bad;
is(numbers(), '77 5', 'and it changes nothing');
ok(-d "$bad.bad/x", 'what was there stays');


# each look removes a file that was never finished
my $looks;
sub looks {
    $looks //= 0;
    my $new = "$dir/nginx-2-2-2.report.new";
    if (!-e $new) {
        $looks++;
        open my $fh, '>', $new or die $!;
        close $fh;
        utime 1, 1, $new;
    }

    return $looks;
}
