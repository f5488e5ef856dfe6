#!/usr/bin/perl

# bkctl completion: each script is valid, and bash's completes verbs, flags
# and files; it knows every verb and flag that help knows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my %env = (BKCTL_ENDPOINT => 'unix:' . $t->dir . '/api.sock',
    PATH => $t->build . ":$ENV{PATH}");

my @verbs = map { /^  (\w+)  / ? $1 : () }
    split /\n/, $t->run($bkctl, 'help')->{out};
my %flags;
for my $verb (@verbs) {
    $flags{$verb} = [$t->run($bkctl, $verb, '--help')->{out}
        =~ /^  (--[\w-]+)/mg];
}

plan tests => 3 * 2 + @verbs + 13;

cmp_ok(scalar @verbs, '>=', 16, 'help lists the verbs');

for my $shell (qw(bash zsh fish)) {
    my $got = $t->run($bkctl, 'completion', $shell);
    is($got->{rc}, 0, "$shell: printed");
    my $file = $t->write("bkctl.$shell", $got->{out});

    SKIP: {
        my $there = $t->run('sh', '-c', "command -v $shell")->{rc} == 0;
        if (!$there) {
            # no such shell here: at least all is in it
            my @missing = grep { $got->{out} !~ /\b$_\b/ } @verbs;
            is("@missing", '', "$shell: knows every verb");
            next;
        }
        is($t->run($shell, '-n', $file)->{err}, '', "$shell: valid");
    }
}

for my $verb (@verbs) {
    is(complete('bkctl', $verb, '--'),
        join(' ', sort @{$flags{$verb}}, $verb =~ /^(run|build|buildctl)$/
            ? '--' : ()), "bash: flags of $verb");
}

is(complete('bkctl', 'alloc'), 'allocate allocations', 'bash: verbs');
is(complete('bkctl', 'allocate', '--po'), '--pool', 'bash: a flag');
is(complete('bkctl', 'completion', ''), 'bash fish zsh', 'bash: shells');
is(complete('bkctl', 'help', 'rou'), 'routes', 'bash: help VERB');
is(complete('bkctl', 'allocate', '--pool', ''), '',
    'bash: no API is no noise');
mkdir $t->dir . '/adir';
is(complete('bkctl', 'allocate', '--out', $t->dir . '/ad'), $t->dir . '/adir',
    'bash: folders');

# names come from the API

$t->write('rules', encode_json([
    { on => 'pools', json => [{ name => 'default/demo' },
        { name => 'team/b' }] },
    { on => 'workers', json => [{ name => 'w1' }, { name => 'w2' }] },
    { on => 'allocations', json => [{ id => '0123456789ab' }] }]));
$t->start('fake', {}, "$FindBin::Bin/lib/fake_api", $t->dir . '/api.sock',
    $t->dir . '/rules', $t->dir . '/log');
$t->wait_for(sub { IO::Socket::UNIX->new(Peer => $t->dir . '/api.sock') }, 60,
    'the API');

is(complete('bkctl', 'allocate', '--pool', ''), 'default/demo team/b',
    'bash: pools of the API');
is(complete('bkctl', 'revoke', '01'), '0123456789ab', 'bash: ids');
is(complete('bkctl', 'drain', ''), 'w1 w2', 'bash: workers');
is(complete('bkctl', 'sessions', '--worker', 'w2'), 'w2', 'bash: of a flag');
is(complete('bkctl', 'sessions', '--allocation', ''), '0123456789ab',
    'bash: ids of a flag');
is($t->run({ env => \%env }, $bkctl, 'pools', '--names')->{out},
    "default/demo\nteam/b\n", 'pools --names');


sub complete {
    my @words = @_;

    my $words = join ' ', map { "'$_'" } @words;
    my $got = $t->run({ env => \%env }, 'bash', '-c',
        'source ' . $t->dir . "/bkctl.bash; COMP_WORDS=($words); "
        . "COMP_CWORD=$#words; _bkctl; printf '%s\\n' \"\${COMPREPLY[\@]}\"");

    return join ' ', sort split ' ', $got->{out};
}
