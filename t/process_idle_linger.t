# A connection that has ended counts as use for a while: between two builds of
# a script nobody is connected, and the worker with the cache must not go.
# What nginx would report is in a file made here; worker w2, which nobody was
# connected to, is the clock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Report;
use Test::Buildkit;

plan tests => 4;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '500ms', linger => '8s' }), '{name: allocator}']));
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
connected();
ok(worker('w1')->{lastUsedAt}, 'when it was used last is known');

$host->request(POST => '/api/v1/workers/release', { token => $_ })
    for @tokens;
$t->wait_for(sub { worker('w2')->{state} eq 'stopped' }, 15,
    'w2 to be idle');
is(worker('w1')->{state}, 'ready', 'a connection that has ended lingers');
$t->wait_for(sub { worker('w1')->{state} eq 'stopped' }, 20,
    'w1 to be idle');
is(worker('w1')->{message}, 'stopped: idle', 'and then the worker is idle');

my ($default) = $t->run($t->build . '/buildkit-plugin-host', '--list-plugins')
    ->{out} =~ /linger: duration, default "(60s)"/;
ok($default, 'by default for a minute');
