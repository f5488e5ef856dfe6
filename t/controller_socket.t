# The plugin controller at its socket, asked as nginx asks: what the
# controller said becomes facts, is believed for a while, and is asked for once
# however many want to know.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Controller;
use Report;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $ctl = Controller->new($t);
$t->write('bearer', "sesame\n");
# what is asked once holds until the end of this one; of another one below not
my $host = $ctl->host({ keep => '10m', unknownFor => '1m',
    bearerFile => '"%%DIR%%/bearer"' });

sub alloc { $host->request(GET => '/api/v1/allocations/' . $t->id($_[0]))->{json} // {} }
sub worker { (grep { $_->{name} eq $_[0] }
    @{$host->request(GET => '/api/v1/workers')->{json}})[0] // {} }
sub asked { scalar grep { $_->{path} =~ /lookup/ } $ctl->requests($_[0]) }

# --- the socket

my @mode = map { (stat $_)[2] & 07777 } $t->dir . '/host.lookup', $ctl->{socket};
is(sprintf('%o %o', @mode), '700 600', 'nobody else comes in there');
ok(!-e "$ctl->{socket}.new", 'one name');

# --- known

my $token = $ctl->put($t->token x 2, 'demo-worker-a', 1234);
is(length $token, 86, 'a token as long as theirs');
my $a = $ctl->ask($token, until => time + 1800);
is($a->{verdict}, 'known', 'known');
is("$a->{magic} $a->{bytes} '$a->{text}'", "BKLOOKU1 256 ''", 'whole');
is(alloc($token)->{state}, 'ready', 'a fact');
is(alloc($token)->{worker}, 'demo-worker-a', 'its worker');
is(alloc($token)->{pool}, 'team/demo', 'its pool');
like(alloc($token)->{expiresAt}, qr/^\d{4}-/, 'with the end of its certificate');
my $w = worker('demo-worker-a');
is($w->{endpoint}, '127.0.0.1:1234', 'its address');
is($w->{state}, 'ready', 'READY');
is(asked($token), 1, 'asked once');
is($ctl->ask($token)->{verdict}, 'known', 'again');
is(asked($token), 1, 'that was known');
is(($ctl->requests($token))[0]{authorization}, 'Bearer sesame',
    'with the bearer token, to this machine');

# --- at once, and from several processes: one question

$t->write('not-yet', '');
my $many = $ctl->put($t->token, 'demo-worker-b', 1235);
$ctl->say(wait => $t->dir . '/now');
my @sockets = map { $ctl->connect } 1 .. 20;
syswrite $_, Controller::question($many) for @sockets, @sockets;
$t->wait_for(sub { asked($many) }, 10, 'the question');
$t->write('now', '');
is(join(' ', map { $ctl->answer($_, $many)->{verdict} } @sockets),
    join(' ', ('known') x 20), 'all of them are told');
is(asked($many), 1, 'one question');
$ctl->say;
close $_ for @sockets;

# --- unknown

my $nobody = $t->token;
is($ctl->ask($nobody)->{verdict}, 'unknown', 'nobody knows it');
is($ctl->ask($nobody)->{verdict}, 'unknown', 'nor a moment later');
is(asked($nobody), 1, 'which is remembered');

# --- of another pool

my $other = $ctl->put($t->token, 'else-worker-a', 1237, 'else');
$a = $ctl->ask($other);
is("$a->{verdict} $a->{text}", 'pool else', 'of another pool');
is_deeply(worker('else-worker-a'), {}, 'and not routed');

# --- two with one worker, as their allocator may do

my $second = $ctl->put($t->token, 'demo-worker-a', 1234);
is($ctl->ask($second)->{verdict}, 'known', 'two of one worker');
is(alloc($second)->{worker}, 'demo-worker-a.' . $t->id($second),
    'which is another one here');

# --- answers that are no good

for ([{ workerEndpoint => 'tcp://build.example:1234' }, 'workerEndpoint'],
    [{ workerEndpoint => 'tcp://169.254.169.254:80' }, 'workerEndpoint'],
    [{ workerEndpoint => 'tcp://127.0.0.1' }, 'workerEndpoint'],
    [{ workerEndpoint => 'tcp://127.0.0.1:70000' }, 'workerEndpoint'],
    [{ workerEndpoint => '' }, 'workerEndpoint'],
    [{ workerName => '../etc' }, 'workerName'],
    [{ workerName => '' }, 'workerName'],
    [{ poolName => 7 }, 'poolName'])
{
    my ($but, $key) = @$_;
    my $bad = $ctl->put($t->token, 'bad', 1238);
    $ctl->{tokens}{$bad} = { %{$ctl->{tokens}{$bad}}, %$but };
    $ctl->say;
    $a = $ctl->ask($bad);
    my ($value) = values %$but;
    is("$a->{verdict} $a->{text}", "trouble its answer's $key is no good",
        "$key $value");
}
is_deeply(worker('bad'), {}, 'none of them is a worker');

for ([200, 'what', qr/is no JSON object/], [503, "later\nmuch", qr/503: later$/],
    [404, '404 page not found', qr/404 page not found; is the endpoint/],
    [404, '<html>', qr/404 <html>; is the endpoint/], [500, "a\x01b", qr/500: a b$/],
    [403, '{"error": "not you", "reason": "Forbidden"}', qr/403: not you$/])
{
    $ctl->say(status => $_->[0], body => $_->[1]);
    $a = $ctl->ask($t->token);
    is($a->{verdict}, 'trouble', "status $_->[0]");
    like($a->{text}, $_->[2], 'in words');
}
$ctl->say;
like($host->log, qr/WARN.* controller http:\S+ cannot be asked/i, 'in the log');
$ctl->ask($t->token);
ok($t->wait_for(sub { $host->log =~ /controller http:\S+ answers again/ }, 30,
    'the log'), 'and that it is over');

# --- who asks what nobody asks is let go, and nobody else is

my $good = $ctl->connect;
for (['short', 'x'], ['no magic', Controller::question($token, magic => 'BKLOOKU2')],
    ['no token', Controller::question('')],
    ['too long', Controller::question($token, len => 257)],
    ['a quote', Controller::question('a"b')],
    ['more', Controller::question($token) . 'x'])
{
    my $socket = $ctl->connect;
    syswrite $socket, $_->[1];
    is($ctl->answer($socket, $token), undef, "$_->[0]: let go");
    ok(!defined getpeername $socket || !defined syswrite($socket,
        Controller::question($token)), 'closed') if $_->[0] eq 'short';
}
is($ctl->ask($token, socket => $good)->{verdict}, 'known', 'the others are not');

# --- numbers; a restart

my $metrics = $t->http('127.0.0.1:' . $t->port('host-metrics'), GET => '/metrics')->{body};
like($metrics, qr/controller_lookups_total\{result="$_"\} [1-9]/, "metric: $_")
    for qw(known unknown pool trouble);
like($metrics, qr/controller_up 1\b/, 'metric: up');

$ctl->ask($token);
$host->kill('KILL');
$host->restart;
is(alloc($token)->{state}, 'starting', 'after a restart: there, to be asked about');
is(worker('demo-worker-a')->{endpoint}, '127.0.0.1:1234', 'with its worker');
is($ctl->ask($token)->{verdict}, 'known', 'asked');
is(alloc($token)->{state}, 'ready', 'as before');

# --- one that believes nobody for long

is($host->stop, 0, 'it ends');
unlink $t->dir . '/buildkit.table';
$host = $ctl->host({ keep => '1s', refresh => '1s', unknownFor => '1s',
    bearerFile => '"%%DIR%%/bearer"' }, name => 'brief');
my $new = $t->token;
is($ctl->ask($new)->{verdict}, 'unknown', 'unknown');
$ctl->put($new, 'demo-worker-c', 1236);
ok($t->wait_for(sub { $ctl->ask($new)->{verdict} eq 'known' }, 30, 'another'),
    'but not for long');

# it may be over before anybody has looked
sub believed {
    my ($token) = @_;
    return $t->wait_for(sub { $ctl->ask($token)->{verdict} eq 'known'
        && alloc($token)->{state} eq 'ready' }, 30, 'it to be believed');
}

# --- not in use: asked about again

my $idle = $ctl->put($t->token, 'demo-worker-d', 1239);
$ctl->ask($idle);
$t->wait_for(sub { alloc($idle)->{state} eq 'starting' }, 10, 'not believed');
pass('an allocation without connections is not believed for long');
is(worker('demo-worker-d')->{state}, 'starting', 'its worker neither');
my $before = asked($idle);
ok(believed($idle), 'asked again, it is believed again');
cmp_ok(asked($idle), '>', $before, 'another question');
$ctl->put($idle, 'demo-worker-e', 1240);
$t->wait_for(sub { alloc($idle)->{state} eq 'starting' }, 10, 'again');
is($ctl->ask($idle)->{verdict}, 'known', 'on another worker');
is(alloc($idle)->{worker}, 'demo-worker-e', 'now');
is_deeply(worker('demo-worker-d'), {}, 'the other one is gone');
$ctl->put($idle, 'demo-worker-e', 1241);
$t->wait_for(sub { alloc($idle)->{state} eq 'starting' }, 10, 'and again');
$ctl->ask($idle);
is(worker('demo-worker-e')->{endpoint}, '127.0.0.1:1241', 'at another address');
ok(believed($idle), 'which ends nothing');
$ctl->gone($idle);
$t->wait_for(sub { alloc($idle)->{state} eq 'starting' }, 10, 'for good');
is($ctl->ask($idle)->{verdict}, 'unknown', 'released over there');
is(alloc($idle)->{state}, 'starting', 'nobody is let through any more');

# --- in use: asked about without anybody's question, and kept while it cannot be

my $used = $ctl->put($t->token, 'demo-worker-f', 1242);
report_make($t->dir . '/reports', pool => 'team/demo', sessions => [{
    worker => 'demo-worker-f', allocation => $t->id($used), phase => 'live',
    kind => 'build' }]);
$t->wait_for(sub { believed($used)
    && (worker('demo-worker-f')->{connections} // 0) > 0 }, 30,
    'its connection');
my $n = asked($used);
$t->wait_for(sub { asked($used) > $n }, 10, 'a question of its own');
is(alloc($used)->{state}, 'ready', 'in use: believed, and asked about');
$ctl->stop;
$t->wait_for(sub { $host->log =~ /cannot be asked about allocations: \S+.*\n.*\z/ },
    10, 'the controller to be gone');
is(alloc($used)->{state}, 'ready', 'its worker is there, whoever else is not');
$a = $ctl->ask($t->token);
like("$a->{verdict} $a->{text}", qr/^trouble .*(?:refused|connect)/i, 'others wait');
$ctl->start;
$ctl->gone($used);
$t->wait_for(sub { alloc($used)->{state} eq 'starting' }, 10,
    'what it says then to be heard');
pass('back: what is over is not routed any more');

# --- ended here: given back over there

my $revoked = $ctl->put($t->token, 'demo-worker-g', 1243);
$ctl->ask($revoked);
is($host->request(DELETE => '/api/v1/allocations/' . $t->id($revoked),
    { reason => 'enough' })->{status}, 200, 'revoked here');
is(alloc($revoked)->{reason}, 'enough', 'with the reason');
$t->wait_for(sub { grep { $_->{path} =~ /release/ } $ctl->requests($revoked) },
    10, 'its release');
pass('given back there');
$t->wait_for(sub { $host->log =~ /was given back to the controller/ }, 10,
    'the answer');
is($ctl->ask($revoked)->{verdict}, 'known', 'the table says how it ended');
is(alloc($revoked)->{state}, 'revoked', 'revoked');
$t->wait_for(sub { !%{worker('demo-worker-g')} }, 10, 'its worker to go');

my $given = $ctl->put($t->token, 'demo-worker-h', 1244);
$ctl->ask($given);
is($host->request(POST => '/api/v1/workers/release', { token => $given })->{status},
    200, 'released here, with its token');
$t->wait_for(sub { grep { $_->{path} =~ /release/ } $ctl->requests($given) },
    10, 'its release');
is(alloc($given)->{state}, 'released', 'released');
$t->wait_for(sub { !%{worker('demo-worker-h')} }, 30, 'it to be forgotten');
is($host->request(POST => '/api/v1/workers/release', { token => $given })->{status},
    200, 'once more, as somebody may who had no answer');

my $drop = $ctl->put($t->token, 'demo-worker-i', 1245);
$ctl->ask($drop);
my $r = $t->run({ env => { BKCTL_ENDPOINT => 'unix:' . $host->api } },
    $t->build . '/bkctl', 'revoke', $t->id($drop), '--reason', 'key leaked');
is($r->{rc}, 0, 'bkctl revoke') or diag $r->{err};
is(alloc($drop)->{reason}, 'key leaked', 'with its reason');

for (['no such id', DELETE => '/api/v1/allocations/0123456789ab', {}, 404],
    ['no such token', POST => '/api/v1/workers/release', { token => $t->token }, 404],
    ['no token', POST => '/api/v1/workers/release', {}, 404],
    ['a number', POST => '/api/v1/workers/release', { token => 7 }, 400],
    ['too long', POST => '/api/v1/workers/release', { token => 'x' x 257 }, 400],
    ['over otherwise', DELETE => '/api/v1/allocations/' . $t->id($given), {}, 410])
{
    my ($name, $method, $path, $body, $status) = @$_;
    is($host->request($method, $path, $body)->{status}, $status, $name);
}

# --- renewed over there, and not used here meanwhile

use POSIX qw(strftime);
sub until_time { strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + $_[0])) }

# where a machine stands still it may be over before that is said: once more
my ($renewed, $soon, $first);
for (1 .. 5) {
    $renewed = $ctl->put($t->token, "demo-worker-j$_", 1246);
    $soon = $ctl->{tokens}{$renewed}{expiresAt} = until_time(12);
    $ctl->say;
    $ctl->ask($renewed, until => time + 86400);
    $first = alloc($renewed)->{expiresAt} =~ s/\.000Z/Z/r;
    my $later = $ctl->{tokens}{$renewed}{expiresAt} = until_time(3600);
    $ctl->say;
    $t->wait_for(sub {
        (alloc($renewed)->{expiresAt} // '') =~ s/\.000Z/Z/r eq $later
            || alloc($renewed)->{state} eq 'expired'
    }, 30, 'it to be asked about');
    last if alloc($renewed)->{state} ne 'expired';
}
is($first, $soon, 'expires as the controller says');
isnt(alloc($renewed)->{state}, 'expired', 'renewed there: goes on here');

# --- no token anywhere but over there

for my $file (grep { -f } glob($t->dir . '/*'), glob($t->dir . '/*/*')) {
    next if $file =~ /controller\.(?:state|requests)$/;
    my $text = do { local (@ARGV, $/) = $file; <> } // '';
    fail("no token in $file") if grep { index($text, $_) >= 0 }
        $token, $many, $used, $revoked;
}
pass('no token in any file');

done_testing;
