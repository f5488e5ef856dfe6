# A peer whose host is gone without a word is noticed within
# buildkit_peer_timeout, client or worker, idle or with data under way; one
# that resets its connection was not gone.  The hosts are network namespaces
# with a router between them that stops to forward.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;
use Test::Buildkit::Net;

plan tests => 14;

my $t = Test::Buildkit->new;

my $net = Test::Buildkit::Net->new($t);

my %token = map { $_ => $t->token } qw(near far held);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $w2 = $t->worker_cert('w2', 'w2.workers.buildkit.internal');
my $worker = $t->start_pipe('worker-w2', $net->far, $t->tool('worker'),
    '--name', 'w2', '--listen', '10.77.2.2:' . $t->port('w2'),
    '--cert', $w2->{cert}, '--key', $w2->{key}, '--ca', $w2->{ca});
$worker->line;
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    'worker default/demo w2 10.77.2.2:' . $t->port('w2')
        . ' w2.workers.buildkit.internal ready',
    "alloc token:$token{near} default/demo w1 ready 0",
    "alloc token:$token{far} default/demo w2 ready 0",
    "alloc token:$token{held} default/demo w1 starting 0");

mkdir $t->dir . '/reports' or die;
my $conf = $t->gateway_conf(server => "buildkit_peer_timeout 2s;\n",
    stream => "buildkit_report %%DIR%%/reports;\n");
$conf =~ s/listen 127\.0\.0\.1:/listen 0.0.0.0:/;
my $nginx = $t->nginx($conf);

# far clients of a worker here, clients here of a far worker; each talks
my %far = map { $_ => far_client($_, $_ eq 'held' ? $_ : 'near') }
    qw(idle busy reset held);
is($_->line, 'ready', "far client $_->{name}")
    for @far{qw(idle busy reset held)};
my %near = map { $_ => $t->tls($cert{far}) } qw(idle busy);
for (sort keys %near) {
    print { $near{$_} } "hello\n";
    like($t->read_until($near{$_}, qr/hello\n/, 30), qr/worker w2/,
        "far worker, $_ client");
}

# a reset is an end like others, also of one that said nothing for a while
is($far{idle}->ask('time', 20), 'later', 'longer than the time is quiet');
$far{reset}->ask('reset');
$t->wait_for(sub { $nginx->log =~ /bytes from\/to client:|104: Conn/ }, 10,
    'the reset');
unlike($nginx->log, qr/without a word/, 'all of them live');

# the worker has got it, and answers when nobody is there any more
my $w1 = $t->worker_object('w1');
kill STOP => $w1->pid;
$far{busy}->ask('more');
my $before = $w1->{pid};
$net->forward(0);
kill CONT => $w1->pid;
print { $near{busy} } "more\n";

my $log = $t->wait_for(sub {
    my $text = $nginx->log;
    return 5 <= (() = $text =~ /without a word/g) && $text;
}, 60, 'all five to be noticed');
is(scalar(() = $log =~ /the client is gone without a word/g), 3,
    'three clients, one of them held');
is(scalar(() = $log =~ /the worker is gone without a word/g), 2,
    'two workers');
for (sort keys %near) {
    ok($t->read_until($near{$_}, qr/\n\n\n/, 30) !~ /\n\n\n/,
        "$_ client: its connection is closed");
}
my $report;
$t->wait_for(sub {
    $report = report_read((report_files($t))[0]);
    return $report->{dead_clients} >= 3 && $report->{dead_workers} >= 2;
}, 30, 'the report');
is("$report->{dead_clients} $report->{dead_workers}", '3 2',
    'and that is what is reported');
is($nginx->stop, 0, 'nothing is left open');


sub far_client {
    my ($name, $alloc) = @_;

    return $t->start_pipe("far-$name", $net->far, $^X, '-e', <<'END',
use IO::Socket::SSL;
$| = 1;
my ($addr, $ca, $cert, $key) = @ARGV;
my $hello = $cert !~ /held/ ? "hello\n"
    : "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
my $s = IO::Socket::SSL->new(PeerAddr => $addr, SSL_ca_file => $ca,
    SSL_verifycn_scheme => 'none', SSL_cert_file => $cert,
    SSL_key_file => $key, SSL_alpn_protocols => ['h2']) or die $SSL_ERROR;
print $s $hello;
my $text = '';
sysread $s, $text, 100, length $text or die 'closed'
    while $text !~ /hello\n|^\x00\x00\x00\x04/;
print "ready\n";
while (<STDIN>) {
    select undef, undef, undef, 3 if /time/;
    print $s "more\n" if /more/;
    setsockopt($s, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0) if /reset/;
    CORE::close($s) if /reset/;
    print "later\n";
}
END
        '10.77.1.1:' . $t->port('gw'), $t->pki . '/gateway-ca.pem',
        $cert{$alloc}{cert}, $cert{$alloc}{key});
}
