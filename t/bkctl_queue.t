#!/usr/bin/perl

# bkctl in the queue of a pool: it says its place, follows it by the stream of
# changes or by looking, and goes on when there is a worker.  An API that
# answers what it is told; the real queue is in bkctl_restart.t.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;
use Ctl;

plan tests => 15;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
ctl($t, BKCTL_POOL => 'p');

my $token = $t->token;
my $id = $t->id($token);
my %queued = (id => $id, state => 'queued', position => 3,
    estimate => 95, poolName => 'default/p');
my %allocate = (on => 'workers/allocate', json => { token => $token,
    gatewayEndpoint => 'tcp://x:1', expiresAt => '2030-01-01T00:00:00Z',
    %queued });
my %release = (on => 'workers/release', json => {});
my %ready = (id => $id, state => 'ready', workerName => 'w7',
    workerEndpoint => 'tcp://127.0.0.1:7', expiresAt => '2031-01-01T00:00:00Z');

# the stream of changes: places, then a worker

my $api = fake('watch', \%release, \%allocate,
    { on => "allocations/$id.watch=1", stream => [ \%queued,
        "$dir/two", { %queued, position => 2, estimate => 12 }, "$dir/go",
        { %queued, state => 'ready', worker => 'w7' } ] },
    { on => 'lookup', json => \%ready });
my $proc = start('watcher', 'allocate', '--wait', '60s');
my $WAITING = qr{^waiting for a worker of pool default/p:}m;
said('watcher', qr{$WAITING place 3, about 1m35s \.\.\. \d+s$}m,
    'the place');
$t->write('two', '');
said('watcher', qr/: place 2, about 12s \.\.\. /, 'the next one');
is(scalar requests('watch', 'lookup'), 0, 'whoever is told need not ask');
$t->write('go', '');
ended($proc, 0, 'a worker: exit 0');
my ($out) = $t->read('watcher.log') =~ /^(\{.*^\}\n)/ms;
my $answer = eval { decode_json($out // '') } // {};
is_deeply([@$answer{qw(token state workerName endpoint expiresAt position)}],
    [$token, 'ready', 'w7', 'tcp://127.0.0.1:7', '2031-01-01T00:00:00Z',
    undef], 'what is printed is what it is now');
like($t->read('watcher.log'),
    qr{^bkctl: waited \d+s for worker w7 of pool default/p$}m,
    'how long it took');
is(scalar requests('watch', 'workers/allocate'), 1, 'it asked once');
is(scalar requests('watch', 'release'), 0, 'and gave nothing back');
cmp_ok((bodies('watch', 'allocate'))[0]{wait} =~ /^(\d+)s$/
    ? $1 : 99, '<=', 5, 'the first call is a short one');
$t->stop($api);

# an API without a stream: looked up by the token

$api = fake('lookup', \%release, \%allocate,
    { on => 'lookup', times => 1, json => { %queued, position => 1,
        waitsFor => 'rule r allows 2 at a time' } },
    { on => 'lookup', times => 1, json => { %ready, state => 'starting',
        workerMessage => 'pulling the image' } },
    { on => 'lookup', json => \%ready });
$proc = start('looker', 'allocate', '--wait', '60s', '--out', "$dir/out");
ended($proc, 0, 'no stream: exit 0');
like($t->read('looker.log'), 
    qr/: place 1, about 1m35s \(rule r allows 2 at a time\) \.\.\. /,
    'the place');
like($t->read('looker.log'),
    qr/: worker w7 is starting: pulling the image \.\.\. /, '... its worker');
is(decode_json($t->read('out/alloc.json'))->{state}, 'ready', '... written');
$t->stop($api);

# an identity that grows old in the queue: the token of the place is enough

$api = fake('old', \%release, \%allocate,
    { on => 'watch=1', status => 401, json => { error => 'expired' } },
    { on => 'lookup', times => 2, json => { %queued, position => 1 } },
    { on => 'lookup', json => \%ready });
is(run({ BKCTL_TOKEN => 'old' }, 'allocate', '--wait', '60s')->{rc}, 0,
    'a bearer token that expires in the queue: exit 0');
is(scalar requests('old', 'workers/allocate'), 1, '... it asked once');
