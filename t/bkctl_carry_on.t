#!/usr/bin/perl

# bkctl and an API that goes away: it goes on as long as --wait lasts, with
# the key that keeps it from taking two workers, and says what it does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Buildkit;
use Ctl;

plan tests => 31;

my $t = Test::Buildkit->new;
my $port = $t->port('api');
ctl($t, BKCTL_POOL => 'p', BKCTL_ENDPOINT => "http://127.0.0.1:$port");

my $token = $t->token;
my %ready = (on => 'workers/allocate', json => { token => $token,
    id => $t->id($token), state => 'ready', workerName => 'w1',
    gatewayEndpoint => 'tcp://x:1' });
my %release = (on => 'workers/release', json => {});
my $AWAY = qr/^waiting for a worker of pool default\/p: the API does not/m;

# not there yet: asked until it is

my $proc = start('early', 'allocate', '--wait', '60s');
said('early', qr/\A$AWAY answer \(connection refused\), trying again \.\.\. /,
    'at once that nobody answers');
my $api = fake('first', \%release, \%ready);
ended($proc, 0, 'and gets its worker');
like($t->read('early.log'), qr/"token": "\Q$token\E"/, '... which it prints');
unlike($t->read('early.log'), qr/waited.*does not answer/,
    '... with nothing of the past');
$t->stop($api);

# not there at all: as long as --wait lasts, then what it was

my $got = run('allocate', '--wait', '4s');
is($got->{rc}, 5, 'nobody within the wait: exit 5');
like($got->{err}, qr/$AWAY.*^bkctl: the API at \S+ cannot be reached: Conn/ms,
    '... after it tried');
$got = run('allocate', '--wait', '0s');
is($got->{rc}, 5, 'no wait: exit 5');
unlike($got->{err}, qr/trying again/, '... at once');
is(run('run', '--wait', '0s', '--', 'true')->{rc}, 125, 'run: 125');

# what will not get better is not tried again

$got = run({ BKCTL_ENDPOINT => 'http://x.invalid' }, 'allocate', '--wait',
    '60s');
is($got->{rc}, 5, 'a name that nobody knows: exit 5');
unlike($got->{err}, qr/trying again/, '... at once');
$api = fake('denied', { on => '.', status => 403, json => { error => 'no' } });
is(run('allocate', '--wait', '60s')->{rc}, 3, 'not allowed: exit 3');
is(scalar requests('denied'), 1, '... asked once');
$t->stop($api);

# a broken connection, a proxy without an API, one that starts: the same key

my @faults = ({ drop => 1 }, { status => 502, body => '<html>' },
    { status => 503, headers => { 'Retry-After' => 0 },
        json => { error => 'starting', reason => 'ShuttingDown' } });
$api = fake('faults', \%release, map({ { on => 'workers/allocate',
    times => 1, %$_ } } @faults), \%ready);
$got = run('allocate', '--wait', '60s');
is($got->{rc}, 0, 'dropped, 502, 503: exit 0 in the end');
is(scalar requests('faults', 'workers/allocate'), 4, '... asked four times');
my %keys = map { $_ => 1 } keys_of('faults');
is(scalar keys %keys, 1, '... with one key');
like((keys %keys)[0], qr/^bkctl-[0-9a-f]{32}$/, '... made for this');
is(run('allocate', '--idempotency-key', 'mine')->{rc}, 0, 'an own key');
is((keys_of('faults'))[-1], 'mine', '... is what is sent');
run('allocate');
ok(!$keys{(keys_of('faults'))[-1]}, 'another run has another key');
$t->stop($api);

# 503 that does not say when, and 409, are answers

for ([503, { error => 'no', reason => 'WorkerFailed' }, 1],
    [409, { error => 'taken', reason => 'Duplicate' }, 1]) {
    $api = fake("e$_->[0]", { on => '.', status => $_->[0],
        json => $_->[1] });
    is(run('allocate', '--wait', '60s')->{rc}, $_->[2],
        "$_->[0] without Retry-After: exit $_->[2]");
    is(scalar requests("e$_->[0]"), 1, '... asked once');
    $t->stop($api);
}

# stopped while a call is under way: its key finds what it got

$api = fake('hang', \%release, { on => 'workers/allocate', times => 1,
    hang => 1 }, { on => 'workers/allocate', json => {
        %{$ready{json}}, state => 'queued', position => 9 } });
$proc = start('stopped', 'allocate', '--wait', '60s');
$t->wait_for(sub { requests('hang') }, 10, 'the call');
kill INT => $proc->{pid};
ended($proc, 130, 'SIGINT in the call');
my @seen = requests('hang');
is(scalar(my @keys = keys_of('hang')), 2, '... it asks by its key');
is($keys[0], $keys[1], '... which is the same');
like($seen[-1]{path}, qr/workers\/release/, '... and gives it back');
is((bodies('hang', 'release'))[0]{token}, $token, '... by its token');
$t->stop($api);

# nothing to give back: the end comes as quickly

$proc = start('alone', 'allocate', '--wait', '60s');
said('alone', $AWAY, 'that nobody answers');
kill TERM => $proc->{pid};
ended($proc, 143, 'SIGTERM');


sub keys_of {
    return map { $_->{idempotencyKey} } bodies($_[0], 'workers/allocate');
}
