#!/usr/bin/perl

# bkctl drain at a real gateway: what it prints, with --wait until nothing
# runs any more; live connections go on, new ones are told where to go.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

plan tests => 55;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_POOL)),
    BKCTL_ENDPOINT => "unix:$dir/api.sock", NO_COLOR => 1);

my $token = $t->token;
my $id = $t->id($token);
my $cert = $t->client_cert('a', cn => "alloc:$token");
my $port = $t->worker('w1');
$t->write('static.yaml', <<"END");
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:$port", tlsName: w1.workers.buildkit.internal}
      - {name: w2, endpoint: "127.0.0.1:1", tlsName: x}
  - name: team/other
    workers:
      - {name: w2, endpoint: "127.0.0.1:2", tlsName: x}
allocations:
  - {token: "$token", pool: default/demo, worker: w1, expires: "2099-01-01T00:00:00Z"}
END
my $host = $t->host(<<'END');
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
plugins:
  - {name: allocator}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
my $nginx = $t->nginx($t->gateway_conf(
    stream => "    buildkit_report %%DIR%%/reports;\n"));

# nothing runs on it
is(drain('w1')->{out}, "drained worker w1 of pool default/demo: nothing runs on"
    . " it; 1 allocation\n", 'an idle one');
is(drain('w1', '--wait')->{rc}, 0, '--wait has nothing to wait for');
my $got = drain('w1', '--undo');
is("$got->{rc} $got->{out}", "0 took back worker w1 of pool default/demo: it is"
    . " ready\n", '--undo');

# one that is in use: it goes on, a new one is told why and where to go
my $live = connected();
$got = drain('w1', '--reason', 'new kernel');
is("$got->{rc} $got->{out}", "0 drained worker w1 of pool default/demo: no build,"
    . " but 1 connection; 1 allocation\n", 'one in use');
$t->wait_for(sub { $t->grpc($cert)->{streams}{1}{message} }, 10, 'a refusal');
my $s = $t->grpc($cert)->{streams}{1};
is($s->{message}, "buildkit gateway: allocation $id is draining: running builds"
    . " may finish, new connections are refused: worker w1 is drained: new"
    . " kernel; run bkctl allocate", 'a new connection is told');
ok(echoes($live), 'the live one goes on');
my $json = decode_json(drain('w1', '--json')->{out});
is_deeply([@$json{qw(worker pool state drained connections builds)}],
    ['w1', 'default/demo', 'draining', JSON::true, 1, 0], '--json');
like($t->run({ env => \%env }, $t->build . '/bkctl', 'workers')->{out},
    qr{^w1 +default/demo +draining .* drained$}m, 'bkctl workers shows it');

# --wait with a time
$got = drain('w1', '--wait', '1s');
is($got->{rc}, 1, '--wait TIME: not in time');
is($got->{err} =~ s/^waiting for worker w1: .*\n//mgr, "bkctl: worker w1 after"
    . " 1s: no build, but 1 connection\n       it stays drained; see bkctl"
    . " sessions --worker w1\n", '... said');
is($got->{out}, '', '... and nothing else');
is(drain('--wait=1s', 'w1')->{rc}, 1, '--wait=TIME');
is(decode_json(drain('w1', '--wait', '500ms', '--json')->{out})->{connections},
    1, '... with --json: what there was');

# --wait without: until the last one goes, through a restart of plugin-host
my $proc = $t->start('wait', { env => \%env }, $t->build . '/bkctl', 'drain',
    '--wait', 'w1');
said('wait',
    qr/^waiting for worker w1: no build, but 1 connection \.\.\. \d+s$/m,
    'it shows what it waits for');
$host->kill('KILL');
said('wait', qr/^bkctl: the API at .*; trying again$/m, 'no API: said');
$host->restart;
ok($t->alive($proc), '... and it waits on');
ok(echoes($live), 'the live connection has not noticed');
close $live;
$t->wait_for(sub { !$t->alive($proc) }, 15, 'the end');
is($proc->{status}, 0, 'nothing runs any more: exit 0');
said('wait', qr/^drained worker w1 of pool default\/demo: nothing runs on it;/m,
    '... said');

# taken back while somebody waits
drain('w1', '--undo');
$live = connected();
$proc = $t->start('back', { env => \%env }, $t->build . '/bkctl', 'drain',
    'w1', '--wait');
said('back', qr/^waiting for worker/m, 'one waits');
is(drain('w1', '--undo')->{rc}, 0, 'it is taken back');
$t->wait_for(sub { !$t->alive($proc) }, 15, 'the end');
is($proc->{status}, 1, '... which ends the wait');
said('back', qr/^bkctl: worker w1 was taken back by somebody$/m, '... said');
ok(echoes($live), 'all the while the live connection goes on');
ok(connected(), 'and new ones are let in again');

# one of two
for ([['w2'], 1, qr/several pools have a worker w2\n +say which:.*--pool/],
     [['w7'], 1, qr/there is no worker w7\n +bkctl workers/],
     [['w1', '--pool', 'nope'], 1, qr{there is no pool default/nope}],
     [['w1', '--pool', 'team/other'], 1, qr{no worker w1 in pool team/other}],
     [[], 2, qr/"bkctl drain" needs WORKER/],
     [['w1', 'w2'], 2, qr/does not take "w2"/],
     [['w1', '--wait=soon'], 2, qr/"soon" is no duration for "--wait"/],
     [['w1', '--wait='], 2, qr/"--wait" is empty/],
     [['w1', '--undo', '--wait'], 2, qr/"--undo" goes without "--wait"/],
     [['w1', '--undo', '--reason', 'x'], 2, qr/goes without "--reason"/],
     [['w1', '--reason', "\xff"], 2, qr/not valid UTF-8/],
     [['../w1'], 1, qr{there is no worker \.\./w1}]) {
    my ($args, $rc, $text) = @$_;
    $got = drain(@$args);
    is($got->{rc}, $rc, join ' ', 'drain', @$args, "exit $rc");
    like($got->{err}, $text, '... and why');
}
is(drain('w2', '--pool', 'team/other')->{rc}, 0, '--pool says which');
is(drain('w2', '--pool', 'other', '--namespace', 'team', '--undo')->{rc}, 0,
    '... with --namespace');
is(drain('w1', '--endpoint', "unix:$dir/none")->{rc}, 5, 'no API: exit 5');
is($host->request(GET => '/api/v1/workers/w1/drain')->{json}{drained},
    JSON::false, 'nothing was drained');
$host->stop;

# a connection that is not in the reports at first
unlink "$dir/api.sock";
my %look = (worker => 'w1', pool => 'a/b', state => 'draining',
    drained => JSON::true, allocations => 1, builds => 0);
$t->write('rules', encode_json([{ on => 'GET', times => 1,
    json => { %look, connections => 1 } },
    { on => '.', json => { %look, connections => 0 } }]));
$t->start('fake', {}, "$FindBin::Bin/lib/fake_api", "$dir/api.sock",
    "$dir/rules", "$dir/req");
$t->wait_for(sub { IO::Socket::UNIX->new(Peer => "$dir/api.sock") }, 30,
    'the API');
is(drain('w1', '--wait')->{rc}, 0, 'nothing, then one, then nothing');
is(() = $t->read('req') =~ /"method":"GET"/g, 3, '... nothing must be so twice');


sub drain {
    return $t->run({ env => \%env }, $t->build . '/bkctl', 'drain', @_);
}

sub connected {
    my $socket = $t->tls($cert);
    print $socket "hello\n";
    $t->read_until($socket, qr/hello\n/, 30) =~ /hello/ or return;
    $t->wait_for(sub {
        grep { $_->{phase} eq 'live' }
            @{$host->request(GET => '/api/v1/sessions')->{json}};
    }, 15, 'the report');

    return $socket;
}

sub echoes {
    my ($socket) = @_;
    print $socket "again\n";

    return $t->read_until($socket, qr/again\n/, 30) =~ /again/;
}

sub said {
    my ($name, $pattern, $what) = @_;

    $t->wait_for(sub { ($t->read("$name.log") // '') =~ $pattern }, 15, $what);
    pass($what);
}
