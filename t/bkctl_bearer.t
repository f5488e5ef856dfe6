#!/usr/bin/perl

# Who bkctl says that it is: BKCTL_TOKEN, a file, the CI system; over a unix
# socket as well; never shown; and what is said to those who are refused.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Buildkit;
use Ctl;

plan tests => 33;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $port = $t->port('ci');
ctl($t, BKCTL_POOL => 'p');

my $token = $t->token;
my $api = fake('api', { on => 'release|renew|lookup', json => {} },
    { on => 'workers/allocate', json => { token => $token, state => 'ready' } },
    { on => 'pools', json => [] });

# one after the other, each before those below it

$t->write('token', "from-file\n");
$t->write('other', 'from-other');
my %all = (BKCTL_TOKEN_FILE => "$dir/other", BKCTL_TOKEN => 'from-env');
is(bearer({}, 'pools'), undef, 'nobody in particular');
is(bearer({ BKCTL_TOKEN_FILE => "$dir/other" }, 'pools'), 'Bearer from-other',
    'BKCTL_TOKEN_FILE');
is(bearer(\%all, 'pools'), 'Bearer from-env', 'BKCTL_TOKEN');
is(bearer(\%all, 'pools', '--token-file', "$dir/token"), 'Bearer from-file',
    '--token-file');
is(bearer({ BKCTL_TOKEN => '' }, 'pools'), undef, 'an empty one is none');

# a file that is no token

$t->write('empty', " \n");
$t->write('long', 'x' x 40000);
$t->write('lines', "two\nlines\n");
for (['nothing', qr/cannot read the token file \S+nothing: No such file/],
    ['empty', qr/there is no token in \S+empty\n/],
    ['long', qr/there is no token in \S+long\n.*at most 32 KiB/],
    ['lines', qr/\S+lines has a character that no token has/]) {
    my $got = run('pools', '--token-file', "$dir/$_->[0]");
    is($got->{rc}, 2, "$_->[0]: exit 2");
    like($got->{err}, $_->[1], "$_->[0]: why");
}

# the CI system

my %github = (ACTIONS_ID_TOKEN_REQUEST_TOKEN => 'for-the-request',
    ACTIONS_ID_TOKEN_REQUEST_URL => "http://127.0.0.1:$port/token?v=2");
$t->write('ci.rules', '[{"on": "audience=none", "json": {}}, {"on": "late",'
    . ' "status": 403}, {"on": "token", "json": {"value": "an.id.token"}}]');
my $ci = $t->start('ci', {}, $t->root . '/t/lib/fake_api', $port,
    "$dir/ci.rules", "$dir/ci.req");
$t->wait_port($port, 10, $ci);

my @oidc = ('--oidc', 'github', '--audience', 'https://gw.example');
is(bearer({ %all, %github }, 'pools', @oidc), 'Bearer an.id.token',
    '--oidc goes before BKCTL_TOKEN');
my ($asked) = requests('ci');
is($asked->{path}, '/token?v=2&audience=https%3A%2F%2Fgw.example',
    '... it is asked for with the audience');
is($asked->{headers}{authorization}, 'Bearer for-the-request',
    '... by the token for that');
is(bearer({ %github, BKCTL_OIDC => 'github', BKCTL_AUDIENCE => 'x' },
    'pools'), 'Bearer an.id.token', 'from the environment');
is((requests('ci'))[-1]{path}, '/token?v=2&audience=x', '... as well');

my $n = requests('ci');
my $got = run(\%github, 'run', @oidc, '--', 'true');
is($got->{rc}, 0, 'a command in an allocation');
is(requests('ci') - $n, 1, '... asks once');
is((requests('api', 'allocate'))[-1]{headers}{authorization},
    'Bearer an.id.token', '... to allocate');
is((requests('api', 'release'))[-1]{headers}{authorization}, undef,
    '... and releases by the allocation\'s own');

$got = run({ %github, ACTIONS_ID_TOKEN_REQUEST_TOKEN => undef }, 'pools',
    @oidc);
is($got->{rc}, 3, 'a job that may have none: exit 3');
like($got->{err}, qr/REQUEST_TOKEN is not set\n.*id-token: write/, '... why');
$got = run(\%github, 'pools', '--oidc', 'github', '--audience', 'none');
is($got->{rc}, 3, 'an answer without one: exit 3');
$got = run({ %github, ACTIONS_ID_TOKEN_REQUEST_URL =>
    "http://127.0.0.1:$port/late" }, 'pools', @oidc);
like($got->{err}, qr/GitHub gave no id token: it answers 403\n/, 'refused');
is(run('pools', '--oidc', 'gitlab')->{rc}, 2, 'another system: exit 2');
$t->stop($ci);
$t->stop($api);

# refused: whose turn it is

$api = fake('no', { on => 'workers', status => 403 },
    { on => '.', status => 401 });
for ([{}, 'pools', qr/set BKCTL_TOKEN or give --token-file/],
    [{ BKCTL_TOKEN => 'x' }, 'pools', qr/right issuer and audience/],
    [{ GITHUB_ACTIONS => 1 }, 'pools', qr/--oidc github, and "permiss/],
    [{ GITLAB_CI => 1 }, 'pools', qr/id_tokens: BKCTL_TOKEN: aud/],
    [{ BKCTL_TOKEN => 'x' }, 'workers', qr/"bkctl explain --pool POOL"/]) {
    $got = run($_->[0], $_->[1]);
    like("$got->{rc} $got->{err}", qr/^3 bkctl: .*\n +.*$_->[2]/,
        join ' ', 'a hint for', %{$_->[0]}, $_->[1]);
}
unlike(printed(), qr/from-(file|env|other)|for-the-request|an\.id/,
    'no token is printed');


sub bearer {
    my ($env, @args) = @_;

    my $rc = run($env, @args)->{rc};

    return $rc ? "exit $rc" : (requests('api'))[-1]{headers}{authorization};
}
