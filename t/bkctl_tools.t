#!/usr/bin/perl

# bkctl buildctl and build: which program is run, with which arguments, and
# that the builder made for a build is removed whatever comes of it.  Stand-in
# tools write down how they were called; e2e tests use the real ones.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;

plan tests => 28;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $dir = $t->dir;
mkdir "$dir/$_" for qw(run bin home docker docker/cli-plugins);
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_TLS_DIR
    BUILDKIT_HOST BKCTL_BUILDX BKCTL_BUILDCTL DOCKER_CONFIG)),
    BKCTL_ENDPOINT => "unix:$dir/api.sock", BKCTL_POOL => 'demo', DIR => $dir,
    XDG_RUNTIME_DIR => "$dir/run", HOME => "$dir/home",
    PATH => "$dir/bin:/usr/bin:/bin");

$t->write('static.yaml', <<'END');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: w1.tls, arch: amd64}
END
my $host = $t->host(<<'END');
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: info, format: text}
plugins:
  - {name: allocator}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
my $addr = 'tcp://localhost:' . $t->port('gw');

# not there: said before a worker is taken

for (['buildctl', qr/buildctl is not to be found\n +.*BKCTL_BUILDCTL/],
     ['build', qr/neither docker buildx nor buildx.*\n.*BKCTL_BUILDX/]) {
    my $got = run($_->[0], '--', 'x');
    is($got->{rc}, 125, "$_->[0]: no such program: 125");
    like($got->{err}, $_->[1], "$_->[0]: says what to set");
}
unlike($host->log, qr/allocation \w{12}/, '... and no worker was taken');

# buildctl

program('bin/buildctl');
my $got = run('buildctl', '--', 'build', '--frontend', 'dockerfile.v0');
is($got->{rc}, 0, 'buildctl: exit status');
like(calls(), qr{^buildctl\ --addr\ \Q$addr\E\ --tlscacert
    \ (\Q$dir\E/run/bkctl-\w{6})/ca\.pem\ --tlscert\ \1/cert\.pem
    \ --tlskey\ \1/key\.pem\ build\ --frontend\ dockerfile\.v0$}x,
    'buildctl: its arguments, then the user\'s');
clean('buildctl');

program('other', 'exit 6');
$got = $t->run({ env => { %env, BKCTL_BUILDCTL => "$dir/other" } }, $bkctl,
    'buildctl', 'debug', 'workers');
is($got->{rc}, 6, 'BKCTL_BUILDCTL wins over PATH; its status counts');
like(calls(), qr/^other --addr .* debug workers$/, '... no -- is needed');
is($t->run({ env => { %env, BKCTL_BUILDCTL => "$dir/nothing" } }, $bkctl,
    'buildctl', 'x')->{rc}, 125, 'a BKCTL_BUILDCTL that is not there: 125');

# build with buildx alone

program('bin/buildx');
is(run('build', '--', '-t', 'x', '.')->{rc}, 0, 'build: exit status');
my @calls = split /\n/, calls();
my ($name) = ($calls[0] // '') =~ /--name (bkctl-\w{12}) /;
$name //= 'none';
like($calls[0], qr{^buildx\ create\ --name\ $name\ --driver\ remote
    \ --driver-opt\ cacert=(\S+)/ca.pem,cert=\1/cert.pem,key=\1/key.pem
    \ \Q$addr\E$}x, 'build: the builder is made');
unlike($calls[0], qr/--use/, '... but not made the current one');
is($calls[1], "buildx build --builder $name -t x .", '... used');
is($calls[2], "buildx rm --force $name", '... removed');
clean('build');

program('bin/buildx', '[ "$1" = build ] && exit 102');
is(run('build', '.')->{rc}, 102, 'a build that fails: its own status');
like(calls(), qr/^buildx rm --force bkctl-/m, '... and the builder is gone');
clean('a failed build');

program('bin/buildx', '[ "$1" = create ] && echo no driver >&2 && exit 1');
$got = run('build', '.');
is($got->{rc}, 125, 'no builder: 125');
like($got->{err}, qr/no driver\n.*create failed with status 1/s,
    '... with what the tool said') or diag($got->{err});
unlike(calls(), qr/ build /, '... and no build');
clean('no builder');

# docker with the plugin is preferred

program('bin/docker');
program('docker/cli-plugins/docker-buildx');
$got = $t->run({ env => { %env, DOCKER_CONFIG => "$dir/docker" } }, $bkctl,
    'build', '.');
like(calls(), qr/^docker\ buildx\ create\ .*\n
    docker\ buildx\ build\ --builder\ bkctl-\w+\ \.\n
    docker\ buildx\ rm\ /x, 'docker buildx');

# killed in the middle: the tool hears it, the builder is removed

program('bin/buildx', q([ "$1" = build ] && { sleep 600 & )
    . q(trap "kill $!; exit 33" TERM; : >$DIR/building; wait; }));
my $proc = $t->start('killed', { env => { %env,
    BKCTL_BUILDX => "$dir/bin/buildx" } }, $bkctl, 'build', '.');
$t->wait_for(sub { -e "$dir/building" }, 10, 'the build');
kill TERM => $proc->{pid};
$t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
is($proc->{status}, 33, 'SIGTERM reaches the tool');
like(calls(), qr/^buildx rm --force bkctl-/m, '... and the builder is gone');
clean('a killed build');


sub run { return $t->run({ env => \%env }, $bkctl, @_) }

sub program {
    my ($path, $does) = @_;

    $t->write($path, "#!/bin/sh\necho \"\${0##*/} \$*\" >>$dir/calls\n"
        . ($does // '') . "\nexit 0\n");
    chmod 0755, "$dir/$path";
}

sub calls {
    my $text = $t->read('calls') // '';
    unlink "$dir/calls";
    chomp $text;
    return $text;
}

sub clean {
    my ($name) = @_;

    my $list = decode_json($t->run({ env => \%env }, $bkctl, 'allocations',
        '--json')->{out});
    my @live = grep { $_->{state} =~ /ready|starting|queued/ } @$list;
    my @files = glob "$dir/run/*";
    is(@live + @files, 0, "clean after $name");
}
