# How full the disk of a worker is: measured by the plugin process also while
# the worker is stopped, shown by the API; above maxDisk an idle worker is told
# to prune its cache, a stopped one is started for that, one in use is left
# alone.  The state folder is a small file system of its own.

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

plan tests => 18;

my $t = Test::Buildkit->new;
my $state = $t->dir . '/state';
mkdir $state, 0700 or die $!;
system('mount', '-t', 'tmpfs', '-o', 'size=40m,nr_inodes=400,mode=0700',
    'none', $state) == 0 or die 'mount';
END { system 'umount', '-l', $state if defined $state }

my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '600ms', diskInterval => '100ms', maxDisk => 80 }),
    '{name: allocator}']));

sub worker {
    my ($name) = @_;
    return (grep { $_->{name} eq $name }
        @{$host->request(GET => '/api/v1/workers')->{json}})[0];
}
sub df {
    my ($out) = `df --output=$_[0] $state` =~ /(\d+)%/;
    return $out;
}
sub like_df {
    my ($worker, $what, $column) = @_;
    return $t->wait_for(sub {
        abs((worker($worker)->{$what} // -9) - df($column)) <= 1
    }, 30, "$what of $worker as df has it");
}
sub fill {
    my ($worker, $mib) = @_;
    my $cache = "$state/workers/default_demo_$worker/root/cache";
    unlink $cache;
    # by its name from the beginning: it may be pruned at once
    open my $fh, '>:raw', $cache or die "$cache: $!";
    print $fh 'x' x ($mib << 20);
    close $fh or die "$cache: $!";
}
sub size { -s "$state/workers/default_demo_$_[0]/root/cache" // 0 }
sub log_has { my $re = shift; scalar(() = $host->log =~ /$re/g) }

$t->wait_for(sub { worker('w1')->{diskUsed} }, 10, 'a figure');
ok like_df('w1', 'diskUsed', 'pcent'), 'as df has it, before it ever ran';
ok like_df('w2', 'inodesUsed', 'ipcent'), 'inodes too';

# it grows: seen while nothing runs
fill('w1', 20);
$t->wait_for(sub { worker('w1')->{diskUsed} >= 50 }, 10, 'more of it');
ok $t->wait_for(sub { worker('w2')->{diskUsed} == worker('w1')->{diskUsed} },
    30, 'the other one'), 'one disk for both';
my $dir = "$state/workers/default_demo_w1/root/many";
mkdir $dir;
$t->write("state/workers/default_demo_w1/root/many/$_", '') for 1 .. 200;
$t->wait_for(sub { worker('w1')->{inodesUsed} >= 50 }, 10, 'more inodes');
ok like_df('w1', 'inodesUsed', 'ipcent'), 'inodes grow';
unlink glob "$dir/*";

# in use: nobody touches its cache
my $a = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo' })->{json};
is $a->{workerName}, 'w1', 'w1 is used';
fill('w1', 34);
$t->wait_for(sub { worker('w1')->{diskUsed} > 80 }, 10, 'too much');
is log_has(qr/is pruned/), 0, 'it is in use: not pruned';
unlike $t->read("$state/workers/default_demo_w1/log"), qr/asked to prune/,
    'and not asked';
my $out = $t->run({ env => { BKCTL_ENDPOINT => 'unix:' . $host->api } },
    $t->build . '/bkctl', 'workers')->{out};
like $out, qr{^w1 +default/demo +ready +\S+ +\S+ +1 +[89]\d%}m, 'bkctl workers';
is worker('w2')->{state}, 'stopped', 'one without a cache is not started';

# idle: now
$host->request(POST => '/api/v1/workers/release', { token => $a->{token} });
$t->wait_for(sub { log_has(qr/w1: pruned, its disk was/) }, 10, 'the pruning');
is size('w1'), 0, 'idle: it was pruned';
my ($hex) = $t->read("$state/workers/default_demo_w1/log")
    =~ /asked to prune: (\w+)/;
my ($tag, @bytes) = unpack 'C*', pack 'H*', $hex;
my ($n, $shift) = (0, 0);
($n, $shift) = ($n | ($_ & 0x7f) << $shift, $shift + 7) for @bytes;
is $tag, 6 << 3, 'PruneRequest.minFreeSpace';
cmp_ok abs($n / (40 << 20) - 0.3), '<', 0.01, 'so that 10% below is reached';
$t->wait_for(sub { worker('w1')->{diskUsed} < 30 }, 10, 'the new figure');
pass 'and is measured again';
$t->wait_for(sub { worker('w1')->{state} eq 'stopped' }, 10, 'its end');
pass 'then it is stopped';

# nobody runs, and the disk is full: who has a cache is started, also where
# that takes longer than an idle one runs
$t->write('mode', "late 1\n");
fill('w2', 34);
$t->wait_for(sub { size('w2') == 0 }, 20, 'w2 to be pruned');
is log_has(qr/w2: started/), 1, 'a stopped one is started for it';
is log_has(qr/w1: started/), 1, 'the other one is not';
$t->wait_for(sub { worker('w2')->{state} eq 'stopped' }, 10, 'w2 to stop');
pass 'and stops again';

# not the cache: no more than once
fill('w1', 34);
$t->wait_for(sub { worker('w1')->{diskUsed} > 80 }, 10, 'too much');
$a = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo' })->{json};
$host->request(POST => '/api/v1/workers/release', { token => $a->{token} });
$t->wait_for(sub { worker('w1')->{state} eq 'stopped' }, 10, 'its end');
is log_has(qr/w1: its disk is .* is pruned/), 1, 'not again so soon';
