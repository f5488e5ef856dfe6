# Cuts at random moments of connections that are full in both directions, in
# random frames and pieces: the client gets whole frames, as they were sent,
# and behind the last one the reason.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $RUNS = 25;

plan tests => 3 * $RUNS + 2;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
# nginx waits for a second for a worker that stalls amid a frame, which we do
# on a busy machine: such a run is made again
my @token = map { $t->token } 1 .. 2 * $RUNS;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } @token);
my $nginx = $t->nginx($t->gateway_conf(stream => 'log_format bk "$status";',
    server => "access_log %%DIR%%/access.log bk;\n"));

my $seed = $ENV{BK_SEED} // time ^ $$;
srand $seed;
diag "BK_SEED=$seed";

my ($made, $stalled) = (0, 0);
for my $run (1 .. $RUNS) {
    my $token = shift @token;
    my $cert = $t->client_cert("c$run", cn => "alloc:$token");
    my ($client, $worker) = $live->connect($cert);
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });

    my ($sent, $got, $gap) = flood($client, $worker, rand 300_000,
        rand 100_000, sub {
            syswrite $table->{in}, "end token:$token revoked run $run\n" });
    $table->line =~ /^ok/ or die "run $run is not revoked";
    $made++;
    if ($gap > 0.8 && @token > $RUNS - $run) {
        $stalled++;
        $_->finish for $client, $worker;
        redo;
    }

    # what came before the answer is the beginning of what was sent
    my ($frames, $last) = ($got, '');
    my $end = answer(\$frames, \$last);
    is($end, 1, "run $run: whole frames, then the answer");
    ok($frames eq substr($sent, 0, length $frames),
        "run $run: as they were sent");
    like($last, qr/was revoked at .*: run $run; run bkctl allocate/,
        "run $run: with the reason");
    $_->finish for $client, $worker;
}

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return $made == (() = $text =~ /\n/g) && $text;
}, 15, 'the access log');
is($log, "403\n" x $made, 'the status of all');
my $mute = () = $nginx->log =~ /the client is not told why/g;
ok($mute <= $stalled && $nginx->log !~ /\[(crit|alert)\]/,
    'nobody was left without') or diag "$mute, $stalled runs stalled";


# Both write without end; after so many bytes of the worker comes the end.
# The client reads at most so much at once.  Returns what the worker sent and
# what the client got until its stream had ended, and for how long nothing was
# done meanwhile.
sub flood {
    my ($client, $worker, $after, $rate, $revoke) = @_;

    my ($c, $w) = ($client->{socket}, $worker->{socket});
    my ($sent, $to_client, $to_worker, $size, $other) = ('', '', '', 0, 0);
    my ($acked, $gap, $last) = (0, 0);
    my $got = $client->{buffer};
    $_->blocking(0) for $c, $w;

    my $deadline = time + 60;
    while ((my $now = time) < $deadline) {
        $gap = $now - $last if defined $last && $now - $last > $gap;
        $last = $now if !$revoke;
        $to_client .= random_frame(1) while length $to_client < 40_000;
        $to_worker .= random_frame(1) while length $to_worker < 40_000;

        $sent .= put($w, \$to_client, \$size);
        put($c, \$to_worker, \$other);
        sysread $w, my $sink, 65536;
        sysread $c, $got, 5000 + int rand $rate, length $got;

        if ($revoke && length $sent > $after) {
            $last = time;
            $revoke->();
            undef $revoke;
        }

        # a PING of ours, which every client answers
        if (!$acked && index($got, "\x08\x06\x00\x00\x00\x00\x00bkgw-cut") >= 0) {
            $to_worker .= Test::Buildkit::H2::frame(6, 1, 0, 'bkgw-cut');
            $acked = 1;
        }

        # our answer is a HEADERS frame on stream 1, and the only one
        my $at = index $got, "\x01\x05\x00\x00\x00\x01\x88";
        last if $at >= 0 && $got =~ /run bkctl allocate\z/;
    }

    return ($sent, $got, $gap);
}


# Writes a random piece; one that does not fit must be tried again as it is.
sub put {
    my ($socket, $bytes, $size) = @_;

    $$size ||= 1 + int rand 20_000;
    my $n = syswrite $socket, $$bytes, $$size;
    $$size = 0 if $n;

    return substr $$bytes, 0, $n // 0, '';
}


sub random_frame {
    my ($id) = @_;

    my $len = rand() < 0.5 ? int rand 100 : int rand 16385;

    return Test::Buildkit::H2::frame(0, 0, $id, chr(97 + rand 26) x $len);
}


# takes our PING and the last frame off; 1: it is the answer, and all before it
# is whole
sub answer {
    my ($bytes, $last) = @_;

    my ($pos, $start) = (0, 0);
    while ($pos + 9 <= length $$bytes) {
        my ($hi, $lo, $type, $flags, $id) =
            unpack 'CnCCN', substr $$bytes, $pos, 9;
        if ($type == 6 && $flags == 0 && $id == 0 && $lo == 8) {
            substr $$bytes, $pos, 17, '';
            next;
        }
        return "a frame of type $type at $pos" if $type != 0
            && !($type == 1 && $flags == 5 && $id == 1);
        $start = $pos;
        $pos += 9 + ($hi << 16 | $lo);
        last if $type == 1;
    }
    return "$pos of " . length $$bytes if $pos != length $$bytes;
    return 'no answer' if ord(substr $$bytes, $start + 3, 1) != 1;

    $$last = substr $$bytes, $start, $pos, '';

    return 1;
}
