# A client that has said all it had to say, as "buildx dial-stdio" does at the
# end of its input: with proxy_half_close the worker sees a clean end
# (close_notify, not a mere FIN) and may go on; without it both sides end.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 14;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('client', cn => "alloc:$token");
$t->table('pool default/demo', $live->row,
    "alloc token:$token default/demo w1 ready 0");

for my $half_close ('on', 'off') {
    my $log = "n$half_close.access.log";
    my $nginx = $t->nginx($t->gateway_conf(port => "gw-$half_close",
        stream => 'log_format bk "$status";', server => "proxy_half_close"
        . " $half_close; access_log %%DIR%%/$log bk;\n"),
        name => "n$half_close");

    # a client that is gone amid a request, and a worker that gives up on it
    my @gone = $live->connect($cert, port => "gw-$half_close");
    $gone[0]->request(1);
    $gone[1]->until(sub { $gone[1]->seen(1, 1) });
    $gone[0]->finish;
    ok($gone[1]->wait_closed(30), "$half_close: a client is gone");
    $gone[1]->finish;
    $t->wait_for(sub { $t->read($log) }, 5, 'the access log');
    is($t->read($log), "200\n", "$half_close: that was no cut");

    my ($client, $worker) = $live->connect($cert, port => "gw-$half_close");
    $client->request(1);
    $client->data(1, 'x' x 16384) for 1 .. 20;
    half_close($client);

    ok($worker->until(sub { length $worker->body(1) == 20 * 16384 }),
        "$half_close: all of it arrives");
    is(end_of($worker), 'close_notify', "$half_close: and a clean end");

    if ($half_close eq 'off') {
        ok($client->wait_closed(30), 'off: the other side ends too');
        next;
    }

    $worker->frame(1, 4, 1, "\x88");
    $worker->data(1, 'y' x 16384) for 1 .. 20;
    ok($client->until(sub { length $client->body(1) == 20 * 16384 }),
        'on: the worker goes on');
    $worker->finish_stream(1);
    half_close($worker);
    is(end_of($client), 'close_notify', 'on: until it ends as well');

    # the same from the other side: the worker ends first
    ($client, $worker) = $live->connect($cert, port => "gw-$half_close");
    half_close($worker);
    is(end_of($client), 'close_notify', 'on: the worker ends first');
    $client->request(1);
    ok($worker->until(sub { $worker->seen(1, 1) }),
        'on: the client may go on');
    half_close($client);
    ok($worker->wait_closed(30), 'on: until it ends as well');
}


# close_notify and FIN, and goes on reading
sub half_close {
    my ($end) = @_;

    Net::SSLeay::shutdown($end->{socket}->_get_ssl_object);
    CORE::shutdown $end->{socket}, 1;

    return;
}


# how the peer ended its side
sub end_of {
    my ($end) = @_;

    $end->wait_closed(30) or return 'nothing';
    my $state = Net::SSLeay::get_shutdown($end->{socket}->_get_ssl_object);

    return $state & 2 ? 'close_notify' : 'FIN';
}
