# The gateway authority is issued from outside, in a folder as Kubernetes
# mounts a secret of cert-manager: a swap of its link is taken at once and
# cuts nobody, a bad pair changes nothing and is said.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Path qw(make_path);
use Test::Buildkit;

plan tests => 31;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $state = "$dir/state";
my $n = 0;

$t->write("garbage$_.pem", "garbage\n") for '', '-key';
issuer('root', 'ca', 30);
issuer('one', 'ca', 90, 'root');
secret('one', 'root');

my ($host, $nginx) = $t->gateway(workers => 1, shared => 1, reload => 1,
    top => <<'E');
issuer:
  gateway: {cert: "%%DIR%%/tls/tls.crt", key: "%%DIR%%/tls/tls.key", ca: "%%DIR%%/tls/ca.crt"}
E

ok(!-e "$state/ca/gateway-ca-key.pem", 'no authority of our own is made');
ok(-e "$state/ca/worker-ca-key.pem", 'but for workers');
my $old = $t->allocate('old');
is($t->whose($old), 'w1', 'an allocation of the issuer') or diag
    $old->{run}{err};
is($t->read($old->{ca}), $t->read('root.pem'), 'its root is trusted');
is(subjects($old->{cert}), 'alloc one', 'its chain is handed on');
is(subjects("$state/tls/gateway.pem"), 'buildkit-gateway one',
    "so is nginx'");

my $r = $host->request('POST', '/api/v1/ca/rotate', { authority => 'gateway' });
is($r->{status}, 409, 'it is not ours to rotate');
like($r->{body}, qr/issued from outside, in/,
    'which is said');

# another intermediate, of the same root
issuer('two', 'ca', 90, 'root');
secret('two', 'root');
$t->wait_for(sub { authority()->{certificates}[0]{subject} eq 'CN=two' }, 20,
    'the new issuer');
my $new = $t->allocate('new');
is(subjects($new->{cert}), 'alloc two', 'a swap of the link: it signs');
is($t->whose($new), 'w1', 'who has the new one gets through');
is($t->whose($old), 'w1', 'who has the old one does');
is($t->whose({ %$new, ca => $old->{ca} }), 'w1', 'with the old root');

# another root
issuer('other', 'ca', 90);
secret('other', 'other');
$t->wait_for(sub { $host->request('GET', '/api/v1/ca')->{json}{authorities}[0]
    {certificates}[1] }, 20, 'the new issuer');
my $third = $t->allocate('third');
is(subjects($third->{ca}), 'other root', 'another root: both are trusted');
is($t->whose($third), 'w1', 'who has the new one gets through at once');
$t->wait_for(sub { $host->request('GET', '/api/v1/ca')->{json}{reload}{state}
    eq 'ok' }, 20, 'nginx to be reloaded');
is($t->whose($third), 'w1', 'and when nginx knows it');
is($t->whose($old), 'w1', 'who has the old one does');
is($t->whose({ %$old, ca => $third->{ca} }), 'w1', 'with the new root');

# bad ones change nothing
my $before = $t->read("$state/tls/gateway.pem");
issuer('leaf', 'leaf', 90, 'root');
issuer('short', 'ca', 90, 'root', 'pathlen:0');
issuer('below', 'ca', 90, 'short');
$t->write('below.pem', $t->read('below.pem') . $t->read('short.pem'));
$t->mkcert('--out', "$dir/past", '--is-ca', '--cn', 'past',
    '--not-before', -7200, '--not-after', -60);
for (['leaf', 'root', 'leaf', qr/is no authority's certificate/],
    ['two', 'root', 'one', qr/does not belong to the certificate/],
    ['two', 'other', 'two', qr/does not lead to a root that is known/],
    ['past', 'past', 'past', qr/has expired/],
    ['garbage', 'root', 'two', qr/holds no certificate/],
    ['two', 'root', 'garbage', qr/holds no private key/],
    ['below', 'root', 'below', qr/path length/])
{
    my ($cert, $ca, $key, $want) = @$_;
    secret($cert, $ca, $key);
    ok($t->wait_for(sub { error() =~ $want }, 10, "$want"),
        "$cert, $ca, $key: " . error());
}
is($t->read("$state/tls/gateway.pem"), $before, 'nothing was changed');
is($t->whose($t->allocate('fourth')), 'w1', 'allocations go on');
like($host->log, qr/tls\.crt has expired; nothing was changed/, 'logged');

# the workers' own root would open them to every client
$t->write('worker.pem', $t->read("$state/ca/worker-ca.pem"));
$t->write('worker-key.pem', $t->read("$state/ca/worker-ca-key.pem"));
secret('worker', 'worker');
ok($t->wait_for(sub { error() =~ /have a root in common/ }, 10, 'it'),
    'one root for both is refused');

secret('other', 'other');
ok($t->wait_for(sub { error() eq '' }, 10, 'it'), 'a good one: well again');
$host->restart;
is($t->run(qw(openssl verify -CAfile), "$state/tls/gateway-ca.pem",
    '-untrusted', $old->{cert}, $old->{cert})->{rc}, 0,
    'the old one is trusted over a restart');
unlike($host->log, qr/PRIVATE|BEGIN/, 'no key in the log');


sub issuer {
    my ($name, $kind, $days, $by, $more) = @_;

    $by = $by ? "-CA $dir/$by.pem -CAkey $dir/$by-key.pem" : '';
    $more = $more ? ",$more" : '';
    $kind = $kind eq 'ca' ? "CA:TRUE$more" : 'CA:FALSE';
    my $r = $t->run('sh', '-c', "openssl genpkey -algorithm EC -pkeyopt "
        . "ec_paramgen_curve:P-256 -out $dir/$name-key.pem && openssl req "
        . "-x509 -new -key $dir/$name-key.pem $by -days $days -subj /CN=$name "
        . "-addext basicConstraints=critical,$kind -addext "
        . "keyUsage=critical,keyCertSign,cRLSign -out $dir/$name.pem");
    die $r->{err} if $r->{rc} != 0;
    return;
}

# tls/tls.crt -> ..data/tls.crt, ..data -> ..1; the swap is one rename
sub secret {
    my ($cert, $ca, $key) = @_;

    $key //= $cert;
    my $data = '..' . ++$n;
    make_path("$dir/tls/$data");
    $t->write("$dir/tls/$data/$_->[0]", $t->read("$_->[1].pem")) for
        ['tls.crt', $cert], ['tls.key', "$key-key"], ['ca.crt', $ca];
    symlink $data, "$dir/tls/..new" or die "symlink: $!";
    rename "$dir/tls/..new", "$dir/tls/..data" or die "rename: $!";
    symlink "..data/$_", "$dir/tls/$_" for qw(tls.crt tls.key ca.crt);
    return;
}

sub subjects {
    my ($file) = @_;

    my $r = $t->run('sh', '-c', "openssl crl2pkcs7 -nocrl -certfile $file | "
        . 'openssl pkcs7 -print_certs -noout');
    return join ' ', $r->{out} =~ /^subject=.*?CN ?= ?([\w-]+)/mg;
}

sub authority { $host->request('GET', '/api/v1/ca')->{json}{authorities}[0] }
sub error { authority()->{error} // '' }
