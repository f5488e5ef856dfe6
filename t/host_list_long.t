# A list of very many allocations comes in parts: whole, as fast as its reader
# reads, and nobody waits behind one who does not.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

my $MANY = 12_000;      # more than a socket and the host hold for a reader
my $REASON = qq("\xc3\xbcber" budget);   # quotes, and no ASCII

plan tests => 14;

my $t = Test::Buildkit->new;
my $run = 0;            # an allocation that has ended is no other's
my $host = $t->host(<<'END');
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 30000, keepEnded: 1s}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:1235"}
plugins:
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
put($MANY);

my $path = '/api/v1/allocations';
my $list = whole($host->request(GET => $path));
is(scalar(@$list), $MANY, 'all of them');
is(scalar(uniq(map { $_->{id} } @$list)), $MANY, 'each once');
is_deeply([sort keys %{$list->[0]}], [qw(changedAt expiresAt id keyBound owner
    pool reason state worker)], 'with all there is');
my ($one) = grep { $_->{state} eq 'draining' } @$list;
is($one->{reason}, $REASON, 'texts as they are');
is_deeply($host->request(GET => "$path/$one->{id}")->{json},
    { %$one, connections => 0 }, 'one alone is the same');

is($host->request(GET => "$path?pool=default/other")->{body}, '[]',
    'a pool with none');
is($host->request(GET => "$path?pool=default/no")->{status}, 404,
    'a pool that is not there');

# one who does not read
my $slow = raw("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
IO::Select->new($slow)->can_read(60) or die 'no answer';
is($host->request(GET => '/healthz')->{status}, 200, 'others are answered');
is(scalar(@{whole($host->request(GET => $path))}), $MANY,
    'others get the list as well');

# the list shrinks while one reads it: what is gone is left out.  Another one,
# as the host closes who takes nothing for half a minute.
close $slow;
$slow = raw("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
my $got = '';
sysread $slow, $got, 4096;
my $took = time;
put(10, sub {
    return if time - $took < 5;
    $took = time;
    sysread $slow, $got, 65536, length $got;
});
$got .= rest($slow);
$got =~ s/^.*?\r\n\r\n//s;
my $rest = decode_json(unchunked($got));
cmp_ok(scalar(@$rest), '>', 100, 'a list that changes is a list');
cmp_ok(scalar(uniq(map { $_->{id} } @$rest)), '==', scalar(@$rest),
    'each once, too');

# one who goes in the middle
put($MANY);
$slow = raw("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
sysread $slow, $got, 1000;
close $slow;
is(scalar(@{whole($host->request(GET => $path))}), $MANY, 'and goes on');

# and one who is still there at the end
$slow = raw("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
sysread $slow, $got, 1000;
$host->kill('TERM');
ok($t->wait_for(sub { !$host->alive }, 15, 'its end'), 'a stop amid it');
is($host->{proc}{status}, 0, 'ends well');


# n allocations, as soon as they are in; what is done meanwhile
sub put {
    my ($n, $code) = @_;

    my $yaml = "pools:\n  - name: default/other\n  - name: default/demo\n"
        . "    workers:\n      - {name: w1, endpoint: \"127.0.0.1:1\","
        . " tlsName: w1}\nallocations:\n";
    my $reason = $REASON =~ s/"/\\"/gr;
    $run++;
    for my $i (1 .. $n) {
        $yaml .= '  - {tokenHash: ' . sha256_hex("$run $i") . ', pool: default/demo,'
            . ' worker: w1, expires: "2100-01-01T00:00:00Z"'
            . ($i == 7 ? ", state: draining, reason: \"$reason\"" : '') . "}\n";
    }
    $t->write('static.new', $yaml);
    chmod 0600, $t->dir . '/static.new';
    rename $t->dir . '/static.new', $t->dir . '/static.yaml' or die;
    $t->wait_for(sub {
        $code->() if $code;
        my $pools = $host->request(GET => '/api/v1/pools')->{json};
        return grep { $_->{name} eq 'default/demo'
            && $_->{allocations}{live} == $n
            && $_->{allocations}{released} == 0 } @$pools;
    }, 300, "$n allocations");
}

sub whole {
    my ($r) = @_;

    die "status $r->{status}" if $r->{status} != 200;
    return $r->{json};
}

sub raw {
    my ($bytes) = @_;

    my $s = IO::Socket::UNIX->new(Peer => $host->api) or die $!;
    syswrite $s, $bytes;
    return $s;
}

sub rest {
    my ($s) = @_;

    my $text = '';
    while ($text !~ /\r\n0\r\n\r\n\z/) {
        IO::Select->new($s)->can_read(60) or die 'it stops';
        sysread $s, $text, 65536, length $text or last;
    }
    return $text;
}

sub unchunked {
    my ($text) = @_;

    my $all = '';
    while ($text =~ s/^([0-9a-f]+)\r\n//) {
        $all .= substr $text, 0, hex $1, '';
        $text =~ s/^\r\n//;
    }
    return $all;
}

sub uniq { my %seen; return grep { !$seen{$_}++ } @_ }
