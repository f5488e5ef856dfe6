# bkctl ca: what there is, rotate, retire; what it refuses.  What a rotation
# does is in t/ca_rotate.t.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 25;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools: [{name: default/demo}]\n");
my $h = $t->host(<<'E');
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock", "127.0.0.1:%%PORT:api%%"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E

my $r = ca();
is($r->{rc}, 0, 'shown');
my @rows = split /\n/, $r->{out};
is(scalar @rows, 3, 'a header and two authorities');
my $day = qr/\d{4}-\d\d-\d\d/;
like($rows[1], qr/^gateway\s+current\s+[0-9a-f]{16}\s+$day\ \(36\d\d\ days\)\s+-
    \s+CN=BuildKit\ gateway\ authority\ [0-9a-f]{8}$/x, 'the gateway');
like($rows[2], qr/^worker\s+current/, 'the workers');
my $fingerprint = $t->run(qw(openssl x509 -noout -fingerprint -sha256 -in),
    $t->dir . '/state/ca/gateway-ca.pem')->{out};
$fingerprint =~ s/.*=|[:\n]//g;
like($rows[1], qr/\b${\ lc substr $fingerprint, 0, 16}\b/,
    'by what openssl says as well');
is(lc $fingerprint, ca('--json')->{json}{authorities}[0]{certificates}[0]
    {sha256}, '--json has all of it');

$r = ca('rotate', '--authority', 'gateway');
is($r->{rc}, 0, 'rotate') or diag $r->{err};
like($r->{out}, qr/^gateway\s+current.*\ngateway\s+old/m, 'old and new');
unlike($r->{out}, qr/^worker\s+old/m, 'of the named one alone');
like($r->{err}, qr/nginx's files have changed: reload it/, 'what is to do');

$r = ca('rotate');
like($r->{out}, qr/^worker\s+old/m, 'without a name: both');
$r = ca('retire');
is($r->{rc}, 0, 'what nobody needs is retired') or diag $r->{err};
unlike($r->{out}, qr/\bold\b/, 'and gone');
$r = ca('retire');
is($r->{rc}, 1, 'there is nothing more');
like($r->{err}, qr/there is no old authority/, 'which is said');

for (['sign', qr/does not take "sign"; it takes rotate or retire/],
    ['--force', qr/"--force" goes with rotate or retire/],
    ['rotate', '--force', qr/"--force" goes with retire/])
{
    my @args = @$_;
    my $want = pop @args;
    $r = ca(@args);
    ok($r->{rc} == 2 && $r->{err} =~ $want, "usage: @args") or diag $r->{err};
}
$r = ca('rotate', '--authority', 'mine');
like($r->{err}, qr/no such authority.*"gateway" or "worker"/s, 'no such one');
is($h->request('POST', '/api/v1/ca/rotate', { everything => 1 })->{status},
    400, 'the API takes nothing else');
is($h->request('POST', '/api/v1/ca/retire', { force => 'yes' })->{status},
    400, 'and no other kind');
is($h->request('GET', '/api/v1/ca/rotate')->{status}, 405, 'nor by GET');
for (['GET', 'ca'], ['POST', 'ca/rotate'], ['POST', 'ca/retire']) {
    my ($method, $path) = @$_;
    is($t->http('127.0.0.1:' . $t->port('api'), $method, "/api/v1/$path")
        ->{status}, 401, "$method $path: not for anybody");
}


sub ca {
    my $got = $t->run({ env => { BKCTL_ENDPOINT => 'unix:' . $t->dir
        . '/api.sock', NO_COLOR => 1 } }, $t->build . '/bkctl', 'ca', @_);
    $got->{json} = eval { JSON::decode_json($got->{out}) };
    return $got;
}
