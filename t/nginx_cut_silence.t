# Silence: a build through which no byte moves in either direction is cut, and
# its client does not get back in by dialling again; other connections may be
# as quiet as they like.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

plan tests => 17;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my @tries = 1 .. 3;
my @names = (qw(ended quiet half), map { ("hung$_", "busy$_") } @tries);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_allocation|";', server =>
    "buildkit_silence 4500ms; access_log %%DIR%%/access.log bk;\n"
    . "proxy_half_close on;\n"));

sub begin {
    my ($name, $block) = @_;

    my ($client, $worker) = $live->connect($cert{$name});
    $client->request(1);
    $client->request(3, $block);
    $worker->until(sub { $worker->seen(1, 3) });

    return ($client, $worker);
}

sub status {
    my ($name) = @_;

    my $id = $t->id($token{$name});

    return $t->wait_for(sub {
        ($t->read('access.log') // '') =~ /^(\d+)\|$id\|/m && $1;
    }, 15, "$name to end");
}

my $session = $Test::Buildkit::Live::SESSION;

my %at = (ended => [begin('ended', $session)]);
$at{ended}[1]->finish_stream($_) for 1, 3;
$at{$_} = [begin($_, undef)] for qw(quiet half);

# the client's side is closed for good, the worker has nothing to say
shutdown $at{half}[0]{socket}, 1;

# of two builds one has something to say now and then, in one direction only;
# where that was too seldom, since this process stood still, it is of two others
for my $try (@tries) {
    my ($gap, $last) = (0, time);
    @at{qw(hung busy)} = map { [begin("$_$try", $session)] } qw(hung busy);
    $token{$_} = $token{"$_$try"} for qw(hung busy);
    $cert{hung} = $cert{"hung$try"};

    my $deadline = time + 6;
    while (time < $deadline) {
        $at{busy}[1]->frame(6, 0, 0, 'abcdefgh');
        my $now = time;
        $gap = $now - $last if $now - $last > $gap;
        $last = $now;
        $at{busy}[0]->until(sub { 0 }, 0.3);
    }
    last if $gap < 4;
}

my ($code, $text) = $at{hung}[0]->said(1);
is($code, 9, 'hung: code');
like($text, qr/^buildkit gateway: worker w1 stopped answering: allocation @{[$t->id($token{hung})]} has a build running, and for \d+s no byte came or went; run bkctl allocate for another worker$/,
    'hung: text');
is(($at{hung}[0]->said(3))[1], $text, 'hung: on its session as well');
ok($at{hung}[1]->wait_closed(30), 'hung: the worker is let go');
$at{hung}[0]->finish;
is(status('hung'), 503, 'hung: status');

# the table still calls it ready
my $again = $t->grpc($cert{hung})->{streams}{1};
is($again->{grpc_status}, 9, 'its next connection is refused');
like($again->{message}, qr/were cut a moment ago: its worker stopped answering/,
    'with the reason');
ok(!$live->knocked, 'and reaches nobody');

ok($at{busy}[1]->seen(1) && !$at{busy}[0]->seen(1), 'busy: goes on');
for my $name (qw(ended quiet)) {
    my ($client, $worker) = @{$at{$name}};
    ok(!$client->{closed}, "$name: is not cut");
    $worker->frame(6, 0, 0, 'abcdefgh');
    ok($client->until(sub { $client->seen(6) }), "$name: goes on");
}
ok($at{half}[1]->wait_closed(30), 'half: is closed at last');
is(status('half'), 200, 'half: nobody cut it');

# a second build on the connection of one that has ended
$at{ended}[0]->request(5, $session);
is(($at{ended}[0]->said(5))[0], 9, 'ended: not for its next build');

unlike($nginx->log, qr/cut: code \d+, allocation @{[$t->id($token{quiet})]}/,
    'what is no build may be quiet');
