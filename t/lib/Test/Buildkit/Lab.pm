package Test::Buildkit::Lab;

# The real programs: buildkitd, buildctl, buildx (tools/lab), a registry and
# Kubernetes.

use strict;
use warnings;

use File::Path qw(make_path);
use Test::Buildkit::Kube;


# The path of a program of tools/lab, e.g. buildctl, buildx, buildctl-0.12.5.
sub lab {
    my ($self, $program) = @_;

    return $self->{lab}{$program} //= do {
        my $r = $self->run({ timeout => 900 }, $self->root . '/tools/lab',
            'path', $program);
        die "tools/lab path $program:\n$r->{err}" if $r->{rc} != 0;
        chomp $r->{out};
        $r->{out};
    };
}


# buildctl(CERT or undef, [{addr, ca, program, timeout, env},] ARGS): through
# the gateway on port 'gw'.
sub buildctl {
    my ($self, $cert, @args) = @_;
    my $opts = ref $args[0] eq 'HASH' ? shift @args : {};

    my $addr = $opts->{addr} // 'tcp://localhost:' . $self->port('gw');
    my $ca = $opts->{ca} // ($cert ? $cert->{ca}
        : $self->pki . '/gateway-ca.pem');

    return $self->run({ timeout => 120, %$opts },
        $self->lab($opts->{program} // 'buildctl'), '--addr', $addr,
        '--tlscacert', $ca, ($cert ? ('--tlscert', $cert->{cert},
            '--tlskey', $cert->{key}) : ()), @args);
}


# A folder with a Dockerfile that has a RUN step, on a base of busybox.
sub context {
    my ($self, $name, $dockerfile) = @_;

    my $dir = "$self->{dir}/$name";
    make_path($dir);
    system 'cp', '/bin/busybox', "$dir/busybox";
    $self->write("$dir/Dockerfile", $dockerfile // <<'END');
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo built > /result"]
END

    return $dir;
}


# Its build arguments for buildctl.
sub dockerfile_args {
    my ($self, $context, @more) = @_;

    return ('build', '--frontend', 'dockerfile.v0', '--local',
        "context=$context", '--local', "dockerfile=$context",
        '--progress', 'plain', @more);
}


# A context, of that name, whose RUN step says "line N" ten times a second
# until end_held() is called with what this returns, and then "last line".
sub held_context {
    my ($self, $name) = @_;

    my $nap = 1_000_000_000 + 100 * $$ + $self->{held}++;
    $self->context($name, <<"END");
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox sleep $nap & i=0; while kill -0 \$!; do i=\$((i+1)); echo line \$i; /bin/busybox sleep 0.1; done 2>/dev/null; echo last line"]
END

    return $nap;
}


sub end_held {
    my ($self, $nap) = @_;

    # the build says its first line before its sleep is what it becomes
    kill TERM => $self->wait_for(sub {
        return (map { m{/(\d+)/} } grep {
            ($self->read($_) // '') =~ tr/\0/ /r =~ /^\S+ sleep $nap $/
        } glob '/proc/[0-9]*/cmdline')[0];
    }, 30, "a build that sleeps for $nap");

    return;
}


# A plain HTTP registry on loopback; returns its address.
sub registry {
    my ($self, $name) = @_;
    $name //= 'registry';

    my $port = $self->port($name);
    return "127.0.0.1:$port" if $self->{registries}{$name}++;

    my $conf = $self->write("$name.yml", <<"END");
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: %%DIR%%/$name}
  delete: {enabled: true}
http: {addr: "127.0.0.1:$port"}
END
    my $proc = $self->start($name, { env => { OTEL_TRACES_EXPORTER => 'none' }
        }, 'docker-registry', 'serve', $conf);
    $self->wait_port($port, 15, $proc);

    return "127.0.0.1:$port";
}


# kube(level => 'api', ...): a Kubernetes, see Kube.pm.
sub kube {
    my ($self, %opts) = @_;

    return Test::Buildkit::Kube->new($self, %opts);
}


# buildkitd's configuration: registries here speak plain HTTP.
sub buildkitd_toml {
    my ($self) = @_;

    return $self->write('buildkitd.toml', <<"END");
[registry."${\ $self->registry}"]
  http = true
  insecure = true
END
}


# buildkitd(NAME, program => 'buildkitd', tls_name => ...): a real one, with
# the worker authority's certificates; returns its port.
sub buildkitd {
    my ($self, $name, %opts) = @_;

    my $port = $self->port("buildkitd-$name");
    my $cert = $self->worker_cert($name,
        $opts{tls_name} // "$name.workers.buildkit.internal");
    my $root = "$self->{dir}/buildkitd-$name";
    make_path($root);

    my $proc = $self->start("buildkitd-$name", {},
        $self->lab($opts{program} // 'buildkitd'), '--root', $root,
        '--addr', "tcp://127.0.0.1:$port", '--tlscert', $cert->{cert},
        '--tlskey', $cert->{key}, '--tlscacert', $cert->{ca},
        '--config', $self->buildkitd_toml, @{$opts{args} // []});
    $self->wait_port($port, 30, $proc);
    $self->{buildkitds}{$name} = $proc;

    return $port;
}


sub buildkitd_process { $_[0]{buildkitds}{$_[1]} }


# buildx(DIR of its configuration, ARGS); remote builders as made with
# buildx_create.
sub buildx {
    my ($self, $name, @args) = @_;
    my $opts = ref $args[0] eq 'HASH' ? shift @args : {};

    my $home = "$self->{dir}/buildx-$name";
    make_path($home);

    return $self->run({ timeout => 120, %$opts, env => {
        BUILDX_CONFIG => $home, DOCKER_CONFIG => $home, HOME => $home,
        %{$opts->{env} // {}} } }, $self->lab('buildx'), @args);
}


sub buildx_create {
    my ($self, $name, $cert, %opts) = @_;

    my $addr = $opts{addr} // 'tcp://localhost:' . $self->port('gw');

    return $self->buildx($name, 'create', '--name', $name, '--driver',
        'remote', '--driver-opt', "cacert=$cert->{ca},cert=$cert->{cert}"
        . ",key=$cert->{key}", $addr);
}

1;
