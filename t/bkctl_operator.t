#!/usr/bin/perl

# bkctl backup, release ID, allocations with owners and places, allocations ID
# with its history, and --watch: what is asked for and what is shown.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;
use Ctl;

plan tests => 37;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
ctl($t);
my $id = 'abcdef012345';
my %one = (id => $id, pool => 'default/p', worker => 'w1', state => 'ready',
    expiresAt => '2030-01-01T00:00:00Z', changedAt => '2026-01-01T00:00:00Z');

# without anything new, as an older API has it; then with it

my $api = fake('old', { on => 'allocations', json => [\%one] });
like(run('allocations')->{out},
    qr/^ID +POOL +WORKER +STATE +EXPIRES +CHANGED +REASON\n/,
    'no owners, no columns of them');
$t->stop($api);

$api = fake('api',
    { on => "GET /api/v1/allocations/$id\\?watch=1", times => 1, stream => [
        { id => $id, state => 'queued', position => 2 },
        { id => $id, state => 'ready' }, "$dir/go" ] },
    { on => "GET /api/v1/allocations/$id\\?watch=1", stream => [
        { id => $id, state => 'released' } ] },
    { on => 'GET /api/v1/allocations/0{12}.watch', json => \%one },
    { on => "GET /api/v1/allocations/$id", json => { %one,
        owner => 'github:octo', rule => 'main', cacheKey => 'octo/app',
        history => [ { at => '2026-01-01T00:00:00Z', what => 'made',
            who => 'github:octo', text => '' },
            { at => '2026-01-01T00:00:01Z', what => 'placed',
                who => '', text => "on\e[1m w1" } ] } },
    { on => 'GET /api/v1/allocations$', json => [ { %one,
        owner => 'github:octo', rule => 'main' }, { %one, id => '0' x 12,
        state => 'queued', worker => '', position => 7 } ] });

my $got = run('allocations');
like($got->{out}, qr/^ID .* CHANGED +POSITION +OWNER +RULE +REASON\n/,
    'the columns');
like($got->{out}, qr/^$id .* - +github:octo +main +-\n/m, 'an owner, a rule');
like($got->{out}, qr/^0{12} .* queued .* 7 +- +- +-\n/m, 'a place');
is(run('allocations', '--names')->{out}, "$id\n000000000000\n", '--names');

# one

$got = run('allocations', $id);
is($got->{rc}, 0, 'one: exit 0');
like($got->{out}, qr/^owner +github:octo\nrule +main\n/m, '... its owner');
like($got->{out}, qr/^TIME +WHAT +WHO +TEXT\n/m, '... its history');
like($got->{out}, qr/Z +placed +- +on\?\[1m w1\n/, '... cleaned');
is(decode_json(run('allocations', $id, '--json')->{out})->{rule}, 'main',
    '... --json');
is(run('allocations', 'w1')->{rc}, 2, 'no id: exit 2');
is(run('allocations', '--watch')->{rc}, 2, '--watch of all: exit 2');

# followed to its end, over a broken connection

my $proc = start('watch', 'allocations', $id, '--watch');
said('watch', qr/"ready".*\n/, 'the changes as they come');
my @lines = map { decode_json($_)->{state} } split /\n/,
    $t->read('watch.log');
is("@lines", 'queued ready', 'a line of JSON each');
ok($t->alive($proc), 'it goes on');
$t->stop($api);
$api = fake('api', { on => 'watch=1', stream => [
    { id => $id, state => 'released' } ] });
ended($proc, 0, 'it has ended: exit 0');
like($t->read('watch.log'), qr/"released"/, '... said by an API that is back');
$t->stop($api);
$api = fake('plain', { on => 'allocations', json => \%one });
$got = run('allocations', $id, '--watch');
is($got->{rc}, 1, 'an API that streams nothing: exit 1');
like($got->{err}, qr/does not stream changes/, '... said');
$t->stop($api);
is(run('allocations', $id, '--watch')->{rc}, 5, 'nobody there: exit 5');

# release by id, by file, and a file with the name of an id

unlink "$dir/api.req";
$api = fake('api', { on => "POST /api/v1/allocations/$id/release",
    json => {} }, { on => 'workers/release', json => {} },
    { on => 'allocations', status => 404, json => { error =>
        'no such allocation', hint => 'look' } },
    { on => 'backup', times => 2, json => { path => '/state/backup/x.db',
        bytes => 1234567 } },
    { on => 'backup', status => 409, json => { error => 'there is one' } });
$got = run('release', $id);
is("$got->{rc} $got->{out}", "0 released $id\n", 'release ID');
is((requests('api'))[-1]{path}, "/api/v1/allocations/$id/release", '... asked');
$got = run('release', 'f' x 12);
is($got->{rc}, 1, 'of another: exit 1');
like($got->{err}, qr/^bkctl: no such allocation\n +look\n/, '... said');
my $token = $t->token;
$t->write('fedcba543210', "$token\n");
$got = $t->run({ dir => $dir, env => { BKCTL_ENDPOINT =>
    "unix:$dir/api.sock" } }, $t->build . '/bkctl', 'release',
    'fedcba543210');
is($got->{out}, 'released ' . $t->id($token) . "\n", 'a file of that name');
is((bodies('api'))[-1]{token}, $token, '... goes first');
run('release', $id, '--token-file', "$dir/fedcba543210");
is((requests('api'))[-1]{headers}{authorization}, "Bearer $token",
    'ID --token-file: the caller\'s');
is(run('release', $t->token)->{rc}, 2, 'a token is no id: exit 2');

# backup

$got = run('backup', 'before-upgrade');
is($got->{rc}, 0, 'backup: exit 0');
is($got->{out}, "backup in /state/backup/x.db, 1.2M bytes\n", '... where');
is_deeply((bodies('api'))[-1], { name => 'before-upgrade' }, '... its name');
run('backup', '--json');
is_deeply((bodies('api'))[-1], {}, '... or none');
is(run('backup')->{rc}, 1, 'refused: exit 1');
is(run('backup', 'a', 'b')->{rc}, 2, 'two names: exit 2');
is(run('backup', "\xff")->{rc}, 2, 'no UTF-8: exit 2');
unlike(printed(), qr/\Q$token\E|\e/, 'no token, no control byte is printed');
is(scalar(grep { $_->{path} =~ /\Q$token\E/ } requests('api')), 0,
    '... or is in a path');
