#!/usr/bin/perl

# A worker whose disk is too full, or has no inodes left, gets nothing: the
# next one does, or the allocation waits until there is room.  diskLimit says
# what is too full.  Each worker's cache is on a small file system of its own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

if (!$ENV{BK_MOUNTNS}) {
    system 'unshare -m mount -t tmpfs none /mnt 2> /dev/null';
    plan skip_all => 'no mount namespaces here' if $?;
    $ENV{BK_MOUNTNS} = 1;
    exec 'unshare', '-m', $^X, $0 or die "unshare: $!";
}

plan tests => 13;

my $t = Test::Buildkit->new;
my %root = map { $_ => $t->dir . "/state/workers/default_demo_$_/root" }
    'w1', 'w2';
my @mounted;
for my $dir (@root{'w1', 'w2'}) {
    system('mkdir', '-p', '-m', '0700', $dir) == 0 or die 'mkdir';
    system('mount', '-t', 'tmpfs', '-o', 'size=20m,nr_inodes=200,mode=0700',
        'none', $dir) == 0 or die 'mount';
    push @mounted, $dir;
}
END { system 'umount', '-l', $_ for @mounted }

my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '0s', diskInterval => '100ms', maxDisk => 0 }),
    '{name: allocator, options: {diskLimit: 60}}']));

# all is well: the first one, and a cache key that has it for its home
my $r = allocate();
my $first = $r->{workerName};
my ($other) = grep { $_ ne $first } 'w1', 'w2';
release($r);
my $key;
for (1 .. 40) {
    $key = "octo/app-$_";
    release($r = allocate(cacheKey => $key));
    last if $r->{workerName} eq $first;
}
is $r->{workerName}, $first, 'room on both: a key finds its home';

# its disk is full
$t->write("$root{$first}/cache", 'x' x (14 << 20));
$t->wait_for(sub { used($first, 'diskUsed') >= 70 }, 10, 'a full disk');
$r = allocate();
is $r->{workerName}, $other, 'a full disk: the other one';
release($r);
$r = allocate(cacheKey => $key);
is $r->{workerName}, $other, '... for that key too';
my $waits = allocate();
is $waits->{state}, 'queued', 'both out: it waits';
is $waits->{waitsFor}, 'a worker: 1 of 2 allocated, 1 with a full disk',
    '... and says for what';
unlink "$root{$first}/cache";
$t->wait_for(sub { lookup($waits)->{state} ne 'queued' }, 15, 'room');
is lookup($waits)->{workerName}, $first, 'room again: it gets it';
release($_) for $r, $waits;

# so with inodes alone
$t->write("$root{$first}/many/$_", '') for 1 .. 150;
$t->wait_for(sub { used($first, 'inodesUsed') >= 70 }, 10, 'many files');
cmp_ok used($first, 'diskUsed'), '<', 30, 'no inodes, and room enough';
$r = allocate();
is $r->{workerName}, $other, 'no inodes: the other one';
release($r);

# all are full
$t->write("$root{$other}/cache", 'x' x (14 << 20));
$t->wait_for(sub { used($other, 'diskUsed') >= 70 }, 10, 'all to be full');
$waits = allocate();
is "$waits->{state} $waits->{waitsFor}", 'queued a worker: 0 of 2 allocated, '
    . '2 with a full disk', 'all are full: it waits';

# other limits
for (['above what is used', 'diskLimit: 90'], ['none', 'diskLimit: 0']) {
    my ($name, $limit) = @$_;
    $host->stop;
    $t->write('host.yaml', $t->read('host.yaml') =~ s/diskLimit: \d+/$limit/r);
    $host->restart;
    $t->wait_for(sub { used($first, 'inodesUsed') >= 70 }, 10, 'figures');
    release($waits);
    $r = allocate();
    isnt $r->{workerName}, '', "$limit: it gets a worker";
    is $r->{waitsFor}, undef, "$limit: which is not too full";
    $waits = $r;
}
$host->stop;


sub used {
    my ($name, $what) = @_;
    my ($w) = grep { $_->{name} eq $name }
        @{$host->request(GET => '/api/v1/workers')->{json}};

    return $w->{$what} // 0;
}

sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0', @_ })->{json};
}

sub release {
    $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} })->{json};
}
