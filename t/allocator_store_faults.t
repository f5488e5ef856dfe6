#!/usr/bin/perl

# The allocator's journal in a store that others write as well, and that does
# not always do what it is asked for: nobody ever has another's worker.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(ask answers);
use IO::Select;
use JSON ();
use Store;
use Test::Buildkit;

plan tests => 54;

my $t = Test::Buildkit->new;
my $READY = 3;
my $RELEASED = 6;
my $h = store_host($t, workers => 3);

# 1. a change that is not kept, and one of which that is not known
control($h, 'fail?n=1&code=503');
my $r = allocate($h);
is "$r->{status} $r->{json}{reason}", '503 TestFault',
    'whose trust cannot be kept: nobody is served';
is scalar(grep { !$_->{isWorker} } kept($h)), 0, '... and nothing is there';
my @all = map { allocate($h)->{json} } 1 .. 3;
is distinct(@all), 3, 'the next three are';
release($h, $_) for @all;
control($h, 'fail?n=1&code=503&keep=1');
$r = allocate($h);
is $r->{json}{reason}, 'TestFault', 'one that could not be kept, he hears';
$t->wait_for(sub { !grep { !$_->{isWorker} && $_->{state} < 5 } kept($h) },
    10, 'what was kept all the same to end');
pass 'and what was kept all the same holds no worker';
@all = map { allocate($h)->{json} } 1 .. 3;
is distinct(@all), 3, 'all workers are free';
my $q = allocate($h)->{json};
control($h, 'fail?n=1&code=503&keep=1&after=1');
release($h, $all[0]);
$t->wait_for(sub { lookup($h, $q)->{json}{state} eq 'ready' }, 15,
    'the next one');
is kept($h, $q)->{worker}, lookup($h, $q)->{json}{workerName},
    'a place of which it was not known: the store is right';
control($h, 'fail?n=1&code=503');
is renew($h, $q, ttl => '3h')->{json}{reason}, 'TestFault',
    'a renewal that is not kept';
is renew($h, $q, ttl => '3h')->{status}, 200, 'and one that is';
control($h, 'fail?n=1000&code=503');
is release($h, $q)->{json}{reason}, 'TestFault', 'an end that is not kept';
is release($h, $q)->{status}, 503, 'asked again: still not';
is $h->request(POST => "/api/v1/allocations/$q->{id}/release", {})->{status},
    503, '... by its id neither';
isnt kept($h, $q)->{state}, $RELEASED, 'which is true';
control($h, 'fail?n=0');
$t->wait_for(sub { release($h, $q)->{status} == 200 }, 10, 'its end');
is kept($h, $q)->{state}, $RELEASED, 'and then it is kept';
release($h, $_) for @all;

# and nobody is answered before all of it is kept, whatever it takes
my %body = (poolName => 'demo', wait => '0');
my $own = slowly('a worker of his own', allocate => %body);
is kept($h, $own)->{worker}, $own->{workerName}, '... is his';
@all = map { allocate($h)->{json} } 1 .. 2;
my $last = slowly('a place in the queue', allocate => %body);
is kept($h, $last)->{worker}, '', '... is his';
slowly('a longer life', renew => token => $own->{token}, ttl => '5h');
slowly('an end', release => token => $_->{token}) for $last, $own;
is kept($h, $own)->{state}, $RELEASED, '... is one';
release($h, $_) for @all;

# 2. somebody else writes
@all = map { allocate($h)->{json} } 1 .. 3;
my ($x, $y, $z) = @all;
my $until = lookup($h, $x)->{json}{expiresAt};
edit($x, 'longer=3600000');
$t->wait_for(sub { lookup($h, $x)->{json}{expiresAt} gt $until }, 10,
    'the new time');
pass 'a longer life is taken over';
edit($x, 'state=7');
$t->wait_for(sub { lookup($h, $x)->{status} == 410 }, 10, 'its end');
like lookup($h, $x)->{json}{error}, qr/was revoked/, 'so is an end';
is allocate($h, idempotencyKey => 'n')->{json}{workerName},
    $x->{workerName}, '... and its worker is free';
edit($y, 'gone=1');
$t->wait_for(sub { lookup($h, $y)->{status} == 410 }, 10, 'its end');
like lookup($h, $y)->{json}{error}, qr/failed .* it was removed/,
    'so is that it is gone';
edit($z, 'worker=w9');
$t->wait_for(sub { lookup($h, $z)->{status} == 410 }, 10, 'its end');
like lookup($h, $z)->{json}{error}, qr/somebody else changed its worker/,
    'one that has a worker gets no other one';
$t->wait_for(sub { kept($h, $z)->{state} == 8 }, 10, 'the store');
pass '... which is kept';
$h->stop;
unlike $h->log, qr/Sanitizer|held everything up for \d{5}/,
    'nothing else happened';
unlink map { $t->dir . "/$_" } qw(kept a.table);

# 3. two at once: the other one was first
my $one = store_host($t, workers => 4);
my $two = store_host($t, workers => 4, name => 'b');
control($one, 'hold');
my $late = ask($one, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { puts($one) > 0 }, 10, 'one to choose');
my @second = map { allocate($two, wait => '60s')->{json} } 1 .. 3;
is distinct(@second), 3, 'the second gives three of them';
control($one, 'go');
answers(70, $late);
is $late->{status}, 200, 'the first one gives, too';
is $late->{json}{state}, 'ready', '... a worker';
is distinct(@second, $late->{json}), 4, '... that is nobody else\'s';
like $one->log, qr/has another allocation; in the queue again/,
    '... although it had chosen another one';
$t->wait_for(sub { (lookup($two, $late->{json})->{json}{state} // '')
    eq 'ready' }, 10, 'the second to hear of it');
is lookup($two, $late->{json})->{json}{workerName},
    $late->{json}{workerName}, 'each knows what the other one gave';
is lookup($one, $second[0])->{json}{workerName}, $second[0]{workerName},
    '... and the other way around';
# also before it has heard of what the other one wrote
$two->kill('STOP');
renew($one, $late->{json}, ttl => '4h');
my $ends = ask($two, POST => '/api/v1/workers/release',
    { token => $late->{json}{token} });
$two->kill('CONT');
answers(60, $ends);
is $ends->{status}, 200, 'either can end it';
$t->wait_for(sub { lookup($one, $late->{json})->{status} == 410 }, 10,
    'the first one to hear of it');
pass 'which the other one hears';
release($two, $_) for @second;
$t->wait_for(sub { !grep { !$_->{isWorker} && $_->{state} < 5 } kept($one) },
    10, 'all to be free');

# workers that the other one drained are read when it is ready again
is drained($two), '', 'nothing is drained';
drain(reason => 'disk');
control($two, $_) for 'unready', 'ready';
is drained($two), 'disk', 'drained by the other one';
drain(undo => JSON::true);
control($two, $_) for 'unready', 'ready';
is drained($two), '', '... and taken back';

# many at once, at both
my %had;
my $double = 0;
for my $round (1 .. 10) {
    my @by = ($one, $two) x 2;
    my @asked = map { ask($_, POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' }) } @by;
    answers(60, @asked);
    my @ready = map { $_->{json} } grep { $_->{status} == 200
        && $_->{json}{state} eq 'ready' } @asked;
    # one to whom both gave a worker ends: that may have to be heard first
    $double += !eval { $t->wait_for(sub {
        my %over = map { $_->{id} => 1 } grep { $_->{reason} =~
            /somebody else changed its worker/ } kept($one);
        my @live = grep { !$over{$_->{id}} } @ready;
        @live == distinct(@live) }, 10, 'workers of their own') };
    my @rows = grep { !$_->{isWorker} && $_->{state} < 5 && $_->{worker} }
        kept($one);
    my %by;
    $double += grep { $by{$_->{worker}}++ } @rows;
    $had{answered} += grep { $_->{status} == 200 } @asked;
    # the other one may not have heard of it yet
    release($by[$_], $asked[$_]{json})
        for grep { $asked[$_]{status} == 200 } 0 .. $#asked;
    $t->wait_for(sub { !grep { !$_->{isWorker} && $_->{state} < 5 }
        kept($two) }, 20, 'all to be free');
}
is $double, 0, 'no worker was ever two callers\'';
cmp_ok $had{answered}, '>', 20, 'of many that were answered';

# 4. one dies, the other one knows
my $kept = allocate($one, wait => '60s')->{json};
$one->kill('KILL');
$t->wait_for(sub { (lookup($two, $kept)->{json}{state} // '') eq 'ready' },
    10, 'the other one');
is lookup($two, $kept)->{json}{workerName}, $kept->{workerName},
    'what a dead one gave is there';
is release($two, $kept)->{status}, 200, '... and can be ended';
$one->restart;
is lookup($one, $kept)->{status}, 410, '... for good';
is $_->stop, 0, 'stops' for $one, $two;
like $two->log, qr/somebody else says that it is ready/, 'it was told';


sub drain {
    my (%body) = @_;
    $one->request(POST => '/api/v1/workers/w1/drain',
        { poolName => 'demo', %body });
    $t->wait_for(sub { grep { $_->{isWorker} && $_->{worker} eq 'w1'
        && $_->{reason} eq ($body{reason} // '') } kept($two) }, 10,
        'the store of the other one');
    return;
}

sub drained {
    return $_[0]->request(GET => '/api/v1/workers/w1/drain?pool=default/demo')
        ->{json}{reason};
}

sub distinct { my %w = map { $_->{workerName} => 1 } @_; return keys %w }
sub puts { $_[0]->request(GET => '/api/v1/store/rows')->{json}{puts} }
sub waits { $h->request(GET => '/api/v1/store/rows')->{json}{waits} }

# The store writes one thing after the other, when it is told to.  Each time
# some requests come and go, in which who does not wait for it would be heard.
sub slowly {
    my ($name, $what, %body) = @_;
    my ($writes, $early) = (0, 0);
    control($h, 'hold');
    my $asked = ask($h, POST => "/api/v1/workers/$what", \%body);
    my $answer = IO::Select->new($asked->{socket});
    while ($t->wait_for(sub { waits() || $answer->can_read(0) }, 60,
        'a write, or the answer') && waits())
    {
        waits() for 1 .. 3;
        $early++ if $answer->can_read(0);
        $writes++;
        control($h, 'step');
    }
    control($h, 'go');
    answers(60, $asked);
    is "$asked->{status}, $early early", '200, 0 early',
        "$name: after its $writes writes";
    ok $writes > 0, '... which are some';
    return $asked->{json};
}

sub edit {
    my ($of, $what) = @_;
    control($h, "edit?hash=$of->{id}&$what");
    return;
}
