#!/usr/bin/perl

# The endpoints of older callers: /api/v1/allocate and /api/v1/certs/request
# make allocations like any other, in their own words; what cannot be honoured
# is refused, and never ignored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal pem);
use Queue;
use Test::Buildkit;

my $pool = '"poolName":"demo"';
my ($allocate, $certs) = ('/api/v1/allocate', '/api/v1/certs/request');

# path, body, reason, what the text says
my @bad = (
    [$allocate, '{}', 'MissingField', qr/"poolName" is missing/],
    [$allocate, '{"poolSelector":{"tier":"big"}}', 'PoolNotFound',
        qr/namespace default that you may use has these labels/],
    [$allocate, '{"poolSelector":"big"}', 'WrongType', qr/object of labels/],
    [$allocate, '{"poolSelector":{"tier":7}}', 'WrongType', qr/and strings/],
    [$allocate, '{"poolSelector":{' . join(',', map { "\"l$_\":\"\"" } 1 .. 33)
        . '}}', 'TooLong', qr/more than 32 labels/],
    [$allocate, '{"poolSelector":{"tier":"big"},"namespace":7}', 'WrongType',
        qr/"namespace" is/],
    [$allocate, "{$pool,\"useExistingCerts\":true}", 'Unsupported',
        qr/"useExistingCerts": a certificate belongs to one/],
    [$allocate, "{$pool,\"useExistingCerts\":\"x\"}", 'WrongType', qr/boolean/],
    [$allocate, "{$pool,\"certSecretName\":\"s\"}", 'Unsupported',
        qr/"certSecretName": this gateway writes no secrets/],
    [$allocate, "{$pool,\"duration\":\"soon\"}", 'BadDuration', qr/"duration"/],
    [$allocate, "{$pool,\"duration\":\"48h\"}", 'BadTtl', qr/"duration" must/],
    [$certs, '{}', 'MissingField', qr/"pools" is missing/],
    [$certs, '{"pools":"demo"}', 'WrongType', qr/list of strings/],
    [$certs, '{"pools":[7]}', 'WrongType', qr/list of strings/],
    [$certs, '{"pools":[]}', 'OnePool', qr/names 0 pools/],
    [$certs, '{"pools":["a","b"]}', 'OnePool', qr/names 2 pools/],
    [$certs, '{"pools":["nope"]}', 'PoolNotFound', qr{default/nope}],
    [$certs, '{"pools":["' . 'p' x 400 . '"]}', 'TooLong', qr/./],
);

plan tests => 2 * @bad + 25;

my $t = Test::Buildkit->new;
my $host = start($t, '', workers => 2, pool => { more => <<'END' });
  - name: team/demo
    shared: true
    workers: [{name: t1, endpoint: "127.0.0.1:7900", tlsName: t1.test}]
END

for (@bad) {
    my ($path, $body, $reason, $text) = @$_;
    my $r = $host->request(POST => $path, $body,
        headers => { 'Content-Type' => 'application/json' });
    is $r->{json}{reason}, $reason, substr($body, 0, 50) . ": $r->{status}";
    like $r->{json}{error}, $text, '... says what';
}
is_deeply [journal($t, 'SELECT 1 FROM allocations')], [], 'nothing was made';

my $r = $host->request(POST => $allocate, { poolName => 'demo',
    duration => '2h', jobId => 'j1', useExistingCerts => JSON::false });
is $r->{status}, 200, 'allocate';
my $a = $r->{json};
is $a->{endpoint}, 'tcp://localhost:' . $t->port('gw'), 'endpoint: the gateway';
is $a->{poolName}, 'default/demo', 'poolName';
is $a->{ready}, JSON::true, 'ready';
like $a->{workerName}, qr/^w[12]$/, 'workerName';
like $a->{allocationToken}, qr/^[\w-]{43}$/, 'allocationToken';
like subject($a), qr/CN ?= ?alloc:\Q$a->{allocationToken}\E$/, 'certificate';
is scalar(grep { pem($a->{$_}) !~ /^-----BEGIN/ }
    qw(caCert clientCert clientKey)), 0, 'PEM in base64';
my ($row) = journal($t, 'SELECT job_id, expires_ms - created_ms AS ms
    FROM allocations');
is $row->{job_id}, 'j1', 'jobId';
is int($row->{ms} / 60000), 120, 'duration';

$r = $host->request(POST => $certs, { pools => ['demo'], duration => '30m' });
is $r->{status}, 200, 'certs/request';
is_deeply $r->{json}{endpoints},
    { demo => 'tcp://localhost:' . $t->port('gw') }, 'endpoints';
like subject($r->{json}), qr/CN ?= ?alloc:\Q$r->{json}{token}\E$/,
    'a certificate of its own';
is lookup_as($t, $r->{json}{token})->{json}{state}, 'ready', 'an allocation';

# nothing free: as a new caller is told
my $q = ask($allocate, { poolName => 'demo', wait => '0' });
is "$q->{ready} $q->{state} $q->{position}", '0 queued 1', 'queued: not ready';
is $q->{workerName}, '', '... on no worker';
$host->request(POST => '/api/v1/workers/release',
    { token => $a->{allocationToken} });
$t->wait_for(sub { lookup_as($t, $q->{allocationToken})->{json}{state} eq
    'ready' }, 10, 'its turn');
pass '... and in its turn it is';

# a name without a namespace is of the one that is named, or of "default"
for ([$allocate, poolName => 'demo'], [$certs, pools => ['demo']]) {
    my ($path, @name) = @$_;
    my $got = $host->request(POST => $path, { @name, namespace => 'team' })
        ->{json};
    is $got->{poolName} // 'team/demo', 'team/demo', "$path: a namespace";
    is lookup_as($t, $got->{allocationToken} // $got->{token})->{json}
        {workerName}, 't1', '... its worker';
    $name[1] = ref $name[1] ? ['team/demo'] : 'team/demo';
    $got = $host->request(POST => $path, { @name, namespace => 'x' })->{json};
    is lookup_as($t, $got->{allocationToken} // $got->{token})->{json}
        {workerName}, 't1', '... or the whole name';
}
unlike $host->log, qr/\Q$a->{allocationToken}\E/, 'no token is in the log';
$host->stop;


sub ask { $host->request(POST => $_[0], $_[1])->{json} }

sub subject {
    $t->write('c.pem', pem($_[0]{clientCert}));
    return $t->run(qw(openssl x509 -noout -subject -in), $t->dir . '/c.pem')
        ->{out};
}
