# Whatever ends a live connection: code, text, session's status, and the
# worker's side is closed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $t = Test::Buildkit->new;

my $when = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(\d+s ago\)/;

# name => [what the writer does, code, text]
my @rows = (
    ['revoked', 'end HASH revoked key leaked', 16,
        qr/ was revoked at $when: key leaked; run bkctl allocate$/],
    ['released', 'end HASH released', 16,
        qr/ was released at $when; run bkctl allocate$/],
    ['expired', 'end HASH expired ttl is over', 16,
        qr/ expired at $when: ttl is over; run bkctl allocate$/],
    ['failed', 'end HASH failed worker w1 was lost', 9,
        qr/ failed at $when: worker w1 was lost; run bkctl allocate$/],
    ['gone', 'remove HASH', 9,
        qr/ is not known here any more; run bkctl allocate$/],
    ['moved', 'alloc HASH default/demo w2 ready 0', 9,
        qr/ has another worker now, w2; run the build again$/],
    ['shortened', 'alloc HASH default/demo w1 ready +1', 16,
        qr/ expired at $when; run bkctl allocate$/],
);

plan tests => 11 * @rows + 2;

my @tries = ('', 2 .. 5);

my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { my $name = $_->[0]; map { $name . $_ => $t->token } @tries }
    @rows;
my $table = $t->table('pool default/demo', $live->row,
    'worker default/demo w2 127.0.0.1:1 w2.workers.buildkit.internal ready',
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);

my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_allocation|$buildkit_reason";',
    server => "access_log %%DIR%%/access.log bk;\n"));

# One that is cut, and opens a stream when it has been told: both ends, its
# token, and what it was told.  Who waits for his worker for three seconds has
# SETTINGS of ours, and a client that stays is closed two seconds after it was
# told: where this process stood still for as long, another one is.
sub cut {
    my ($name, $command) = @_;

    for my $try (@tries) {
        my $token = $token{$name . $try};
        my $dialled = time;
        my ($client, $worker) = $live->connect($t->client_cert($name . $try,
            cn => "alloc:$token"));
        my $late = time - $dialled >= 3;
        $client->request($_) for 1, 7;
        $worker->until(sub { $worker->seen(1, 7) });
        $worker->frame(1, 4, 1, "\x88");
        $worker->data(1, 'half of it');
        $client->until(sub { $client->body(1) eq 'half of it' });

        my $began = time;
        $table->cmd($command =~ s/HASH/token:$token/r);
        my ($got, $message) = $client->said(1);
        $client->request(9);
        return ($client, $worker, $token, $got, $message)
            if !$late && time - $began < 2 || $try eq $tries[-1];
        $_->finish for $client, $worker;
    }
}

for my $row (@rows) {
    my ($name, $command, $code, $text) = @$row;

    my ($client, $worker, $token, $got, $message) = cut($name, $command);
    my $id = $t->id($token);
    is($got, $code, "$name: code");
    like($message, qr/^buildkit gateway: allocation $id$text/, "$name: text");

    # the ids between were never opened: a client ignores those
    is(($client->said($_))[1], $message, "$name: stream $_") for 3, 5, 7;
    is($client->body(1), 'half of it', "$name: nothing was sent again");

    ok($worker->wait_closed(30), "$name: the worker's side is closed");
    is(($client->said(9))[1], $message, "$name: a later stream");
    is($client->{settings}, 1, "$name: SETTINGS only once");
    $client->finish;

    my $log = $t->wait_for(sub {
        grep { /\|$id\|/ } split /\n/, $t->read('access.log') // '';
    }, 5, 'the access log');
    my ($line) = grep { /\|$id\|/ } split /\n/, $t->read('access.log');
    my $status = $code == 16 ? 403 : 503;
    like($line, qr/^$status\|$id\|.*$text/, "$name: status and reason");
    like($nginx->log, qr/\[info\].*buildkit: cut: code $code, allocation $id/,
        "$name: is logged");
}

ok(!$live->knocked, 'nobody came back');
unlike($nginx->log, qr/\[(error|crit)\]/, 'no error is logged');
