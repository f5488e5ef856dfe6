#!/usr/bin/perl

# A worker that had an untrusted allocation has that in the journal, also
# where the first try to write it failed; and who is trusted in one job and
# not in another does not get from the one to the other by a key.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal lock_journal unlock_journal);
use Queue;
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;
my %fork = (fork => 'yes');
my $host = start($t, rules(<<'END'), workers => 2);
    - {name: forks, match: [{claim: fork, values: ["yes"]}], untrusted: true}
END

# one identity, two kinds of jobs
my $own = allocate_as($t, 'ann', { idempotencyKey => 'k' })->{json};
my $r = allocate_as($t, 'ann', { idempotencyKey => 'k' }, \%fork);
is "$r->{status} $r->{json}{reason}", '409 Duplicate',
    'a fork does not get a trusted one by its key';
like $r->{json}{error}, qr/that is trusted was made with this/, '... and why';
my $other = allocate_as($t, 'ann', { idempotencyKey => 'f' }, \%fork)->{json};
is allocate_as($t, 'ann', { idempotencyKey => 'f' }, \%fork)->{json}{token},
    $other->{token}, 'its own it gets again';
$r = allocate_as($t, 'ann', { idempotencyKey => 'f' });
is "$r->{status} $r->{json}{reason}", '409 Duplicate', 'nor the other way';
release_as($t, $_->{token}) for $own, $other;
$host->stop;
system 'rm', '-rf', $t->dir . '/state', $t->dir . '/buildkit.table';

# the journal cannot be written when a worker gets its first one
$host->restart;
$own = allocate_as($t, 'ann', {})->{json};
release_as($t, $own->{token});
my $lock = lock_journal($t);
is allocate_as($t, 'bob', {}, \%fork)->{status}, 503, 'so nobody is served';
unlock_journal($lock);

$other = allocate_as($t, 'bob', {}, \%fork)->{json};
is $other->{state}, 'ready', 'then he is';
isnt $other->{workerName}, $own->{workerName}, '... on another worker';
release_as($t, $other->{token});
is_deeply { map { $_->{worker} => $_->{untrusted} }
    journal($t, 'SELECT worker, untrusted FROM trust') },
    { $own->{workerName} => 0, $other->{workerName} => 1 },
    'whom each worker had is in the journal';

$host->kill('KILL');
$host->restart;
my @two = map { allocate_as($t, "t$_", {})->{json} } 1, 2;
is $two[0]{workerName}, $own->{workerName}, 'after a restart: the trusted one';
is $two[1]{state}, 'queued', '... and never the other';
is allocate_as($t, 'eve', {}, \%fork)->{json}{workerName},
    $other->{workerName}, 'which forks get';
$host->stop;
