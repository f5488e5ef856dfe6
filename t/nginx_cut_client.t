# What a client may do after it was cut: open streams, say nothing, read
# slowly, upload on, go away; whatever it is, the session ends.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

plan tests => 21;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my @names = qw(stays quiet many slow upload away);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_allocation|$bytes_received|'
    . '$bytes_sent|$upstream_bytes_sent|$upstream_bytes_received";',
    server => "access_log %%DIR%%/access.log bk;\n    }\n"
    . "    server {\n        listen 127.0.0.1:%%PORT:turn%%; return '';\n"));

# what nginx was about to do is done
sub turn {
    my $turn = IO::Socket::INET->new(PeerAddr => '127.0.0.1:'
        . $t->port('turn')) or die "turn: $!";
    sysread $turn, my $nothing, 1;

    return;
}

# Says so much to a client who does not read that nginx cannot pass it on; what
# nginx reads at once ends with a frame: it need not wait for any.  A client
# that is cut then has ten seconds to read, and not two from when he was told.
# Returns how much it was.
sub stuff {
    my ($worker) = @_;

    my $socket = $worker->{socket};
    my $frame = Test::Buildkit::H2::frame(0, 0, 1, 'z' x 1015) x 16;
    my ($sent, $pos, $full) = (0, 0, 0);
    my $deadline = time + 30;
    $socket->blocking(0);
    while ($full < 3 && time < $deadline) {
        my $n = syswrite $socket, substr $frame, $pos;
        if ($n) {
            $sent += $n;
            $pos = ($pos + $n) % length $frame;
            $full = 0;
            next;
        }
        next if IO::Select->new($socket)->can_write(0.1);
        turn();
        $full++;
    }

    return $sent;
}

sub revoke {
    my ($name) = @_;

    my $id = $t->id($token{$name});
    $table->cmd("end token:$token{$name} revoked now");
    $t->wait_for(sub { $nginx->log =~ /cut: code 16, allocation $id/ }, 5,
        "$name to be cut");
    turn();

    return;
}

# (status, bytes ...) of its session, once that has ended
sub logged {
    my ($name) = @_;

    my $id = $t->id($token{$name});
    my $line = $t->wait_for(sub {
        ($t->read('access.log') // '') =~ /^(\d+)\|$id\|(.*)$/m
            && "$1|$2";
    }, 20, "$name to end");

    return split /\|/, $line;
}

# asks for more, then stays: GOAWAY with the same text, and closed
{
    my ($client, $worker) = $live->connect($cert{stays});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    stuff($worker);
    revoke('stays');
    $client->request($_) for 3, 5, 11;
    $client->frame(6, 0, 0, '12345678');
    my (undef, $text) = $client->said(1);
    is(($client->said($_))[1], $text, "stream $_, later") for 3, 5, 11;
    ok($client->until(sub { $client->seen(6) }), 'a PING is answered');
    ok($client->wait_closed(30), 'closed by the gateway');
    is($client->{goaway}, $text, 'after GOAWAY with the same words');
    $client->finish;
    is((logged('stays'))[0], 403, 'stays: status');
}

# never asked for anything: no GOAWAY, it would dial again and again
{
    my ($client, $worker);
    # who waits for his worker for three seconds has SETTINGS of ours
    for (1 .. 5) {
        my $began = time;
        ($client, $worker) = $live->connect($cert{quiet});
        last if time - $began < 3;
        $_->finish for $client, $worker;
    }
    revoke('quiet');
    ok($client->wait_closed(30), 'quiet: closed by the gateway');
    is($client->{goaway}, undef, 'without GOAWAY');
    is($client->{settings}, 1, 'and without a second SETTINGS');
}

# the last 1024 of many streams
{
    my ($client, $worker) = $live->connect($cert{many});
    $client->send(join '', map { Test::Buildkit::H2::frame(1, 4, 2 * $_ + 1,
        "\x83\x86\x84") } 0 .. 1499);
    $worker->until(sub { $worker->seen(1, 2999) });
    revoke('many');
    like(($client->said(2999))[1], qr/was revoked/, 'of 1500 streams the last');
    is(scalar(grep { $_->{end} } values %{$client->{streams}}), 1024,
        'and 1023 more');
    $client->finish;
}

# megabytes of the worker are in front of the reason
{
    my ($client, $worker) = $live->connect($cert{slow});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    cmp_ok(stuff($worker), '>', 200_000, 'the client does not read');
    revoke('slow');
    like(($client->said(1, 30))[1], qr/was revoked/, 'slow: reads it at last');
    is(length($client->body(1)) % 1015, 0, 'behind whole frames');
    $client->finish;
    is((logged('slow'))[0], 403, 'slow: status');
}

# an upload goes on for a while: read and dropped
{
    my ($client, $worker) = $live->connect($cert{upload});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    stuff($worker);
    revoke('upload');
    my $data = Test::Buildkit::H2::frame(0, 0, 1, 'u' x 16384);
    $client->send($data x 16) for 1 .. 16;
    # which is answered when all of it was read
    $client->frame(6, 0, 0, '12345678');
    like(($client->said(1))[1], qr/was revoked/, 'amid an upload');
    $client->until(sub { $client->seen(6) });
    $client->finish;
    my ($status, $received, $sent, $up, $down) = logged('upload');
    cmp_ok($received, '>', 16 * 16 * 16384 - 65536, '$bytes_received has it');
    cmp_ok($up, '<', 1000, 'the worker got none of it');
}

# goes away at once
{
    my ($client, $worker) = $live->connect($cert{away});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    $worker->send("\0\0\x0a");
    $client->until(sub { length $client->{buffer} });
    revoke('away');
    $client->finish;
    is((logged('away'))[0], 403, 'away: status');
    ok($worker->wait_closed(30), 'away: the worker is let go');
}
