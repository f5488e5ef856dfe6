#!/usr/bin/perl

# The journal: a damaged, foreign or newer file is refused with what to do
# and never changed; what cannot be written down is not answered.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;

my @bad = (
    # name, how, what is said
    ['empty', sub { '' }, qr/is empty/],
    ['text', sub { "hello\n" x 1000 }, qr/cannot be read: .*not a database/],
    ['zeros', sub { "\0" x length $_[0] }, qr/not a database|is not a journal/],
    ['page', sub { my $s = $_[0];
        substr($s, 4096, 4096) = "\xaa" x 4096; $s }, qr/is damaged/],
    ['half', sub { substr $_[0], 0, 6000 }, qr/is damaged|malformed/],
    ['foreign', sub { sql('CREATE TABLE x (y)') },
        qr/is not a journal of this program/],
    ['newer', sub { sql('PRAGMA application_id = 1112229706;'
        . 'PRAGMA user_version = 4; CREATE TABLE x (y)') },
        qr/has format 4, and this program knows 3/],
);

plan tests => 4 * @bad + 19;

my $t = Test::Buildkit->new;
my $yaml = conf([static_pool($t, 3), '{name: allocator}']);
my $host = $t->host($yaml);
my $file = $t->dir . '/state/journal.db';

my $a = allocate()->{json};
my $b = allocate()->{json};
release($b);
$host->stop;
is -e "$file-wal" ? 1 : 0, 0, 'a clean stop leaves one file';
my $good = $t->read($file);

for (@bad) {
    my ($name, $how, $text) = @$_;
    my $content = $how->($good);
    $t->write($file, $content);
    my $r = $t->run({ timeout => 60 }, $t->build . '/buildkit-plugin-host',
        '-c', $t->dir . '/host.yaml');
    is $r->{rc}, 1, "$name: refused";
    like $r->{err} . $r->{out}, $text, "$name: says what";
    like $r->{err} . $r->{out}, qr/put a good copy back|install the version/,
        "$name: says what to do";
    is sha256_hex($t->read($file)), sha256_hex($content),
        "$name: left as it was";
}

# moved away, but for its write-ahead log: that belongs to the old one
unlink $file;
$t->write("$file-wal", 'x' x 100);
my $r = $t->run({ timeout => 60 }, $t->build . '/buildkit-plugin-host', '-c',
    $t->dir . '/host.yaml');
is $r->{rc}, 1, 'wal alone: refused';
like $r->{err} . $r->{out}, qr/is missing, but journal\.db-wal is there/,
    'wal alone: says so';
unlink "$file-wal";

# the good one again, readable for all: made private; all is there
$t->write($file, $good);
chmod 0644, $file;
unlink $t->dir . '/buildkit.table';
$host = $t->host($yaml);
is sprintf('%o', (stat $file)[2] & 0777), '600', 'made private';
is lookup($a)->{json}{state}, 'ready', 'a live one is back in a new table';
is lookup($a)->{json}{workerName}, $a->{workerName}, 'on its worker';
is lookup($b)->{status}, 410, 'a released one is not';
like lookup($b)->{json}{error}, qr/was released at/, 'and is known as such';
is((grep { $_->{id} eq $b->{id} }
    @{$host->request(GET => '/api/v1/allocations')->{json}})[0]{state},
    'released', 'for the new table as well: it can say so');
my %taken = map { $_->{json}{workerName} => 1 } map { allocate() } 1 .. 2;
is $taken{$a->{workerName}} // 0, 0, 'its worker is not given again';
$r = allocate();
is $r->{json}{state}, 'queued', 'none is left';
release($r->{json});

# the journal cannot be written: locked by another program
my $lock = lock_journal($t);
$host->request(DELETE => "/api/v1/allocations/$a->{id}");
$r = $host->request(POST => '/api/v1/workers/lookup',
    { token => $a->{token} });
is $r->{status}, 410, 'revoked for the gateway all the same';
$r = allocate();
is $r->{status}, 503, 'nothing is answered that is not written';
is $r->{json}{reason}, 'JournalUnwritable', 'and why';
unlock_journal($lock);
$t->wait_for(sub {
    (journal($t, "SELECT state FROM allocations WHERE hex(token_hash) LIKE "
        . "'$a->{id}%'"))[0]{state} eq 'revoked'
}, 10, 'the journal to be told later');
pass 'the journal hears of it as soon as it can';
is allocate()->{status}, 200, 'and works again';

# same key, while the first lives
$host->request(DELETE => "/api/v1/allocations/$_->{id}")
    for grep { $_->{state} eq 'ready' }
        @{$host->request(GET => '/api/v1/allocations')->{json}};
my $c = allocate(idempotencyKey => 'k1');
is $c->{status}, 200, 'idempotencyKey';
$r = allocate(idempotencyKey => 'k1');
is $r->{json}{token}, $c->{json}{token}, 'the same again';
release($c->{json});
isnt allocate(idempotencyKey => 'k1')->{json}{token}, $c->{json}{token},
    'another after its end';


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0', @_ });
}

sub release {
    $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}

sub sql {
    my ($sql) = @_;
    my $path = $t->dir . '/other.db';
    unlink $path;
    $t->run('sqlite3', $path, $sql);

    return $t->read($path);
}
