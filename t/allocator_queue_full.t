#!/usr/bin/perl

# A full queue: whoever filled it is refused; somebody who has nothing in it
# is not, since it may be full of what a rule's concurrency holds back while
# workers are free.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Queue;
use Test::Buildkit;

plan tests => 13;

my $t = Test::Buildkit->new;
my %few = (few => 'yes');
my $options = 'maxQueued: 2, maxWait: 1s, defaultWait: 1s';
my $host = start($t, rules(<<'END'), workers => 2, options => $options);
    - {name: one, match: [{claim: few, values: ["yes"]}], concurrency: 1}
END

my @ann = map { allocate_as($t, 'ann', {}, \%few) } 1 .. 4;
is join(' ', map { $_->{json}{state} // $_->{json}{reason} } @ann),
    'ready queued queued QueueFull', 'a caller fills the queue';
is "$ann[3]{status} " . $ann[3]{headers}{'retry-after'}, '429 10',
    '... and is told to come later';

my $bob = allocate_as($t, 'bob', {})->{json};
is $bob->{state}, 'ready', 'another one gets the worker that is free';
$bob = allocate_as($t, 'bob', {});
is "$bob->{status} $bob->{json}{state}", '200 queued',
    'or waits, when none is';
is allocate_as($t, 'bob', {})->{status}, 429, '... with one';
is allocate_as($t, 'eve', {})->{json}{state}, 'queued', 'so does a third';
is queued($host), 4, 'there are twice as many as usual';
is allocate_as($t, 'zoe', {})->{json}{reason}, 'QueueFull',
    '... and no more, whoever comes';

release_as($t, $bob->{json}{token});
is allocate_as($t, 'zoe', {})->{json}{state}, 'queued', 'until one leaves';
release_as($t, $ann[$_]{json}{token}) for 1, 2;
is queued($host), 2, 'those of the first one go';
is allocate_as($t, 'bob', {})->{status}, 200,
    'bob has nothing in it any more, and may wait';

# as long as the host says, however long the caller would
my $yan = ask_as($t, 'yan', { wait => '1h' });
answers(20, $yan);
is "$yan->{status} $yan->{json}{state}", '200 queued', 'an hour is too long';
cmp_ok $yan->{time}, '>=', 0.9, '... it was maxWait';
$host->stop;
