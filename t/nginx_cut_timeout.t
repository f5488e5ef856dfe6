# A client that reached its worker and asks for nothing ends by a deadline,
# whatever it says instead of a request.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 12;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('client', cn => "alloc:$token");
$t->table('pool default/demo', $live->row,
    "alloc token:$token default/demo w1 ready 0");
my $nginx = $t->nginx($t->gateway_conf(stream => 'log_format bk "$status";',
    server => "buildkit_header_timeout 5s; access_log %%DIR%%/access.log bk;"
        . "\n"));

my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
my $settings = Test::Buildkit::H2::frame(4, 0, 0, '');
my $request = Test::Buildkit::H2::frame(1, 4, 1, "\x83\x86\x84");

# what a client says
my %says = (
    'nothing' => '',
    'half a preface' => substr($preface, 0, 12),
    'no request' => $preface . $settings,
    'half a request' => $preface . $settings . substr($request, 0, 10),
    'a block without its end' => $preface . $settings
        . Test::Buildkit::H2::frame(1, 0, 1, "\x83"),
);

my %end;
for my $what (sort keys %says) {
    my ($client, $worker) = $live->connect($cert, tls => 1);
    $client->send($says{$what});
    $end{$what} = [$client, $worker];
}
my ($client, $worker) = $live->connect($cert, tls => 1);
$client->send($preface . $settings . $request);
my ($plain, $other) = $live->connect($cert, tls => 1);
$plain->send("something else\n");

for my $what (sort keys %says) {
    ok($end{$what}[0]->wait_closed(30), "$what: closed");
    ok($end{$what}[1]->wait_closed(30), "$what: the worker is let go");
}

ok(!$client->{closed} && !$client->until(sub { 0 }, 0.3)
    && !$client->{closed}, 'one that asked goes on');
my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return 5 == (() = $text =~ /^503$/mg) && $text;
}, 5, 'the access log');
is($log, "503\n" x 5, 'the status, and nobody else ended');
$_->finish for $client, $worker, $plain, $other;
