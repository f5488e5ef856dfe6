# make demo, as a person sees it: every step by its line, a failing step that
# says which it is, nothing left running; make up and make down.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

# the demo builds and runs what a user gets
plan skip_all => 'the demo is not built with sanitizers' if $ENV{BK_SAN};
plan tests => 32;

my $t = Test::Buildkit->new;
my $build = $t->build;
my $demo = $t->root . '/tools/demo';
my %env = (env => { BUILD => $build }, timeout => 300);

my $r = $t->run(\%env, $demo, 'demo');
is($r->{rc}, 0, 'make demo') or diag $r->{out}, $r->{err};
my $out = $r->{out};

like($out, qr/^  \Q$_\E +\d+\.\d s/m, $_) for (
    'packages', 'compile module, plugin-host, bkctl',
    'buildkitd, buildctl, buildx', 'start a registry',
    'start plugin-host (two workers, started on demand)', 'start nginx',
    'allocate a worker', 'buildctl: build an image with a RUN step, push it',
    'buildx, remote driver: the same again',
    'export the build cache into the registry', 'allocate a second worker',
    'each allocation reaches its own worker',
    'import the cache on the second worker', 'stop everything');

# what clients see is folded: put it together again
(my $said = $out) =~ s/\n +\| //g;
like($said, qr/$_->[0] is refused.*Unauthenticated: buildkit gateway: $_->[1]/,
    $_->[0]) for (
    ['without a certificate', qr/no client certificate was sent/],
    ['with a stranger\'s certificate', qr/.*not from an *authority/],
    ['with an unknown token', qr/allocation \w{12} is not *known here/],
    ['after its allocation was revoked',
        qr/allocation \w{12} was *revoked at .*key *leaked/]);
like($out, qr/is on w(\d), \w{12} on w(?!\1)\d/, 'two workers, by name');
like($out, qr/^All good, in ([\d.]+) s\. The log: (\S+)$/m, 'a summary');
my ($token) = $t->read("$build/demo/one/alloc.json") =~ /"token":\s*"([^"]+)/;
my $log = $t->read("$build/demo/demo.log");
like($log, qr/=== allocate a worker/, 'the log is there');
is(index($log, $token), -1, 'and has no token');
is(gone("$build/demo/"), 0, 'nothing is left running');
# others run demos, too
my ($table) = $t->read("$build/demo/plugin-host.yaml") =~
    m{(/dev/shm/buildkit-\d+\.table)};
is(join(' ', $table ? glob "$table*" : 'none'), '', 'no table is left');

# up, twice, and down
$r = $t->run(\%env, $demo, 'up');
is($r->{rc}, 0, 'make up') or diag $r->{out}, $r->{err};
my ($endpoint) = $r->{out} =~ /BKCTL_ENDPOINT=(unix:\S+)/;
is($t->bkctl({ env => { BKCTL_ENDPOINT => $endpoint } }, 'buildctl', '--',
    'debug', 'workers')->{rc}, 0, 'it works as it says');
is($t->run(\%env, $demo, 'up')->{rc}, 0, 'make up again is no error');
is($t->run(\%env, $demo, 'down')->{rc}, 0, 'make down');
is(gone("$build/up/"), 0, 'nothing is left running');
is($t->run(\%env, $demo, 'down')->{rc}, 0, 'make down again is no error');

# a step that fails
my $bin = $t->dir . '/bin';
$t->write("$bin/docker-registry", "#!/bin/sh\necho 'disk is full'\nexit 1\n");
chmod 0755, "$bin/docker-registry";
$r = $t->run({ %env, env => { BUILD => $build, PATH => "$bin:$ENV{PATH}" } },
    $demo, 'demo');
is($r->{rc} == 1 && $r->{out} =~ /^This step failed: start a registry\n.*demo\.log.*disk is full/ms ? 1 : 0,
    1, 'a failing step says which, and why') or diag $r->{out};


# ... when who was told to end has ended
sub gone {
    my ($path) = @_;

    eval { $t->wait_for(sub { !running($path) }, 30, 'their end') };
    return running($path);
}


# Processes that have the path in their arguments.
sub running {
    my ($path) = @_;

    return scalar grep { index($t->read($_) // '', $path) >= 0 }
        glob '/proc/[0-9]*/cmdline';
}
