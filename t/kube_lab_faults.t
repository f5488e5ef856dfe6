# What keeps the tests' Kubernetes from coming up is said, and nothing is left.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 15;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $lab = $t->root . '/t/lib/kube-lab';

sub lab { $t->run({ timeout => 90 }, $lab, @_) }

# a program that ends at once
ok(!eval { $t->kube(level => 'api', name => 'bad',
    apiserver => ['--no-such-option']); 1 }, 'a bad option');
like($@, qr/^Error: unknown flag: --no-such-option$/m, 'its last words');
like($@, qr/^kube-lab: kube-apiserver ended$/m, 'whose they are');
like($@, qr{^kube-lab: \Q$dir\E/bad: not up; see \S+/logs$}m, 'where more is');
is_deeply([map { s{.*/}{}r } glob "$dir/bad/*"], ['logs'], 'only logs are left');
eval { $t->wait_for(sub { !$t->leftovers }, 30, 'the end of all') };
is_deeply([$t->leftovers], [], 'and no process');

# what is missing
my $bin = "$dir/bin";
mkdir $bin or die "$bin: $!";
for my $name (qw(bash cat cut id ls realpath sha256sum)) {
    my ($path) = grep { -x } map { "$_/$name" } split /:/, $ENV{PATH};
    symlink $path, "$bin/$name" or die "$name: $!";
}
$t->write("$bin/kubectl", '');
my $r = $t->run({ env => { PATH => $bin, KUBE_LAB_KUBECTL => "$bin/kubectl" } },
    'bash', $lab, 'up', "$dir/none", 'node');
is($r->{rc}, 1, 'nothing there');
like($r->{err}, qr{^kube-lab: missing: openssl \(openssl\), (?#
    )unshare \(util-linux\), .*etcd \(etcd-server\), (?#
    )containerd \(containerd\), .*; see tools/deps test$}, 'all is named');
ok(!-e "$dir/none", 'and nothing made');

# folders that will not do
$t->write('full/file', 'of somebody');
like(lab('up', "$dir/full", 'api')->{err},
    qr/full: neither empty nor a lab's$/, 'a folder with files');
like(lab('up', "$dir/a b", 'api')->{err}, qr/a b: letters, digits and/,
    'a name with a blank');
like(lab('up', '/run/kube-lab-test')->{err}, qr/not to be seen from the node/,
    'a place that the node does not see');

# a lab that is not up
like(lab('exec', "$dir/none", 'true')->{err}, qr/none: not up$/, 'exec');
is(lab('down', "$dir/none")->{rc}, 0, 'down');
is(lab('up', "$dir/none", 'all')->{rc}, 2, 'no such level');
