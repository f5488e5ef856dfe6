#!/usr/bin/perl

# kill -9 of plugin-host at each of the writer's steps: before a write to the
# journal's log, in its middle, before and after its sync, in the checkpoint.
# What was answered is routable afterwards, what was released is not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

if ($ENV{BK_SAN}) {
    plan skip_all => 'sanitizers come first';
}

# the call, which one of them, before it or after half or all of it
my @points = (map({ my $n = $_; map { ['pwrite', $n, $_] } 'before', 'half' }
    1, 2, 3, 5, 8, 13, 21, 34, 55), map({ my $n = $_; map { ['sync', $n, $_] }
    'before', 'all' } 1, 2, 3, 5, 8));

plan tests => 3 * @points + 1;

my $t = Test::Buildkit->new;
my $shim = $t->dir . '/die.so';
$t->write('die.c', <<'END');
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
now(int fd, const char *call)
{
    static int   n;
    char         link[64], path[512];
    ssize_t      len;
    const char  *what = getenv("DIE_CALL"), *when = getenv("DIE_AT");

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);
    if (what == NULL || strcmp(what, call) != 0 || len < 0) {
        return 0;
    }
    path[len] = '\0';
    /* once it is up: the log is used by the writer alone */
    return strstr(path, "journal.db") != NULL
           && access(getenv("DIE_READY"), F_OK) == 0
           && __atomic_add_fetch(&n, 1, __ATOMIC_RELAXED) == atoi(when);
}

ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off64_t)
        = dlsym(RTLD_NEXT, "pwrite64");

    if (now(fd, "pwrite")) {
        if (strcmp(getenv("DIE_HOW"), "half") == 0) {
            real(fd, buf, n / 2, offset);
        }
        raise(SIGKILL);
    }
    return real(fd, buf, n, offset);
}

int
fdatasync(int fd)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");

    if (now(fd, "sync")) {
        if (strcmp(getenv("DIE_HOW"), "all") == 0) {
            real(fd);
        }
        raise(SIGKILL);
    }
    return real(fd);
}
END
is system($ENV{CC} // 'cc', qw(-D_GNU_SOURCE -shared -fPIC -o), $shim,
    $t->dir . '/die.c', '-ldl'), 0, 'a library that ends who uses it';

my $host = $t->host(conf([static_pool($t, 40), '{name: allocator}']));
my $path = '/api/v1/workers';
my (%live, %ended);

for my $point (@points) {
    my ($call, $at, $how) = @$point;
    my $name = "$how $call $at";

    $host->stop;
    unlink $t->dir . '/ready';
    {
        local @ENV{qw(LD_PRELOAD DIE_CALL DIE_AT DIE_HOW DIE_READY)} =
            ($shim, $call, $at, $how, $t->dir . '/ready');
        $host->restart;
    }
    $t->write('ready', '');

    # some at once, then some more, then one by one: as long as it lives.  How
    # many writes some at once are is for the journal to say.
    my (@asked, %going);
    for (1 .. 200) {
        last if !$host->alive;
        my ($token) = grep { !$going{$_} } sort keys %live;
        my $r = eval { ask($host, POST => "$path/allocate",
            { poolName => 'demo', wait => $_ > 30 ? '0' : '5s' }) };
        push @asked, $r if $r;
        $r = eval { ask($host, POST => "$path/release",
            { token => $token }) } if defined $token;
        $going{$token} = $r if defined $token && $r;
        answers($_ > 30 ? 10 : 0.02, @asked, values %going)
            if $_ > 30 || $_ % 3 == 0;
    }
    answers(30, @asked, values %going);
    $t->wait_for(sub { !$host->alive }, 60, "$name: its end");

    $live{$_->{json}{token}} = $_->{json}
        for grep { $_->{status} == 200 && $_->{json}{state} ne 'queued' }
        @asked;
    for my $token (keys %going) {
        my $gone = delete $live{$token};
        $ended{$token} = $gone if $going{$token}{status} == 200;
    }

    $host->restart;
    is_deeply [grep { lookup($_)->{json}{workerName}
        ne $live{$_}{workerName} } keys %live], [], "$name: none is lost";
    is_deeply [grep { lookup($_)->{status} != 410 } keys %ended], [],
        "$name: none is back";
    is $t->run('sqlite3', '-readonly', $t->dir . '/state/journal.db',
        'PRAGMA quick_check')->{out}, "ok\n", "$name: the journal is whole";

    # those that nobody was told of
    $host->request(DELETE => "/api/v1/allocations/$_->{id}")
        for grep { my $id = $_->{id}; $_->{state} =~ /^(ready|queued)$/
            && !grep { $t->id($_) eq $id } keys %live }
        @{$host->request(GET => '/api/v1/allocations')->{json}};
    %ended = ();
}
$host->stop;


sub lookup {
    return $host->request(POST => "$path/lookup", { token => $_[0] });
}
