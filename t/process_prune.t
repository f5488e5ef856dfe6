# The real buildkitd is told to prune its cache when its disk is over maxDisk
# and nobody uses it: what a build left is gone, and it works as before.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use File::Basename qw(dirname);
use Test::Buildkit;

plan tests => 7;

my $t = Test::Buildkit->new;
my $path = dirname($t->lab('buildkitd')) . ":$ENV{PATH}";

# any disk is fuller than 1 %
my $host = $t->host(conf(['{name: process, options: {pool: default/demo, '
    . 'onStop: stop, maxDisk: 1, diskInterval: 100ms}}',
    '{name: allocator}']), env => { PATH => $path });
my $dir = $t->dir;
my $up = { cert => "$dir/state/tls/upstream.pem",
    key => "$dir/state/tls/upstream-key.pem",
    ca => "$dir/state/tls/worker-ca.pem" };

my $a = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '50s' })->{json};
is $a->{state}, 'ready', 'a worker';

sub direct {
    my ($w) = @{$host->request(GET => '/api/v1/workers')->{json}};
    return $t->buildctl($up, { addr => "tcp://$w->{endpoint}",
        timeout => 60 }, '--tlsservername', $w->{tlsServerName}, @_);
}
sub total {
    my ($n) = direct('du')->{out} =~ /^Total:\s+([\d.]+\s*\w+)/m;
    return $n;
}

my $context = $t->context('context', <<'END');
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=8"]
END
is direct($t->dockerfile_args($context))->{rc}, 0, 'a build';
like total(), qr/MB$/, 'it leaves a cache: ' . total();
unlike $host->log, qr/is pruned/, 'which is kept while it is allocated';

$host->request(POST => '/api/v1/workers/release', { token => $a->{token} });
$t->wait_for(sub { $host->log =~ /w1: (pruned|it could not)/ }, 60, 'the end');
like $host->log, qr/w1: pruned, its disk was/, 'pruned when nobody has it';
unlike total(), qr/[MG]B$/, 'nothing is left: ' . total();
is direct($t->dockerfile_args($context))->{rc}, 0, 'and it builds again';
