# A worker that does not answer its probes any more is not chosen, although
# its process runs; as soon as it answers again it is.  (The fake buildkitd
# that takes connections and says nothing.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Test::Buildkit;

plan tests => 8;

my $t = Test::Buildkit->new;
# three bad probes are 8 s: the other one may stand still for as long
my $host = $t->host(conf([fake_pool($t, each => 1, options => { workers => 2,
    minWarm => 2, probeInterval => '2s' }), '{name: allocator}']));

sub worker {
    my ($name) = @_;
    return (grep { $_->{name} eq $name }
        @{$host->request(GET => '/api/v1/workers')->{json}})[0];
}
sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0s', @_ });
}
sub release {
    $host->request(POST => '/api/v1/workers/release', { token => $_[0] });
}

$t->wait_for(sub { worker('w1')->{state} eq 'ready'
    && worker('w2')->{state} eq 'ready' }, 20, 'both to be ready');

# its home, while all is well
my $home = allocate(cacheKey => 'octo/app');
is $home->{status}, 200, 'allocated';
my $name = $home->{json}{workerName};
my ($other) = grep { $_ ne $name } 'w1', 'w2';
release($home->{json}{token});

my ($pid) = $t->read($t->dir . "/state/workers/default_demo_$name/run")
    =~ /(\d+)/;
$t->write("mode-$name", "mute\n");
$t->wait_for(sub { worker($name)->{state} eq 'failed' }, 20, 'it to fail');
like worker($name)->{message}, qr/does not answer/, 'no answer: failed';

my $a = allocate(cacheKey => 'octo/app');
is $a->{json}{workerName}, $other, 'the other one is chosen';
is $a->{json}{state}, 'ready', 'which works';
my $b = allocate();
isnt $b->{json}{state} // '', 'ready', 'nobody gets the one that fails';
release($_->{json}{token} // '') for $a, $b;

unlink $t->dir . "/mode-$name";
$t->wait_for(sub { worker($name)->{state} eq 'ready' }, 30, 'it to come back');
pass 'it answers again';
$a = allocate(cacheKey => 'octo/app');
is $a->{json}{state}, 'ready', 'and is chosen';
$b = allocate();
is_deeply [sort map { $_->{json}{workerName} } $a, $b], ['w1', 'w2'],
    'both are';
