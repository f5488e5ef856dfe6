#!/usr/bin/perl

# bkctl and the real plugin-host: an allocation from allocate to release, its
# files and their modes, env for a shell, lists, revoke, status, exit codes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal);
use Digest::SHA qw(sha256_hex);
use JSON;
use Test::Buildkit;

plan tests => 62;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $dir = $t->dir;
my %env = (map({ $_ => undef } qw(BKCTL_POOL BKCTL_NAMESPACE BKCTL_TOKEN
    BKCTL_TLS_DIR BUILDKIT_HOST)), BKCTL_ENDPOINT => "unix:$dir/api.sock",
    BKCTL_TABLE => "$dir/buildkit.table", NO_COLOR => 1);

$t->write('static.yaml', <<'END');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: w1.tls, arch: amd64}
  - name: team/two
    workers:
      - {name: a, endpoint: "127.0.0.1:7002", tlsName: a.tls, arch: amd64}
      - {name: b, endpoint: "127.0.0.1:7003", tlsName: b.tls, arch: arm64}
END

my $host = $t->host(<<'END');
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: info, format: text}
plugins:
  - {name: allocator}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END

# allocate

my $got = bkctl('allocate', '--pool', 'demo', '--ttl', '10m', '--out',
    "$dir/job", '--job-id', 'j1', '--metadata', 'a=b', '--metadata', 'c=d=e',
    '--cache-key', 'octo/app');
is($got->{rc}, 0, 'allocate: exit 0');
ok($got->{err} eq '' || $got->{time} >= 1,
    'allocate: a quick one says nothing on stderr') or diag($got->{err});
my $answer = decode_json($got->{out});
is($answer->{workerName}, 'w1', 'the API\'s JSON: worker');
is($answer->{state}, 'ready', '... state');
my $token = $answer->{token};
my $id = substr sha256_hex($token), 0, 12;
is($answer->{id}, $id, '... the id is made of the token\'s hash');
is_deeply([journal($t, 'SELECT cache_key FROM allocations')],
    [{ cache_key => 'octo/app' }], '... the cache key');
is($answer->{gatewayEndpoint}, 'tcp://localhost:' . $t->port('gw'),
    '... gatewayEndpoint');

is(mode("$dir/job"), '0700', 'the folder is 0700');
is(mode("$dir/job/$_"), '0600', "$_ is 0600")
    for qw(ca.pem cert.pem key.pem alloc.json);
is(decode_json($t->read('job/alloc.json'))->{token}, $token,
    'alloc.json has the token');
like($t->run('openssl', 'x509', '-in', "$dir/job/cert.pem", '-noout',
    '-subject')->{out}, qr/alloc:\Q$token\E/, 'cert.pem is of this token');
is($t->run('sh', '-c', "openssl x509 -in $dir/job/cert.pem -noout -pubkey;"
    . "openssl pkey -in $dir/job/key.pem -pubout")->{out}
    =~ /^(.*)\1$/s && 1, 1, 'key.pem fits cert.pem');
is($t->run('openssl', 'verify', '-CAfile', "$dir/job/ca.pem",
    "$dir/job/cert.pem")->{rc}, 0, 'ca.pem signed cert.pem');
is_deeply([grep { /\.\w{6}$/ } glob "$dir/job/*"], [], 'nothing half-made');

# no capacity

$got = bkctl('allocate', '--pool', 'default/demo', '--wait', '1s');
is($got->{rc}, 4, 'no worker within the wait: exit 4');
like($got->{err}, qr{^bkctl:\ no\ worker\ of\ pool\ default/demo
    \ became\ free\ within\ \d+s:\ place\ 1\b.*1\ of\ 1.*\n\ +\S}mx,
    '... says why and what to do');
is($got->{out}, '', '... nothing on stdout');

$got = bkctl('env', '--pool', 'demo', '--wait', '0s');
is($got->{rc}, 4, 'env: exit 4');
is($got->{out}, "(exit 4)\n", 'env: a failure that eval sees');

$got = bkctl('allocate', '--pool', 'nosuch');
is($got->{rc}, 1, 'no such pool: exit 1');
like($got->{err}, qr{default/nosuch.*\n +bkctl pools}, '... with a hint');
is(bkctl('allocate', '--pool', 'demo', '--ttl', '1000h')->{rc}, 1,
    'more than the longest ttl: exit 1');

# lists

like(bkctl('pools')->{out}, qr{^default/demo .*\n.*^team/two }ms, 'pools');
is(bkctl('pools', '--names')->{out}, "default/demo\nteam/two\n",
    'pools --names');
like(bkctl('workers')->{out},
    qr{^w1 +default/demo +ready +127\.0\.0\.1:7001 +amd64 +1 }m, 'workers');
is(bkctl('workers', '--pool', 'team/two', '--names')->{out}, "a\nb\n",
    'workers --pool --names');
like(bkctl('allocations')->{out}, qr{^$id +default/demo +w1 +ready +in [89]m}m,
    'allocations');
is(bkctl('allocations', '--pool', 'team/two', '--names')->{out}, '',
    'allocations of another pool');
my $list = decode_json(bkctl('allocations', '--json')->{out});
is(ref $list, 'ARRAY', 'allocations --json');
like(bkctl('routes')->{out}, qr{^$id +default/demo +w1 }m, 'routes');

$got = bkctl('status');
is($got->{rc}, 0, 'status: exit 0');
like($got->{out}, qr/^api unix:\S+: healthy\ngateway tcp:\/\/localhost:/m,
    'status: api and gateway') or diag($got->{err});
like($got->{out}, qr/^table \S+: live, .* 1 live/m, 'status: table');
like($got->{out}, qr{^default/demo }m, 'status: pools');
is(decode_json(bkctl('status', '--json')->{out})->{healthy}, JSON::true,
    'status --json');

# a folder whose owner could put another allocation's credentials there

mkdir "$dir/theirs", 0755 or die "theirs: $!";
chown 65534, 65534, "$dir/theirs" or die "chown: $!";
$got = bkctl('allocate', '--pool', 'team/two', '--out', "$dir/theirs");
is($got->{rc}, 1, 'a folder of somebody else: exit 1');
like($got->{err}, qr{^bkctl: the folder \S+ belongs to somebody else.*\n +\S}m,
    '... says so, and what to do');
is_deeply([glob "$dir/theirs/*"], [], '... and writes nothing there');

# renew

my ($cert, $key) = map { $t->read("job/$_.pem") } qw(cert key);
$got = bkctl('renew', "$dir/job/alloc.json", '--ttl', '2h');
is($got->{rc}, 0, 'renew: exit 0');
like($got->{out}, qr/^renewed $id: expires \S+Z \(in (1h59m|2h)/, 'renew: says'
    . ' until when');
isnt($t->read('job/cert.pem'), $cert, 'renew: a new certificate');
is($t->read('job/key.pem'), $key, 'renew: the old key');
is(mode("$dir/job/cert.pem"), '0600', 'renew: still 0600');
isnt(decode_json($t->read('job/alloc.json'))->{expiresAt},
    $answer->{expiresAt}, 'renew: alloc.json is up to date');

# release: by BKCTL_TLS_DIR, by stdin, twice

$got = $t->run({ env => { %env, BKCTL_TLS_DIR => "$dir/job" } }, $bkctl,
    'release');
is($got->{out}, "released $id\n", 'release by BKCTL_TLS_DIR');
$got = $t->run({ env => \%env, stdin => "$token\n" }, $bkctl, 'release', '-');
is($got->{out}, "released $id\n", 'release twice, by stdin: no error');
$t->write('token', $t->token . "\n");
is(bkctl('release', '--token-file', "$dir/token")->{rc}, 1,
    'a token nobody has: exit 1');
$got = bkctl('renew', "$dir/job/alloc.json");
is($got->{rc}, 1, 'renew after release: exit 1');
like($got->{err}, qr/$id.*released/, '... says what it is');

# env, in a shell

$got = $t->run({ env => { %env, PATH => $t->build . ":$ENV{PATH}" },
    dir => $dir }, 'sh', '-ec', 'eval "$(bkctl env --pool demo --out "a b")"
    test "$BKCTL_TLS_DIR" = "$PWD/a b"
    test "$BUILDER_NODE_0_AUTH_TLS_KEY" = "$(cat "a b/key.pem")"
    echo "$BUILDKIT_HOST"; bkctl release');
is($got->{rc}, 0, 'env: what it prints is for a shell') or diag($got->{err});
like($got->{out}, qr/^tcp:\/\/localhost:\d+\nreleased \w{12}\n$/,
    'env: BUILDKIT_HOST');
$got = bkctl('env', '--pool', 'demo', '--out', "$dir/e");
like($got->{out}, qr{^\#\ docker\ buildx\ create\ --name\ \S+\ --driver
    \ remote\ --driver-opt\ cacert=$dir/e/ca.pem,cert=$dir/e/cert.pem,
    key=$dir/e/key.pem\ tcp://localhost:\d+$}mx, 'env: the buildx line');
like($got->{out}, qr{^# buildctl --addr tcp://\S+ --tlscacert $dir/e/ca.pem}m,
    'env: the buildctl line');
my $text = decode_json($t->read('e/alloc.json'));
ok(index($got->{out}, $text->{token}) == -1, 'env: no token on stdout');

# revoke

$id = substr sha256_hex($text->{token}), 0, 12;
is(bkctl('revoke', $id, '--reason', 'key leaked & more')->{out},
    "revoked $id: 0 connections cut\n", 'revoke');
like(bkctl('allocations')->{out}, qr{^$id .* revoked .* key leaked & more$}m,
    'the reason is kept');
is(bkctl('revoke', '0' x 12, '--reason', 'x')->{rc}, 1, 'revoke: no such id');

# the folder cannot be written: the worker is given back

is(bkctl('allocate', '--pool', 'demo', '--out', "$dir/token/x")->{rc}, 1,
    'a folder that cannot be: exit 1');
like(bkctl('pools')->{out}, qr{^default/demo +ready +1 +1 +0 +0 +0 }m,
    '... and the worker is idle again');


sub bkctl { return $t->run({ env => \%env }, $bkctl, @_) }

sub mode { return sprintf '%04o', (stat $_[0])[2] & 07777 }
