# A token leads to its worker over verified mutual TLS, both ways of carrying
# it, and what the log's variables say about it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 12;

my $t = Test::Buildkit->new;

my ($one, $two) = map { $t->token } 1 .. 2;
my $bkc = 'A' x 86;     # as smrt-devops/buildkit-controller makes them

my %cert = (
    one => $t->client_cert('one', cn => "alloc:$one"),
    two => $t->client_cert('two', cn => 'nobody',
        san_uri => "buildkit://allocation/$two"),
    bkc => $t->client_cert('bkc', cn => "alloc:$bkc"),
);

my $table = $t->table('pool default/demo shared',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    'worker default/demo w2 127.0.0.1:' . $t->worker('w2')
        . ' w2.workers.buildkit.internal ready',
    "alloc token:$one default/demo w1 ready 4102444800000"
        . " key=$cert{one}{spki_hash}",
    "alloc token:$two default/demo w2 ready 0",
    "alloc token:$bkc default/demo w2 ready 0");

my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$buildkit_allocation|$buildkit_pool'
        . '|$buildkit_worker|$buildkit_worker_tls_name|$buildkit_state'
        . '|$buildkit_reason|$buildkit_expires|$upstream_addr";',
    server => "access_log %%DIR%%/access.log bk;\n"));

like($t->say_hello($cert{one}), qr/worker w1/, 'CN leads to its worker');
like($t->say_hello($cert{two}), qr/worker w2/, 'URI SAN leads to its worker');
like($t->say_hello($cert{bkc}), qr/worker w2/, 'CN of 92 characters');

my $port = $t->port('worker-w1');
my @log = @{$t->wait_for(sub {
    my @lines = split /\n/, $t->read('access.log') // '';
    return @lines == 3 && \@lines;
}, 5, 'the access log')};
my %log = map { (split /\|/)[0] => $_ } @log;
is($log{$t->id($one)}, $t->id($one) . '|default/demo|w1|'
    . 'w1.workers.buildkit.internal' . "|ready|-|2100-01-01T00:00:00Z|127.0.0.1:$port", 'variables');
like($log{$t->id($two)}, qr/\|ready\|-\|-\|127/, 'no expiry is no variable');

is($t->worker_object('w1')->stats->{accepted} // 'x', 1,
    'the other worker saw nothing');
like($t->worker_object('w1')->ask('peer'), qr/gateway/,
    'the worker sees the gateway\'s certificate');

# the worker moves
$table->cmd("alloc token:$one default/demo w2 ready 0"
    . " key=$cert{one}{spki_hash}");
like($t->say_hello($cert{one}), qr/worker w2/, 'moved: the new worker at once');

# no token, and with it its owner, is in any log
$nginx->stop;
my $logs = join '', map { $t->read($_) } glob $t->dir . '/*.log';
for (['one', $one], ['two', $two], ['bkc', $bkc]) {
    unlike($logs, qr/\Q$_->[1]\E/, "token $_->[0] is in no log");
}
like($logs, qr/@{[$t->id($one)]}/, 'but its id is');
