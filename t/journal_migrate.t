#!/usr/bin/perl

# Journals of earlier formats, made by the text of their schema: brought to
# ours in one go, with a copy of the old file put aside, and everything that
# was in them goes on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;

plan tests => 2 * 20 + 3;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $file = "$dir/state/journal.db";
my $now = int(time) * 1000;
my ($live, $over, $gone) = map { $_ x 43 } 'L', 'O', 'G';

my $one = <<'END';
PRAGMA journal_mode = WAL; BEGIN;
CREATE TABLE allocations (
  token_hash   BLOB PRIMARY KEY NOT NULL CHECK (length(token_hash) = 32),
  spki         BLOB NOT NULL,
  pool         TEXT NOT NULL,
  worker       TEXT NOT NULL,
  job_id       TEXT NOT NULL DEFAULT '',
  requested_by TEXT NOT NULL DEFAULT '',
  idempotency  TEXT NOT NULL DEFAULT '',
  metadata     TEXT NOT NULL DEFAULT '',
  created_ms   INTEGER NOT NULL,
  expires_ms   INTEGER NOT NULL,
  state        TEXT NOT NULL CHECK (state IN
    ('live', 'expired', 'released', 'revoked', 'failed')),
  reason       TEXT NOT NULL DEFAULT '',
  changed_ms   INTEGER NOT NULL,
  answered     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX live ON allocations (pool, idempotency) WHERE state = 'live';
CREATE INDEX ended ON allocations (changed_ms) WHERE state <> 'live';
PRAGMA application_id = 1112229706; PRAGMA user_version = 1;
COMMIT;
END

my $two = <<'END';
BEGIN; CREATE TABLE drained (
  pool     TEXT NOT NULL,
  worker   TEXT NOT NULL,
  reason   TEXT NOT NULL DEFAULT '',
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (pool, worker)
) STRICT, WITHOUT ROWID;
INSERT INTO drained VALUES ('default/demo', 'w3', 'disk', 5);
PRAGMA user_version = 2; COMMIT;
END

# as many rows as need more than a page, made in another order than sorted
my $rows = join '', map {
    my ($token, $worker, $state, $at) = @$_;
    my $expires = $now + 3600_000;
    sprintf "INSERT INTO allocations VALUES (x'%s', x'%s', 'default/demo', "
        . "'%s', 'job', 'unix:uid=0,pid=1', '', '{\"a\":1}', %d, %d, '%s', "
        . "'why', %d, 1);\n", sha256_hex($token), 'ab' x 91, $worker, $at,
        $expires, $state, $now
} [$live, 'w1', 'live', $now - 1000], [$over, 'w2', 'revoked', $now - 3000],
    map { ["x$_", 'w9', 'expired', $now - 2000 - $_] } 1 .. 300;

my $host;
for my $version (1, 2) {
    system 'rm', '-rf', "$dir/state", "$dir/buildkit.table";
    mkdir "$dir/state", 0700;
    $t->run('sqlite3', $file, $one . ($version > 1 ? $two : '') . $rows);
    my $before = $t->run('sqlite3', $file,
        'SELECT * FROM allocations ORDER BY token_hash')->{out};
    $host = $t->host(conf([static_pool($t, 3), '{name: allocator}']));

    is pragma($file, 'user_version'), 3, "$version: it is ours";
    is pragma($file, 'integrity_check'), 'ok', "$version: it is whole";
    is pragma("$file.v$version", 'user_version'), $version,
        "$version: the old one is put aside";
    is pragma("$file.v$version", 'integrity_check'), 'ok',
        "$version: as a whole one";
    is $t->run('sqlite3', "$file.v$version",
        'SELECT * FROM allocations ORDER BY token_hash')->{out}, $before,
        "$version: with all that was in it";
    is sprintf('%o', (stat "$file.v$version")[2] & 0777), '600',
        "$version: private";

    is lookup($live)->{json}{state}, 'ready', "$version: one that lives";
    is lookup($live)->{json}{workerName}, 'w1', "$version: on its worker";
    is lookup($over)->{status}, 410, "$version: one that is over";
    like lookup($over)->{json}{error}, qr/revoked at.*why/,
        "$version: and why";
    is lookup($gone)->{status}, 404, "$version: one that never was";

    my ($row) = journal($t, 'SELECT metadata, ttl_ms, hex(spki) AS k FROM '
        . "allocations WHERE token_hash = x'" . sha256_hex($live) . "'");
    is $row->{k}, 'AB' x 91, "$version: its key";
    is $row->{metadata}, '{"a":1}', "$version: its metadata";
    is $row->{ttl_ms}, 3601_000, "$version: its time to live";
    is join(',', map { $_->{created_ms} } journal($t, 'SELECT created_ms FROM '
        . 'allocations ORDER BY id')), join(',', map { $_->{created_ms} }
        journal($t, 'SELECT created_ms FROM allocations ORDER BY created_ms')),
        "$version: in the order of their making";
    is join(' ', map { "$_->{worker}:$_->{untrusted}" } journal($t,
        'SELECT * FROM trust ORDER BY worker')), 'w1:0 w2:0 w9:0',
        "$version: whoever had a worker was trusted";
    my %free = map { $_->{json}{workerName} // '' => 1 } allocate(),
        allocate();
    is $free{w1} // 0, 0, "$version: its worker is not given again";
    is $free{w3} // 0, $version == 1 ? 1 : 0,
        "$version: a drained worker stays so";

    unlink "$file.v$version";
    $host->stop;
    $host->restart;
    is -e "$file.v$version" ? 1 : 0, 0, "$version: that happens once";
    is lookup($live)->{json}{state}, 'ready', "$version: and holds";
    $host->stop;
}

# no room for the copy: as it was, and said so
system 'rm', '-rf', "$dir/state", "$dir/buildkit.table";
mkdir "$dir/state", 0700;
$t->run('sqlite3', $file, $one . $two . $rows);
mkdir "$file.v2.new";
my $r = $t->run($t->build . '/buildkit-plugin-host', '-c',
    "$dir/host.yaml");
is $r->{rc}, 1, 'no copy: refused';
like $r->{err} . $r->{out}, qr/journal\.db\.v2\.new/, 'and why';
is pragma($file, 'user_version'), 2, 'it is as it was';


sub pragma {
    my ($path, $name) = @_;
    my $out = $t->run('sqlite3', $path, "PRAGMA $name")->{out};
    chomp $out;
    return $out;
}

sub lookup {
    $host->request(POST => '/api/v1/workers/lookup', { token => $_[0] });
}

sub allocate {
    $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' });
}
