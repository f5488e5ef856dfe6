# Reports on a tmpfs that is full: no room for a file costs one line in the
# log, no room for more sessions leaves them counted but not listed; nobody
# is refused for it, and no process dies.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan skip_all => 'mounts a tmpfs: needs root' if $> != 0;
plan tests => 13;

my $t = Test::Buildkit->new;
my $dir = $t->dir . '/reports';
mkdir $dir or die;

my $token = $t->token;
my $cert = $t->client_cert('one', cn => "alloc:$token");
$t->table('pool default/demo shared', 'worker default/demo w1 127.0.0.1:'
    . $t->worker('w1') . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

sub tmpfs { system 'mount', '-t', 'tmpfs', '-o', "size=$_[0]", 'tmpfs', $dir }

is(tmpfs('200k'), 0, 'a tmpfs without room for a report');
# hundreds that say nothing, to a worker that says nothing: for as long as that
# takes here
my $nginx = $t->nginx($t->gateway_conf(stream => "buildkit_report $dir;\n"
    . "buildkit_retry 1h;\nbuildkit_header_timeout 1h;\n"));
like($t->say_hello($cert), qr/worker w1/, 'it serves');
like($nginx->log, qr/report "\S+" cannot grow; .* \(28: No space left/,
    'and says why there is no report');
# it is tried again each second
ok($t->wait_for(sub { !grep { 1 } glob "$dir/*" }, 30, 'an empty folder'),
    'nothing is left half-made');

# room for so many sessions, and not for 256 more
is(system('mount', '-o', 'remount,size=460k', $dir), 0, 'some more room');
my $file = $t->wait_for(sub { (report_files($t))[0] }, 20, 'the report');
is(report_read($file)->{pools}{'default/demo'}{routed}, 1,
    'what came before it is in it');

my @live;
for (1 .. 270) {
    my $s = $t->tls($cert) or last;
    push @live, $s;
}
is(scalar @live, 270, '270 connections');
$t->wait_for(sub { report_read($file)->{live} == 270 }, 10, 'all live');
my $r = report_read($file);
is($r->{nused}, 257, '257 have a record: one was there before the file');
is($r->{lost}, 13, 'the others are counted as not listed');
like($nginx->log, qr/no room in report "\S+": some sessions are counted/,
    'one line says so');

system 'mount', '-o', 'remount,size=2m', $dir;
my $one = $t->tls($cert) or die;
$t->wait_for(sub { report_read($file)->{nused} == 258 }, 10, 'a record');
is(report_read($file)->{lost}, 13, 'with room again, all get one');

close $_ for @live, $one;
$t->wait_for(sub { $r = report_read($file);
    $r->{live} == 0 && !@{$r->{sessions} // []} }, 30, 'their end');
is(scalar @{$r->{sessions} // []}, 0, 'no record is left behind');
is($r->{pools}{'default/demo'}{routed}, 272, 'all of them are counted');
