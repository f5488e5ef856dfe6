#!/usr/bin/perl

# bkctl build for several platforms: a worker and a node for each architecture,
# with certificates of their own; what is given back when one cannot be had;
# what becomes of an architecture that the pool has not.  A stand-in buildx
# writes down how it was called; e2e_platforms.t uses the real one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;
use Ctl;

plan tests => 41;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
mkdir "$dir/$_" for qw(bin home);
ctl($t, BKCTL_POOL => 'demo', DIR => $dir, HOME => "$dir/home",
    PATH => "$dir/bin:/usr/bin:/bin");

my @arch = qw(amd64 arm64 amd64);
$t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
    . join('', map { "      - {name: w$_, endpoint: \"127.0.0.1:700$_\","
    . " tlsName: w$_.tls, arch: $arch[$_]}\n" } 0 .. 2));
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
my $addr = 'tcp://localhost:' . $t->port('gw');
buildx('');

# two architectures, three platforms

my $got = build('--platform', 'linux/arm64,linux/amd64', '--platform=linux/386',
    '-t', 'x', '.');
is($got->{rc}, 0, 'build: exit 0') or diag($got->{err});
ok($got->{err} eq '' || $got->{time} >= 1, '... a quick one has nothing to say')
    or diag($got->{err});
my @calls = calls();
my ($name) = $calls[0] =~ /--name (bkctl-\w{12}) /;
my ($dir1) = $calls[0] =~ /cacert=(\S+)\/ca\.pem/;
my ($dir2) = $calls[1] =~ /cacert=(\S+)\/ca\.pem/;
is($calls[0], "create --name $name --node $name-amd64 --platform"
    . " linux/amd64,linux/386 --driver remote --driver-opt cacert=$dir1/ca.pem"
    . ",cert=$dir1/cert.pem,key=$dir1/key.pem $addr", 'a node for amd64');
is($calls[1], "create --name $name --node $name-arm64 --platform"
    . " linux/arm64 --append --driver remote --driver-opt cacert=$dir2/ca.pem"
    . ",cert=$dir2/cert.pem,key=$dir2/key.pem " . $addr =~ s/:(\d)/:0$1/r,
    'a node for arm64, at what buildx takes for another address');
isnt($dir1, $dir2, '... with a certificate of its own');
is($calls[2], "build --builder $name --platform linux/arm64,linux/amd64"
    . ' --platform=linux/386 -t x .', 'the build is as it was asked for');
is($calls[3], "rm --force $name", 'the builder is removed');
is(scalar @calls, 4, '... and nothing else');
is_deeply([map { $_->{worker} } ended_ones()], [qw(w0 w1)],
    'a worker of each architecture');
clean('a build');

# one platform has a worker of its architecture, and a plain builder

is(build('--platform', 'linux/arm/v7', '.')->{rc}, 0, 'one platform');
@calls = calls();
unlike($calls[0], qr/--node|--platform|--append/, '... one node');
is((ended_ones())[-1]{worker}, 'w1', '... on a worker that can do it');
is(build('.')->{rc}, 0, 'no platform');
unlike((calls())[0], qr/--node/, '... one node');
build('--platform', 'local', '.');
unlike((calls())[0], qr/--node/, 'the local platform is none');

# one worker for all

$got = run('build', '--arch', 'amd64', '--', '--platform',
    'linux/amd64,linux/arm64', '.');
is($got->{rc}, 0, '--arch');
unlike((calls())[0], qr/--node/, '... one node');

# an architecture that the pool has not is left to another worker

$got = build('--platform', 'linux/amd64,linux/s390x,linux/arm64', '.');
is($got->{rc}, 0, 'an architecture that is not there');
like($got->{err}, qr/default\/demo has no s390x worker: linux\/s390x is left/,
    '... said');
@calls = calls();
like($calls[0], qr/-amd64 --platform linux\/amd64,linux\/s390x /, '... where');
like($calls[1], qr/-arm64 --platform linux\/arm64 --append/, '... not there');
$got = build('--platform', 'linux/s390x,linux/ppc64le', '.');
is($got->{rc}, 0, 'none of them is there');
unlike((calls())[0], qr/--node/, '... one node');
clean('what is not there');

# one of the two is taken: the other is given back, nothing is built

my $held = decode_json(run('allocate', '--arch', 'arm64', '--json')->{out});
$got = run('build', '--wait', '1s', '--', '--platform',
    'linux/amd64,linux/arm64', '.');
is($got->{rc}, 125, 'one cannot be had: 125');
like($got->{err}, qr/^bkctl: no worker of pool default\/demo /m, '... why');
is(scalar(calls()), 0, '... no buildx was run');
clean('one that cannot be had', $held->{id});
$t->write('held', $held->{token});
is(run('release', "$dir/held")->{rc}, 0, 'it is free again');

# the second node cannot be made, the build fails, SIGTERM

buildx('[ "$1 $6" = "create --platform" ] && case "$*" in *--append*) '
    . 'echo no node >&2; exit 1;; esac');
$got = build('--platform', 'linux/amd64,linux/arm64', '.');
is($got->{rc}, 125, 'no second node: 125');
like($got->{err}, qr/no node\n.*create failed with status 1/s, '... why');
@calls = calls();
like($calls[-1], qr/^rm --force bkctl-/, '... the first one is removed');
is(scalar(grep { /^build/ } @calls), 0, '... nothing is built');
clean('no second node');

buildx('[ "$1" = build ] && exit 7');
is(build('--platform', 'linux/amd64,linux/arm64', '.')->{rc}, 7,
    'a build that fails: its status');
like((calls())[-1], qr/^rm --force/, '... the builder is removed');
clean('a build that fails');

# --target is told to the API; more than can be is refused

buildx('');
build('--target=test', '.');
build('--target', 'prod', '.');
run('build', '--metadata', 'target=mine', '--', '--target', 'test', '.');
is_deeply([map { $_->{metadata} && decode_json($_->{metadata})->{target} }
    (rows())[-3 .. -1]], [qw(test prod mine)], '--target');
$got = build('--platform', join(',', map { "linux/a$_" } 1 .. 9), '.');
is($got->{rc}, 125, 'nine architectures: 125');
like($got->{err}, qr/more than 8 architectures/, '... said');


sub build { return run('build', '--', @_) }

sub buildx {
    $t->write('bin/buildx', "#!/bin/sh\necho \"\$*\" >>\$DIR/calls\n$_[0]\n"
        . "exit 0\n");
    chmod 0755, "$dir/bin/buildx";
}

sub calls {
    my $text = $t->read('calls') // '';
    unlink "$dir/calls";
    return split /\n/, $text;
}

sub ended_ones {
    return sort { $a->{worker} cmp $b->{worker} } @{decode_json(run(
        'allocations', '--json')->{out})};
}

sub rows {
    my $r = $t->run('sqlite3', '-readonly', '-json', "$dir/state/journal.db",
        'SELECT metadata FROM allocations ORDER BY created_ms, rowid');
    return @{decode_json($r->{out} || '[]')};
}

sub clean {
    my ($name, $but) = @_;

    my @live = grep { $_->{state} =~ /ready|starting|queued/
        && $_->{id} ne ($but // '') } ended_ones();
    my @files = glob "$dir/bkctl-*";
    is(@live + @files, 0, "clean after $name");
}
