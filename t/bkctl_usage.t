#!/usr/bin/perl

# bkctl: what a person types wrong is quoted, with what to do next; nothing is
# asked of any API.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Buildkit;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $token = $t->token;
my %env = map { $_ => undef } qw(BKCTL_POOL BKCTL_NAMESPACE BKCTL_TOKEN
    BKCTL_TLS_DIR BKCTL_TABLE BKCTL_BUILDCTL BKCTL_BUILDX);
$env{BKCTL_ENDPOINT} = 'unix:' . $t->dir . '/nobody.sock';

my @verbs = qw(allocate env run buildctl build release renew revoke status
    pools workers allocations routes completion help version);
my %command = map { $_ => 1 } qw(run buildctl build);

# arguments, exit code, what stderr must say
my @bad = (
    [[], 2, qr/^bkctl: workers of a pool gateway.*usage: bkctl VERB/s],
    [['alocate'], 2, qr/no verb "alocate"\n.*mean "bkctl allocate"/],
    [['relaese'], 2, qr/"relaese"\n.*"bkctl release"/],
    [['frobnicate'], 2, qr/"frobnicate"\n.*"bkctl help" lists/],
    [['--json', 'pools'], 2, qr/flags come after the verb: "--json"/],
    [['help', 'nosuch'], 2, qr/"nosuch"/],
    [['pools', '--jsn'], 2, qr/no flag "--jsn"\n.*mean "--json"/],
    [['pools', '--ttl', '1h'], 2, qr/"bkctl pools" has no flag "--ttl"/],
    [['pools', '-json'], 2, qr/no flag "-json"\n.*mean "--json"/],
    [['pools', '--json=yes'], 2, qr/takes no value: "--json=yes"/],
    [['pools', 'x y'], 2, qr/does not take "x y"/],
    [['pools', $token], 2, qr/takes at most 0 operands/],
    [['allocate'], 2, qr/give --pool or set BKCTL_POOL/],
    [['allocate', '--pool'], 2, qr/"--pool" needs a value/],
    [['allocate', '--pool='], 2, qr/"--pool" is empty/],
    [['allocate', '--pool', 'p', '--ttl', '5 parsecs'], 2,
        qr/"5 parsecs" is no duration for "--ttl"/],
    [['allocate', '--pool', 'p', '--wait=-1s'], 2, qr/"-1s" is no duration/],
    [['allocate', '--pool', 'p', '--metadata', 'novalue'], 2,
        qr/"novalue" is not KEY=VALUE/],
    [['env', '--json', '--pool', 'p'], 2, qr/no flag "--json"/],
    [['run'], 125, qr/needs a command after --/],
    [['run', '--pool', 'p'], 125, qr/needs a command/],
    [['run', '--', 'true'], 125, qr/give --pool/],
    [['run', '--pol', 'p', 'true'], 125, qr/mean "--pool"/],
    [['buildctl', '--pool', 'p'], 125, qr/needs a command/],
    [['build', '--pool', 'p'], 125, qr/needs a command/],
    [['build', '--pool', 'p', '--', '--builder', 'x', '.'], 125,
        qr/"--builder": the builder is bkctl's/],
    [['revoke'], 2, qr/needs ID/],
    [['revoke', '0123456789ab'], 2, qr/needs --reason TEXT/],
    [['revoke', 'w1', '--reason', 'x'], 2, qr/"w1" is no allocation's id/],
    [['revoke', $token, '--reason', 'x'], 2, qr/no allocation's id/],
    [['release'], 2, qr/set BKCTL_TLS_DIR/],
    [['release', $t->dir . '/none'], 2, qr{cannot read \S+/none: No such}],
    [['release', $token], 2, qr/a token is never an argument/],
    [['renew', '--token-file', $token], 2, qr/a token is never an argument/],
    [['release', 'a', $token], 2, qr/takes at most 1 operand/],
    [['release', 'a', '--token-file', 'b'], 2, qr/give one of them/],
    [['renew', '/dev/null'], 2, qr{no token in /dev/null}],
    [['completion'], 2, qr/needs bash\|zsh\|fish/],
    [['completion', 'tcsh'], 2, qr/no completion for "tcsh"/],
    [['status', '--endpoint', 'ftp://x'], 2, qr{"ftp://x" is no address}],
    [['status', '--endpoint', 'unix:rel'], 2, qr{"unix:rel" is no path}],
);

# one in 64 tokens begins like a flag, one in 4096 like a long one
my %dash = map { ($_ . substr $token, length) => "${_}TOKEN" } '-', '--';
my @with = grep { grep { $_ eq $token } @{$_->[0]} } @bad;
for my $dash (sort keys %dash) {
    push @bad, map { my ($args, @rest) = @$_;
        [[map { $_ eq $token ? $dash : $_ } @$args], @rest] } @with;
}

plan tests => @bad * 3 + @verbs * 2 + 4;

for (@bad) {
    my ($args, $rc, $says) = @$_;
    my $name = join ' ', 'bkctl', map { $_ eq $token ? 'TOKEN' : $dash{$_} // $_ }
        @$args;

    my $got = $t->run({ env => \%env }, $bkctl, @$args);
    is($got->{rc}, $rc, "$name: exit $rc");
    like($got->{err}, $says, "$name: says why");
    ok($got->{out} eq '' && index($got->{err}, substr $token, 2) == -1,
        "$name: nothing on stdout, no token anywhere");
}

for my $verb (@verbs) {
    my $got = $t->run({ env => \%env }, $bkctl, $verb, '--help');
    ok($got->{rc} == 0 && $got->{err} eq '', "$verb --help is no error");
    like($got->{out}, qr/^usage: bkctl $verb \[flags\]/, "$verb: usage");
}

my $got = $t->run({ env => \%env }, $bkctl, 'version');
like($got->{out}, qr/^bkctl \d+\.\d+\.\d+\n$/, 'version');
is($t->run({ env => \%env }, $bkctl, '--version')->{out}, $got->{out},
    '--version');
is($t->run({ env => \%env }, $bkctl, '-h')->{rc}, 0, '-h');
like($t->run({ env => \%env }, 'sh', '-c', "$bkctl help >/dev/full")->{err},
    qr/cannot write the output/, 'a full disk is not silence');
