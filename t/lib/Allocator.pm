package Allocator;

# What the tests of the allocator and process plugins share: a configuration
# around the plugins, requests that are under way at the same time, the
# journal.

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::UNIX;
use JSON ();
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(time);

our @EXPORT = qw(conf static_pool fake_pool ask answers gone journal
    lock_journal unlock_journal held_journal pem);

# for who comes while plugin-host writes
my $BUSY = '.timeout 60000';


# A whole configuration around the list of plugins.
sub conf {
    my ($plugins, %opts) = @_;

    return join '', <<"END", map { "  - $_\n" } @$plugins;
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: @{[
    $opts{allocations} // 1000]}, workers: 64, pools: 16}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: debug, format: text}
plugins:
END
}


# Workers that are always ready, and have nobody behind them.
sub static_pool {
    my ($t, $n, %opts) = @_;

    my $name = $opts{name} // 'default/demo';
    my $text = "pools:\n";
    $text .= "  - name: $name\n";
    $text .= "    shared: true\n" if $opts{shared};
    $text .= "    workers:\n";
    for my $i (1 .. $n) {
        my $arch = $opts{arch} ? $opts{arch}->($i) : 'amd64';
        $text .= "      - {name: w$i, endpoint: \"127.0.0.1:" . (7000 + $i)
            . "\", tlsName: w$i.test, arch: $arch}\n";
    }
    $t->write('static.yaml', $text . ($opts{more} // ''));

    return '{name: static, options: {file: "%%DIR%%/static.yaml"}}';
}


# Workers of the process plugin that run t/lib/fake_buildkitd.pl.  What they
# do is in DIR/mode, or DIR/mode-NAME with each => 1.  A probe has to be
# answered within its interval: where a worker that hangs is not what is
# tested, that is long enough for a busy machine.
sub fake_pool {
    my ($t, %opts) = @_;

    my $file = $opts{each} ? 'mode-{name}' : 'mode';
    $t->write('mode', "ok\n") if !-e $t->dir . '/mode';
    my %options = (pool => 'default/demo', workers => 1,
        probeInterval => '3s', startTimeout => '60s', onStop => 'stop',
        %{$opts{options} // {}});
    my $command = join ', ', map { "\"$_\"" } $^X,
        '%%ROOT%%/t/lib/fake_buildkitd.pl', '--port', '{port}', '--cert',
        '{cert}', '--key', '{key}', '--ca', '{ca}', '--mode',
        "%%DIR%%/$file", '--name', '{name}', '--root', '{root}';

    return '{name: process, options: {' . join(', ',
        map { "$_: $options{$_}" } sort keys %options)
        . ", command: [$command]}}";
}


# Sends a request and does not wait for the answer.
sub ask {
    my ($host, $method, $path, $body) = @_;

    my $socket = IO::Socket::UNIX->new(Peer => $host->api) or die "api: $!";
    my $text = defined $body ? JSON->new->canonical->encode($body) : '';
    # not later than for whom it waits
    my $began = time;
    syswrite $socket, "$method $path HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: close\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($text) . "\r\n\r\n$text"
        or die "api: $!";

    return { socket => $socket, text => '', began => $began };
}


# Reads the answers of all, as they come: adds status, json, order, time.
my $order = 0;
sub answers {
    my ($seconds, @asked) = @_;

    my %by = map { fileno($_->{socket}) => $_ } grep { !$_->{status} } @asked;
    my $select = IO::Select->new(map { $_->{socket} } values %by);
    my $deadline = time + $seconds;

    while ($select->count && time < $deadline) {
        for my $socket ($select->can_read(0.2)) {
            my $r = $by{fileno $socket};
            next if sysread $socket, $r->{text}, 65536, length $r->{text};
            $select->remove($socket);
            my ($head, $body) = split /\r\n\r\n/, $r->{text}, 2;
            ($r->{status}) = ($head // '') =~ m{^HTTP/1\.1 (\d+)};
            $r->{status} //= 0;
            $r->{head} = $head // '';
            $r->{json} = eval { JSON::decode_json($body) };
            $r->{order} = ++$order;
            $r->{time} = time - $r->{began};
        }
    }

    return @asked;
}


# The caller goes away.
sub gone { close $_->{socket} for @_; return }


# Rows of the journal, as another process reads them; blobs with hex().
sub journal {
    my ($t, $sql) = @_;

    my $r = $t->run('sqlite3', '-readonly', '-json', '-cmd', $BUSY,
        $t->dir . '/state/journal.db', $sql);
    die "sqlite3: $r->{err}" if $r->{rc} != 0;

    return $r->{out} =~ /\S/ ? @{JSON::decode_json($r->{out})} : ();
}


# Nobody else writes to the journal from here on; what was being written is.
sub lock_journal {
    my ($t, $name) = @_;

    my $lock = $t->start_pipe($name // 'sqlite', 'sqlite3', '-bail', '-cmd',
        $BUSY, $t->dir . '/state/journal.db');
    syswrite $lock->{in}, "BEGIN EXCLUSIVE;\nSELECT 'locked';\n";
    $lock->line =~ /^locked/ or die 'not locked';

    return $lock;
}

sub unlock_journal {
    my ($lock) = @_;

    syswrite $lock->{in}, "ROLLBACK;\n.quit\n";

    return $lock->quit;
}


# The environment of a plugin-host that writes nothing to its journal while
# DIR/hold is there, for as long as that is: unlike one that is locked.
sub held_journal {
    my ($t) = @_;

    my $shim = $t->dir . '/hold.so';
    my $source = $t->write('hold.c', <<'END');
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    char     link[64], path[512] = "";
    ssize_t  (*real)(int, const void *, size_t, off64_t)
                 = dlsym(RTLD_NEXT, "pwrite64");

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);

    if (readlink(link, path, sizeof(path) - 1) > 0
        && strstr(path, "/journal.db") != NULL)
    {
        while (access(getenv("HOLD_FILE"), F_OK) == 0) {
            usleep(10000);
        }
    }

    return real(fd, buf, n, offset);
}
END
    system($ENV{CC} // 'cc', qw(-D_GNU_SOURCE -shared -fPIC -o), $shim,
        $source, '-ldl') == 0 or die 'cc';

    return (LD_PRELOAD => $shim, HOLD_FILE => $t->dir . '/hold',
        ASAN_OPTIONS => join ':', grep { defined } $ENV{ASAN_OPTIONS},
            'verify_asan_link_order=0');
}


sub pem { decode_base64($_[0]) }

1;
