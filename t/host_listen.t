#!/usr/bin/perl

# Listeners: sockets of others and of the dead; what is served where; the
# Prometheus text.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n");
my $yaml = <<'E';
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
  - {name: metrics}
E
my $h = $t->host($yaml);
my $sock = $h->api;
my $metrics = '127.0.0.1:' . $t->port('metrics');

is((stat $sock)[2] & 07777, 0660, 'mode of the unix socket');
is($h->request(GET => '/healthz')->{status}, 200, 'it answers');
is($t->http($metrics, GET => '/api/v1/pools')->{status}, 404,
    'the API is not on the metrics listener');
is($t->http('127.0.0.1:' . $t->port('api'), GET => '/metrics')->{status}, 404,
    'nor metrics on the API');
is($t->http($metrics, GET => '/readyz')->{status}, 200, 'but health is');

$h->request(GET => '/nope');
my $m = $t->http($metrics, GET => '/metrics');
like($m->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'type');
for (qr/^buildkit_gateway_build_info\{version="[\d.]+",abi="1\.\d"\} 1$/m,
    qr/^buildkit_gateway_allocations\{pool="default\/demo",state="ready"\} 0$/m,
    qr/^buildkit_gateway_workers\{pool="default\/demo",state="ready"\} 0$/m,
    qr/^buildkit_gateway_allocations_ended_total\{state="revoked"\} 0$/m,
    qr/^buildkit_gateway_table_size\{kind="allocation"\} 100$/m,
    qr/^buildkit_gateway_http_requests_total\{method="GET",route="\/healthz",
       status="200"\}\ 1$/mx,
    qr/^buildkit_gateway_http_requests_total\{method="",route="",
       status="404"\}\ 3$/mx,
    qr/^buildkit_gateway_start_time_seconds \d+/m)
{
    like($m->{body}, $_, 'metrics');
}

my (%type, @strange);
for (split /\n/, $m->{body}) {
    if (/^# TYPE (\S+)/) { $type{$1}++; next }
    next if /^#/;
    push @strange, $_ if !/^([a-z_]+)(?:\{(?:[a-z]+="[^"\\]*",?)+\})?
        \ -?[\d.e+-]+$/x
        || !($type{$1} || $type{$1 =~ s/_(?:bucket|sum|count)$//r});
}
is("@strange", '', 'nothing but Prometheus text');
is(scalar(grep { $_ != 1 } values %type), 0, 'each TYPE once');

# a second instance
my $r = $t->run($t->build . '/buildkit-plugin-host', '-c', $h->{conf});
ok($r->{rc} == 1 && $r->{err} =~ /another buildkit-plugin-host uses/,
    'a second instance is refused') or diag($r->{err});
my $other = $t->write('other.yaml', $yaml =~ s{DIR%%/state}{DIR%%/state2}r);
$r = $t->run($t->build . '/buildkit-plugin-host', '-c', $other);
ok($r->{rc} == 1 && $r->{err} =~ /bk\.table/, 'so is one with our table alone')
    or diag($r->{err});
is($h->request(GET => '/readyz')->{status}, 200, 'the first did not notice');

is($h->stop, 0, 'stops with 0');
ok(!-e $sock, 'and removes its socket');

# sockets of others
my $live = IO::Socket::UNIX->new(Local => $sock, Listen => 1) or die $!;
$r = $t->run($t->build . '/buildkit-plugin-host', '-c', $h->{conf});
ok($r->{rc} == 1 && $r->{err} =~ /somebody listens there already/,
    'a socket that is in use is left alone') or diag($r->{err});
ok(-S $sock, 'it is still there');
close $live;
my $again = $t->host($yaml, name => 'again');
is($again->request(GET => '/healthz')->{status}, 200, 'a dead one is replaced');
$again->stop;

$t->write($sock, 'precious');
$r = $t->run($t->build . '/buildkit-plugin-host', '-c', $h->{conf});
ok($r->{rc} == 1 && $r->{err} =~ /no socket is there/, 'nor another file');
is($t->read($sock), 'precious', 'never removed');

done_testing;
