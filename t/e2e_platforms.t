# bkctl build for two platforms with the real buildx and two real buildkitd,
# of which one says that it is arm64: each architecture is built on its own
# worker through its own allocation, for so long that they are renewed, and
# one image with both is pushed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON;
use Test::Buildkit;

plan tests => 17;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my %port = map { $_ => $t->buildkitd($_) } qw(wamd warm);
$t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
    . join '', map { "      - {name: w$_->[0], endpoint:"
    . " \"127.0.0.1:$port{\"w$_->[0]\"}\", tlsName:"
    . " w$_->[0].workers.buildkit.internal, arch: $_->[1]}\n" }
    ['amd', 'amd64'], ['arm', 'arm64']);
my $host = $t->host(<<'END');
state: %%DIR%%/state
reports: %%DIR%%/reports
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
plugins:
  - {name: allocator}
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
END

# clients are plugin-host's, workers the test's own
mkdir "$dir/tls";
for (map({ ["$dir/state/tls", $_] } qw(gateway gateway-key gateway-ca)),
    map { [$t->pki, $_] } qw(upstream upstream-key worker-ca)) {
    symlink "$_->[0]/$_->[1].pem", "$dir/tls/$_->[1].pem" or die "link: $!";
}
my $nginx = $t->nginx($t->gateway_conf(tls => '%%DIR%%/tls', stream =>
    'log_format bk "$buildkit_allocation $buildkit_worker $status";',
    server => "access_log %%DIR%%/access.log bk;\n"));
my $registry = $t->registry;

# what is of the architecture is copied; a RUN step, where it can run, makes
# it last for more than a third of an allocation's time
mkdir "$dir/app";
$t->write("app/$_", "made for $_\n") for qw(amd64 arm64);
system 'cp', '/bin/busybox', "$dir/app/busybox";
$t->write('app/Dockerfile', <<'END');
FROM scratch AS slow
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox sleep 10; echo slow > /slow"]
FROM scratch AS base-amd64
COPY --from=slow /slow /slow
FROM scratch AS base-arm64
ARG TARGETARCH
FROM base-$TARGETARCH
ARG TARGETARCH
COPY $TARGETARCH /made
END

my $r = $t->bkctl('build', '--ttl', '24s', '--', '--platform',
    'linux/amd64,linux/arm64', '--progress', 'plain', '--provenance=false',
    '--push', '-t', "$registry/app:multi", "$dir/app");
is($r->{rc}, 0, 'bkctl build') or diag $r->{err};
# but where something stands still for a second
unlike($r->{err} =~ s/^bkctl: (?:warning: cannot renew .* did not
    \ answer\ within\ .*;\ trying\ again|the\ allocation\ \w+\ is\ renewed
    \ after\ all|the\ API\ does\ not\ answer\ \(nothing\ within\ .*)\n//gmrx,
    qr/^bkctl: (?!waited |waiting |worker \S+ is there)/m,
    '... has nothing to say');
like($r->{err}, qr/^#\d+ \[.*slow 2\/2\] RUN/m, 'the RUN step ran');

# the image has both, each with what its own architecture has
my $index = get('app', 'manifests/multi');
is(join(' ', sort map { "$_->{platform}{os}/$_->{platform}{architecture}" }
    @{$index->{manifests}}), 'linux/amd64 linux/arm64', 'one image with both');
for my $m (@{$index->{manifests}}) {
    my $arch = $m->{platform}{architecture};
    my @layers = @{get('app', "manifests/$m->{digest}")->{layers}};
    is(scalar @layers, $arch eq 'amd64' ? 2 : 1, "$arch: its layers");
    $t->write('layer.tar.gz', '');
    open my $fh, '>:raw', "$dir/layer.tar.gz" or die;
    print $fh $t->http($registry, 'GET',
        "/v2/app/blobs/$layers[-1]{digest}")->{body};
    close $fh;
    is($t->run('tar', '-xzOf', "$dir/layer.tar.gz", 'made')->{out},
        "made for $arch\n", "$arch: what was made for it");
}

# two allocations, one on each worker, both renewed, both given back
my @all = sort { $a->{worker} cmp $b->{worker} }
    @{$host->request('GET', '/api/v1/allocations')->{json}};
is_deeply([map { "$_->{worker} $_->{state}" } @all],
    ['wamd released', 'warm released'], 'two allocations, both released');
for my $a (@all) {
    cmp_ok(() = $host->log =~ /allocation $a->{id}: renewed/g, '>=', 1,
        "$a->{worker}: renewed while it lasted");
}
# a connection's line is written after its end
my %went;
$t->wait_for(sub { %went = map { $_ => 1 } split /\n/, $t->read('access.log');
    keys %went >= 2 }, 30, 'the access log');
is_deeply([sort keys %went], [sort map { "$_->{id} $_->{worker} 200" } @all],
    'every connection went to the worker of its allocation');

# nothing is left behind
is($t->bkctl({ env => { HOME => $dir } }, 'run', '--', $t->lab('buildx'), 'ls')
    ->{out} =~ /bkctl-/ ? 1 : 0, 0, 'no builder is left');
is_deeply([glob "$dir/.docker/buildx/instances/bkctl-*"], [], '... no file');

# an architecture that is in use: nothing is built, nothing kept
my $held = $t->allocate('held', '--arch', 'arm64');
is($held->{worker}, 'warm', 'the other worker is taken');
$r = $t->bkctl('build', '--wait', '1s', '--', '--platform',
    'linux/amd64,linux/arm64', "$dir/app");
is($r->{rc}, 125, 'one worker short: 125');
my @live = grep { $_->{state} eq 'ready' }
    @{$host->request('GET', '/api/v1/allocations')->{json}};
is_deeply([map { $_->{id} } @live], [$held->{id}], '... the other given back');


sub get {
    my ($name, $path) = @_;

    return $t->http($registry, 'GET', "/v2/$name/$path", undef, headers => {
        Accept => join ',', map { "application/vnd.$_+json" }
            qw(oci.image.index.v1 oci.image.manifest.v1
            docker.distribution.manifest.list.v2
            docker.distribution.manifest.v2) })->{json};
}
