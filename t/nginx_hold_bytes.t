# What a client says while it is held arrives at its worker, all of it and
# once, however it was cut into writes, and what it says afterwards behind it:
# from 33 bytes to more than is kept.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $t = Test::Buildkit->new;
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . "\0\0\0\4\0\0\0\0\0";

# sizes of what is sent before and after; the last: not HTTP/2 at all
my @rows = ([33, 0], [33, 100], [330, 5000], [1023, 1], [1024, 1024],
    [1025, 70_000], [8192, 0], [16_384, 40_000], [65_536, 300_000],
    [100_000, 0], [131_072, 1], [131_073, 200_000], [300_000, 300_000],
    (map { [33 + int rand 100_000, int rand 50_000] } 1 .. 8),
    [50_000, 50_000, 'raw']);

plan tests => 3 * @rows + 1;

my $seed = $ENV{BK_SEED} // time & 0xffff;
srand $seed;
diag "BK_SEED=$seed" if $ENV{BK_SEED};

my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $alloc = "alloc token:$token default/demo w1";
my $table = $t->table('pool default/demo', $live->row, "$alloc starting 0");
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$status $bytes_received|";',
    server => "access_log %%DIR%%/access.log bk;\n"));

# a connection's bytes as HTTP/2 has them: HEADERS, then DATA of any size
sub payload {
    my ($size, $raw) = @_;

    return join '', map { chr int rand 256 } 1 .. $size if $raw;

    my $bytes = $preface . Test::Buildkit::H2::frame(1, 4, 1, "\x83\x86\x84");
    while (length $bytes < $size) {
        my $n = int rand 16_385;
        $bytes .= Test::Buildkit::H2::frame(0, 0, 1, pack('N', rand 2 ** 32)
            x ($n / 4) . 'x' x ($n % 4));
    }

    return substr $bytes, 0, $size;
}

# sends while it can, in random pieces; returns what it could not
sub pieces {
    my ($socket, $bytes, $seconds) = @_;

    my $deadline = time + $seconds;
    $socket->blocking(0);
    while (length $bytes && time < $deadline) {
        my $n = 1 + int rand(rand() < 0.5 ? 100 : 20_000);
        my $sent = $socket->syswrite($bytes, $n);
        if ($sent) {
            substr $bytes, 0, $sent, '';
        } else {
            select undef, undef, undef, 0.002;
        }
    }
    $socket->blocking(1);

    return $bytes;
}

sub drain {
    my ($socket, $want) = @_;

    my ($got, $deadline) = ('', time + 60);
    $socket->blocking(0);
    while (length $got < $want && time < $deadline) {
        my $n = sysread $socket, $got, 65_536, length $got;
        next if $n;
        last if defined $n;
        select undef, undef, undef, 0.002;
    }
    $socket->blocking(1);

    return $got;
}

for my $row (@rows) {
    my ($before, $after, $raw) = @$row;
    my $name = "$before and $after" . ($raw ? ', raw' : '');
    my $all = payload($before + $after, $raw);

    $table->cmd("$alloc starting 0");
    my $socket = $t->tls($cert) or die 'no connection';
    is(length $t->read_until($socket, qr/\x00\x04\x00{5}$/, 60), 9,
        "$name: held");

    # what is not kept waits in the kernel, or at the client
    my $rest = pieces($socket, substr($all, 0, $before), 2)
        . substr $all, $before;

    $table->cmd("$alloc ready 0");
    my $worker = $live->accept->{socket};

    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        pieces($socket, $rest, 60);
        POSIX::_exit(0);
    }
    my $got = drain($worker, length $all);
    waitpid $pid, 0;

    is(length $got, length $all, "$name: all of it");
    is(sha256_hex($got), sha256_hex($all), "$name: as it was sent");
    $_->close(SSL_no_shutdown => 1) for $socket, $worker;
}

my $sum = 0;
$sum += $_->[0] + $_->[1] for @rows;
$t->wait_for(sub {
    @rows == (() = ($t->read('access.log') // '') =~ /\n/g);
}, 10, 'the access log');
my $logged = 0;
$logged += $_ for $t->read('access.log') =~ /^\d+ (\d+)\|$/mg;
is($logged, $sum, 'and counted as it was received');
