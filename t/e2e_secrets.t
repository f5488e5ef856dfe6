# Invariant 5: tokens and keys are never in logs, metrics, lists, error texts,
# process arguments, environments, the route table or the journal.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Find;
use MIME::Base64 qw(encode_base64 decode_base64 decode_base64url);
use Test::Buildkit;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 2, nginx => {
    stream => 'log_format all "$remote_addr $ssl_client_verify'
        . ' $buildkit_allocation $buildkit_pool $buildkit_worker'
        . ' $buildkit_worker_tls_name $buildkit_state $buildkit_reason'
        . ' $buildkit_expires $upstream_addr";',
    server => "access_log %%DIR%%/access.log all;\n" });
my $context = $t->context('app');

# everything that a token or a key takes part in
my @one = map { $t->allocate("a$_", '--ttl', '10m', '--job-id', "job $_") }
    1 .. 2;
is($_->{run}{rc}, 0, 'allocate') for @one;

my %said = (allocate => $one[0]{run}{err});
$said{build} = all($t->buildctl($one[0], $t->dockerfile_args($context)));
$said{full} = all($t->allocate('full', '--wait', '1s')->{run});
$said{renew} = $t->bkctl('renew', $one[0]{file}, '--ttl', '20m')->{err};
$said{revoke} = all($t->bkctl('revoke', $one[1]{id}, '--reason', 'leaked'));
$said{refused} = all($t->buildctl($one[1], 'debug', 'workers'));
$said{badtoken} = $host->request('POST', '/api/v1/workers/lookup',
    { token => "$one[0]{token}x" })->{body};
$said{badjson} = $host->request('POST', '/api/v1/workers/release',
    "{\"token\": \"$one[0]{token}\"", headers => {
    'Content-Type' => 'application/json' })->{body};
$said{badtype} = $host->request('POST', '/api/v1/workers/release',
    "token=$one[0]{token}")->{body};
$said{ended} = $host->request('POST', '/api/v1/workers/lookup',
    { token => $one[1]{token} })->{body};

# a client key of the right authority in a stranger's hands
$t->mkcert('--out', $t->dir . '/thief', '--ca',
    $t->dir . '/state/ca/gateway-ca', '--cn', "alloc:$one[0]{token}");
$said{thief} = all($t->buildctl({ %{$one[0]}, cert => $t->dir . '/thief.pem',
    key => $t->dir . '/thief-key.pem' }, 'debug', 'workers'));

# while a client runs that holds a token: what `ps` shows
my $run = $t->start('run', { env => { BKCTL_ENDPOINT => 'unix:' . $t->dir
    . '/api.sock', BKCTL_POOL => 'default/demo' } }, $t->build . '/bkctl',
    'run', '--', 'sh', '-c', 'echo up; exec sleep 600');
$t->wait_for(sub { ($t->read('run.log') // '') =~ /^up/m }, 90, 'bkctl run');
my @own = ($$, $run->{pid});
for my $proc (glob '/proc/[0-9]*') {
    my $environ = $t->read("$proc/environ") // '';
    next if $environ !~ /BK_TEST_DIR=\Q@{[$t->dir]}\E/;
    $said{"$proc/cmdline"} = $t->read("$proc/cmdline");
    $said{"$proc/environ"} = $environ;
}
cmp_ok(scalar(grep { m{/proc/} } keys %said), '>=', 8, 'processes looked at');
$t->stop($run);

$said{$_} = all($t->bkctl(split / /, $_)) for qw(status pools workers
    allocations), 'allocations --json', 'workers --json',
    'routes --table ' . $t->dir . '/buildkit.table';
for my $path (qw(pools workers allocations sessions health)) {
    $said{"GET $path"} = $host->request('GET', "/api/v1/$path")->{body};
}
$said{"GET allocation"} = $host->request('GET',
    "/api/v1/allocations/$one[0]{id}")->{body};
my $metrics = $t->http('127.0.0.1:' . $t->port('metrics'), 'GET', '/metrics');
is($metrics->{status}, 200, 'metrics');
$said{metrics} = $metrics->{body};

$host->kill('HUP');
$host->stop;
$nginx->stop;

# all files but those that are given to a client, or are the keys themselves
my (%files, @keys);
find({ no_chdir => 1, wanted => sub {
    return if !-f $_ || -l $_;
    if (/-?key\.pem$/) {
        push @keys, $t->read($_);
        return;
    }
    # a certificate carries its own token; the context and BuildKit's own
    # folders know nothing of us
    return if m{/(?:a1|a2)/(?:alloc\.json|cert\.pem)$} || m{/thief}
        || m{/state/workers/[^/]+/root/} || m{/app/};
    $files{$_} = $t->read($_) if -s $_ < 300_000_000;
} }, $t->dir);

my %needles;
for my $i (0, 1) {
    my $token = $one[$i]{token};
    my $raw = decode_base64url($token);
    $needles{"token $i"} = $token;
    $needles{"token $i, raw"} = $raw;
    $needles{"token $i, hex"} = unpack 'H*', $raw;
    $needles{"token $i, base64"} = encode_base64($token, '') =~ s/=+$//r;
}
push @keys, $t->read("$one[$_]{key}") for 0, 1;
for my $i (0 .. $#keys) {
    my ($body) = $keys[$i] =~ /-----BEGIN [A-Z ]+-----\n(.*?)-----END/s;
    my $der = decode_base64($body);
    # the scalar of a P-256 key in PKCS#8 or SEC1
    my ($scalar) = $der =~ /\x02\x01\x01\x04\x20(.{32})/s;
    my ($line) = (split /\n/, $body)[1];
    $needles{"key $i, PEM"} = $line;
    $needles{"key $i, raw"} = $scalar // $der;
    $needles{"key $i, hex"} = unpack 'H*', $scalar // $der;
}

cmp_ok(scalar keys %files, '>', 10, scalar(keys %files) . ' files looked at');
cmp_ok(scalar @keys, '>=', 6, scalar(@keys) . ' keys looked for');
ok((grep { m{/journal\.db} } keys %files), 'the journal is among them');
ok(exists $files{$t->dir . '/buildkit.table'}, 'and the route table');
ok(exists $files{$t->dir . '/access.log'}, 'and the access log');

my %all = (%files, %said);
for my $needle (sort keys %needles) {
    my @found = grep { index($all{$_} // '', $needles{$needle}) >= 0 }
        sort keys %all;
    is("@found", '', "$needle: nowhere");
}

# what is looked for in this way is found where it is
$all{planted} = "x $one[0]{token} y";
is(join(' ', grep { index($all{$_} // '', $needles{'token 0'}) >= 0 }
    keys %all), 'planted', 'a planted token is found');
is(index($t->read($one[0]{file}), $needles{'token 0'}) >= 0 ? 1 : 0, 1,
    'and the one in alloc.json');
like($files{$t->dir . '/host.log'}, qr/$one[0]{id}/, 'logs have ids instead');

done_testing;


sub all { return $_[0]{out} . $_[0]{err} }
