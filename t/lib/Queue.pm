package Queue;

# Callers of the allocator who are somebody: bearer tokens of the plugin
# t/plugins/who.c, requests that are under way at the same time.

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use JSON ();
use Time::HiRes qw(time);

use Access;
use Allocator qw(answers static_pool);

our @EXPORT = qw(start rules ask_as as allocate_as release_as lookup_as
    queued watch_as line answers);

my $path = '/api/v1/workers';


# start($t, ACCESS, workers => N, options => YAML, pool => {...}): a host with
# N static workers and the allocator
sub start {
    my ($t, $access, %opts) = @_;

    my $static = static_pool($t, $opts{workers} // 1, %{$opts{pool} // {}});
    my $options = $opts{options} // '';

    return $t->host(<<"END", program => Access::program($t));
state: %%DIR%%/state
table:
  {path: "%%DIR%%/buildkit.table", allocations: 2000, workers: 64, pools: 16}
reports: "%%DIR%%/reports"
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: debug, format: text}
$access
plugins:
  - {name: who}
  - $static
  - {name: allocator, options: {$options}}
END
}


# Everybody may allocate everywhere; MORE rules come before that.
sub rules {
    my ($more) = @_;

    return "access:\n  rules:\n" . ($more // '') . <<'END';
    - {name: all, sources: [who]}
END
}


# A request that is under way: as Allocator's ask(), but somebody's.
sub ask_as {
    my ($t, $who, $body, $claims) = @_;

    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1:' . $t->port('api')) or return;
    my $text = JSON->new->canonical->encode({ poolName => 'demo',
        wait => '60s', %$body });
    # not later than for whom it waits
    my $began = time;
    syswrite $socket, "POST $path/allocate HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: close\r\nContent-Type: application/json\r\n"
        . 'Authorization: Bearer ' . Access::token('now', $who, $claims // {})
        . "\r\nContent-Length: " . length($text) . "\r\n\r\n$text";

    return { socket => $socket, text => '', began => $began, who => $who };
}


sub as {
    my ($t, $who, $method, $p, $body, $claims) = @_;

    return Access::as($t, Access::token('now', $who, $claims // {}), $method,
        $p, $body);
}


sub allocate_as {
    my ($t, $who, $body, $claims) = @_;

    return as($t, $who, POST => "$path/allocate", { poolName => 'demo',
        wait => '0', %$body }, $claims);
}


sub release_as {
    my ($t, $token) = @_;

    return as($t, 'nobody', POST => "$path/release", { token => $token });
}


sub lookup_as {
    my ($t, $token) = @_;

    return as($t, 'nobody', POST => "$path/lookup", { token => $token });
}


# how many are in the queue of the pool
sub queued {
    my ($host) = @_;

    my ($pool) = grep { $_->{name} eq 'default/demo' }
        @{$host->request(GET => '/api/v1/pools')->{json}};

    return $pool->{queue};
}

# GET /api/v1/allocations/ID?watch=1
sub watch_as {
    my ($t, $who, $id, $claims) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('api'))
        or die $!;
    syswrite $s, "GET /api/v1/allocations/$id?watch=1 HTTP/1.1\r\n"
        . "Host: x\r\nConnection: close\r\nAuthorization: Bearer "
        . Access::token('now', $who, $claims // {}) . "\r\n\r\n";

    return { socket => $s, text => '', head => undef, all => '' };
}

# Its next line, undef at the end; blank ones only keep the connection.
sub line {
    my ($watch) = @_;

    my $deadline = time + 60;
    my $select = IO::Select->new($watch->{socket});
    while (time < $deadline) {
        if (!defined $watch->{head} && $watch->{text} =~ s/^(.*?)\r\n\r\n//s) {
            $watch->{head} = $1;
        }
        if (defined $watch->{head}
            && $watch->{text} =~ s/^.*?(\{[^\n]*\})\r?\n//s)
        {
            return JSON::decode_json($1);
        }
        next if !$select->can_read(0.2);
        sysread($watch->{socket}, my $more, 65536) or return;
        $watch->{text} .= $more;
        $watch->{all} .= $more;
    }
    die 'no line';
}

1;
