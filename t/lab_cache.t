# What tools/lab has built before is used when it holds all that is asked for
# today, else built again: a cache may be older than the list of programs.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 8;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my @programs = qw(kube-apiserver kube-controller-manager kube-proxy
    kube-scheduler kubectl kubelet);

sub program {
    my ($path, $text) = @_;
    $t->write($path, "#!/bin/sh\n$text\n");
    chmod 0755, "$dir/$path" or die "$path: $!";
}

# in PATH: an old kubelet, and a Go that builds programs which do nothing
program('bin/kubelet', 'echo Kubernetes v1.20.1');
program('bin/go', <<'E');
case $1 in
version) echo go version go1.99.0 linux/amd64 ;;
build)   shift $(($# - 6)); for one; do cp "$0" "bin/${one##*/}"; done ;;
esac
E
my %env = (PATH => "$dir/bin:$ENV{PATH}", XDG_CACHE_HOME => "$dir/cache");
my $lab = $t->root . '/tools/lab';
my $old = 'cache/buildkit-gateway/kubernetes-1.35.4';

sub path { $t->run({ env => \%env }, $lab, 'path', @_) }

program("$old/kube-apiserver", 'exit 0');
$t->write("$old/.complete", '');
my $r = path('kubectl');
is($r->{out}, "$dir/$old/kubectl\n", 'the path') or diag($r->{err});
like($r->{err}, qr{building kubernetes \S+ .*/kubelet is older},
    'an old cache is built again');
is_deeply([map { s{.*/}{}r } glob "$dir/$old/*"], \@programs, 'it has all');

is(path('kubelet')->{err}, '', 'and is used as it is then');
unlink "$dir/$old/.complete";
like(path('kubelet')->{err}, qr/building/, 'but not a half of it');

# what PATH has is taken when all of it is new enough
for (@programs) {
    program("bin/$_", $_ eq 'kubectl' ? 'echo Client Version: v1.36.0'
        : 'echo Kubernetes v1.36.0');
}
is(path('kube-proxy')->{out}, "$dir/bin/kube-proxy\n", 'newer ones in PATH');
unlink "$dir/bin/kubectl";
$env{PATH} = "$dir/bin:/usr/bin:/bin";
is(path('kube-proxy')->{out}, "$dir/$old/kube-proxy\n", 'not only some');
like(path('kube-nothing')->{err}, qr/^lab: unknown program .* kubelet$/m,
    'no such program');
