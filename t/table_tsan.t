# ThreadSanitizer on the table's reader against its writer, and proof that the
# stress sees what it is there for: each broken variant of the protocol, made
# from the real source by one substitution, must fail.

use strict;
use warnings;
use FindBin;
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp ();
use Test::More;

my $root = "$FindBin::Bin/..";
my $host = "$root/plugin-host";
my $dir = File::Temp->newdir('bkt-XXXXXX', TMPDIR => 1);
$ENV{BK_TABLE_TEST_DIR} = "$dir";

my @sources = (glob("$host/src/table*.c"), "$host/src/err.c");

# file, what is broken, from, to, the test that must see it
my @broken = (
    [ 'src/table_priv.h', 'the writer fills the current copy',
      '(next & 1) * len', '(~next & 1) * len', 'table_stress' ],
    [ 'src/table_priv.h', 'stores that are not atomic',
      '__atomic_store_n((bk_table_word_t *) word, value, __ATOMIC_RELEASE);',
      '*(bk_table_word_t *) word = value;', 'table_stress', 'tsan' ],
    [ 'include/bk_table_read.h', 'the reader does not look twice',
      'if (bk_table_load(&e->seq) != seq) {', 'if (0) {', 'table_stress',
      'tsan' ],
    [ 'include/bk_table_read.h', 'the reader does not compare keys',
      '&& memcmp(f->key, want, BK_TABLE_HASH_LEN) == 0', '&& 1',
      'table_stress' ],
    [ 'include/bk_table_read.h', 'only the first candidate is looked at',
      'return bk_table_lookup_all(v, want, bucket, tag, f);',
      'return BK_TABLE_MISS;', 'table_stress' ],
    [ 'src/table.c', 'an entry is not freed before it is used again',
      "bk_table_alloc_flip(t, index, &none);\n", ";\n", 'table_stress' ],
    [ 'src/table_text.c', 'a text is not invalidated before it is written',
      "bk_table_store(&slot->gen, gen - 1);\n", ";\n", 'table_death' ],
    [ 'src/table_slots.c', 'a worker slot keeps its generation',
      'new.gen = bk_table_next_gen(t, slot->copy[slot->seq & 1].gen);',
      'new.gen = t->gen_base;', 'table_slots' ],
    [ 'src/table_priv.h', 'the writer fills the current copy',
      '(next & 1) * len', '(~next & 1) * len', 'table_death' ],
    [ 'src/table.c', 'an update by way of removal',
      "bk_table_alloc_flip(t, index, &clean);\n    bk_table_text_unref",
      "bk_table_store(bk_table_slot_find(t, t->entries[index].key, index), "
      . "0);\n    bk_table_alloc_flip(t, index, &clean);\n    "
      . "{ uint64_t w_, *s_ = bk_table_slot_free(t, t->entries[index].key, "
      . "&w_); bk_table_store(s_, w_ << 32 | (index + 1)); }\n    "
      . "bk_table_text_unref", 'table_death' ],
    [ 'src/table_repair.c', 'orphans are not freed at take-over',
      't->free_entries.index[t->free_entries.n++] = i;',
      'if (n == 0) t->free_entries.index[t->free_entries.n++] = i;',
      'table_death' ],
    [ 'src/table_repair.c', 'index words are not checked at take-over',
      'if (!bk_table_word_ok(&t->view, b, *slot, &f) || seen[index]) {',
      'if (index >= t->view.nentries) {', 'table_repair' ],
    [ 'src/table_file.c', 'a file that others can write to is believed',
      'if (st->st_mode & (S_IWGRP|S_IWOTH)) {', 'if (0) {', 'table_bad' ],
    [ 'src/table_file.c', 'the old file is not retired',
      'state = BK_TABLE_RETIRED;', 'state = BK_TABLE_LIVE;',
      'table_takeover' ],
    [ 'src/table_file.c', 'the lock is not taken',
      'if (flock(fd, LOCK_EX|LOCK_NB) == -1) {', 'if (0) {',
      'table_takeover' ],
    [ 'src/table.c', 'a removed entry is lost',
      't->free_entries.index[t->free_entries.n++] = index;', ';',
      'table_fill' ],
);

# flags, source and tree => what was compiled of it
my %object;

plan tests => 3 + 2 * @broken;

my $good = build('good', 'table_stress', '-fsanitize=thread');
my ($rc, $out) = run($good, 100000);
is($rc, 0, 'the stress passes under ThreadSanitizer')
    or diag($out);
unlike($out, qr/ThreadSanitizer/, 'which has nothing to say');

($rc, $out) = run(build('plain', 'table_stress', '-O2'), 400000);
is($rc, 0, 'and at full speed') or diag($out);

my $n = 0;

for my $b (@broken) {
    my ($file, $what, $from, $to, $test, $tsan) = @$b;
    my $tree = "$dir/" . ++$n;
    my $text = slurp("$host/$file");
    my $at = index $text, $from;

    ok($at >= 0, "$test: $what: the source has that place");
    next if $at < 0;

    substr($text, $at, length $from) = $to;
    make_path("$tree/src", "$tree/include");
    if ($file =~ /\.h$/) {
        # what includes it must find this one
        copy($_, "$tree/src") for @sources, glob "$host/src/*.h";
        copy($_, "$tree/include") for glob "$host/include/*.h";
    }
    open my $fh, '>', "$tree/$file" or die "$tree/$file: $!";
    print $fh $text;
    close $fh;

    my $program = build("broken$n", $test, $tsan ? '-fsanitize=thread'
        : '-O2', $tree, $file);

    # threads must meet at the right moment: some need more than one go

    for (1 .. ($test eq 'table_stress' ? 24 : 1)) {
        ($rc, $out) = run($program, $tsan ? 200000 : ());
        last if $rc != 0;
    }

    # by what is there for it, not by a deadline
    ok($rc != 0 && ($rc >> 8) != 124, "$test: $what: is seen")
        or diag($out);
}


# With the file that is broken, of a tree of its own, in the place of the real
# one.  What does not see it is compiled once, for all of them.
sub build {
    my ($name, $test, $flag, $tree, $file) = @_;

    my $header = defined $file && $file =~ /\.h$/;
    my @objects = map { my $source = $_;
        my $own = defined $file && "$host/$file" eq $source;
        $header ? object($flag, $source =~ s/^\Q$host\E/$tree/r, $tree)
            : object($flag, $own ? "$tree/$file" : $source, $host) } @sources;
    unshift @objects, object($flag, "$root/t/unit/$test.c",
        $header ? $tree : $host);

    cc('-o', "$dir/$name", $flag, @objects, '-lpthread');

    return "$dir/$name";
}


sub object {
    my ($flag, $source, $tree) = @_;

    return $object{$flag, $source, $tree} //= do {
        my $object = "$dir/" . keys(%object) . '.o';
        cc($flag, "-I$tree/include", "-I$tree/src", '-c', '-o', $object,
            $source);
        $object;
    };
}


sub cc {
    my @cmd = ($ENV{CC} // 'cc', qw(-std=gnu11 -D_GNU_SOURCE -g1 -O1 -w), @_);

    system(@cmd) == 0 or BAIL_OUT("cannot build: @cmd");
}


# ThreadSanitizer of gcc 12 cannot do with all the address bits of newer
# kernels' layouts.  The first thing that it finds is enough.
sub run {
    my ($program, @args) = @_;

    local $ENV{TSAN_OPTIONS} = 'halt_on_error=1';
    my $out = qx(setarch -R timeout 300 $program @args 2>&1);
    my $rc = $?;

    return ($rc, $out);
}


sub slurp {
    my ($file) = @_;

    open my $fh, '<', $file or die "$file: $!";
    local $/;

    return scalar <$fh>;
}
