# The frame tracker against what real clients and a real buildkitd said to
# each other, whole, byte by byte and in random pieces; then cut off anywhere,
# with oversized frames and with garbage in it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

# capture => [is a look, opens a Session]
my %real = (
    'buildctl-build' => [0, 1],
    'buildctl-0.12-build' => [0, 1],
    'buildx-build' => [0, 1],
    'buildx-create' => [1, 0],
    'buildx-ls' => [1, 0],
);

my $ODD = 40;

plan tests => 7 * keys(%real) + 4;

my $tool = $t->tool('h2track');
my $seed = $ENV{BK_SEED} // time ^ $$;
srand $seed;
diag "BK_SEED=$seed";

my %record;
for my $name (sort keys %real) {
    my $file = $t->root . "/t/fuzz/corpus/h2_track/$name";
    $record{$name} = [records($t->read($file))];
    my ($got) = track($file);
    my $want = reference(@{$record{$name}});

    is($got->{off}, 0, "$name: is HTTP/2");
    is($got->{last}, $want->{last}, "$name: the highest stream");
    is($got->{open}, 0, "$name: every stream has ended");
    is($got->{asked}, 1, "$name: a request was made");
    is($got->{timeout}, $real{$name}[0], "$name: a look");
    is($got->{session}, $real{$name}[1], "$name: a build");
    is($got->{at}, $want->{at}, "$name: the boundaries");
}

# what is amid a request has streams that are open
my ($cut, $bad) = (0, 0);
for my $i (1 .. $ODD) {
    my $name = (sort keys %real)[$i % keys %real];
    my @some = @{$record{$name}};
    @some = map { [@$_] } @some[0 .. rand @some];
    $some[-1][1] = substr $some[-1][1], 0, 1 + rand length $some[-1][1];

    my ($got) = track($t->write("cut-$i", pack_records(@some)));
    my $want = reference(@some);
    for my $what (qw(last open at)) {
        next if $got->{$what} eq $want->{$what};
        diag "$name, cut after " . @some . ": $what $got->{$what}, want "
            . $want->{$what};
        $bad++;
    }
    $cut++ if $want->{open};
}
is($bad, 0, 'captures that are cut off anywhere');
cmp_ok($cut, '>', 3, 'some of them amid a request');

# an oversized frame, in each direction
for my $from (0, 1) {
    my @some = @{$record{'buildctl-build'}};
    my $frame = Test::Buildkit::H2::frame(0, 0, 1, 'x' x 16385);
    splice @some, 6, 0, [$from, $frame];
    my ($got) = track($t->write("big-$from", pack_records(@some)));
    is($got->{off}, 1, 'an oversized frame turns it off, from ' . $from);
}


sub track {
    my (@files) = @_;

    my $r = $t->run($tool, $seed, @files);
    die "h2track: $r->{out}$r->{err}" if $r->{rc} != 0;

    return map { { map { split /=/, $_, 2 } split ' ' } }
        split /\n/, $r->{out};
}


sub records {
    my ($data) = @_;

    my @records;
    while (length $data) {
        my ($from, $len) = unpack 'Cn', substr $data, 0, 3, '';
        push @records, [$from, substr $data, 0, $len, ''];
    }

    return @records;
}


sub pack_records { join '', map { pack('Cn', $_->[0], length $_->[1]) . $_->[1] } @_ }


# the same the simple way: frames of the whole of each direction, in the order
# in which they were complete
sub reference {
    my (@records) = @_;

    my %buffer = (0 => '', 1 => '');
    my ($down, $block, $preface, $last, %open, @at) = (0, 0, 24, 0);
    for (@records) {
        my ($from, $bytes) = @$_;
        $buffer{$from} .= $bytes;
        if (!$from && $preface) {
            next if length $buffer{0} < $preface;
            substr $buffer{0}, 0, $preface, '';
            $preface = 0;
        }
        while (length $buffer{$from} >= 9) {
            my ($hi, $lo, $type, $flags, $id) =
                unpack 'CnCCN', $buffer{$from};
            my $len = 9 + ($hi << 16 | $lo);
            last if length $buffer{$from} < $len;
            substr $buffer{$from}, 0, $len, '';
            if (!$from) {
                $open{$last = $id} = 1 if $type == 1 && $id > $last;
                delete $open{$id} if $type == 3;
                next;
            }
            delete $open{$id} if $type == 3 || $type <= 1 && $flags & 1;
            $block = !($flags & 4) if $type == 1 || $type == 9;
            $down += $len;
            push @at, $down if !$block;
        }
    }

    return { last => $last, open => scalar keys %open,
        at => join ',', @at };
}
