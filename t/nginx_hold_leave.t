# A client that had a look, asks for something and goes in the same breath:
# it is looked up once more, refused, and its connection closed, all inside of
# the call that read its bytes.  With sanitizers nothing of it is touched then.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 5;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { $_ => $t->token } qw(gone next);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo', $live->row,
    "alloc token:$token{gone} default/demo - queued 0",
    "alloc token:$token{next} default/demo w1 ready 0");
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$status $buildkit_outcome|";',
    server => "access_log %%DIR%%/access.log bk;\n"));
my @h2 = map {
    bless $t->grpc($cert{gone}, streams => [], keep => 1),
        'Test::Buildkit::Live::End';
} 1 .. 8;
$_->request(1, $Test::Buildkit::Live::TIMEOUT) for @h2;
is(join(' ', map { ($_->said(1))[0] } @h2), '9 9 9 9 9 9 9 9', 'looks');
$table->cmd('end ' . $t->hash($token{gone}) . ' revoked enough');

# nginx sees the request and the end of the connection at once
my ($pid) = $nginx->worker_pids;
kill STOP => $pid;
$t->wait_for(sub { ($t->read("/proc/$pid/stat") // '') =~ /\) T / }, 15,
    'a stop');
for (@h2) {
    $_->request(3);
    $_->finish;
}
kill CONT => $pid;

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return 8 == (() = $text =~ /\|$/mg) && $text;
}, 15, 'the access log');
like($log, qr/^403 refused:revoked\|$/m,
    'looked up, and told nothing any more');

my ($client, $worker) = $live->connect($cert{next});
ok($client->{settings}, 'the next one is served');
is(join(' ', $nginx->worker_pids), $pid, 'by the same process');
$_->finish for $client, $worker;
is($nginx->stop, 0, 'which ends well');
