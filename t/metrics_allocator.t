#!/usr/bin/perl

# The allocator's numbers at /metrics: each one moves when what it counts
# happens, and is written as Prometheus wants it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Report ();
use Test::Buildkit;

plan tests => 37;

my $t = Test::Buildkit->new;
my $static = static_pool($t, 2, more => <<'END');
  - name: default/any
    shared: true
    workers:
      - {name: s1, endpoint: "127.0.0.1:7100", tlsName: s1.test, arch: amd64}
END
my $host = $t->host(conf([$static, '{name: metrics}',
    '{name: allocator, options: {maxQueued: 2}}'])
    . qq(metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}\n));
my $pool = 'pool="default/demo"';
my %m;

look();
is_deeply [map { $m{"$_\{$pool}"} } qw(queue_length pool_allocated
    pool_capacity pool_saturation)], [0, 0, 2, 0], 'nothing so far';
is $m{$_}, 0, "$_ is there from the start" for qw(placed_total
    queue_abandoned_total journal_failures_total journal_damaged),
    'affinity_total{result="hit"}', 'affinity_total{result="miss"}';
is $m{'pool_capacity{pool="default/any"}'}, undef,
    'where workers take any number there is no capacity';
is $m{"queue_wait_seconds_count{$pool}"}, undef, 'nobody has waited';

# what they can have waited at most, as a bound of the histogram
my $began = Time::HiRes::time();
my $a = allocate(cacheKey => 'octo/app')->{json};
my $at_once = at_once();
look();
is_deeply [map { $m{"$_\{$pool}"} } qw(queue_length pool_allocated
    pool_capacity pool_saturation)], [0, 1, 2, 0.5], 'one is taken';
is $m{placed_total}, 1, 'placed';
is $m{'affinity_total{result="hit"}'}, 1, 'on the worker of its key';
is $m{"queue_wait_seconds_bucket{$pool,le=\"$at_once\"}"}, 1, 'at once';

my $b = allocate(cacheKey => 'octo/app')->{json};
$at_once = at_once();
look();
is $m{'affinity_total{result="miss"}'}, 1, 'the key\'s worker is taken';
is $m{"pool_saturation{$pool}"}, 1, 'all are taken';

# two wait, a third finds the queue full, one of them leaves
my $first = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
waiting(1);
my $since = Time::HiRes::time();        # it waits by now at the latest
my $second = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
waiting(2);
is $m{"pool_saturation{$pool}"}, 2, 'twice as much is wanted as there is';
is $m{"pool_allocated{$pool}"}, 2, 'two have a worker';
is allocate()->{status}, 429, 'no more may wait';
is allocate(ttl => 'never')->{status}, 400, 'one that is wrong';
look();
is $m{'allocate_refused_total{reason="QueueFull"}'}, 1, 'refused: full';
my ($wrong) = grep { /^allocate_refused_total/ && !/QueueFull/ } keys %m;
is $m{$wrong}, 1, "refused: $wrong";
gone($second);
waiting(1);
is $m{queue_abandoned_total}, 1, 'nobody waits for it any more';

$t->wait_for(sub {
    look(); $since + $at_once + 0.4 < Time::HiRes::time()
}, 60, 'it to have waited a while');
release($a);
answers(20, $first);
is $first->{status}, 200, 'the other one got a worker';
look();
is $m{"queue_length{$pool}"}, 0, 'nobody waits';
is $m{"queue_wait_seconds_count{$pool}"}, 3, 'three have got one';
is $m{"queue_wait_seconds_bucket{$pool,le=\"$at_once\"}"}, 2, 'two at once';
cmp_ok $m{"queue_wait_seconds_sum{$pool}"}, '>=', 0.5, 'one later';

$host->request(POST => "/api/v1/workers/$b->{workerName}/drain", {});
look();
is $m{"pool_capacity{$pool}"}, 1, 'a drained worker is no capacity';

# the journal
cmp_ok $m{journal_batch_changes_sum}, '>=', 6, 'changes were written';
is $m{'journal_batch_changes_bucket{le="+Inf"}'},
    $m{journal_batch_changes_count}, 'in transactions';
is $m{journal_commit_seconds_count}, $m{journal_batch_changes_count},
    'each of which took its time';
cmp_ok $m{journal_commit_seconds_sum}, '>', 0, 'which is counted';

# each waits for a second, and then it is refused
my $lock = lock_journal($t);
my @asked;
$t->wait_for(sub {
    push @asked, ask($host, POST => '/api/v1/workers/allocate',
        { poolName => 'any', wait => '0' });
    look();
    $m{journal_waiting} > 0;
}, 30, 'it to wait');
pass 'a change waits for the disk';
answers(60, @asked);
unlock_journal($lock);
look();
cmp_ok $m{journal_failures_total}, '>=', 1, 'and could not be written';

my $text = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')
    ->{body};
my %type;
push @{$type{$1}}, $2 while $text =~ /^# TYPE buildkit_gateway_(\S+) (\S+)/mg;
is_deeply [map { $type{$_} } qw(queue_wait_seconds journal_commit_seconds
    pool_saturation placed_total)], [['histogram'], ['histogram'], ['gauge'],
    ['counter']], 'typed';
is_deeply [grep { @{$type{$_}} > 1 } sort keys %type], [],
    'each is described once, its lines together';
my ($table) = $t->read($t->root . '/plugin-host/doc/journal.md')
    =~ /^\| metric .*?\n\|---.*?\n(.*?)\z/ms;
is_deeply [sort grep { /^(?:journal|queue|pool|placed|affinity|allocate)_/ }
    keys %type], [sort $table =~ /^\| (\w+)/mg], 'the document names them';
$host->stop;


sub look { %m = %{Report::metrics($t)}; return 1 }

sub at_once {
    my $took = Time::HiRes::time() - $began;
    return (grep { $_ > $took } 0.1, 0.5, 1, 5, 15, 60)[0];
}

sub waiting {
    my ($n) = @_;
    $t->wait_for(sub { look(); $m{"queue_length{$pool}"} == $n }, 10,
        "$n to wait");
}

sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0', @_ });
}

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}
