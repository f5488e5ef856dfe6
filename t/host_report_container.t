# nginx in another container, here a pid namespace: its pids mean nothing to
# plugin-host, or name somebody else's process.  It is listed as any other, and
# not taken for dead.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan skip_all => 'makes a pid namespace: needs root' if $> != 0;
plan tests => 8;

my $t = Test::Buildkit->new;
my $token = $t->token;
my $cert = $t->client_cert('one', cn => "alloc:$token");
my $host = $t->host(reports_conf($t, { w1 => $t->worker('w1') },
    "token: \"$token\", worker: w1, expires: \"2100-01-01T00:00:00Z\""));

my $conf = $t->nginx_conf($t->gateway_conf(
    stream => "buildkit_report %%DIR%%/reports;\n"));
my $nginx = $t->start('container', { signal => 'KILL',
    env => { ASAN_OPTIONS => $Test::Buildkit::Nginx::ASAN } }, 'unshare',
    '--pid', '--fork', '--kill-child', '--mount-proc', $t->nginx_program,
    '-p', $t->dir . '/nginx', '-c', $conf);
$t->wait_port($t->port('gw'), 15, $nginx);

my $file = $t->wait_for(sub { (report_files($t))[0] }, 10, 'its report');
my $r = report_read($file);
ok($r->{pid} < 10, "its pid there is $r->{pid}");
isnt(report_ticks($r->{pid}), $r->{ticks}, 'which is no process of ours');

my $live = $t->tls($cert) or die;
print $live "hello\n";
$t->read_until($live, qr/hello\n/, 60);

# plugin-host looks several times
my $beat = report_read($file)->{heartbeat_ms};
$t->wait_for(sub { report_read($file)->{heartbeat_ms} > $beat + 4000 }, 20,
    'some heartbeats');
is((report_files($t))[0], $file, 'its file is still there');
my @s = @{$t->http($t->dir . '/api.sock', GET => '/api/v1/sessions')->{json}};
is(scalar @s, 1, 'its session is listed');
is($s[0]{allocation}, $t->id($token), 'with its allocation');
is(metrics($t)->{reports_folded_total}, 0, 'nobody was taken for dead');
is(metrics($t)->{'connections_total{pool="default/demo",outcome="routed"}'},
    1, 'and it is counted');
close $live;
$t->wait_for(sub { !report_read($file)->{live} }, 10, 'its end');
is(report_read($file)->{generation}, 1, 'it had no reason to begin another');
