# What passes through a live connection comes out as it went in: random
# frames, legal and not, in random pieces, in both directions at once, and
# what is no HTTP/2 at all; and it is counted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Digest::SHA qw(sha256_hex);
use Time::HiRes qw(time);

my $RUNS = 12;

plan tests => 3 * $RUNS + 1;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('client', cn => "alloc:$token");
$t->table('pool default/demo', $live->row,
    "alloc token:$token default/demo w1 ready 0");
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$bytes_received|$bytes_sent|$upstream_bytes_sent|'
    . '$upstream_bytes_received";',
    server => "access_log %%DIR%%/access.log bk;\n"));

my $seed = $ENV{BK_SEED} // time ^ $$;
srand $seed;
diag "BK_SEED=$seed";

for my $run (1 .. $RUNS) {
    my ($client, $worker) = $live->connect($cert, tls => 1);
    my $up = bytes($run, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    my $down = bytes($run, '');

    my ($got_up, $got_down) = exchange($client->{socket}, $up,
        $worker->{socket}, $down);
    is(sha256_hex($got_up), sha256_hex($up), "run $run: to the worker");
    is(sha256_hex($got_down), sha256_hex($down), "run $run: to the client");
    $client->finish;
    $worker->finish;

    my $line = $t->wait_for(sub {
        my @lines = split /\n/, $t->read('access.log') // '';
        return @lines == $run && $lines[-1];
    }, 5, 'the access log');
    my ($u, $d) = (length $up, length $down);
    is($line, "$u|$d|$u|$d", "run $run: counted");
}

unlike($nginx->log, qr/\[(error|crit|alert)\]/, 'nothing is logged');


# every third run keeps to the protocol
sub bytes {
    my ($run, $preface) = @_;

    my $bytes = $preface . Test::Buildkit::H2::frame(4, 0, 0, '');
    my ($stream, $want) = (1, 200_000 + int rand 200_000);
    while (length $bytes < $want) {
        my $dice = rand;
        my ($type, $flags, $id) = (0, 0, 2 * int(rand $stream / 2) + 1);
        my $len = $dice < 0.3 ? int rand 20 : int rand 16384;
        if ($dice < 0.2) {
            ($type, $flags, $id) = (1, 4, $stream);
            $stream += 2;
            $len %= 500;
        } elsif ($dice < 0.3) {
            ($type, $id, $len) = (6, 0, 8);
        } elsif ($dice < 0.35) {
            ($type, $len) = (3, 4);
        }
        if ($run % 3 == 1 && $dice > 0.9) {
            $type = int rand 256;
            $len = int rand 70_000;
        }
        my $payload = join '', map { chr int rand 256 } 1 .. $len % 64;
        $payload .= 'x' x ($len - length $payload);
        $bytes .= Test::Buildkit::H2::frame($type, $flags, $id, $payload);
    }

    # ends anywhere
    $bytes = substr $bytes, 0, length($bytes) - int rand 3000;
    $bytes = 'no HTTP/2 ' . $bytes if $run % 3 == 2;

    return $bytes;
}


sub exchange {
    my ($a, $to_b, $b, $to_a) = @_;

    my %out = ($a => $to_b, $b => $to_a);
    my %in = ($a => '', $b => '');
    my %size;
    my $deadline = time + 120;
    $_->blocking(0) for $a, $b;

    while (time < $deadline) {
        my $moved = 0;
        for my $socket ($a, $b) {
            if (length $out{$socket}) {

                # one that does not fit must be tried again as it is
                $size{$socket} ||= 1 + int rand(rand() < 0.5 ? 20 : 20_000);
                my $n = syswrite $socket, $out{$socket}, $size{$socket};
                delete $size{$socket} if $n;
                substr $out{$socket}, 0, $n // 0, '';
                $moved += $n // 0;
            }
            my $n = sysread $socket, $in{$socket}, 1 + int rand 20_000,
                length $in{$socket};
            $moved += $n // 0;
        }
        last if length $in{$a} == length $to_a
            && length $in{$b} == length $to_b;
        select undef, undef, undef, 0.001 if !$moved;
    }

    return ($in{$b}, $in{$a});
}
