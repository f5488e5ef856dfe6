#!/usr/bin/perl

# Somebody is asked who it is, and does not answer: the client goes away
# meanwhile, the time is up, plugin-host stops.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use IO::Select;
use IO::Socket::UNIX;
use Test::Buildkit;

plan tests => 19;

my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E', plugins => "  - {name: metrics}\n  - {name: who}\n");
access: {rules: [{name: all, sources: [who], verbs: [admin, list]}]}
log: {level: debug}
E

# sends a request with this token, and leaves it open
sub ask {
    my ($token, $path) = @_;

    my $s = IO::Socket::UNIX->new(Peer => $h->api) or die $!;
    syswrite $s, "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        . "Authorization: Bearer $token\r\n\r\n";
    return $s;
}

sub answer {
    my ($s) = @_;

    my ($text, $select) = ('', IO::Select->new($s));
    while ($select->can_read(60)) {
        sysread $s, $text, 65536, length $text or last;
    }
    return $text;
}

sub state_of { $h->request(GET => '/api/v1/who/open')->{json} }


my $hold = Access::token('hold');

# the answer comes for those who wait, also when others have gone
my @s = map { ask($hold, '/api/v1/who') } 1 .. 4;
$t->wait_for(sub { state_of()->{asked} == 4 }, 5, 'four to be asked');
close $s[0];
close $s[2];
is(state_of()->{answered}, 0, 'none is answered');
$t->wait_for(sub { 2 == grep { !/gone/ } connections() }, 5, 'two to be gone');
is($h->request(GET => '/api/v1/who/release')->{status}, 200, 'now they are');
like(answer($s[$_]), qr{^HTTP/1\.1 200 .*"name":"who:ann"}s, "$_ is answered")
    for 1, 3;
is(state_of()->{answered}, 4, 'all four queries were');

# a half close is a client that has gone as well
my $s = ask($hold, '/api/v1/who');
$t->wait_for(sub { state_of()->{asked} == 5 }, 5, 'it to be asked');
shutdown $s, 1;
is(answer($s), '', 'who says no more is let go');
is($h->request(GET => '/api/v1/who/release')->{status}, 200, 'too late');

# a second request on the connection waits for the first
$s = ask($hold, '/api/v1/who');
syswrite $s, "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n";
$t->wait_for(sub { state_of()->{asked} == 6 }, 5, 'it to be asked');
$h->request(GET => '/api/v1/who/release');
like(answer($s), qr{^HTTP/1\.1 200 .*who:ann}s, 'a pipelined one waits');

# nobody ever answers
my $never = ask(Access::token('never'), '/api/v1/who');
my $text = answer($never);
like($text, qr{^HTTP/1\.1 503 .*IdentityTimeout}s, 'a deadline');
like($text, qr/plugin who did not say within 10 s/, 'that names who');
like($text, qr/^Retry-After: 5\r$/m, 'and when to come again');
unlike($t->read($h->{proc}{log}), qr/who\.(?:hold|never)/, 'no token is logged');

my $m = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')->{body};
like($m, qr/^buildkit_gateway_identities_total\{outcome="$_->[0]"\} $_->[1]$/m,
    "counted: $_->[0]") for ['known', 3], ['failed', 1], ['gone', 3];

# it stops while some wait, and some are waited for by nobody
# ... nor is anybody a stranger because those who know him have stopped
my $one = "GET /api/v1/who HTTP/1.1\r\nHost: x\r\n"
    . "Authorization: Bearer $hold\r\n";
$s = IO::Socket::UNIX->new(Peer => $h->api) or die $!;
syswrite $s, "$one\r\n${one}Connection: close\r\n\r\n";
$never = ask(Access::token('never'), '/api/v1/who');
$t->wait_for(sub { state_of()->{asked} == 9 }, 5, 'both to be asked');
close $never;
$h->kill('TERM');
$text = answer($s);
like($text, qr{^HTTP/1\.1 503 .*ShuttingDown}s, 'stopping: 503');
is(() = $text =~ m{HTTP/1\.1 503 }g, 2, 'who comes then as well')
    or diag($text);
$t->wait_for(sub { !$t->alive($h->{proc}) }, 10, 'its end');
is($h->{proc}{status}, 0, 'stopped well');
is(() = $t->read($h->{proc}{log}) =~ /did not stop in time/, 0, 'in time');


# unix connections of the host's socket, by the kernel's list
sub connections {
    open my $fh, '<', '/proc/net/unix' or die $!;
    my $api = $h->api;
    return grep { / 03 \d+ \Q$api\E$/ } <$fh>;
}
