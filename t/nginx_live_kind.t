# What a client is after, told from its frames: a look (grpc-timeout in the
# first request and little said), a build (it opened a Session), or something
# else; the strings may be split anywhere.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

my $session = $Test::Buildkit::Live::SESSION;
my $timeout = $Test::Buildkit::Live::TIMEOUT;
my $plain = "\x83\x86\x84";

sub request { Test::Buildkit::H2::frame(1, 4, @_) }

# a header block in three frames
my $split = Test::Buildkit::H2::frame(1, 0, 1, substr $session, 0, 7)
    . Test::Buildkit::H2::frame(9, 0, 1, substr $session, 7, 9)
    . Test::Buildkit::H2::frame(9, 4, 1, substr $session, 16);

# what is sent, how it comes out
my @rows = (
    ['nothing', '', 'unknown'],
    ['half a request', substr(request(1, $timeout), 0, 20), 'unknown'],
    ['a look', request(1, $timeout), 'look'],
    ['a look with more requests', request(1, $timeout) . request(3, $plain),
        'look'],
    ['one that says a lot', request(1, $timeout)
        . Test::Buildkit::H2::frame(0, 0, 1, 'x' x 4096), 'other'],
    ['a time-out later on', request(1, $plain) . request(3, $timeout),
        'other'],
    ['something else', request(1, $plain), 'other'],
    ['a build', request(1, $plain) . request(3, $session), 'build'],
    ['a build at once', request(1, $session), 'build'],
    ['a build after a look', request(1, $timeout) . request(3, $session),
        'build'],
    ['a block in three frames', $split, 'build'],
    ['nearly a Session', request(1, substr $session, 0, -1), 'other'],
    ['a Session that is data', request(1, $plain)
        . Test::Buildkit::H2::frame(0, 0, 1, $session), 'other'],
    ['a Session after a false start', request(1, "\x98\x62"
        . substr $session, 3), 'build'],
);

plan tests => 2 * @rows;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('client', cn => "alloc:$token");
$t->table('pool default/demo', $live->row,
    "alloc token:$token default/demo w1 ready 0");
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$buildkit_kind|";',
    server => "access_log %%DIR%%/access.log bk;\n"));

# whole, then byte by byte
for my $i (0, 1) {
    for my $n (0 .. $#rows) {
        my ($name, $bytes, $kind) = @{$rows[$n]};

        my ($client, $worker) = $live->connect($cert);
        my $size = $i ? 1 : 1 << 20;
        for (my $pos = 0; $pos < length $bytes; $pos += $size) {
            $client->send(substr $bytes, $pos, $size);
        }
        $client->frame(6, 0, 0, 'the last') if $name !~ /^half/;
        $worker->until(sub { $worker->seen(6) }) if $name !~ /^half/;
        $worker->until(sub { length $worker->{buffer} == length $bytes })
            if $name =~ /^half/;
        $client->finish;
        $worker->finish;

        my $want = @rows * $i + $n + 1;
        my @got = @{$t->wait_for(sub {
            my @lines = split /\|\n/, $t->read('access.log') // '';
            return @lines == $want && \@lines;
        }, 5, 'the access log')};
        is($got[-1], $kind, $name . ($i ? ', byte by byte' : ''));
    }
}
