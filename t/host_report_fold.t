# What was counted is kept, whoever dies: a process of nginx by kill -9, by a
# reload and by its end; plugin-host by kill -9 and by a restart; both at a
# time.  No connection is lost or counted twice.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 15;

my $t = Test::Buildkit->new;
my $token = $t->token;
my $cert = $t->client_cert('one', cn => "alloc:$token");
my $yaml = reports_conf($t, { w1 => $t->worker('w1') },
    "token: \"$token\", worker: w1, expires: \"2100-01-01T00:00:00Z\"");
my $host = $t->host($yaml);
my $nginx = $t->nginx($t->gateway_conf(
    stream => "buildkit_report %%DIR%%/reports;\n"), workers => 2);
$t->allow_log(qr/exited on signal 9/);

my $n = 0;
sub hello {
    for (1 .. $_[0]) {
        $t->say_hello($cert) =~ /worker w1/ or die 'not served';
        $n++;
    }
}
sub routed {
    my $m = metrics($t);
    return ($m->{'connections_total{pool="default/demo",outcome="routed"}'}
        // 0) . ' ' . ($m->{'accepted_total{pool="default/demo"}'} // 0);
}
sub is_all {
    my ($what) = @_;
    # a look a second: what is not there yet comes, what is there stays
    $t->wait_for(sub { routed() eq "$n $n" }, 10, "$n, has " . routed());
    is(routed(), "$n $n", $what);
}
sub dead_one {
    my ($pid) = $nginx->worker_pids;
    kill KILL => $pid;
    $t->wait_for(sub { !grep { $_ == $pid } $nginx->worker_pids }, 10,
        'its end');
    return $pid;
}

hello(5);
is_all('as many as there were');

my $pid = dead_one();
$t->wait_for(sub { !grep { /nginx-$pid-/ } report_files($t) }, 10,
    'the fold');
is_all('a process was killed');
ok(-e $t->dir . '/reports/totals.report', 'it is in the totals');
is(metrics($t)->{reports_folded_total}, 1, 'a metric counts it');
like($host->log, qr/gateway process $pid is gone; what it counted is kept/,
    'and the log says so');

hello(3);
$nginx->reload;
hello(3);
$t->wait_for(sub { report_files($t) == 2 }, 15, 'the old ones to be folded');
is_all('nginx was reloaded');

$t->stop($host->{proc}, 'KILL');
hello(2);
dead_one();
hello(2);
$host = $t->host($yaml, name => 'host2');
is_all('plugin-host was killed, and a process of nginx meanwhile');

$t->stop($host->{proc});
hello(1);
$host = $t->host($yaml, name => 'host3');
is_all('plugin-host was restarted');

# killed at any moment of its work, again and again
for my $round (1 .. 6) {
    hello(1);
    dead_one();
    $host = $t->host($yaml, name => "host-$round", no_wait => 1)
        if !$t->alive($host->{proc});
    my $seen = $round % 3;
    $t->wait_for(sub {
        $seen == 0 || -e $t->dir . '/reports/totals.report.new'
            || report_files($t) <= 2;
    }, 10, 'some of its work') if $seen;
    $t->stop($host->{proc}, 'KILL');
}
$host = $t->host($yaml, name => 'last');
is_all('killed amid its work');

$nginx->stop;
$t->wait_for(sub { report_files($t) == 0 }, 10, 'no process to be left');
is_all('nginx has ended');
is(metrics($t)->{'gateways{state="serving"}'}, 0, 'nobody serves');
is(metrics($t)->{'sessions{phase="live"}'}, 0, 'nobody is live');

$t->stop($host->{proc});
$host = $t->host($yaml, name => 'again');
is_all('and the totals are those');
my $mode = (stat $t->dir . '/reports/totals.report')[2] & 07777;
is($mode & 07, 0, 'which not everybody may read');
is(scalar(grep { /bad$|new$/ } glob $t->dir . '/reports/*'), 0,
    'nothing else is left');
