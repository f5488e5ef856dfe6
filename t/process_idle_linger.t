# A connection that has ended counts as use for a while: between two builds of
# a script nobody is connected, and the worker with the cache must not go.
# What nginx would report is in a file made here; worker w2, which nobody was
# connected to, stops at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Report;
use Test::Buildkit;
use Time::HiRes qw(time);

my $LINGER = 5;
plan tests => 5;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '500ms', linger => "${LINGER}s" }), '{name: allocator}']));
my $dir = $t->dir . '/reports';

sub worker {
    my %w = map { $_->{name} => $_ }
        @{$host->request(GET => '/api/v1/workers')->{json}};
    return $w{$_[0]};
}
sub connected {
    my $n = @_;
    report_make($dir, words => [1], sessions => [@_]);
    $t->wait_for(sub { worker('w1')->{connections} == $n }, 10,
        'the report to be read');
}

my @tokens = map {
    $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo' })->{json}{token}
} 1 .. 2;
connected({ worker => 'w1', phase => 'live', kind => 'build' });
my $ended = time;
connected();
ok(worker('w1')->{lastUsedAt}, 'when it was used last is known');

$host->request(POST => '/api/v1/workers/release', { token => $_ })
    for @tokens;
for my $name ('w2', 'w1') {
    $t->wait_for(sub { worker($name)->{state} eq 'stopped' }, 30,
        "$name to be idle");
}
cmp_ok(time - $ended, '>=', $LINGER, 'a connection that has ended lingers');
is(join(' ', $host->log =~ m{worker default/demo/(w\d): stopped: idle}g),
    'w2 w1', '... which stops later than the one that had none');
is(worker('w1')->{message}, 'stopped: idle', 'and then the worker is idle');

my ($default) = $t->run($t->build . '/buildkit-plugin-host', '--list-plugins')
    ->{out} =~ /linger: duration, default "(60s)"/;
ok($default, 'by default for a minute');
