#!/usr/bin/perl

# The disk of the state folder is full: what cannot be written down is not
# answered, what lives goes on, and when there is room again so does all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

if (!$ENV{BK_MOUNTNS}) {
    system 'unshare -m mount -t tmpfs none /mnt 2> /dev/null';
    plan skip_all => 'no mount namespaces here' if $?;
    $ENV{BK_MOUNTNS} = 1;
    exec 'unshare', '-m', $^X, $0 or die "unshare: $!";
}

plan tests => 15;

my $t = Test::Buildkit->new;
my $state = $t->dir . '/state';
mkdir $state, 0700 or die $!;
system('mount', '-t', 'tmpfs', '-o', 'size=3m,mode=0700', 'none', $state) == 0
    or die 'mount';
END { system 'umount', '-l', $state if defined $state }

my $host = $t->host(conf([static_pool($t, 20), '{name: allocator}']));
my $first = allocate()->{json};

# until nothing more goes in
open my $fh, '>', "$state/filler" or die $!;
$fh->autoflush;
my $filled = 0;
$filled += 4096 while syswrite $fh, 'x' x 4096;
cmp_ok $filled, '>', 100_000, 'the disk is full';

# the log may have a little room that it had before
my ($r, @made);
for (1 .. 15) {
    $r = allocate();
    last if $r->{status} != 200;
    push @made, $r->{json};
}
is $r->{status}, 503, 'no allocation';
is $r->{json}{reason}, 'JournalUnwritable', 'why';
like $r->{json}{error}, qr/full/, 'in words';
like $r->{json}{hint}, qr/make room on the disk of the state folder/,
    'and what to do';
is lookup($first)->{json}{state}, 'ready', 'what lives goes on';

$r = $host->request(POST => '/api/v1/journal/backup', { name => 'x' });
is $r->{status}, 500, 'no backup either';
is_deeply [grep { !m{/backups$} } glob "$state/backups/*"], [],
    'and no part of one';

is $host->request(DELETE => "/api/v1/allocations/$first->{id}")->{status},
    503, 'a revocation that is not written down says so';
$t->wait_for(sub { lookup($first)->{status} == 410 }, 10, 'its end');
pass 'but the gateway knows';

unlink "$state/filler";
close $fh;
$r = allocate();
is $r->{status}, 200, 'room again: the next one works';
push @made, $r->{json};
$t->wait_for(sub {
    (journal($t, "SELECT state FROM allocations WHERE hex(token_hash) LIKE "
        . "'$first->{id}%'"))[0]{state} ne 'live'
}, 15, 'the journal to hear of the revocation');
pass 'what was missing is written down later';

$host->stop('KILL');
unlink $t->dir . '/buildkit.table';
$host->restart;
is_deeply [map { lookup($_)->{json}{state} } @made],
    [map { 'ready' } @made], 'after kill -9 all that were answered are there';
is lookup($first)->{status}, 410, 'and the revoked one is not';
is $t->run('sqlite3', "$state/journal.db", 'PRAGMA integrity_check')->{out},
    "ok\n", 'the journal is whole';
$host->stop;


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}
