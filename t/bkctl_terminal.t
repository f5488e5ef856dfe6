#!/usr/bin/perl

# bkctl on a terminal: progress is one line that is updated and wiped, what is
# printed holds no secret, colours are for terminals and not with NO_COLOR.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;

plan tests => 15;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $dir = $t->dir;
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN NO_COLOR)),
    BKCTL_ENDPOINT => "unix:$dir/api.sock", BKCTL_POOL => 'demo',
    TERM => 'xterm');

$t->write('static.yaml', <<'END');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: w1.tls, arch: amd64}
END
my $host = $t->host(<<'END');
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
plugins:
  - {name: allocator}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END

my $got = terminal('allocate');
is($got->{rc}, 2, 'allocate on a terminal, and nowhere to write to');
like($got->{out}, qr/--out DIR .*--json/, '... says what to give');

$got = terminal('allocate', '--out', "$dir/job");
is($got->{rc}, 0, 'allocate --out');
my $answer = decode_json($t->read('job/alloc.json'));
like($got->{out}, qr/^allocation $answer->{id}\r\nworker     w1\r\n/,
    '... a short text');
like($got->{out}, qr{^  bkctl release $dir/job/alloc\.json\r$}m,
    '... with what comes next');
ok(index($got->{out}, $answer->{token}) == -1
    && $got->{out} !~ /PRIVATE|clientKey/, '... without token and key');

$got = terminal('allocate', '--out', "$dir/two", '--wait', '1s');
is($got->{rc}, 4, 'no capacity');
like($got->{out}, qr/(?:^|\e\[K)bkctl: no worker/m, '... and says so');

# waits until it has said that it does, a second later once more
my $waits = $t->start('three', { env => \%env }, 'script', '-qec',
    "$bkctl allocate --out $dir/three --wait 300s", '/dev/null');
ok($t->wait_for(sub {
    2 <= (() = ($t->read('three.log') // '')
        =~ m{\rwaiting\ for\ a\ worker\ of\ pool\ default/demo:
        \ (?:1\ of\ 1\ workers\ in\ use|place\ 1[^\r]*)
        \x20\.\.\.\x20\d+s\e\[K}gx);
}, 30, 'progress'), 'progress is updated');
is($t->run({ env => \%env }, $bkctl, 'release', "$dir/job/alloc.json")->{rc},
    0, '... until a worker is free');
$t->wait_for(sub { !$t->alive($waits) }, 30, 'the end');
unlike($t->read('three.log'), qr/waiting[^\r]*\n/, '... in one line');
like($t->read('three.log'), qr/\r\e\[K[^\r]*\r\n/, '... wiped at the end');

like(terminal('pools')->{out}, qr/\e\[32mready\e\[0m/, 'colours');
$env{NO_COLOR} = 1;
unlike(terminal('pools')->{out}, qr/\e/, 'NO_COLOR');
@env{qw(NO_COLOR TERM)} = (undef, 'dumb');
unlike(terminal('pools')->{out}, qr/\e/, 'a dumb terminal');


sub terminal {
    return $t->run({ env => \%env }, 'script', '-qec',
        join(' ', $bkctl, @_), '/dev/null');
}
