# The project builds its own images: through our gateway, with our plugin-host's
# buildkitd, on a base in a local registry.  What is in them, how large they
# are, and that their programs have all that they need.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Find ();
use JSON ();
use Test::Buildkit;

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};
plan tests => 39;

my $t = Test::Buildkit->new;
my $images = $t->images;
chomp(my $arch = $t->run('dpkg', '--print-architecture')->{out});
my $MIB = 1024 * 1024;

# an OCI archive: {digest, config, layers => [digests], folder, size (unpacked)}
sub image {
    my ($name) = @_;

    my $dir = $t->dir . "/$name";
    my $root = "$dir/root";
    mkdir $_ for $dir, $root;
    $t->run('tar', '-xf', $images->{$name}, '-C', $dir);
    my $blob = sub { "$dir/blobs/" . $_[0]{digest} =~ tr{:}{/}r };
    my $json = sub { JSON->new->decode($t->read($_[0])) };

    my $index = $json->("$dir/index.json")->{manifests}[0];
    my $manifest = $json->($blob->($index));
    for my $layer (@{$manifest->{layers}}) {
        my $r = $t->run('tar', '-xzpf', $blob->($layer), '-C', $root);
        die $r->{err} if $r->{rc} != 0;
    }
    my $size = 0;
    File::Find::find({ no_chdir => 1, wanted => sub {
        $size += (lstat)[7] if -f && !-l } }, $root);

    return { digest => $index->{digest}, folder => $root, size => $size,
        config => $json->($blob->($manifest->{config})),
        layers => [map { $_->{digest} } @{$manifest->{layers}}],
        packed => [map { $_->{size} } @{$manifest->{layers}}] };
}

# as its user, with the image's files and what each container has
sub inside {
    my ($i, @cmd) = @_;

    mkdir "$i->{folder}/proc";
    return $t->run('unshare', '--mount', '--pid', '--fork',
        "--mount-proc=$i->{folder}/proc", 'chroot', '--userspec=65532:65532',
        '--groups=', $i->{folder}, @cmd);
}

my %image = map { $_ => image($_) } qw(controller gateway);

for my $name (qw(controller gateway)) {
    my $i = $image{$name};
    my $config = $i->{config}{config};
    like($images->{log}{$name}, qr/RUN make .* docker\/collect/,
        "$name: compiled by the build");
    is($i->{digest}, $images->{pushed}{$name}, "$name: that is what was pushed");
    is("$i->{config}{os}/$i->{config}{architecture}", "linux/$arch",
        "$name: for this architecture");
    is($config->{User}, '65532:65532', "$name: not for root");
    cmp_ok($i->{size}, '<', 60 * $MIB, "$name: unpacked, under 60 MiB");
    diag(sprintf '%s: %.1f MiB unpacked, %.1f MiB packed', $name,
        $i->{size} / $MIB, eval(join '+', @{$i->{packed}}) / $MIB);

    # nothing that helps somebody who has got in
    my (@shells, @others, @setuid);
    File::Find::find({ no_chdir => 1, wanted => sub {
        my $mode = (lstat)[2];
        return if -l;
        push @shells, $_ if -f && m{/(?:ba|da)?sh$|/busybox$|/perl|/dpkg$};
        push @others, $_ if $mode & 02 && !m{/tmp$};
        push @setuid, $_ if $mode & 06000;
    } }, $i->{folder});
    is("@shells", '', "$name: no shell");
    is("@others", '', "$name: nothing that anybody may write");
    is("@setuid", '', "$name: nothing that runs as somebody else");

    my $run = sub { inside($i, @_) };
    my $r = $run->('buildkit-plugin-host', '--list-plugins');
    is_deeply([$r->{out} =~ /^(\w+)/mg], [map { s{.*/|\.so$}{}gr }
        sort glob $t->build . '/plugins/*.so'], "$name: all plugins load")
        or diag($r->{out}, $r->{err});
    is($run->('bkctl', 'version')->{rc}, 0, "$name: bkctl");
    ok(-s "$i->{folder}/etc/ssl/certs/ca-certificates.crt",
        "$name: authorities of public servers");
    ok(-s "$i->{folder}/var/lib/dpkg/status.d/libssl3"
        || -s "$i->{folder}/var/lib/dpkg/status.d/libssl3t64",
        "$name: of which packages it is");

    # what it is started with in k8s/
    for my $conf (glob $t->root . "/k8s/base/{controller/config,gateway-config}"
        . '/*.yaml')
    {
        my ($file) = $conf =~ m{([^/]+)$};
        next if $file eq 'kustomization.yaml';
        my $text = $t->read($conf);
        $t->write("$i->{folder}/etc/$file", $text);
        $r = $run->('buildkit-plugin-host', '-t', '-c', "/etc/$file");
        is($r->{rc}, 0, "$name: takes $file") or diag($r->{err});
    }
}

like($images->{log}{other},
    qr/configuration file \/tmp\/nginx\.conf test is successful/,
    'Dockerfile.nginx-ingress: another nginx takes the module');

my $gateway = $image{gateway};
is(@{$image{controller}{layers}}, 1, 'the controller is one layer');
is_deeply($gateway->{layers}, [$image{controller}{layers}[0],
    $gateway->{layers}[1]], 'and the gateway one more');
is($gateway->{config}{config}{StopSignal}, 'SIGQUIT', 'live builds finish');
is_deeply($gateway->{config}{config}{Entrypoint}, ['buildkit-gateway'],
    'the first process');
my $in = sub { inside($gateway, @_) };
is($in->('buildkit-gateway', '--help')->{rc}, 0, 'which runs');

# both modules load; the configuration's end is a test's, not the image's
$t->write("$gateway->{folder}/etc/nginx.conf", <<'E');
load_module modules/ngx_stream_module.so;
load_module modules/ngx_stream_buildkit_module.so;
pid /tmp/nginx.pid;
error_log stderr;
events { }
stream { buildkit_table /tmp/table; }
E
my $r = $in->('nginx', '-e', 'stderr', '-t', '-c', '/etc/nginx.conf');
is($r->{rc}, 0, 'nginx loads both modules') or diag($r->{err});
is(readlink "$gateway->{folder}/var/log/nginx/error.log", '/dev/stderr',
    'what nginx says first is seen');
$r = $in->('buildkit-gateway', '--pool-name', 'demo');
is($r->{rc}, 2, 'without /dev/shm: it says so');
like($r->{err}, qr{^gateway: cannot make /dev/shm/}, 'what');
like($t->read("$gateway->{folder}/etc/passwd"), qr/^nonroot:x:65532:/m,
    'its user has a name');
