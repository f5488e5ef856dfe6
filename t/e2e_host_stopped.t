# Invariant 4: SIGSTOP of plugin-host; known routes go on, new connections and
# whole builds too, and what it was told in the meantime is done afterwards.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 9;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 2);
my $context = $t->context('app');

my $one = $t->allocate('one', '--ttl', '10m');
# of a worker that runs: the time counts while one starts
my $two = $t->allocate('two');
$t->bkctl('release', $two->{file});
$two = $t->allocate('two', '--ttl', '6s');
is($one->{run}{rc}, 0, 'allocate') or diag $one->{run}{err};
is($two->{run}{rc}, 0, 'allocate for a short time');

$host->kill('STOP');
is($t->whose($one), $one->{worker}, 'a route that is known is served');
my $r = $t->buildctl($one, $t->dockerfile_args($context));
is($r->{rc}, 0, 'a whole build') or diag $r->{err};
is($t->bkctl({ timeout => 1 }, 'pools')->{rc}, -1, 'plugin-host is stopped');

# nginx ends what is over without being told
$r = $t->wait_for(sub {
    my $got = $t->buildctl($two, 'debug', 'workers');
    return $got->{rc} != 0 && $got;
}, 60, 'the short one to end');
like($r->{err}, qr/allocation $two->{id} expired at/,
    'an expired one is refused all the same');

$host->kill('CONT');
$t->wait_for(sub { $t->bkctl('pools')->{rc} == 0 }, 10, 'plugin-host');
is($t->whose($one), $one->{worker}, 'afterwards it is served still');
my $three = $t->allocate('three');
is($three->{run}{rc}, 0, 'and others are made') or diag $three->{run}{err};
is($three->{worker}, $two->{worker}, 'on the worker of the one that ended');
