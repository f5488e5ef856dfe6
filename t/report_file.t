# The report file of an nginx process: there from the start under a name that
# nobody else has, whole, readable for the group alone; nothing on nginx -t;
# another one after it was removed, renamed or cut short; made later where it
# could not be made at first; left behind by a process that is killed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 31;

my $t = Test::Buildkit->new;
my $dir = $t->dir . '/reports';
my $token = $t->token;
my $cert = $t->client_cert('one', cn => "alloc:$token");
$t->table('pool default/demo shared', 'worker default/demo w1 127.0.0.1:'
    . $t->worker('w1') . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

my $conf = $t->gateway_conf(stream => "buildkit_report $dir;\n");
my @check = $t->nginx_conf_fails($conf);
is($check[0], 0, 'nginx -t') or diag $check[1];
ok(!-e $dir, 'it makes nothing');

# there is no folder yet
my $nginx = $t->nginx($conf);
like($t->say_hello($cert), qr/worker w1/, 'without a folder it serves');
like($t->say_hello($cert), qr/worker w1/, 'and goes on');
my @said = $nginx->log =~ /\[error\].*buildkit: report "\S+" cannot be made.*/g;
is(scalar @said, 1, 'one line says so') or diag $nginx->log;

mkdir $dir or die;
my $file = $t->wait_for(sub { (report_files($t))[0] }, 20, 'the report');
my ($worker) = $nginx->worker_pids;
is($file, "$dir/nginx-$worker-" . report_ticks($worker) . '-1.report',
    'then it is made, its name says whose');
is(sprintf('%o', (stat $file)[2] & 07777), '640', 'its mode');
is((stat _)[7], (my $r = report_read($file))->{total_size}, 'its size');
is($r->{magic}, 'BKREPRT1', 'magic');
is($r->{pid}, $worker, 'pid');
is($r->{nsessions}, 4096, 'room for worker_connections');
is($r->{pools}{'default/demo'}{routed}, 2, 'what came before it is in it');
$t->wait_for(sub { $nginx->log =~ /\[notice\].*is written now/ }, 5,
    'a line that it works');

my $beat = $r->{heartbeat_ms};
$t->wait_for(sub { report_read($file)->{heartbeat_ms} > $beat }, 10,
    'a heartbeat');
pass('its heart beats');

# a live session, through all that follows
my $live = $t->tls($cert) or die;
print $live "hello\n";
$t->read_until($live, qr/hello\n/, 30);
is(report_read($file)->{live}, 1, 'one is live');

unlink $file;
my $second = $t->wait_for(sub { (report_files($t))[0] }, 20, 'another one');
like($second, qr/-2\.report$/, 'removed: another one is begun');
$r = report_read($second);
is($r->{pools}{'default/demo'}{routed}, 0, 'with its counters at zero');
is($r->{live}, 1, 'but for what is now');
is($r->{sessions}[0]{allocation}, $t->id($token), 'and who that is');

# cut short: reading it raises SIGBUS, writing as well
truncate $second, 600 or die;
like($t->say_hello($cert), qr/worker w1/, 'cut short: it serves');
my $third = $t->wait_for(sub {
    (grep { /-3\.report$/ } report_files($t))[0]
}, 20, 'the third one');
is((stat $third)[7], $r->{total_size}, 'and begins another one');
my $before = report_read($third)->{pools}{'default/demo'}{routed};
like($t->say_hello($cert), qr/worker w1/, 'which works');
is(report_read($third)->{pools}{'default/demo'}{routed}, $before + 1,
    'and counts');
print $live "again\n";
is($t->read_until($live, qr/again\n/, 30), "again\n",
    'the live session has noticed nothing');

# who reads never sees half a one; reload and two processes
unlink $second;
$nginx->reload;
$t->wait_for(sub { report_files($t) == 2 }, 10, 'the new process\'s file');
my ($old) = grep { $_->{live} } map { report_read($_) } report_files($t);
$t->wait_for(sub { report_read($third)->{exiting} }, 10, 'its last words');
is($old->{pid}, $worker, 'the old process goes on reporting');
close $live;
$t->wait_for(sub { !-e "/proc/$worker" }, 20, 'its end');
is(report_read($third)->{live}, 0, 'its last word: nobody is left');
ok(-e $third, 'its file stays');
my ($now) = $nginx->worker_pids;
kill KILL => $now;
$t->wait_for(sub { grep { $_ != $now } $nginx->worker_pids }, 10,
    'another process');
$t->wait_for(sub { report_files($t) == 3 }, 10, 'its file');
is(scalar(report_files($t)), 3, 'killed: its file stays as well');
is(scalar(grep { !/\.report$/ } glob "$dir/*"), 0, 'nothing else is left');
$nginx->stop;
unlike($nginx->log, qr/signal 7|SIGBUS/, 'no process died of a file');
is(scalar(report_files($t)), 3, 'nor does the end remove one');
is(report_read($third)->{exiting}, 1, 'which had said that it would end');
$t->allow_log(qr/exited on signal 9/);
