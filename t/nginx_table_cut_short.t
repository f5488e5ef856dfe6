# The table loses its pages while it is mapped, and a look-up is the first to
# see it: reading there is SIGBUS.  The process lives, the client is told.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 9;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $path = $t->dir . '/buildkit.table';
my @commands = ('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

# so large that the token's place is not in the first page
my $table = $t->table({ allocations => 200_000 }, @commands);

# the timer must not come first, also where this process stands still
my $nginx = $t->nginx($t->gateway_conf(stream => "buildkit_check 10s;\n"
    . "buildkit_grace 0;\n"));
like($t->say_hello($cert), qr/worker w1/, 'served');
my ($pid) = $nginx->worker_pids;

$table->quit;
my $cut = time;
truncate $path, 512 or die "truncate: $!";

for (1 .. 3) {
    like($t->grpc($cert)->{streams}{1}{message} // 'nothing',
        qr/gateway is starting: it has no route table/, "cut short, $_");
}
is(join(' ', $nginx->worker_pids), $pid, 'the same process');
like($nginx->log, qr/\[error\].*was cut short while it was in use/,
    'the log says what happened');
my $lines = () = $nginx->log =~ /\[error\].*route table/g;
ok($lines <= 1 + int((time - $cut) / 10), 'once') or diag $lines;

unlink $path;
$table = $t->table(@commands);
ok($t->wait_for(sub {
    $t->say_hello($cert, send => 'PRI', until => qr/w\d|\0/) =~ /w1/;
}, 10, 'service'), 'a good one: served');
is(join(' ', $nginx->worker_pids), $pid, 'by the same process');
