# A worker's idle time counts its connections: none is stopped under a build
# or while somebody waits for it, whatever its allocations say; a look does not
# keep one.  What nginx would report is in a file made here; worker w2, which
# nobody is connected to, is the clock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Report;
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '700ms', linger => '0s' }), '{name: allocator}']));
my $dir = $t->dir . '/reports';

sub allocate {
    my ($name) = @_;
    my $r = $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo' });
    is($r->{json}{workerName}, $name, "$name is allocated");
    return $r->{json}{token};
}
sub release {
    $host->request(POST => '/api/v1/workers/release', { token => $_[0] });
}
sub worker {
    my %w = map { $_->{name} => $_ }
        @{$host->request(GET => '/api/v1/workers')->{json}};
    return $w{$_[0]};
}
sub connected {
    report_make($dir, words => [1], sessions => [@_]);
    my $n = grep { $_->{kind} ne 'look' } @_;
    $t->wait_for(sub { worker('w1')->{connections} == $n }, 10,
        "$n connections");
}
# w2 had no connection, was released no earlier than now, and has stopped
sub w2_stops {
    $t->wait_for(sub { worker('w2')->{state} eq 'stopped' }, 15,
        'w2 to be idle');
}

my $one = allocate('w1');
my $two = allocate('w2');

connected({ worker => 'w1', phase => 'live', kind => 'build' },
    { worker => 'w2', phase => 'live', kind => 'look' });
is(worker('w1')->{builds}, 1, 'a build is seen');
is(worker('w2')->{connections}, 0, 'a look is none');

release($one);
release($two);
w2_stops();
is(worker('w1')->{state}, 'ready', 'not stopped under a build');
is(worker('w2')->{state}, 'stopped', 'a look does not keep a worker');

# the build ends, and somebody waits
connected({ worker => 'w1', phase => 'held', kind => 'other' });
$two = allocate('w1');
my $three = allocate('w2');
release($_) for $two, $three;
w2_stops();
is(worker('w1')->{state}, 'ready', 'not stopped while somebody waits');

# the last one goes
connected();
ok(worker('w1')->{lastUsedAt}, 'when it was used last is known');
$t->wait_for(sub { worker('w1')->{state} eq 'stopped' }, 20,
    'w1 to be idle');
is(worker('w1')->{message}, 'stopped: idle', 'and then it is idle');
