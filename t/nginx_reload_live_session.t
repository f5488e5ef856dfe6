# Reload and graceful exit: a live session goes on in the old process, new
# ones go by the new configuration, refused ones are not cut off, nothing is
# left open.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $unknown = $t->client_cert('u', cn => 'alloc:' . $t->token);
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

my $nginx = $t->nginx($t->gateway_conf);
my ($old) = $nginx->worker_pids;

my $live = $t->tls($cert) or die 'no connection';
print $live "one\n";
like($t->read_until($live, qr/one\n/, 30), qr/worker w1/, 'a live session');

my $refused = $t->grpc($unknown, keep => 1);
is($refused->{streams}{1}{grpc_status}, 16, 'and a refused one');

$nginx->reload($t->gateway_conf(server => "buildkit_pool other/pool;\n"));
# who is refused stays for ten seconds, if he does not go
$refused->open_stream(3);
ok($refused->wait_stream(3, 30), 'the refused one is still answered');
$refused->finish;

$t->wait_for(sub { $nginx->log =~ / $old#\d+: gracefully shutting down/ }, 5,
    'the old process to close its port');
is(scalar(grep { $_ == $old } $nginx->worker_pids), 1,
    'reload: the old process stays for the live one');

print $live "two\n";
like($t->read_until($live, qr/two\n/, 30), qr/two/, 'the live session goes on');

my $got = $t->grpc($cert)->{streams}{1};
is($got->{grpc_status}, 7, 'a new one goes by the new configuration');

print $live "three\n";
like($t->read_until($live, qr/three\n/, 30), qr/three/, 'and still goes on');
close $live;

$t->wait_for(sub { !grep { $_ == $old } $nginx->worker_pids }, 10,
    'the old process to end');
# the master logs it a little later than the process is gone
ok($t->wait_for(sub {
    $nginx->log =~ /worker process $old exited with code 0/;
}, 10, 'the master to log it'), 'the old process ends well');

# a graceful exit with a refused client that stays: it is waited for
my ($new) = $nginx->worker_pids;
my $h2 = $t->grpc($unknown, keep => 1);
$nginx->kill('QUIT');
$t->wait_for(sub { $nginx->log =~ / $new#\d+: gracefully shutting down/ }, 5,
    'exit');
$h2->open_stream(3);
ok($h2->wait_stream(3, 30), 'answered during a graceful exit');
$h2->finish;
is($nginx->stop, 0, 'the exit is a good one');
unlike($nginx->log, qr/open socket|\[alert\]/, 'nothing is left open');
