package Test::Buildkit::Images;

# The project's images (docker/Dockerfile), built by the project as step 1 of
# docs/kubernetes.md says: our gateway in front of our plugin-host's buildkitd,
# on a base that is in a registry of the test's (tools/base-image).  They are
# built once for each state of the sources, into BUILD/images-..., and kept
# there.
#
#   my $images = $t->images;
#   $kube->archive('lab.local/gateway:1', $images->{gateway});

use strict;
use warnings;

use Digest::SHA;
use Fcntl qw(:flock);
use File::Find ();
use JSON ();

our @TARGETS = qw(controller gateway);


# {controller => TAR, gateway => TAR (OCI), log => {TARGET => what buildx
# said, and of another nginx, other}, pushed => {TARGET => digest}}
sub images {
    my ($self) = @_;

    my $out = $self->build . '/images-' . substr _sources($self), 0, 12;
    mkdir $self->build;
    open my $lock, '>', $self->build . '/.images.lock' or die "lock: $!";
    flock $lock, LOCK_EX;

    if (!-e "$out/facts.json") {
        # of other states
        system 'rm', '-rf', glob $self->build . '/images-*';
        mkdir $out or die "$out: $!";
        my $facts = _build($self, $out);
        $self->write("$out/facts.json", JSON->new->canonical->encode($facts));
    }

    return { %{JSON->new->decode($self->read("$out/facts.json"))},
        map { $_ => "$out/$_.tar" } @TARGETS };
}


# of all that .dockerignore lets in
sub _sources {
    my ($self) = @_;

    my @files;
    my $root = $self->root;
    File::Find::find({ no_chdir => 1, wanted => sub {
        push @files, $_ if -f && !/\.o\z/ } }, map { "$root/$_" }
        qw(.dockerignore Makefile config docker ngx_buildkit_module
        plugin-host tools));

    my $sha = Digest::SHA->new(256);
    $sha->add(_step($self));
    for my $file (sort @files) {
        $sha->add("$file\0" =~ s/^\Q$root//r);
        $sha->addfile($file);
    }

    return $sha->hexdigest;
}


# what the guide says
sub _step {
    my ($self) = @_;

    my ($step) = $self->read($self->root . '/docs/kubernetes.md')
        =~ /^## 1\. .*?^```sh\n(.*?)^```$/ms;

    return $step // die "docs/kubernetes.md has no step 1";
}


sub _build {
    my ($self, $out) = @_;

    my $registry = $self->registry;
    _push_base($self, $registry);
    my ($host, $nginx) = $self->gateway(workers => 1);
    my $cert = $self->allocate('images');
    die "no allocation: $cert->{run}{err}" if $cert->{run}{rc} != 0;
    my $r = $self->buildx_create('images', $cert);
    die "buildx create: $r->{err}" if $r->{rc} != 0;

    # docker with its buildx, a base that can be had here, and a copy of what
    # is pushed
    my $buildx = $self->lab('buildx');
    my $docker = $self->write('images/docker', <<"END");
#!/bin/sh
shift
last= target=
for arg; do
    [ "\$last" != --target ] || target=\$arg
    last=\$arg
done
exec $buildx "\$@" --progress plain --build-arg BASE=$registry/base \\
    --output type=oci,dest=$out/\$target.tar 2>$out/\$target.log
END
    chmod 0755, $docker;
    my $home = $self->dir . '/buildx-images';
    $r = $self->run({ timeout => 1800, dir => $self->root, env => {
        PATH => $self->dir . "/images:$ENV{PATH}", REGISTRY => $registry,
        BUILDX_CONFIG => $home, DOCKER_CONFIG => $home, HOME => $home,
        BUILDX_BUILDER => 'images', BUILDX_NO_DEFAULT_ATTESTATIONS => 1 } },
        'sh', '-euc', _step($self));

    my %facts;
    for my $target (@TARGETS) {
        $facts{log}{$target} = $self->read("$out/$target.log") // '';
        die "building $target:\n" . substr $facts{log}{$target}, -3000
            if $r->{rc} != 0 || !-s "$out/$target.tar";
        $facts{pushed}{$target} = $self->http($registry, 'HEAD',
            "/v2/$target/manifests/1", undef, headers => { Accept =>
            'application/vnd.oci.image.manifest.v1+json, application/'
            . 'vnd.docker.distribution.manifest.v2+json' })
            ->{headers}{'docker-content-digest'};
    }

    $facts{log}{other} = _other($self, $cert, "$registry/base");

    # they need much room and memory
    $nginx->stop;
    $host->stop;

    return \%facts;
}


# Dockerfile.nginx-ingress, with the only other nginx that there is here: that
# of the base, which has its source, too; returns what buildctl said
sub _other {
    my ($self, $cert, $base) = @_;

    my $root = $self->root;
    my $none = $self->dir . '/no-source';
    mkdir $none;
    my $r = $self->buildctl($cert, { timeout => 900 }, 'build', '--progress',
        'plain', '--frontend', 'dockerfile.v0', '--local', "context=$root",
        '--local', "dockerfile=$root/docker", '--local', "nginx=$none",
        map { ('--opt', $_) } 'filename=Dockerfile.nginx-ingress',
        'context:nginx=local:nginx', "build-arg:BASE=$base",
        "build-arg:NGINX_IMAGE=$base",
        'build-arg:NGINX_SRC=/usr/share/nginx/src');
    die "building another nginx:\n" . substr($r->{err}, -3000)
        if $r->{rc} != 0;

    return $r->{err};
}


# a folder of tools/base-image becomes NAME/base of a registry
sub _push_base {
    my ($self, $registry) = @_;

    my $r = $self->run({ timeout => 900 }, $self->root . '/tools/base-image');
    die "no base image:\n$r->{err}" if $r->{rc} != 0;
    chomp(my $base = $r->{out});

    my $manifest = $self->read("$base/manifest.json");
    my $json = JSON->new->decode($manifest);
    my $url = "http://$registry/v2/base";
    for (['layer.tar', $json->{layers}[0]], ['config.json', $json->{config}]) {
        my ($file, $is) = @$_;
        my $began = _curl($self, '-D', '-', '-X', 'POST',
            "$url/blobs/uploads/");
        my ($at) = $began =~ /^location: (\S+)/mi or die "no place: $began";
        _curl($self, '-H', 'Content-Type: application/octet-stream', '-T',
            "$base/$file", $at . ($at =~ /\?/ ? '&' : '?')
            . "digest=$is->{digest}");
    }
    _curl($self, '-X', 'PUT', '-H', "Content-Type: $json->{mediaType}",
        '--data-binary', $manifest, "$url/manifests/latest");

    return;
}


sub _curl {
    my ($self, @args) = @_;

    my $r = $self->run({ timeout => 300 }, 'curl', '-sSf', '--noproxy', '*',
        @args);
    die "curl @args: $r->{err}" if $r->{rc} != 0;

    return $r->{out};
}

1;
