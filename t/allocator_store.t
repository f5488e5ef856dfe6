#!/usr/bin/perl

# The allocator's journal in a store of another plugin: what is kept there,
# restarts, a store that is not ready, at first or any more.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Access;
use Allocator qw(ask answers);
use Store;
use Test::Buildkit;

plan tests => 57;

my $t = Test::Buildkit->new;
my $READY = 3;
my $RELEASED = 6;

# 1. what is kept
my $h = store_host($t);
my $a = allocate($h, jobId => 'j1', cacheKey => 'octo/app',
    idempotencyKey => 'k1', ttl => '30m', metadata => { ref => 'main' })
    ->{json};
is $a->{state}, 'ready', 'allocated';
my $row = kept($h, $a);
is $row->{worker}, $a->{workerName}, 'kept: its worker';
is $row->{state}, $READY, '... its state';
is $row->{job}, 'j1', '... its job';
is $row->{metadata}{ref}, 'main', '... its metadata';
my $rec = $row->{record};
is "$rec->{ttl} $rec->{idempotencyKey} $rec->{cacheKey} $rec->{rule}",
    '1800000ms k1 octo/app operators', '... what only the allocator knows';
ok $rec->{answered}, '... that it was answered';
like $rec->{nonce}, qr/^[0-9a-f]{32}$/, '... of what its token is made';
my $until = $row->{expires};
is renew($h, $a, ttl => '2h')->{status}, 200, 'renewed';
cmp_ok kept($h, $a)->{expires}, '>', $until, '... there, too';
my ($history) = map { $_->{json}{history} }
    $h->request(GET => "/api/v1/allocations/$a->{id}");
is join(' ', map { $_->{what} } @$history), 'made renewed', 'its history';

# 2. the queue
my $b = allocate($h)->{json};
my $c = allocate($h)->{json};
is $c->{state}, 'queued', 'a third one waits';
is kept($h, $c)->{worker}, '', '... there as well';
is release($h, $b)->{status}, 200, 'one is released';
is kept($h, $b)->{state}, $RELEASED, '... there as well';
$t->wait_for(sub { lookup($h, $c)->{json}{state} eq 'ready' }, 10,
    'the next one');
is kept($h, $c)->{worker}, $b->{workerName}, 'the next one has its worker';
my $d = allocate($h, idempotencyKey => 'k2')->{json};

# 3. killed
$h->kill('KILL');
unlink $t->dir . '/a.table';
$h->restart;
is lookup($h, $_)->{json}{state}, 'ready', 'after kill -9: ready' for $a, $c;
is lookup($h, $d)->{json}{state}, 'queued', '... and queued';
is lookup($h, $b)->{status}, 410, '... and over';
my $again = allocate($h, idempotencyKey => 'k1')->{json};
is $again->{token}, $a->{token}, 'by its key it is the same once more';
is $again->{workerName}, $a->{workerName}, '... on the same worker';
is release($h, $a)->{status}, 200, 'and can be released';
$t->wait_for(sub { lookup($h, $d)->{json}{state} eq 'ready' }, 10,
    'the next one');
is kept($h, $d)->{worker}, $a->{workerName}, 'the next one gets its worker';

# 4. not ready any more
my $waits = ask($h, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { queued() }, 10, 'one to wait');
control($h, 'unready');
answers(60, $waits);
is "$waits->{status} $waits->{json}{reason}", '503 StoreNotReady',
    'who waits is sent away';
my $r = allocate($h);
is "$r->{status} $r->{json}{reason}", '503 StoreNotReady', 'nobody gets any';
ok $r->{headers}{'retry-after'}, '... and hears when to come back';
is renew($h, $c)->{json}{reason}, 'StoreNotReady', 'nothing is renewed';
is $h->request(POST => '/api/v1/pools/demo/wake')->{json}{reason},
    'StoreNotReady', 'nor woken';
is lookup($h, $d)->{json}{state}, 'ready', 'what is there stays';
is release($h, $c)->{json}{reason}, 'StoreNotReady',
    'a release cannot be kept';
is lookup($h, $c)->{status}, 410, '... and holds all the same';
is kept($h, $c)->{state}, $READY, '... of which the store knows nothing';

# 5. and ready again
control($h, 'ready');
$t->wait_for(sub { kept($h, $c)->{state} == $RELEASED }, 10,
    'the store to hear of it');
pass 'what ended meanwhile is kept';
$t->wait_for(sub { !queued() }, 10, 'nobody to be in the queue');
is lookup($h, $d)->{json}{state}, 'ready', 'what lived still does';
my $e = allocate($h)->{json};
is $e->{workerName}, $b->{workerName}, 'the free worker is given again';

# 6. workers: drained, and whose they are
$h->stop;
like $h->log, qr/the store stops/, 'stopped';
unlike $h->log, qr/ error /, 'no errors';
my $file = $t->read('kept');
fresh();
$h = store_host($t);
my $own = allocate($h)->{json};
my $fork = fork_()->{json};
isnt $fork->{workerName}, $own->{workerName}, 'a fork has a worker of its own';
release($h, $_) for $own, $fork;
$h->stop;
unlink $t->dir . '/a.table';
$h = store_host($t, order => 1);
my @two = map { allocate($h)->{json} } 1, 2;
is $two[0]{workerName}, $own->{workerName}, 'after a restart: the trusted one';
is $two[1]{state}, 'queued', '... and never the other';
is fork_()->{json}{workerName}, $fork->{workerName}, '... which a fork gets';
release($h, $_) for reverse @two;
$r = $h->request(POST => "/api/v1/workers/$own->{workerName}/drain",
    { poolName => 'demo', reason => 'disk' });
is $r->{status}, 200, 'drained';
$h->stop;
unlink $t->dir . '/a.table';
$h = store_host($t);
is allocate($h)->{json}{state}, 'queued', 'after a restart it still is';
$h->stop;

# 7. no secret is there
ok length $file, 'the file';
ok index($file, $_->{token}) < 0, 'no token in it' for $a, $c;
fresh();

# 8. a replica that is not the one, and becomes it
$h = store_host($t, ready => 'no', no_wait => 1);
$t->wait_for(sub { lookup($h, 'a' x 43)->{status} }, 15, 'the API');
is lookup($h, 'a' x 43)->{status}, 503, 'it cannot say that there is none';
is $h->request(GET => '/api/v1/allocations/0123456789ab')->{status}, 503,
    '... by its id neither';
is allocate($h)->{json}{reason}, 'StoreNotReady', 'it gives none';
is $h->request(GET => '/readyz')->{status}, 503, 'and is not ready';
control($h, 'ready');
$t->wait_for(sub { $h->request(GET => '/readyz')->{status} == 200 }, 10,
    'it to be ready');
is lookup($h, 'a' x 43)->{status}, 404, 'now it knows';
$r = allocate($h);
is $r->{json}{state}, 'ready', 'and gives';
is $h->request(POST => '/api/v1/journal/backup', {})->{json}{reason},
    'NoBackup', 'a backup is not its business';
is $h->stop, 0, 'stops';

# 9. conditions
my $conf = $t->read($h->{conf});
for (['{name: store, options: {file: "' . $t->dir . '/kept", ready: no}}',
    '{name: static, options: {file: "' . $t->dir . '/static.yaml"}}',
    qr/no plugin of this configuration keeps allocations/],
    ['journal: store', 'journal: paper', qr/must be sqlite or store/])
{
    my ($old, $new, $text) = @$_;
    my $p = $t->host($conf =~ s/\Q$old\E/$new/r, name => 'bad', no_wait => 1,
        program => $h->{program});
    $t->wait_for(sub { !$p->alive }, 10, 'its end');
    like $p->log, $text, "refused: $new";
}


sub queued { grep { !$_->{isWorker} && $_->{state} == 1 } kept($h) }

sub fresh {
    unlink map { $t->dir . "/$_" } qw(kept a.table);
    return;
}

sub fork_ {
    return Access::as($t, Access::token('now', 'eve', { fork => 'yes' }),
        POST => '/api/v1/workers/allocate', { poolName => 'demo',
        wait => '0' });
}
