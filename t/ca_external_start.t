# An issuer's pair at the start: kinds of keys that are taken and that are not,
# what is refused before anything is signed, and the way from an authority of
# our own to an issuer and back.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 22;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $state = "$dir/state";
$t->write('static.yaml', "pools: []\n");
my $own = <<'E';
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
my $n = 0;
my %keys = (p256 => 'EC -pkeyopt ec_paramgen_curve:P-256',
    p384 => 'EC -pkeyopt ec_paramgen_curve:P-384', ed25519 => 'ED25519',
    rsa => 'RSA -pkeyopt rsa_keygen_bits:2048',
    small => 'RSA -pkeyopt rsa_keygen_bits:1024');
pair($_, $_) for sort keys %keys;
pair('child', 'p256', 'p256');

# each kind; those before stay trusted
my $h = $t->host($own);
my $first = $t->read("$state/ca/gateway-ca.pem");
$h->stop;
for my $kind (qw(p256 p384 rsa ed25519)) {
    $h = $t->host(conf($kind), name => "host$kind");
    is(verify($kind), 0, "$kind: taken, and verified by it alone");
    my $listed = () = $t->read("$state/tls/gateway-ca.pem") =~ /BEGIN CERT/g;
    cmp_ok($listed, '>=', 1, "$kind: $listed trusted");
    is($h->request('GET', '/api/v1/ca')->{json}{authorities}[0]{issuer},
        'external', "$kind: shown as such");
    $h->stop;
}
$h = $t->host($own, name => 'back');
is($t->read("$state/ca/gateway-ca.pem"), $first, 'back: our own as it was');
is($t->run(qw(openssl verify -CAfile), "$state/ca/gateway-ca.pem",
    '-untrusted', "$state/tls/gateway.pem", "$state/tls/gateway.pem")->{rc}, 0,
    'and signs again');
is((stat "$state/ca/gateway-trust.json")[2] & 07777, 0600, 'what is known');
unlike($t->read("$state/ca/gateway-trust.json"), qr/PRIVATE/, 'no key in it');
$h->stop;

refused(conf('small'), qr/is no key that is good enough.*2048 to 4096/s,
    'a short RSA key');
refused(conf('child'), qr/is an intermediate's.*name the file of the root/s,
    'an intermediate without its root');
refused(conf('nothing'), qr/nothing\.pem: No such file/, 'no file');
refused($own . "issuer: {gateway: {cert: tls.crt, key: /k}}\n",
    qr/issuer\.gateway\.cert.*absolute/s, 'a relative path');
refused($own . "issuer: {gateway: {cert: /c}}\n", qr/key/, 'no key');
refused(conf('p256') =~ s|issuer: \{|issuer: {worker: {cert: "$dir/p256.pem", |r
    =~ s|p256.pem", gat|p256.pem", key: "$dir/p256-key.pem"}, gat|r,
    qr/root in common.*from two roots/s, 'one issuer for both');


sub conf {
    my ($kind) = @_;
    return $own . "issuer: {gateway: {cert: \"$dir/$kind.pem\", key: "
        . "\"$dir/$kind-key.pem\"}}\n";
}

sub pair {
    my ($name, $kind, $by) = @_;

    $by = $by ? "-CA $dir/$by.pem -CAkey $dir/$by-key.pem" : '';
    my $r = $t->run('sh', '-c', "openssl genpkey -algorithm $keys{$kind} -out "
        . "$dir/$name-key.pem && openssl req -x509 -new -days 90 $by -key "
        . "$dir/$name-key.pem -subj /CN=$name -addext "
        . 'basicConstraints=critical,CA:TRUE -addext '
        . "keyUsage=critical,keyCertSign,cRLSign -out $dir/$name.pem");
    die $r->{err} if $r->{rc} != 0;
    return;
}

sub verify {
    my ($kind) = @_;
    return $t->run(qw(openssl verify -x509_strict -purpose sslserver -CAfile),
        "$dir/$kind.pem", "$state/tls/gateway.pem")->{rc};
}

sub refused {
    my ($yaml, $want, $name) = @_;
    my $r = $t->run({ timeout => 60 }, $t->build . '/buildkit-plugin-host',
        '-c', $t->write('bad' . ++$n . '.yaml', $yaml));
    ok($r->{rc} == 1 && $r->{err} =~ $want, $name) or diag $r->{err};
    return;
}
