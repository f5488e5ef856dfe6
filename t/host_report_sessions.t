# Connections through two processes of nginx, as plugin-host lists them:
# GET /api/v1/sessions with its filters, the numbers in the other lists; and
# a plugin-host without reports, which says so once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 33;

my $t = Test::Buildkit->new;
my %token = map { $_ => $t->token } 1 .. 3;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } 1 .. 3;
my %port = map { $_ => $t->worker($_) } qw(w1 w2);

my $host = $t->host(reports_conf($t, \%port,
    "token: \"$token{1}\", worker: w1, expires: \"2100-01-01T00:00:00Z\"",
    "token: \"$token{2}\", worker: w2, expires: \"2100-01-01T00:00:00Z\"",
    "token: \"$token{3}\", expires: \"2100-01-01T00:00:00Z\","
        . ' state: queued'));
my $api = $t->dir . '/api.sock';
sub get { $t->http($api, GET => "/api/v1/$_[0]") }
sub sessions { @{get("sessions$_[0]")->{json} // []} }

my $nginx = $t->nginx($t->gateway_conf(server => "buildkit_grace 10m;\n",
    stream => "buildkit_report %%DIR%%/reports;\n"),
    workers => 2, events => 'accept_mutex off;');

is_deeply([sessions('')], [], 'nobody is there');

# until each process has one of each allocation
my (@open, %seen);
$t->wait_for(sub {
    for my $n (1 .. 2) {
        my $s = $t->tls($cert{$n}) or die;
        print $s "hello\n";
        $t->read_until($s, qr/hello\n/, 30);
        push @open, $s;
    }
    $seen{$_->{gateway}}{$_->{worker}}++ for sessions('');
    2 == grep { keys %$_ == 2 } values %seen;
}, 30, 'both processes to have both');

# a look may be 200 ms old
$t->wait_for(sub { sessions('') == @open }, 10, 'the last ones to be listed');

my @all = sessions('');
is(scalar @all, scalar @open, 'each connection is listed once');
is_deeply([sort keys %seen], [sort map { "$_" } $nginx->worker_pids],
    'with the process that has it');
my ($s) = sessions('?worker=w1');
is($s->{allocation}, $t->id($token{1}), 'allocation');
is($s->{pool}, 'default/demo', 'pool');
like($s->{client}, qr/^127\.0\.0\.1:\d+$/, 'client');
is($s->{phase}, 'live', 'phase');
is($s->{reason}, '', 'no reason');
is($s->{expiresAt}, '2100-01-01T00:00:00.000Z', 'expiresAt');
like($s->{$_}, qr/^20\d\d-.*Z$/, $_) for qw(startedAt phaseAt lastAt);
is($s->{expiring}, JSON::false, 'expiring');
is($s->{bytesUp}, 6, 'bytesUp');
is($s->{bytesDown}, 16, 'bytesDown');
is($s->{holdMs}, 0, 'holdMs');
ok(defined $s->{idleMs}, 'idleMs');
like($s->{kind}, qr/^(?:unknown|other)$/, 'kind');
is(scalar(sessions('?worker=w1')) + sessions('?worker=w2'), scalar @open,
    'by worker');
is(scalar(sessions('?allocation=' . $t->id($token{2}))),
    scalar(sessions('?worker=w2')), 'by allocation');
is(scalar(sessions('?pool=default/demo')), scalar @open, 'by pool');
is(scalar(sessions('?pool=default/demo&worker=w3')), 0, 'all must fit');
is(get('sessions?pool=no/such')->{status}, 404, 'no such pool');

# one that nobody knows: held for buildkit_grace, and has at least an id
my $unknown = $t->token;
my $grace = $t->tls($t->client_cert('unknown', cn => "alloc:$unknown"));
$t->wait_for(sub {
    ($s) = sessions('?allocation=' . $t->id($unknown));
}, 10, 'a held one');
is("$s->{phase}|$s->{pool}|$s->{worker}", 'held||', 'an unknown one');
close $grace;
$t->wait_for(sub { !sessions('?allocation=' . $t->id($unknown)) }, 30,
    'it to be gone');

# one that waits
my $held = $t->tls($cert{3}) or die;
$t->wait_for(sub {
    ($s) = sessions('?allocation=' . $t->id($token{3}));
    $s && $s->{phase} eq 'held' && $s->{holdMs} > 0;
}, 10, 'a held one');
is($s->{worker}, '', 'a held one, without a worker so far');
my ($pool) = @{get('pools')->{json}};
is_deeply($pool->{connections}, { held => 1, live => scalar @open },
    'in the list of pools');
is(get('allocations/' . $t->id($token{3}))->{json}{connections}, 1,
    'in its allocation');
my $m;
$t->wait_for(sub { $m = metrics($t);
    $m->{'sessions{phase="held"}'} && $m->{'sessions{phase="live"}'} == @open },
    30, 'the metrics');
is($m->{'sessions{phase="held"}'}, 1, 'in the metrics: held');
is(metrics($t)->{'gateways{state="serving"}'}, 2, 'and the processes');

close $_ for @open, $held;
$t->wait_for(sub { !sessions('') }, 10, 'all to be gone');
my $text = join '', map { get($_)->{body} } qw(sessions workers pools
    allocations);
unlike($text, qr/\Q$_\E/, 'no token anywhere') for $token{1};

# without reports
my $other = $t->host(<<'END', name => 'other');
state: %%DIR%%/other
table: {path: %%DIR%%/other.table, allocations: 100, workers: 8, pools: 4}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/other.sock"]}
gateway: {endpoint: "tcp://localhost:1"}
plugins:
  - {name: allocator}
END
my $r = $t->http($t->dir . '/other.sock', GET => '/api/v1/sessions');
is($r->{status}, 503, 'two do not read one folder');
is($r->{json}{reason}, 'NoReports', 'and the second one says so');
my $said = () = $t->read('other.log') =~ /another buildkit-plugin-host reads/g;
is($said, 1, 'once in its log');
