#!/usr/bin/perl

# The host's own numbers at /metrics: each one moves when what it counts
# happens; and no number is there that no test has seen move.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use IO::Socket::UNIX;
use Report ();
use Test::Buildkit;

plan tests => 24;

my $t = Test::Buildkit->new;
my $static = static_pool($t, 2);
my $host = $t->host(conf([$static, '{name: metrics}', '{name: allocator}'],
    allocations => 6)
    . qq(metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}\n));
my $pool = 'pool="default/demo"';
my %m;

look();
is $m{settled}, 1, 'all first facts are in';
cmp_ok $m{resident_bytes}, '>', 1 << 20, 'it needs memory';
is $m{table_bytes}, -s $t->dir . '/buildkit.table', 'the table is so large';
is n('workers', 'ready'), 2, 'two workers are ready';
is_deeply [@m{qw(allocations_made_total allocations_evicted_total
    table_reasons_refused_total table_used{kind="allocation"}
    table_used{kind="worker"} table_used{kind="pool"})}], [0, 0, 0, 0, 2, 1],
    'nothing so far';

# who says nothing is let go after ten seconds: there are three all the time
my ($open, $opened, @s) = ($m{http_connections}, 0);
$t->wait_for(sub {
    if (time - $opened > 5) {
        @s = map { IO::Socket::UNIX->new(Peer => $host->api) } 1 .. 3;
        $opened = time;
    }
    look();
    $m{http_connections} == $open + 3;
}, 30, 'three more connections');
close $_ for @s;
$t->wait_for(sub { look(); $m{http_connections} == $open }, 10,
    'three connections less');
pass 'connections come and go';

# allocations by state
my @a = map { allocate() } 1 .. 3;
look();
is_deeply [map { n('allocations', $_) } qw(queued ready)], [1, 2],
    'two have a worker, one waits';
is $m{allocations_made_total}, 3, 'three were made';
is $m{'table_used{kind="allocation"}'}, 3, 'which are in the table';
release($a[0]);
$t->wait_for(sub { look(); n('allocations', 'queued') == 0 }, 10,
    'the one that waits to get the worker');
is_deeply [map { n('allocations', $_) } qw(queued ready released)], [0, 2, 1],
    'the one that waited has its worker';
is $m{'allocations_ended_total{state="released"}'}, 1, 'one was released';

my ($of) = map { $_->{worker} } grep { $_->{id} eq $a[1]{id} }
    @{$host->request(GET => '/api/v1/allocations')->{json}};
$host->request(POST => "/api/v1/workers/$of/drain", { reason => 'new disk' });
look();
is_deeply [map { n('workers', $_) } qw(ready draining)], [1, 1],
    'a worker is drained';
is n('allocations', 'draining'), 1, '... with its allocation';
cmp_ok $m{'table_used{kind="reason"}'}, '>', 0, 'for a reason';

$host->request(DELETE => "/api/v1/allocations/$a[1]{id}");
look();
is n('allocations', 'revoked'), 1, 'it is revoked';
is $m{'allocations_ended_total{state="revoked"}'}, 1, '... and has ended';

# its worker is taken out of the file
my ($other) = grep { $_ ne $of } qw(w1 w2);
$t->write('static.yaml', $t->read('static.yaml') =~ s/^.*name: $other,.*\n//mr);
$t->wait_for(sub { look(); n('allocations', 'failed') == 1 }, 20,
    'an allocation to lose its worker');
is $m{'allocations_ended_total{state="failed"}'}, 1, 'one has failed';
is n('workers', 'ready') + n('workers', 'draining'), 1, 'a worker is gone';
$host->request(POST => "/api/v1/workers/$of/drain", { undo => JSON::true });

# a full table forgets what ended
my $ttl = allocate(ttl => '1s');
$t->wait_for(sub { look(); $m{'allocations_ended_total{state="expired"}'} }, 20,
    'an allocation to expire');
is $m{'allocations_ended_total{state="expired"}'}, 1, 'one has expired';
for (1 .. 40) {
    my $id = allocate()->{id};
    $host->request(DELETE => "/api/v1/allocations/$id", { reason => "r$_" });
}
look();
is $m{allocations_made_total}, 44, 'many more';
cmp_ok $m{allocations_evicted_total}, '>=', 38, 'those before are forgotten';
cmp_ok $m{'table_used{kind="allocation"}'}, '<=', 6, 'the table is full';

# each number is in a test that looks at it (table_reasons_refused_total: there
# is room for 1024, t/unit/table_text.c fills it)
my $tests = join '', map { $t->read($_) } glob($t->root . '/t/*.t'),
    $t->root . '/t/lib/Soak.pm';
my $text = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')
    ->{body};
my @names = $text =~ /^# TYPE buildkit_gateway_(\S+)/mg;
cmp_ok scalar(@names), '>', 30, 'numbers';
is_deeply [grep { $tests !~ /\b(?:buildkit_gateway_)?$_(?![a-z])/ } @names],
    [], 'all are in tests';
$host->stop;


sub look { %m = %{Report::metrics($t)}; return 1 }
sub n    { $m{"$_[0]\{$pool,state=\"$_[1]\"}"} }

sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0', @_ })->{json};
}

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}
