# The three kinds (k8s/base/crds) in a real API server: what users of this API
# have is taken, with its defaults; every field is known and kept; kubectl
# shows it; status is written apart from spec; objects that were there before
# the rules stay writable.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};
plan tests => 44;

my $GROUP = 'buildkit.smrt-devops.net';
my $TEAM = "/apis/$GROUP/v1alpha1/namespaces/team";
my $MERGE = 'application/merge-patch+json';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $crds = $t->root . '/k8s/base/crds';
$kube->must('create', 'namespace', 'team');

sub object {
    my ($kind, $name, $spec, %more) = @_;
    return { apiVersion => "$GROUP/v1alpha1", kind => $kind,
        metadata => { name => $name, %more }, spec => $spec };
}

# what there is of it: hash members that are not in the first are left out
sub same_part {
    my ($got, $want) = @_;
    return ref $want eq 'HASH' && ref $got eq 'HASH'
        ? { map { exists $got->{$_}
            ? ($_ => same_part($got->{$_}, $want->{$_})) : () } keys %$want }
        : ref $want eq 'ARRAY' && ref $got eq 'ARRAY'
        ? [map { same_part($got->[$_], $want->[$_]) } 0 .. $#$got] : $got;
}

# the fields of a schema that no part of the object has
sub missing {
    my ($schema, $path, @values) = @_;
    if ($schema->{items}) {
        return missing($schema->{items}, $path, map { @$_ } @values);
    }
    my $properties = $schema->{properties} // {};
    return map {
        my $name = $_;
        my @in = map { $_->{$name} // () } @values;
        @in ? missing($properties->{$name}, "$path.$name", @in)
            : "$path.$name" } sort keys %$properties;
}

# --- objects from before ---------------------------------------------------

for my $plural (qw(buildkitpools buildkitworkers)) {
    my $crd = JSON->new->decode($kube->must('create', '--dry-run=client',
        '-o', 'json', '-f', "$crds/$plural.yaml"));
    $crd->{spec}{versions}[0]{schema}{openAPIV3Schema} = { type => 'object',
        'x-kubernetes-preserve-unknown-fields' => JSON::true };
    $kube->must({ stdin => JSON->new->encode($crd) }, 'apply', '-f', '-');
}
my $long = 'p' x 63;
$kube->wait('condition=Established', "crd/$_.$GROUP")
    for qw(buildkitpools buildkitworkers);
for (object(BuildKitPool => $long, { scaling => { min => 9, max => 3 },
        unknown => 'x' }), object(BuildKitWorker => 'old', { poolRef => {
        name => 'demo' }, allocation => { jobId => 'j' } }))
{
    my $made = $t->wait_for(sub {
        my $a = $kube->api(POST => "$TEAM/\L$_->{kind}s", $_);
        ref $a && $a->{metadata}{uid} && $a }, 20, 'an object from before');
    is($made->{spec}{scaling}{min} // $made->{spec}{allocation}{jobId},
        $_->{spec}{scaling} ? 9 : 'j', "a $_->{kind} that breaks our rules");
}

like($kube->must('apply', '-k', $crds), qr/buildkitpools\S+ configured/,
    'our kinds in place of them');
$kube->wait('condition=Established', 'crd', '--all');
my $served = $t->wait_for(sub { my $pool = $kube->api(GET =>
    "$TEAM/buildkitpools/$long"); $pool->{spec}{gateway} && $pool }, 30,
    'our kinds to be served');
is($served->{spec}{gateway}{replicas}, 1, 'the old pool has defaults');
ok(!exists $served->{spec}{unknown}, 'and lost what nobody knows');
$served = $kube->api(PATCH => "$TEAM/buildkitpools/$long", { metadata => {
    annotations => { a => 'b' } }, spec => { gateway => { replicas => 2 } } },
    $MERGE);
is($served->{spec}{gateway}{replicas}, 2, 'it can be changed elsewhere')
    or diag $served->{message};
like($kube->api(PATCH => "$TEAM/buildkitpools/$long",
    { spec => { scaling => { min => 8 } } }, $MERGE)->{message},
    qr/spec\.scaling\.min: .*min must not be larger than max/,
    'what is changed must be right');
is($kube->api(PATCH => "$TEAM/buildkitpools/$long",
    { spec => { scaling => { min => 3 } } }, $MERGE)->{spec}{scaling}{min}, 3,
    'and then it is good');
is($kube->api(PATCH => "$TEAM/buildkitworkers/old",
    { metadata => { labels => { a => 'b' } } }, $MERGE)
    ->{metadata}{labels}{a}, 'b', 'the old worker can be labelled');

# --- every field -----------------------------------------------------------

for (['pool', 'buildkitpool/every-field'], ['worker',
    'buildkitworker/demo-0'], ['oidcconfig', 'buildkitoidcconfig/github'])
{
    my ($file, $name) = @$_;
    my $plural = $name =~ s{/.*}{s}r;
    my @file = ('-f', $t->root . "/t/k8s/$file.yaml");
    my $r = $kube->kubectl('apply', '-n', 'team', '--validate=strict', @file);
    is($r->{rc}, 0, "every field of $name is known") or diag $r->{err};
    my $want = JSON->new->decode($kube->must('create', '-n', 'team',
        '--dry-run=client', '-o', 'json', @file))->{spec};
    my $got = $kube->get('-n', 'team', $name)->{spec};
    is_deeply(same_part($got, $want), $want, 'and kept as it is');
    my $schema = $kube->get('crd', "$plural.$GROUP")->{spec}{versions}[0]
        {schema}{openAPIV3Schema}{properties}{spec};
    is_deeply([missing($schema, 'spec', $want)], $file eq 'worker'
        ? ['spec.allocation.token'] : [], 'there are no more');
}

# --- what users have -------------------------------------------------------

sub made {
    my ($object, $what) = @_;
    my $r = $kube->api(POST => "$TEAM/\L$object->{kind}s", $object);
    ok($r->{metadata}{uid}, $what) or diag $r->{message};
    return $r->{spec};
}

my $s = made(object(BuildKitPool => 'empty', {}), 'a pool without anything');
is(join(' ', map { "$_=$s->{scaling}{$_}" } qw(mode min max
    targetActiveConnections)), 'mode=auto min=0 max=10 '
    . 'targetActiveConnections=10', 'defaults of scaling');
is(join(' ', map { "$_=$s->{gateway}{$_}" } qw(enabled replicas serviceType)),
    'enabled=1 replicas=1 serviceType=ClusterIP', 'of gateway');
is("$s->{networking}{port} $s->{observability}{metrics}{port} "
    . $s->{observability}{logging}{format}, '1235 9090 json',
    'of networking and observability');
is("$s->{tls}{enabled} $s->{tls}{mode} $s->{cache}{gc}{enabled} "
    . $s->{security}{mode}, '1 auto 1 rootless', 'of tls, cache, security');

# the shapes in which these are found
made(object(BuildKitPool => 'guide', { scaling => {}, resources => {
    buildkit => { requests => { cpu => '500m', memory => '1Gi' }, limits => {
    cpu => 2, memory => '2Gi' } }, sidecar => {} }, cache => { gc => {} },
    tls => {}, auth => {}, networking => {}, gateway => {}, observability => {
    metrics => {}, logging => {} } }), 'a pool of empty sections');
$s = made(object(BuildKitPool => 'passed', { scaling => { min => 1,
    max => 5, scaleDownDelay => '', scaleDownSchedule => '' },
    buildkitImage => '', auth => { methods => [{ type => 'mtls', mtls => {} }]
    }, cache => { backends => [{ type => 'registry', registry => {
    endpoint => 'registry.example', credentialsSecret => '' } }] }, gateway =>
    { tokenTTL => '', gatewayAPI => { enabled => JSON::true, hostname =>
    'b.example', gatewayRef => { name => 'g' }, tls => {} } } }),
    'one with empty words in it, no networking, no observability');
is("$s->{auth}{methods}[0]{mtls}{required} "
    . "$s->{cache}{backends}[0]{registry}{compression} "
    . "$s->{gateway}{gatewayAPI}{tls}{mode} "
    . $s->{gateway}{gatewayAPI}{tls}{autoGenerate}, '1 zstd passthrough 1',
    'their defaults');
made(object(BuildKitWorker => 'demo-worker-x7k2p', { poolRef => { name =>
    'shared', namespace => 'elsewhere' }, allocation => { jobId => 'j',
    token => 'A1_-' x 21 . 'xx', requestedBy => 'ci',
    allocatedAt => '2027-01-01T00:00:00Z' } }),
    'a worker of another controller, token and all');
$s = made(object(BuildKitOIDCConfig => 'mock', { issuer =>
    'http://mock-oidc.team.svc:8888', audience => 'builds' }), 'an issuer');
is($s->{enabled}, 1, 'is enabled');

# another client's unknown fields; kubectl refuses them by itself
$s = made(object(BuildKitPool => 'pruned', { scaling => { foo => 1 },
    bar => {} }), 'unknown fields');
ok(!exists $s->{bar} && !exists $s->{scaling}{foo}, 'are dropped');

# --- status ----------------------------------------------------------------

my $pool = "$TEAM/buildkitpools/empty";
my %status = (phase => 'Running', endpoint => 'tcp://empty.team.svc:1235',
    gateway => { ready => JSON::true, replicas => 1, readyReplicas => 1,
    deploymentName => 'empty-gateway', serviceName => 'empty' }, workers => {
    total => 7, ready => 6, idle => 1, allocated => 5, provisioning => 1,
    failed => 0, desired => 9, needed => 2 }, connections => { active => 4,
    total => 1e12, lastConnectionTime => '2027-01-01T00:00:00Z' },
    lastActivityTime => '2027-01-01T00:00:00Z', queued => 3,
    lastScaleTime => '2027-01-01T00:00:00Z', serverCert => { map { $_ =>
    '2027-01-01T00:00:00Z' } qw(notBefore notAfter renewalTime) },
    tlsSecretName => 'empty-tls', workerTLSSecretName => 'empty-worker-tls',
    observedGeneration => 1, conditions => [{ type => 'Ready', status => 'True',
    reason => 'AllReady', message => '', observedGeneration => 1,
    lastTransitionTime => '2027-01-01T00:00:00Z' }]);
my $r = $kube->api(PATCH => "$pool/status", { status => \%status, spec => {
    buildkitImage => 'no' } }, $MERGE);
is_deeply($r->{status}, \%status, 'status of a pool') or diag $r->{message};
ok(!exists $r->{spec}{buildkitImage}, 'leaves spec alone');
$r = $kube->api(PATCH => $pool, { status => { phase => 'Failed' } }, $MERGE);
is($r->{status}{phase}, 'Running', 'and the other way round');
my %seen = (phase => 'Allocated', podName => 'demo-0', podIP => '10.0.0.1',
    endpoint => '127.0.0.1:6443', message => 'm', allocationCount => 3,
    observedGeneration => 1, (map { $_ => '2027-01-01T00:00:00Z' } qw(createdAt
    readyAt lastActivityAt)), conditions => $status{conditions});
is_deeply($kube->api(PATCH => "$TEAM/buildkitworkers/demo-0/status",
    { status => \%seen }, $MERGE)->{status}, \%seen, 'status of a worker');
is_deeply($kube->api(PATCH => "$TEAM/buildkitoidcconfigs/github/status", {
    status => { ready => JSON::true, message => 'm' } }, $MERGE)->{status},
    { ready => JSON::true, message => 'm' }, 'of an issuer');
ok($kube->wait('condition=Ready', '-n', 'team', 'buildkitpool/empty'),
    'kubectl wait');

# --- kubectl ---------------------------------------------------------------

sub columns { [split /\s+/, (split /\n/, $kube->must('get', '-n', 'team', @_))
    [-1]] }

sub titles { (split /\n/, $kube->must('get', '-n', 'team', @_))[0] =~
    s/\s+/ /gr }

is(titles('buildkitpools'), 'NAME PHASE WORKERS READY ALLOCATED CONNECTIONS '
    . 'AGE', 'columns of pools');
is(titles('buildkitpools', '-o', 'wide'), 'NAME PHASE GATEWAY WORKERS READY '
    . 'DESIRED NEEDED IDLE ALLOCATED CONNECTIONS ENDPOINT AGE', 'wide');
is_deeply([@{columns('buildkitpool', 'empty')}[0 .. 5]],
    ['empty', 'Running', 7, 6, 5, 4], 'a pool');
is(titles('buildkitworkers', '-o', 'wide'), 'NAME POOL PHASE POD JOBID AGE',
    'columns of workers');
is_deeply([@{columns('buildkitworker', '-o', 'wide', '-l', "$GROUP/pool=demo,"
    . "$GROUP/worker=true,$GROUP/purpose=worker")}[0 .. 4]],
    ['demo-0', 'demo', 'Allocated', 'demo-0', 'job-1'],
    'a worker, by its labels');
is(titles('buildkitoidcconfigs'), 'NAME ISSUER AUDIENCE ENABLED READY AGE',
    'columns of issuers');
like($kube->must('explain', 'buildkitworker.spec.allocation.tokenHash'),
    qr/\+ SHA-256 of the token/, 'kubectl explain');
