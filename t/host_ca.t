#!/usr/bin/perl

# The authorities: made once, with the right modes and extensions, kept, and
# never replaced when they are damaged.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools: []\n");
my $yaml = <<'E';
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://gw.example.com:1235", names: [alt.example, 10.1.2.3]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
my $state = $t->dir . '/state';

sub text {
    my ($file) = @_;
    return $t->run(qw(openssl x509 -noout -text -in), "$state/$file")->{out};
}

sub verify {
    my ($ca, $file, $purpose) = @_;
    return $t->run(qw(openssl verify -x509_strict -purpose), $purpose,
        '-CAfile', "$state/ca/$ca-ca.pem", "$state/tls/$file")->{rc};
}

my $h = $t->host($yaml);

is((stat $state)[2] & 07777, 0700, 'the state folder');
for my $who (qw(gateway worker)) {
    is((stat "$state/ca/$who-ca-key.pem")[2] & 07777, 0600, "$who key: 0600");
    my $text = text("ca/$who-ca.pem");
    like($text, qr/Subject: CN ?= ?BuildKit $who authority [0-9a-f]{8}\n/,
        'its name');
    like($text, qr/CA:TRUE, pathlen:4/, 'an authority, for leaves');
    like($text, qr/Key Usage: critical\s+Certificate Sign, CRL Sign\n/,
        'its use');
    like($text, qr/ASN1 OID: prime256v1/, 'P-256');
    is($t->read("$state/tls/$who-ca.pem"), $t->read("$state/ca/$who-ca.pem"),
        'its copy for nginx');
}
for my $key (qw(gateway upstream)) {
    is((stat "$state/tls/$key-key.pem")[2] & 07777, 0600, "$key key: 0600");
}

my $server = text('tls/gateway.pem');
like($server, qr/Serial Number:\s+(?:[0-9a-f]{2}:){15}[0-9a-f]{2}\n/,
    'a serial of 128 bits');
like($server, qr/DNS:gw\.example\.com, DNS:localhost, IP Address:127\.0\.0\.1/,
    'its names');
like($server, qr/:0:0:0:0:0:0:0:1, DNS:alt\.example, IP.*:10\.1\.2\.3/,
    'all of them');
like($server, qr/TLS Web Server Authentication\n/, 'for servers alone');
like($server, qr/Authority Key Identifier/, 'AKI');
like($server, qr/Subject Key Identifier/, 'SKI');
like(text('tls/upstream.pem'), qr/TLS Web Client Authentication\n/,
    'upstream: for clients alone');

is(verify('gateway', 'gateway.pem', 'sslserver'), 0, 'gateway verifies');
is(verify('worker', 'upstream.pem', 'sslclient'), 0, 'upstream verifies');
isnt(verify('worker', 'gateway.pem', 'sslserver'), 0, 'the worlds are apart');
isnt(verify('gateway', 'upstream.pem', 'sslclient'), 0, 'both ways');

# kept
my %before = map { $_ => $t->read("$state/$_") } qw(ca/gateway-ca.pem
    ca/gateway-ca-key.pem ca/worker-ca.pem ca/worker-ca-key.pem
    tls/gateway.pem tls/upstream.pem);
$h->stop;
$h->restart;
is_deeply({ map { $_ => $t->read("$state/$_") } keys %before }, \%before,
    'a restart keeps all of them');
$h->stop;

# another name: a new server certificate, the same authority
$h = $t->host($yaml =~ s/gw\.example/other.example/r, name => 'renamed');
like(text('tls/gateway.pem'), qr/DNS:other\.example\.com/, 'a new name');
is($t->read("$state/ca/gateway-ca.pem"), $before{'ca/gateway-ca.pem'},
    'of the old authority');
$h->stop;

# a certificate that ends soon is made again
ends_soon();
like(text('tls/upstream.pem'), qr/Serial Number: 7 /, 'one that ends soon');
$h->restart;
unlike(text('tls/upstream.pem'), qr/Serial Number: 7 /, 'is made again');

# while it runs as well: twice a day, and when it is told to look
ends_soon();
my $key_before = $t->read("$state/tls/upstream-key.pem");
$h->kill('HUP');
$t->wait_for(sub { text('tls/upstream.pem') !~ /Serial Number: 7 / }, 10,
    'a renewed certificate');
is(verify('worker', 'upstream.pem', 'sslclient'), 0, 'renewed while it runs');
is($t->read("$state/tls/upstream-key.pem"), $key_before, 'for the same key');
ok($t->wait_for(sub { $h->log =~ /tls have changed: reload nginx/ }, 10,
    'a word'), 'it says that nginx is to be reloaded');

# a key that others can read
$h->stop;
chmod 0644, "$state/ca/worker-ca-key.pem";
$h->restart;
is((stat "$state/ca/worker-ca-key.pem")[2] & 07777, 0600, 'is closed');
like($h->log, qr/could be read by others \(mode 644\)/, 'and said');
$h->stop;

# upstream.pem for 20 days, with serial number 7
sub ends_soon {
    $t->run(qw(openssl x509 -req -days 20 -in), $t->write('csr.pem',
        $t->run(qw(openssl req -new -subj /CN=buildkit-gateway -key),
            "$state/tls/upstream-key.pem")->{out}),
        '-CA', "$state/ca/worker-ca.pem",
        '-CAkey', "$state/ca/worker-ca-key.pem",
        '-set_serial', '7', '-out', "$state/tls/upstream.pem");
    return;
}

# damage
sub refused {
    my ($want, $name) = @_;
    my $r = $t->run($t->build . '/buildkit-plugin-host', '-c', $h->{conf});
    ok($r->{rc} == 1 && $r->{err} =~ $want
        && $r->{err} =~ /put it back from a backup/, $name)
        or diag($r->{err});
}

my $file = "$state/ca/gateway-ca.pem";
$t->write($file, "garbage\n");
refused(qr/gateway-ca\.pem holds no certificate/, 'a damaged certificate');
is($t->read($file), "garbage\n", 'is not overwritten');
$t->write($file, $before{'ca/worker-ca.pem'});
refused(qr/gateway-ca\.pem does not belong to its key/, 'the wrong one');
$t->write($file, $before{'tls/gateway.pem'});
refused(qr/gateway-ca\.pem is no authority/, 'no authority');
$t->write($file, $before{'ca/gateway-ca.pem'});

my $key = "$state/ca/gateway-ca-key.pem";
$t->write($key, '');
refused(qr/gateway-ca-key\.pem holds no private key/, 'an empty key');
unlink $key;
refused(qr/gateway-ca-key\.pem is missing/, 'a missing key');
ok(!-e $key, 'none is made in its place');
$t->write($key, $before{'ca/gateway-ca-key.pem'});
chmod 0600, $key;

unlink $file;
$h->restart;
is($t->run(qw(openssl verify -CAfile), $file, "$state/tls/gateway.pem")->{rc},
    0, 'a first start that was cut off is completed from the key');
is(scalar(() = glob "$state/*/*.tmp"), 0, 'no temporary file is left');

my $log = $h->log;
unlike($log, qr/PRIVATE|BEGIN/, 'no key in the log');

done_testing;
