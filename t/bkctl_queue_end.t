#!/usr/bin/perl

# bkctl gives its place in the queue back when it has waited enough or is
# stopped, and knows a place that it lost from a worker that failed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;
use Ctl;

plan tests => 22;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
ctl($t, BKCTL_POOL => 'p');

my $token = $t->token;
my $id = $t->id($token);
my %queued = (id => $id, state => 'queued', position => 3,
    estimate => '40s', poolName => 'default/p');
my %allocate = (on => 'workers/allocate', json => { token => $token,
    gatewayEndpoint => 'tcp://x:1', expiresAt => '2030-01-01T00:00:00Z',
    %queued });
my %release = (on => 'workers/release', json => {});

# long enough

my $api = fake('over', \%release, \%allocate,
    { on => 'watch=1', stream => [ \%queued ] },
    { on => 'lookup', json => \%queued });
my $got = run('allocate', '--wait', '1s');
is($got->{rc}, 4, 'the wait is over: exit 4');
like($got->{err}, qr/^bkctl:\ no\ worker\ of\ pool\ default\/p\ became\ free
    \ within\ \d+s:\ place\ 3,\ about\ 40s\n\ +the\ place\ is\ given\ back/mx,
    '... says where it was');
is($got->{out}, '', '... and prints nothing');
is((bodies('over', 'release'))[0]{token}, $token, '... place given back');
is(run('env', '--wait', '0s')->{out}, "(exit 4)\n", 'env: the same');
is(run('run', '--wait', '1s', '--', 'touch', "$dir/ran")->{rc}, 125,
    'run: 125, a place is not left to the gateway');
ok(!-e "$dir/ran", '... the command did not run');
is(scalar requests('over', 'release'), 3, '... each place is given back');

# stopped: allocate dies of the signal, run says 125

my $proc;
for (['INT', 130], ['TERM', 143]) {
    $proc = start("stop$_->[0]", 'allocate', '--wait', '60s');
    said("stop$_->[0]", qr/place 3/, 'the place');
    kill $_->[0] => $proc->{pid};
    ended($proc, $_->[1], "SIG$_->[0]");
}
is(scalar requests('over', 'release'), 5, '... each place is given back');
$proc = start('stoprun', 'run', '--wait', '60s', '--', 'touch', "$dir/ran");
said('stoprun', qr/place 3/, 'the place');
kill INT => $proc->{pid};
ended($proc, 125, 'run: SIGINT');
is(scalar requests('over', 'release'), 6, '... its place is given back');
is(scalar(glob "$dir/bkctl-*"), undef, '... no files are left');
$t->stop($api);

# a place that is lost, a worker that failed under it

$api = fake('lost', \%release, \%allocate, { on => 'lookup', status => 410,
    json => { error => "allocation $id was revoked: enough" } });
$got = run('allocate', '--wait', '60s');
is($got->{rc}, 1, 'revoked in the queue: exit 1');
like($got->{err}, qr/^bkctl: allocation $id was revoked: enough$/m, '... why');
is(scalar requests('lost', 'workers/allocate'), 1, '... it does not ask again');
$t->stop($api);

$api = fake('failed', \%release, { %allocate, times => 1 },
    { on => 'workers/allocate', json => { token => $token, state => 'ready',
        workerName => 'w8' } },
    { on => 'lookup', status => 410,
        json => { error => "allocation $id failed: worker w7 died" } });
$got = run('allocate', '--wait', '60s');
is($got->{rc}, 0, 'its worker failed: it asks for another one');
my @keys = map { $_->{idempotencyKey} } bodies('failed', 'allocate');
isnt($keys[0], $keys[1], '... which is another allocation');
$t->stop($api);
