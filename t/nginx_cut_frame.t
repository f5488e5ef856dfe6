# A cut amid a frame of the worker: the client gets the rest of it and then the
# reason; when the rest does not come it is closed, and never sees a frame
# broken by another.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

# nginx waits so long for the rest of a frame
my $WAIT = 1;

plan tests => 26;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my @more = 2 .. 5;
my $begun = 0;
my @names = (qw(stalled gone plain big), map { my $name = $_;
    $name, map { "$name$_" } @more } qw(rest exact block));
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_allocation";',
    server => "access_log %%DIR%%/access.log bk;\n"));

sub revoke {
    my ($name) = @_;

    my $id = $t->id($token{$name});
    $table->cmd("end token:$token{$name} revoked now");
    $t->wait_for(sub { $nginx->log =~ /cut: code 16, allocation $id/ }, 60,
        "$name to be cut");

    return;
}

sub begin {
    my ($name) = @_;

    my ($client, $worker) = $live->connect($cert{$name});
    $begun++;
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });

    return ($client, $worker);
}

# One that is cut after the first of these and before the second, which was
# there in time; or another one is.  Both ends, and what the second returns.
sub amid {
    my ($name, $before, $after) = @_;

    for my $try ($name, map { "$name$_" } @more) {
        my $dialled = time;
        my ($client, $worker) = begin($try);
        # who waits for his worker for three seconds has SETTINGS of ours
        my $late = time - $dialled >= 3;
        $before->($client, $worker);
        my $began = time;
        revoke($try);
        my @seen = $after->($client, $worker);
        return ($client, $worker, @seen) if !$late && time - $began < $WAIT;
    }

    die "never within $WAIT s\n";
}

# the rest comes together with two frames more
{
    my $frame = Test::Buildkit::H2::frame(0, 0, 1, 'x' x 5000);
    my ($client, $worker, $told, $more) = amid('rest', sub {
        my ($client, $worker) = @_;
        $worker->send(substr $frame, 0, 3);
        $client->until(sub { length $client->{buffer} });
    }, sub {
        my ($client, $worker) = @_;
        $client->request(3);
        $client->data(1, 'too late');
        my $told = $client->wait_stream(1, 0.3);
        my $more = $worker->seen(1, 3) || $worker->seen(0);
        $worker->send(substr($frame, 3)
            . Test::Buildkit::H2::frame(0, 0, 1, 'y' x 100) x 2);
        return ($told, $more);
    });
    ok(!$told, 'nothing is said amid a frame');
    ok(!$more, 'and nothing more reaches the worker');
    like(($client->said(1))[1], qr/was revoked/, 'then the reason');
    is($client->body(1), 'x' x 5000, 'after the frame, and no frame more');
    like(($client->said(3))[1], qr/was revoked/, 'on a stream opened then');
    ok($worker->wait_closed(60), 'the worker is let go');
}

# the rest ends with the piece it is in
{
    my ($client) = amid('exact', sub {
        my ($client, $worker) = @_;
        $worker->send(substr Test::Buildkit::H2::frame(0, 0, 1, 'abc'), 0, 9);
        $client->until(sub { length $client->{buffer} });
    }, sub { $_[1]->send('abc') });
    like(($client->said(1))[1], qr/was revoked/, 'a frame in two pieces');
    is($client->body(1), 'abc', 'is whole');
}

# nothing may come between a header block and its continuation
{
    my ($client, $worker, $told) = amid('block', sub {
        my ($client, $worker) = @_;
        $worker->frame(1, 0, 1, "\x88");
        $client->until(sub { $client->seen(1, 1) });
    }, sub {
        my ($client, $worker) = @_;
        my $told = $client->until(sub { $client->seen(1) > 1 }, 0.3);
        $worker->frame(9, 4, 1, "\x00\x01a\x01b");
        return $told;
    });
    ok(!$told, 'nothing is said amid a header block');
    $client->until(sub { $client->seen(1) > 1 });
    is(join(' ', map { $_->[0] } @{$client->{frames}}), '4 1 9 6 1',
        'HEADERS, CONTINUATION, our PING and HEADERS');
    like(($client->said(1))[1], qr/was revoked/, 'with the reason');
}

# the rest never comes
{
    my ($client, $worker) = begin('stalled');
    $worker->send(substr Test::Buildkit::H2::frame(0, 0, 1, 'x' x 100), 0, 50);
    $client->until(sub { length $client->{buffer} == 50 });
    revoke('stalled');
    ok($client->wait_closed(60), 'stalled: closed');
    is(length $client->{buffer}, 50, 'without a word');
    ok($worker->wait_closed(60), 'and the worker is let go');
    like($nginx->log, qr/cut amid a frame, the client is not told why/,
        'the log says so');
}

# the worker goes amid the frame
{
    my ($client, $worker) = begin('gone');
    $worker->send(substr Test::Buildkit::H2::frame(0, 0, 1, 'x' x 100), 0, 50);
    $client->until(sub { length $client->{buffer} == 50 });
    revoke('gone');
    $worker->finish;
    ok($client->wait_closed(60), 'worker gone: closed');
    is(length $client->{buffer}, 50, 'without a word');
}

# no HTTP/2
{
    my ($client, $worker) = $live->connect($cert{plain}, tls => 1);
    $begun++;
    $client->send("hello\n");
    is($t->read_until($worker->{socket}, qr/\n/, 60), "hello\n", 'plain text');
    $worker->send('half of a li');
    is($t->read_until($client->{socket}, qr/li/, 60), 'half of a li',
        'goes on');
    $table->cmd("end token:$token{plain} revoked now");
    is($t->read_until($client->{socket}, qr/./, 60), '', 'plain: just closed');
    ok($worker->wait_closed(60), 'on both sides');
}

# a frame over what was agreed on: no boundary is known after it
{
    my ($client, $worker) = begin('big');
    $worker->data(1, 'x' x 16385);
    $client->until(sub { length $client->body(1) == 16385 });
    is(length $client->body(1), 16385, 'an oversized frame passes');
    $table->cmd("end token:$token{big} revoked now");
    ok($client->wait_closed(60), 'but the client is just closed');
    is($client->seen(1), 0, 'without a word');
}

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return $begun == (() = $text =~ /\n/g) && $text;
}, 60, 'the access log');
is((() = $log =~ /^403\|/mg), $begun, 'the status of all of them');
unlike($nginx->log, qr/\[(error|crit)\]/, 'no error is logged');
