#!/usr/bin/perl

# A large journal that is damaged: looked through in time it is refused, with
# what to do.  When that takes longer (here: the disk holds back one page)
# plugin-host starts, finds the damage beside its work, and writes nothing
# more; what lives goes on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Digest::SHA qw(sha256_hex);
use Report ();
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my $file = $t->dir . '/state/journal.db';
my $host = $t->host(conf([static_pool($t, 3), '{name: metrics}',
    '{name: allocator}'])
    . qq(metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}\n));
my $a = allocate()->{json};
my $b = allocate()->{json};
$host->stop;

# 80 MB of ended ones
my $now = int(time) * 1000;
is $t->run('sqlite3', $file, 'PRAGMA journal_mode = DELETE; INSERT INTO '
    . 'allocations (token_hash, spki, pool, worker, metadata, created_ms, '
    . 'expires_ms, state, changed_ms, answered) WITH n(i) AS (SELECT 1 UNION '
    . 'ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT randomblob(32), '
    . "randomblob(91), 'default/demo', 'w9', hex(randomblob(1950)), $now, "
    . "$now, 'expired', $now - 7200000, 1 FROM n; PRAGMA journal_mode = WAL"
    )->{rc}, 0, 'a large journal';
cmp_ok -s $file, '>', 70e6, 'more than is looked at';

$host->restart;
is lookup($a)->{json}{state}, 'ready', 'it starts';
my $c = allocate();
is $c->{status}, 200, 'and is written';
release($c->{json});
$host->stop;

# a page in its middle
my $page = 4096 * int((-s $file) / 8192);
open my $fh, '+<:raw', $file or die "$file: $!";
seek $fh, $page, 0;
print $fh "\xaa" x 4096;
close $fh;
my $size = -s $file;
my $sum = sha256_hex($t->read($file));

# in time, which on a busy machine is longer
my $hold = $t->dir . '/hold';
my %shim = (LD_PRELOAD => shim(), HOLD_FILE => $hold, HOLD_AT => $page,
    ASAN_OPTIONS => join ':', grep { defined } $ENV{ASAN_OPTIONS},
        'verify_asan_link_order=0');
my $r = $t->run({ timeout => 120, env => { %shim, PATIENT => 1 } },
    $t->build . '/buildkit-plugin-host', '-c', $t->dir . '/host.yaml');
is $r->{rc}, 1, 'refused';
like $r->{err} . $r->{out}, qr/journal\.db is damaged: /, '... it says why';
like $r->{err} . $r->{out}, qr/put a good copy back/, '... and what to do';
unlike $r->{err} . $r->{out}, qr/what lives goes on/, '... and no more';
is sha256_hex($t->read($file)), $sum, '... and leaves it as it was';

# later
$t->write('hold', '');
{
    local @ENV{keys %shim} = values %shim;
    $host->restart;
}
is lookup($a)->{json}{state}, 'ready', 'it takes too long: it starts';
$c = allocate();
is $c->{status}, 200, '... and is written';
release($c->{json});
is Report::metrics($t)->{journal_damaged}, 0, '... as nothing is known';
unlink $hold;
$t->wait_for(sub { $host->log =~ /is damaged/ }, 60, 'the damage to be seen');
like $host->log, qr/journal\.db\ is\ damaged:\ .*;\ nothing\ more\ is\ written
    \ to\ it,\ and\ what\ lives\ goes\ on:\ put\ a\ good\ copy\ back/x,
    'it says what to do';

is Report::metrics($t)->{journal_damaged}, 1, 'so do the metrics';

$r = allocate();
is $r->{status}, 503, 'nothing new';
is $r->{json}{reason}, 'JournalDamaged', 'and why';
like $r->{json}{hint}, qr/put a good copy back/, 'and what to do';
is lookup($_)->{json}{state}, 'ready', 'what lives goes on' for $a, $b;
is $host->request(DELETE => "/api/v1/allocations/$b->{id}")->{status}, 503,
    'a revocation says that it was not written down';
$t->wait_for(sub { lookup($b)->{status} == 410 }, 10, 'its end');
pass 'but the gateway knows';
$host->stop;
cmp_ok -s $file, '>=', $size, 'nothing of the file is gone';

# a good one again
unlink glob "$file*";
$host->restart;
is allocate()->{status}, 200, 'without it: all is new';
$host->stop;


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' });
}

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}

# While HOLD_FILE is there, what is at HOLD_AT of the journal is not read.  With
# PATIENT the start waits for a minute where it waits for 2 s.
sub shim {
    my $shim = $t->dir . '/hold.so';
    $t->write('hold.c', <<'END');
#include <dlfcn.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <stdio.h>
#include <unistd.h>

ssize_t
pread64(int fd, void *buf, size_t n, off64_t offset)
{
    char     link[64], path[512] = "";
    ssize_t  (*real)(int, void *, size_t, off64_t)
                 = dlsym(RTLD_NEXT, "pread64");

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);

    if (offset == atoll(getenv("HOLD_AT"))
        && readlink(link, path, sizeof(path) - 1) > 0
        && strstr(path, "/journal.db") != NULL)
    {
        while (access(getenv("HOLD_FILE"), F_OK) == 0) {
            usleep(10000);
        }
    }

    return real(fd, buf, n, offset);
}

int
poll(struct pollfd *fds, nfds_t n, int timeout)
{
    int  (*real)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");

    return real(fds, n, timeout == 2000 && getenv("PATIENT") != NULL
                        ? 60000 : timeout);
}
END
    system($ENV{CC} // 'cc', qw(-D_GNU_SOURCE -shared -fPIC -o), $shim,
        $t->dir . '/hold.c', '-ldl') == 0 or die 'cc';

    return $shim;
}
