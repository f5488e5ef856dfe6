#!/usr/bin/perl

# One allocation, from the request to its end: the answer's fields, the
# certificate, the key binding in the table, the row of the journal; lookup,
# release (twice) and what is said afterwards.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Digest::SHA qw(sha256 sha256_hex);
use Test::Buildkit;

plan tests => 44;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 2), '{name: allocator}']));

my $r = $host->request(POST => '/api/v1/workers/allocate', {
    poolName => 'demo', namespace => 'default', jobId => 'job-1', ttl => '90s',
    metadata => { branch => 'main', quote => "a\"b\\c" }, cacheKey => 'k',
    arch => 'amd64', wait => '5s', unknownField => [1, { a => 2 }] });

is $r->{status}, 200, 'allocated';
my $a = $r->{json};
like $a->{token}, qr/^[A-Za-z0-9_-]{43}$/, 'token';
is $a->{id}, $t->id($a->{token}), 'id';
is $a->{poolName}, 'default/demo', 'poolName';
my ($n) = $a->{workerName} =~ /^w([12])$/;
ok $n, 'workerName';
is $a->{state}, 'ready', 'state';
is $a->{endpoint}, 'tcp://127.0.0.1:700' . $n, 'endpoint';
is $a->{gatewayEndpoint}, 'tcp://localhost:' . $t->port('gw'),
    'gatewayEndpoint';
is $a->{tlsServerName}, 'localhost', 'tlsServerName';
like $a->{expiresAt}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'expiresAt';

$t->write('cert.pem', pem($a->{clientCert}));
$t->write('key.pem', pem($a->{clientKey}));
$t->write('ca.pem', pem($a->{caCert}));
my $dir = $t->dir;

like openssl(qw(x509 -noout -subject -in), "$dir/cert.pem"),
    qr/CN ?= ?alloc:\Q$a->{token}\E\n/, 'CN';
like openssl('verify', '-purpose', 'sslclient', '-CAfile', "$dir/ca.pem",
    "$dir/cert.pem"), qr/: OK/, 'signed by the authority that is given';
is openssl(qw(x509 -noout -pubkey -in), "$dir/cert.pem"),
    openssl(qw(pkey -pubout -in), "$dir/key.pem"), 'key fits';
like openssl(qw(pkey -noout -text -in), "$dir/key.pem"), qr/prime256v1/,
    'P-256';
is $t->run(qw(openssl x509 -noout -checkend), 86400, '-in', "$dir/cert.pem")
    ->{rc}, 0, 'certificate outlives the allocation by a day';
is $t->run(qw(openssl x509 -noout -checkend), 86400 + 180, '-in',
    "$dir/cert.pem")->{rc}, 1, 'and not by more';

my $spki = $t->run('sh', '-c', "openssl pkey -in $dir/key.pem -pubout "
    . '-outform DER')->{out};
my $table = $t->read('buildkit.table');
isnt index($table, sha256($a->{token})), -1, 'the table has the hash';
isnt index($table, sha256($spki)), -1, 'and the hash of the key';

my ($row) = journal($t, 'SELECT hex(token_hash) AS h, hex(spki) AS k, pool, '
    . 'worker, job_id, metadata, requested_by, created_ms, expires_ms, state '
    . 'FROM allocations');
is lc $row->{h}, sha256_hex($a->{token}), 'journal: hash';
is lc $row->{k}, unpack('H*', $spki), 'journal: public key';
is $row->{state}, 'live', 'journal: state';
is "$row->{pool} $row->{worker} $row->{job_id}", "default/demo w$n job-1",
    'journal: what and for whom';
is_deeply JSON::decode_json($row->{metadata}),
    { branch => 'main', quote => "a\"b\\c" }, 'journal: metadata';
like $row->{requested_by}, qr/^unix:uid=\d+,pid=\d+$/, 'journal: caller';
# from when it got its worker, which is a moment later, to a whole second
is $row->{expires_ms} - $row->{created_ms} >= 90000
    && $row->{expires_ms} - $row->{created_ms} < 120000, 1, 'journal: ttl';
is sprintf('%o', (stat "$dir/state/journal.db")[2] & 0777), '600',
    'journal: mode';

$r = $host->request(POST => '/api/v1/workers/lookup',
    { token => $a->{token} });
is $r->{status}, 200, 'lookup';
is_deeply { map { $_ => $r->{json}{$_} } qw(id state poolName workerName
    workerEndpoint tlsServerName expiresAt) }, { id => $a->{id},
    state => 'ready', poolName => 'default/demo', workerName => "w$n",
    workerEndpoint => "tcp://127.0.0.1:700$n", tlsServerName => "w$n.test",
    expiresAt => $a->{expiresAt} }, 'lookup: fields';

$r = $host->request(POST => '/api/v1/workers/lookup',
    { token => $t->token });
is $r->{status}, 404, 'unknown token';
is $r->{json}{reason}, 'AllocationNotFound', 'unknown token: reason';

for my $time ('once', 'twice') {
    $r = $host->request(POST => '/api/v1/workers/release',
        { token => $a->{token} });
    is $r->{status}, 200, "released $time";
    is_deeply $r->{json}, {}, "released $time: {}";
}
is $host->request(POST => '/api/v1/workers/release',
    { token => $t->token })->{status}, 404, 'release of an unknown token';

$r = $host->request(POST => '/api/v1/workers/lookup',
    { token => $a->{token} });
is $r->{status}, 410, 'lookup after the end';
like $r->{json}{error}, qr/^allocation $a->{id} was released at \d{4}-/,
    'and its text';
is $host->request(POST => '/api/v1/workers/renew',
    { token => $a->{token} })->{status}, 410, 'renew after the end';
is ((journal($t, 'SELECT state FROM allocations'))[0]{state}, 'released',
    'journal: released');

# a name with a slash is taken whole; the second worker is free as well
my @more = map { $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'default/demo' }) } 1 .. 2;
is_deeply [sort map { $_->{json}{workerName} } @more], ['w1', 'w2'],
    'the worker is free again, and the other one as well';
isnt $more[0]{json}{token}, $more[1]{json}{token}, 'another token';

# invariant 5: nowhere but in the answer
my @secrets = ($a->{token}, map({ $_->{json}{token} } @more),
    map { (split /\n/, pem($_->{json}{clientKey}))[1] } @more);
$host->stop;
my @files = grep { !m{/(cert|key)\.pem$} && -f } glob "$dir/* $dir/state/*";
my @found;
for my $file (@files) {
    my $text = $t->read($file) // '';
    push @found, $file if grep { index($text, $_) != -1 } @secrets;
}
is_deeply \@found, [], 'no token and no key in any file';
cmp_ok scalar(grep { m{/journal\.db$} } @files), '==', 1,
    'the journal was among them';
isnt index($host->log, $a->{id}), -1, 'the log has the id';


sub openssl {
    my $r = $t->run('openssl', @_);

    return $r->{out} . $r->{err};
}
