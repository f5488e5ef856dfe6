#!/usr/bin/perl

# bkctl sessions: the connections at a real gateway, in a table, as JSON,
# narrowed, and watched: drawn anew on a terminal, a line for each change
# elsewhere, through a restart of plugin-host, until Ctrl-C.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

plan tests => 42;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_POOL)),
    BKCTL_ENDPOINT => "unix:$dir/api.sock", NO_COLOR => 1, TERM => 'xterm');

my %token = map { $_ => $t->token } qw(a b);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } qw(a b);
my ($id, $other) = map { $t->id($token{$_}) } qw(a b);
my $port = $t->worker('w1');
$t->write('static.yaml', <<"END");
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:$port", tlsName: w1.workers.buildkit.internal}
      - {name: w2, endpoint: "127.0.0.1:@{[$t->port('nobody')]}", tlsName: w2.test}
  - name: team/other
    workers: []
allocations:
  - {token: "$token{a}", pool: default/demo, worker: w1, expires: "2099-01-01T00:00:00Z"}
  - {token: "$token{b}", pool: default/demo, worker: w2, expires: "2099-01-01T00:00:00Z"}
END
my $yaml = <<'END';
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
plugins:
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
my $host = $t->host($yaml);
my $nginx = $t->nginx($t->gateway_conf(server => "buildkit_retry 10m;\n",
    stream => "    buildkit_report %%DIR%%/reports;\n"));

my $got = bkctl();
is("$got->{rc} $got->{err}", '0 ', 'nobody: exit 0');
like($got->{out}, qr/^ALLOCATION +POOL +WORKER +CLIENT +PHASE +KIND +SINCE .*\n\z/,
    'the header alone');
is(bkctl('--json')->{out}, "[]\n", '--json: an empty list');

my $live = $t->tls($cert{a});
print $live "hello\n";
like($t->read_until($live, qr/hello\n/, 30), qr/hello/, 'a connection');
my $held = $t->tls($cert{b});
$t->wait_for(sub { 2 == list() }, 10, 'two in the list');

$got = bkctl();
my $client = '127.0.0.1:' . $live->sockport;
like($got->{out}, qr{^$id +default/demo +w1 +$client +live +\w+ +\d+s ago +6 +\d+ +in \d+h}m,
    'a live one');
$client = '127.0.0.1:' . $held->sockport;
like($got->{out}, qr{^$other +default/demo +w2 +$client +held }m,
    'one that waits for a worker that does not answer');
unlike($got->{out}, qr/\Q$token{a}\E|\Q$token{b}\E/, 'no token');
like(bkctl('--json')->{out}, qr/"bytesUp": 6/, '--json: the API\'s own');

is_deeply([map { $_->{worker} } list('--worker', 'w2')], ['w2'], '--worker');
is_deeply([map { $_->{allocation} } list('--allocation', $id)], [$id],
    '--allocation');
is(list('--allocation', $id, '--worker', 'w2'), 0, '... both');
is(list('--pool', 'demo'), 2, '--pool');
is(list('--pool', 'team/other'), 0, '... another one');
$got = bkctl('--pool', 'nope');
is($got->{rc}, 1, '... that is not there');
like($got->{err}, qr{^bkctl: there is no pool default/nope\n}, '... is said');
is(list('--worker', "w1' OR &pool=x"), 0, 'odd names are only names');
is(bkctl('extra')->{rc}, 2, 'an operand is a usage error');
is(bkctl('--undo')->{rc}, 2, 'a flag of another verb as well');

# watched, where there is no terminal
my $watch = $t->start('watch', { env => \%env }, $t->build . '/bkctl',
    'sessions', '--watch');
said('watch', qr{^\S+Z new     $id default/demo w1 127\.0\.0\.1:\d+ live}m,
    'what is there is new');
said('watch', qr{^\S+Z new     $other default/demo w2 \S+ held}m,
    '... all of it');
close $live;
said('watch', qr{^\S+Z gone    $id default/demo w1 \S+ live}m, 'one goes');

my $json = $t->start('json', { env => \%env }, $t->build . '/bkctl',
    'sessions', '--watch', '--json', '--worker', 'w1');
$live = $t->tls($cert{a});
print $live "hello\n";
said('watch', qr{gone.*\n(?:.*\n)*\S+Z new     $id }, 'one comes');
$t->wait_for(sub { ($t->read('json.log') // '') =~ /\n/ }, 10, 'a line');
my $line = decode_json((split /\n/, $t->read('json.log'))[0]);
is("$line->{event} $line->{session}{allocation}", "new $id",
    '--json: an object on a line');
like($line->{time}, qr/^\d{4}-.*Z$/, '... with its time');

# plugin-host goes and comes; the lines go on
$host->kill('KILL');
said('watch', qr/^bkctl: the API at .*; trying again$/m, 'no API: said');
$host->restart;
close $held;
said('watch', qr{gone    $other }, 'and it goes on');
is(() = $t->read('watch.log') =~ /trying again/g, 1, 'said once');
is(() = $t->read('watch.log') =~ / new     $id /g, 2,
    'nothing is new because plugin-host is');

kill INT => $watch->{pid};
kill TERM => $json->{pid};
$t->wait_for(sub { !$t->alive($watch) && !$t->alive($json) }, 10, 'the end');
is($watch->{status}, 0, 'Ctrl-C: exit 0');
is($json->{status}, 0, 'SIGTERM: exit 0');
is(join("\n", grep { !/^bkctl: .*; trying again$/ && !eval { decode_json($_) } }
    split /\n/, $t->read('json.log')), '', '--json: nothing but objects');

# on a terminal
my ($in, $out);
pipe $in, $out or die;
my $term = $t->start('term', { env => { %env, SHELL => '/bin/bash' },
    stdin => $in }, 'script', '-qefc', $t->build
    . '/bkctl sessions --watch; exit $?', '/dev/null');
said('term', qr/\e\[H\e\[J\S+Z  1 connection\r\n\r\nALLOCATION/, 'drawn');
close $live;
said('term', qr/\e\[H\e\[J\S+Z  0 connections\r\n/, 'and drawn again');
syswrite $out, "\x03";
$t->wait_for(sub { !$t->alive($term) }, 10, 'the end');
is($term->{status}, 0, 'Ctrl-C on a terminal: exit 0');
unlike($t->read('term.log'), qr/ new /, 'no lines of changes there');

# APIs that do not help
$host->stop;
is(bkctl('--watch')->{rc}, 5, 'no API at the start: exit 5');
unlink "$dir/api.sock";
for (['{"error":"no","reason":"NoReports","hint":"see"}', 503, 1,
        qr/^bkctl: no\n       see$/m],
     ['{"a":1}', 200, 1, qr/something that is not a list/]) {
    my ($body, $status, $rc, $text) = @$_;
    $t->write('rules', encode_json([{ on => '.', status => $status,
        body => $body }]));
    my $api = $t->start('fake', {}, "$FindBin::Bin/lib/fake_api",
        "$dir/api.sock", "$dir/rules", "$dir/req");
    $t->wait_for(sub { IO::Socket::UNIX->new("$dir/api.sock") }, 10,
        'the API');
    $got = bkctl('--watch');
    is($got->{rc}, $rc, "$status: exit $rc, watched or not");
    like($got->{err}, $text, '... and why');
    like(bkctl()->{err}, $text, '... not watched');
    $t->stop($api);
    unlink "$dir/api.sock";
}


sub bkctl {
    return $t->run({ env => \%env }, $t->build . '/bkctl', 'sessions', @_);
}

sub list { return @{decode_json(bkctl('--json', @_)->{out})} }

sub said {
    my ($name, $pattern, $what) = @_;

    $t->wait_for(sub { ($t->read("$name.log") // '') =~ $pattern }, 15, $what);
    pass($what);
}
