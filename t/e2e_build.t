# Whole builds with real programs on both sides: RUN step, push, buildx, the
# cache through a registry, two allocations on two workers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 22;

my $t = Test::Buildkit->new;

my %token = map { $_ => $t->token } qw(one two);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my %worker = (one => 'w1', two => 'w2');

$t->table('pool default/demo',
    (map { "worker default/demo $_ 127.0.0.1:" . $t->buildkitd($_)
        . " $_.workers.buildkit.internal ready" } qw(w1 w2)),
    (map { "alloc token:$token{$_} default/demo $worker{$_} ready 0"
        . " key=$cert{$_}{spki_hash}" } qw(one two)));
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$buildkit_allocation $buildkit_worker $status";',
    server => "access_log %%DIR%%/access.log bk;\n"));

my $registry = $t->registry;
my $context = $t->context('app');

# each allocation reaches its own worker, who says who he is
for my $name (qw(one two)) {
    my $r = $t->buildctl($cert{$name}, 'debug', 'workers');
    my ($id) = $r->{out} =~ /^(\w{20,})\s+linux/m;
    is($r->{rc}, 0, "$name: debug workers");
    my ($file) = glob $t->dir . "/buildkitd-$worker{$name}/*/workerid";
    is($id, $t->read($file), "$name is on $worker{$name}");
}

# buildctl: a RUN step and a push
my $r = $t->buildctl($cert{one}, $t->dockerfile_args($context,
    '--output', "type=image,name=$registry/app:one,push=true"));
is($r->{rc}, 0, 'buildctl build') or diag $r->{err};
like($r->{err}, qr/\[2\/2\] RUN/, 'the RUN step ran');
unlike($r->{err}, qr/CACHED/, 'nothing was cached');
my ($digest) = $r->{err} =~ /pushing manifest for \S+?@(sha256:\w+)/;

my $manifest = manifest('app', 'one');
is($manifest->{headers}{'docker-content-digest'}, $digest,
    'the registry has what was pushed');
my @layers = @{$manifest->{json}{layers}};
is(scalar @layers, 2, 'of two layers');

# the layer of the RUN step holds what it wrote
my $blob = $t->http($registry, 'GET', "/v2/app/blobs/$layers[1]{digest}");
my $layer = $t->write('layer.tar.gz', '');
open my $fh, '>:raw', $layer or die;
print $fh $blob->{body};
close $fh;
is($t->run('tar', '-xzOf', $layer, 'result')->{out}, "built\n",
    'the file that the RUN step wrote is in it');

# buildx, remote driver, on the same worker: all from its cache
is($t->buildx_create('b', $cert{one})->{rc}, 0, 'buildx create');
$r = $t->buildx('b', 'build', '--builder', 'b', '--progress', 'plain',
    '--push', '-t', "$registry/app:buildx", $context);
is($r->{rc}, 0, 'buildx build') or diag $r->{err};
is(() = $r->{err} =~ / CACHED$/mg, 2, 'both steps from the cache');
is($t->buildx('b', 'inspect', '--bootstrap', 'b')->{out}
    =~ /Status:\s+running/ ? 1 : 0, 1, 'buildx inspect');

# the other worker knows nothing of it, until it imports the cache
$r = $t->buildctl($cert{two}, $t->dockerfile_args($context));
is($r->{rc}, 0, 'a build on the other worker');
unlike($r->{err}, qr/CACHED/, 'there nothing is cached');
is($t->buildctl($cert{two}, 'prune', '--all')->{rc}, 0, 'prune');

$r = $t->buildctl($cert{one}, $t->dockerfile_args($context, '--export-cache',
    "type=registry,ref=$registry/cache,mode=max"));
is($r->{rc}, 0, 'cache export') or diag $r->{err};
$r = $t->buildctl($cert{two}, $t->dockerfile_args($context, '--import-cache',
    "type=registry,ref=$registry/cache", '--output',
    "type=image,name=$registry/app:two,push=true"));
is($r->{rc}, 0, 'cache import') or diag $r->{err};
is(() = $r->{err} =~ / CACHED$/mg, 2, 'both steps from the registry');

# one connection for each command, on the right worker
# the last one's line is written after it has gone
my @log;
$t->wait_for(sub { @log = split /\n/, $t->read('access.log'); @log >= 10 }, 30,
    'the access log');
my $one = $t->id($token{one}) . ' w1 200';
my $two = $t->id($token{two}) . ' w2 200';
is(scalar(grep { $_ ne $one && $_ ne $two } @log), 0,
    'every connection went to the worker of its allocation');
is(scalar @log, 10, 'one connection a command');

sub manifest {
    my ($name, $tag) = @_;

    return $t->http($registry, 'GET', "/v2/$name/manifests/$tag", undef,
        headers => { Accept => 'application/vnd.oci.image.manifest.v1+json,'
        . 'application/vnd.docker.distribution.manifest.v2+json' });
}
