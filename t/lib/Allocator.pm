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

our @EXPORT = qw(conf static_pool fake_pool ask answers gone journal pem);


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
# do is in DIR/mode, or DIR/mode-NAME with each => 1.
sub fake_pool {
    my ($t, %opts) = @_;

    my $file = $opts{each} ? 'mode-{name}' : 'mode';
    $t->write('mode', "ok\n") if !-e $t->dir . '/mode';
    my %options = (pool => 'default/demo', workers => 1,
        probeInterval => '200ms', startTimeout => '10s', onStop => 'stop',
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
    syswrite $socket, "$method $path HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: close\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($text) . "\r\n\r\n$text"
        or die "api: $!";

    return { socket => $socket, text => '', began => time };
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

    my $r = $t->run('sqlite3', '-readonly', '-json',
        $t->dir . '/state/journal.db', $sql);
    die "sqlite3: $r->{err}" if $r->{rc} != 0;

    return $r->{out} =~ /\S/ ? @{JSON::decode_json($r->{out})} : ();
}


sub pem { decode_base64($_[0]) }

1;
