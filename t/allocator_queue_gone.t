#!/usr/bin/perl

# A place in the queue lasts as long as somebody wants it: callers who go
# away give theirs back at once, with an idempotencyKey after a time; an
# answered one is kept by whoever looks at it, and let go when nobody does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal gone);
use Queue;
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 19;

my $t = Test::Buildkit->new;
# longer than a busy machine stands still between two looks
my $lease = 20;
my $host = start($t, rules(),
    options => "queueLease: ${lease}s, reconnect: 2s");
my $holder = allocate_as($t, 'zoe', {})->{json};
is $holder->{state}, 'ready', 'the worker is taken';

# at once
my $ann = ask_as($t, 'ann', {});
my $bob = ask_as($t, 'bob', {});
$t->wait_for(sub { queued($host) == 2 }, 10, 'two to wait');
gone($ann);
$t->wait_for(sub { queued($host) == 1 }, 10, 'one to leave');
pass 'a caller who goes away gives its place back';
$t->wait_for(sub { state('ann')->{state} eq 'released' }, 30, 'its end');
is state('ann')->{reason}, 'caller went away', '... which is written down';
release_as($t, $holder->{token});
answers(60, $bob);
is $bob->{json}{state}, 'ready', 'the next one is served';

# with a key: it may come back, and is not waited for in vain
$ann = ask_as($t, 'ann', { idempotencyKey => 'k' });
$t->wait_for(sub { queued($host) == 1 }, 10, 'it to wait');
gone($ann);
my $back = allocate_as($t, 'ann', { idempotencyKey => 'k' });
is $back->{json}{position}, 1, 'who comes back has its place';
my $cat = ask_as($t, 'cat', { idempotencyKey => 'k' });
$t->wait_for(sub { queued($host) == 2 }, 10, 'it to wait');
gone($cat);
my ($seen, $lost) = (0, 0);
$t->wait_for(sub { look(); state('cat')->{state} eq 'released' }, 15,
    'the time to come back to be over');
is state('cat')->{reason}, 'nobody waited for it any more',
    'who does not come back has none';

# an answered one: as long as somebody looks
my $began = time;
$t->wait_for(sub { look(); time - $began > $lease + 2 }, 60,
    'more than the lease');
is lookup_as($t, $back->{json}{token})->{json}{state}, 'queued',
    'looked at, it is kept';
is $lost, 0, "... all the time, $seen looks";
$t->wait_for(sub { queued($host) == 0 }, 60, 'the lease to end');
my $r;
$t->wait_for(sub { $r = lookup_as($t, $back->{json}{token});
    $r->{status} != 200 }, 30, 'its end');
is $r->{status}, 410, 'not looked at, it is let go';
like $r->{json}{error}, qr/was released at .*: nobody waited for it/,
    '... which is said';

# renewals count, and give a certificate
$back = allocate_as($t, 'ann', {});
is $back->{json}{state}, 'queued', 'another one';
$r = as($t, 'ann', POST => '/api/v1/workers/renew',
    { token => $back->{json}{token} });
is "$r->{status} $r->{json}{state}", '200 queued', 'it can be renewed';
ok $r->{json}{clientCert}, '... with a certificate';

# a worker comes while nobody is there: it is given, and ready for him
release_as($t, $bob->{json}{token});
$t->wait_for(sub { lookup_as($t, $back->{json}{token})->{json}{state}
    eq 'ready' }, 10, 'it to be placed');
pass 'it is served without a call';
$r = lookup_as($t, $back->{json}{token});
is $r->{json}{workerEndpoint}, 'tcp://127.0.0.1:7001', '... and routable';
$began = time;
$t->wait_for(sub { time - $began > $lease + 2 }, 60, 'leases to be over');
is lookup_as($t, $back->{json}{token})->{json}{state}, 'ready',
    'what has a worker needs no lease';

# released while a call waits for it: that call is told
my $eve = ask_as($t, 'eve', { idempotencyKey => 'e' });
$t->wait_for(sub { queued($host) == 1 }, 10, 'it to wait');
my ($row) = @{$t->wait_for(sub {
    my @rows = journal($t, "SELECT hex(token_hash) AS h FROM allocations "
        . "WHERE owner = 'who:eve'");
    return @rows && \@rows;
}, 30, 'it to be written down')};
my $id = lc substr $row->{h}, 0, 12;
$r = $host->request(DELETE => "/api/v1/allocations/$id?reason=no");
is $r->{status}, 200, 'revoked while it waits';
answers(60, $eve);
is $eve->{status}, 410, 'the caller is told';
like $eve->{json}{error}, qr/was revoked .*: no$|revoked while it waited: no/,
    '... and why';
$host->stop;


sub look {
    $seen++;
    $lost += lookup_as($t, $back->{json}{token})->{status} != 200;
    return;
}

sub state {
    my ($who) = @_;
    return (journal($t, "SELECT state, reason FROM allocations "
        . "WHERE owner = 'who:$who' ORDER BY id DESC"))[0];
}
