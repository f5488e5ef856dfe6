# An allocation that ends while its worker is being dialled: when the worker
# takes the connection at last it gets not one byte, and the client is told.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my @ways = (
    ['revoked', 16, qr/ was revoked at .*: enough; run bkctl allocate$/],
    ['expired', 16, qr/ expired at /],
    ['moved', 9, qr/ has another worker now, w2; run the build again$/],
);

plan tests => 5 * @ways;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $other = Test::Buildkit::Live->new($t, 'w2');
my $table = $t->table('pool default/demo', $live->row, $other->row);
# which is not what ends the wait for a worker
my $nginx = $t->nginx($t->gateway_conf
    =~ s/(proxy_connect_timeout +)5s/${1}20s/r);

for (@ways) {
    my ($way, $code, $text) = @$_;
    my ($token, $alloc, $began, $end, $h2, $dialled);

    # one that had expired before it was dialled had not time enough
    for my $seconds (4, 10) {
        $token = $t->token;
        my $cert = $t->client_cert($way, cn => "alloc:$token");
        $alloc = "alloc token:$token default/demo";
        $began = time;
        $end = $began + $seconds;
        $table->cmd("$alloc w1 ready " . ($way eq 'expired'
            ? int($end * 1000) : 0));

        $h2 = $t->grpc($cert, streams => [], keep => 1);
        bless $h2, 'Test::Buildkit::Live::End';
        $h2->request(1);

        # the worker's kernel has the connection, its TLS does not answer yet
        $dialled = $live->knocked($way eq 'expired' ? $seconds + 1 : 30);
        last if $dialled;
        $h2->finish;
    }
    ok($dialled, "$way: dialled");
    $table->cmd('end ' . $t->hash($token) . ' revoked enough')
        if $way eq 'revoked';
    $table->cmd("$alloc w2 ready 0") if $way eq 'moved';
    $h2->until(sub { 0 }, $way eq 'expired' ? $end + 0.2 - time : 0.2);
    # who waits for 3 s has SETTINGS
    my $said = $h2->{settings} && time - $began < 3 || $h2->{streams}{1};
    ok(!$said, "$way: nothing is said before it is over");

    my $worker = $live->accept;
    $worker->{preface} = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    $worker->until(sub { 0 }, 30);
    ok($worker->{closed} && length $worker->{preface} == 24
        && !@{$worker->{frames}}, "$way: not one byte reaches the worker");

    my ($got, $told) = $h2->said(1);
    is($got, $code, "$way: code");
    like($told, $text, "$way: text");
    $_->finish for $h2, $worker;
}
