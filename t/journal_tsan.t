#!/usr/bin/perl

# ThreadSanitizer on the journal's threads, and proof that its unit tests see
# what they are there for: each broken variant, made from the real source by
# one substitution, must fail.

use strict;
use warnings;

use FindBin;
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp ();
use Test::More;

my $root = "$FindBin::Bin/..";
my $plugin = "$root/plugin-host/plugins/allocator";
my $dir = File::Temp->newdir('bkt-XXXXXX', TMPDIR => 1);
my %path = map { s{.*/}{}r => $_ } glob("$plugin/journal*.c"),
    "$plugin/json.c", "$plugin/token.c",
    map { "$root/plugin-host/src/$_.c" } qw(duration err);
my @files = sort keys %path;

# file, what is broken, from, to, the test that must see it
my @broken = (
    [ 'journal_thread.c', 'what is asked for is handed over without the lock',
      "(void) pthread_mutex_lock(&j->lock);\n    STAILQ_CONCAT(&j->queue",
      'STAILQ_CONCAT(&j->queue', 'journal', 'tsan' ],
    [ 'journal_thread.c', 'what is finished is not in order',
      'STAILQ_INSERT_TAIL(batch, op, link)',
      'STAILQ_INSERT_HEAD(batch, op, link)', 'journal' ],
    [ 'journal_apply.c', 'each change is a transaction',
      '"BEGIN IMMEDIATE", &err', '"SELECT 1", &err', 'journal_kill' ],
    [ 'journal_thread.c', 'done before it is written',
      '(void) bk_journal_batch(j, batch);',
      '{ bk_op_t *op; STAILQ_FOREACH(op, batch, link) { if (op->done != NULL)'
      . ' { op->done(op->data, NULL); op->done = NULL; } } } '
      . '(void) bk_journal_batch(j, batch);', 'journal_kill' ],
    [ 'journal_open.c', 'commits are not synced', 'synchronous = FULL',
      'synchronous = OFF', 'journal' ],
    [ 'journal_open.c', 'commits are synced in the end only',
      'synchronous = FULL', 'synchronous = NORMAL', 'journal_kill' ],
    [ 'journal_apply.c', 'one that is refused fails all',
      'if (rc == SQLITE_CONSTRAINT)', 'if (0)', 'journal' ],
    [ 'journal_write.c', 'the queue has no limit',
      'if (j->bytes < BK_JOURNAL_BYTES_MAX)', 'if (1)', 'journal' ],
    [ 'journal_backup.c', 'a backup is replaced',
      'link(tmp, path) != 0', 'rename(tmp, path) != 0', 'journal_backup' ],
    [ 'journal_wal.c', 'a log that is damaged is taken as it is',
      'if (behind < 2)', 'if (1)', 'journal_wal' ],
    [ 'journal_migrate.c', 'a migration in several transactions',
      'sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL)', 'SQLITE_OK',
      'journal_migrate' ],
    [ 'journal_migrate.c', 'the order of making is lost',
      'FROM before ORDER BY created_ms, token_hash;', 'FROM before;',
      'journal_migrate' ],
);

plan tests => 4 + 2 * @broken;

my %flags = (tsan => '-fsanitize=thread', plain => '-O1');
my $tree = "$dir/tree";
make_path("$tree/plugin-host/plugins/allocator", "$tree/t");
system('cp', '-r', "$root/plugin-host/include", "$tree/plugin-host") == 0
    && system('cp', '-r', "$root/t/unit", "$tree/t") == 0
    or BAIL_OUT('cp');
copy($_, "$tree/plugin-host/plugins/allocator")
    for glob "$plugin/*.h";
for my $kind (sort keys %flags) {
    compile($kind, $path{$_}, "$dir/$kind-$_.o") for @files;
}

for my $test (qw(journal journal_backup)) {
    my ($rc, $out) = run(program($test, 'tsan'));
    is $rc, 0, "$test passes under ThreadSanitizer" or diag $out;
    unlike $out, qr/ThreadSanitizer/, 'which has nothing to say';
}

for (@broken) {
    my ($file, $what, $from, $to, $test, $tsan) = @$_;
    my $kind = $tsan // 'plain';
    my $text = slurp("$plugin/$file");
    my $at = index $text, $from;
    ok $at >= 0, "$test: $what: the source has that place";
    next if $at < 0;

    substr($text, $at, length $from) = $to;
    my $source = "$tree/plugin-host/plugins/allocator/$file";
    open my $fh, '>', $source or die "$source: $!";
    print $fh $text;
    close $fh;
    compile($kind, $source, "$dir/broken.o");
    my ($rc, $out) = run(program($test, $kind, $file));
    # by what is there for it, not by a deadline
    ok $rc != 0 && ($rc >> 8) != 124
        && (!$tsan || $out =~ /^WARNING: ThreadSanitizer: /m),
        "$test: $what: is seen" or diag $out;
}


sub compile {
    my ($kind, $source, $object) = @_;
    my @cmd = ($ENV{CC} // 'cc', qw(-std=gnu11 -D_GNU_SOURCE -g -w -c),
        '-DBK_VERSION="t"', $flags{$kind}, "-I$tree/plugin-host/include",
        '-o', $object, $source);
    system(@cmd) == 0 or BAIL_OUT("cannot compile: @cmd");
}

# with dir/broken.o in the place of file
sub program {
    my ($test, $kind, $file) = @_;
    my @objects = map { defined $file && $_ eq $file ? "$dir/broken.o"
        : "$dir/$kind-$_.o" } @files;
    my @cmd = ($ENV{CC} // 'cc', qw(-std=gnu11 -D_GNU_SOURCE -g -w),
        $flags{$kind}, "-I$tree/plugin-host/include", '-o', "$dir/$test",
        "$tree/t/unit/$test.c", @objects, qw(-lsqlite3 -levent_core -ljansson
        -lcrypto -ldl -lpthread -lm));
    system(@cmd) == 0 or BAIL_OUT("cannot build: @cmd");
    return "$dir/$test";
}

# ThreadSanitizer of gcc 12 cannot do with all the address bits of newer
# kernels' layouts.  The first thing that it finds is enough: a queue that is
# broken may never come to its end.
sub run {
    my ($program) = @_;
    local $ENV{TSAN_OPTIONS} = 'halt_on_error=1';
    local $ENV{TMPDIR} = $dir;      # one that is stopped leaves its folder
    my $out = qx(setarch -R timeout 120 $program 2>&1);
    return ($?, $out);
}

sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    return <$fh>;
}
