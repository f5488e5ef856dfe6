# Our nginx and plugin-host as the gateway of the Go project's controller:
# clients with tokens that only that one knows are held until it has been
# asked, then routed, or told why not.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Controller;
use Digest::SHA ();
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $t = Test::Buildkit->new;
my $ctl = Controller->new($t);
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

# their workers' certificates: one for all of a namespace
my $live = Test::Buildkit::Live->new($t, 'w1',
    tls_name => 'buildkit-worker.team.svc.cluster.local');
my $foreign = $t->worker('w2',
    tls_name => 'buildkit-worker.else.svc.cluster.local');

my $host = $ctl->host({ keep => '5s', refresh => '1s', unknownFor => '1m',
    timeout => '60s' });

# gateway(PORT, how long clients are held at most); what they wait for here is
# this test, which may be slow
sub gateway {
    my ($port, $wait) = @_;

    return $t->gateway_conf(port => $port, stream => <<'END', server => <<"END2")
    buildkit_lookup %%DIR%%/host.lookup/socket;
    buildkit_report %%DIR%%/reports;
    buildkit_grace 1s;
    log_format bk '$buildkit_allocation $buildkit_outcome $buildkit_wait_ms';
END
        access_log %%DIR%%/access.log bk;
        buildkit_pool team/demo;
        buildkit_retry 5s;
        buildkit_lookup_wait $wait;
END2
        =~ s/(proxy_connect_timeout +)5s/${1}60s/r;
}

my $nginx = $t->nginx(gateway('gw', '60s'));
my $short = $t->nginx(gateway('short', '5s'), name => 'short');

sub cert {
    my ($token) = @_;

    return $t->client_cert($t->id($token), cn => "alloc:$token");
}

sub asked { scalar grep { $_->{path} =~ /lookup/ } $ctl->requests($_[0]) }

# one question since then, and as long as somebody is connected one each second
# whether it is still so
sub asked_once {
    my ($token, $before, $since, $name) = @_;

    my $n = asked($token) - $before;
    ok($n >= 1 && $n - 1 <= time - $since, $name) or diag $n;
    return;
}

# by the kernel's list: to connect would be to be the one who asks
sub listened_at {
    my ($path) = @_;
    return grep { / 00010000 \d+ 01 +\d+ \Q$path\E$/ }
        split /\n/, $t->read('/proc/net/unix');
}

sub alloc { $host->request(GET => '/api/v1/allocations/' . $t->id($_[0]))->{json} // {} }

# the first answer to a client of TOKEN: code and text
sub told {
    my ($token, $port) = @_;

    my $h2 = $t->grpc(cert($token), streams => [1], keep => 1,
        port => $port // 'gw', seconds => 90);
    my @told = @{$h2->{streams}{1} // {}}{qw(grpc_status message)};
    $h2->finish;

    return join ' ', map { $_ // '-' } @told;
}

# --- one that nginx never heard of

my $token = $ctl->put($t->token x 2, 'demo-worker-a', $live->{port});
my $now = time;
my ($client, $worker) = $live->connect(cert($token));
pass('a cold token: routed');
asked_once($token, 0, $now, 'after one question');
my ($again, $other) = $live->connect(cert($token));
asked_once($token, 0, $now, 'the next one costs none');
$_->finish for $again, $other;

# --- twenty at once, while the controller thinks

my $many = $ctl->put($t->token, 'demo-worker-b', $live->{port});
my $cert = cert($many);
$ctl->say(wait => $t->dir . '/now');
my @clients = map { my $h2 = $t->grpc($cert, streams => [], keep => 1);
    $h2->open_stream(1); $h2 } 1 .. 20;
$t->wait_for(sub { $_->_more(0.1); $_->{settings} }, 10, 'SETTINGS') for @clients;
$t->wait_for(sub { asked($many) }, 10, 'the question');
is(asked($many), 1, 'twenty clients of one token: one question');
ok(!$live->knocked, 'all are held');
$now = time;
$t->write('now', '');
my @workers = map { my $w = $live->accept; $w->{preface} = $preface;
    $w->until(sub { $w->seen(1, 1) }); $w } @clients;
is(scalar @workers, 20, 'and let through');
cmp_ok(asked($many) - 1, '<=', time - $now,
    'no other question than each second whether it is still so');
$_->finish for @clients, @workers;
$ctl->say;

# --- a look waits for the answer, too: buildx always begins with one

my $look = $ctl->put($t->token, 'demo-worker-c', $live->{port});
$ctl->say(wait => $t->dir . '/later');
my $h2 = bless $t->grpc(cert($look), streams => [], keep => 1),
    'Test::Buildkit::Live::End';
$h2->request(1, $Test::Buildkit::Live::TIMEOUT);
$t->wait_for(sub { asked($look) }, 10, 'the question');
ok(!$h2->{streams}{1}, 'a look at a cold token is not told off');
$t->write('later', '');
$worker->finish;
$worker = $live->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'but routed');
$_->finish for $h2, $worker, $client;
$ctl->say;

# --- refusals, at once and once

my $nobody = $t->token;
my $id = $t->id($nobody);
is(told($nobody), "16 buildkit gateway: allocation $id is not known to the "
    . 'controller: it ended, or is of another one; run bkctl allocate', 'unknown');
is(told($nobody) =~ s/ .*//r, 16, 'and again');
is(asked($nobody), 1, 'asked once');

my $else = $ctl->put($t->token, 'else-worker-a', $foreign, 'else');
like(told($else), qr/^7 .* is of pool else, which is not served at this address/,
    'another pool');

# the address is somebody else's by now: his certificate is of another namespace
my $stolen = $ctl->put($t->token, 'demo-worker-d', $foreign);
like(told($stolen), qr/^9 .*not valid for "buildkit-worker.team.svc.cluster.local"/,
    'a worker of another namespace');

# --- the controller does not know for a while

my $slow = $ctl->put($t->token, 'demo-worker-e', $live->{port});
$ctl->say(status => 503, body => 'not yet');
$h2 = $t->grpc(cert($slow), streams => [], keep => 1);
$h2->open_stream(1);
$t->wait_for(sub { asked($slow) > 1 }, 10, 'the second question');
ok(!$live->knocked, 'trouble: held, and asked again');
$ctl->say;
$worker = $live->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'until there is an answer');
$_->finish for $h2, $worker;

$ctl->say(status => 503, body => 'not yet');
like(told($t->token, 'short'), qr/^9 .* is not known here, and the controller cannot be asked: it answers 503: not yet \(waited (?:[5-9]|\d\d)s\); try again$/,
    'and no longer than buildkit_lookup_wait');
$ctl->say;

# --- what is over is not routed; what lives goes on

my $over = $ctl->put($t->token, 'demo-worker-f', $live->{port});
($client, $worker) = $live->connect(cert($over));
$client->finish;
$worker->finish;
$t->wait_for(sub { alloc($over)->{state} eq 'starting' }, 15, 'it to be idle');
my $before = asked($over);
$now = time;
($client, $worker) = $live->connect(cert($over));
asked_once($over, $before, $now, 'idle: asked about before it is dialled');
$ctl->gone($over);
$t->wait_for(sub { alloc($over)->{state} eq 'starting' }, 15,
    'that to be noticed');
like(told($over), qr/^16 .* is not known to the controller/, 'released: refused');
$worker->frame(0, 0, 1, 'more');
ok($client->until(sub { grep { $_->[3] eq 'more' } @{$client->{frames}} }),
    'the connection that lives goes on');

# --- plugin-host dies amid all that

my $held = $ctl->put($t->token, 'demo-worker-g', $live->{port});
$host->kill('KILL');
$t->wait_for(sub { !$host->alive }, 10, 'its end');
$h2 = $t->grpc(cert($held), streams => [], keep => 1);
$h2->open_stream(1);
$t->wait_for(sub { $h2->_more(0.1); $h2->{settings} }, 10, 'SETTINGS');
ok(!$live->knocked, 'nobody to ask: held');
$host->restart;
my $new = $live->accept;
$new->{preface} = $preface;
ok($new->until(sub { $new->seen(1, 1) }), 'plugin-host is back: routed');
$worker->frame(0, 0, 1, 'again');
ok($client->until(sub { grep { $_->[3] eq 'again' } @{$client->{frames}} }),
    'the connection that lives has not noticed');
$_->finish for $h2, $new;

# --- another nginx process takes over

$nginx->reload;
($h2, $new) = $live->connect(cert($ctl->put($t->token, 'demo-worker-h', $live->{port})));
pass('after a reload: routed');
$_->finish for $h2, $new, $client, $worker;

# --- answers that are none

$host->stop;
my $pid = fork // die;
if (!$pid) {
    require POSIX;
    alarm 300;
    unlink $ctl->{socket};
    my $listen = IO::Socket::UNIX->new(Type => Socket::SOCK_SEQPACKET(),
        Local => $ctl->{socket}, Listen => 5) or POSIX::_exit(1);
    my @answers = map { pack 'a8 L< L< a32 a208', @$_ }
        ['BKLOOKU2', 1, 0, '', ''], ['BKLOOKU1', 0, 0, '', ''],
        ['BKLOOKU1', 5, 0, '', ''], ['BKLOOKU1', 2, 209, '', ''];
    for my $answer ('x', $answers[0] . 'x', @answers, undef) {
        my $conn = $listen->accept;
        sysread $conn, my ($ask), 512;
        my $hash = Digest::SHA::sha256(substr $ask, 24, unpack 'x16 L<', $ask);
        # of another one: not his; with control bytes: cleaned
        syswrite $conn, $_ for defined $answer ? $answer
            : map { pack 'a8 L< L< a32 a208', @$_ }
                ['BKLOOKU1', 2, 0, 'x' x 32, ''],
                ['BKLOOKU1', 3, 208, $hash, "a\x1b[31m" . "\xff" x 300];
        sysread $conn, $ask, 512 if defined $answer;
    }
    POSIX::_exit(0);
}
$t->wait_for(sub { listened_at($ctl->{socket}) }, 10, 'the socket');
like(told($t->token), qr/^7 .* is of pool a \[31m\?{5,}, which is not served/,
    'garbage: asked again until there is an answer');
waitpid $pid, 0;
is($? >> 8, 0, 'all of it was sent');
like($nginx->log, qr/answers what no plugin-host of ours does/, 'it is said');

# --- a socket that is somebody else's is told nothing

SKIP: {
    skip 'not root', 2 if $> != 0;
    my $folder = $t->dir . '/host.lookup';
    chmod 0755, $t->dir, $folder;
    unlink $ctl->{socket};
    $pid = fork // die;
    if (!$pid) {
        require POSIX;
        alarm 300;
        my $fd = IO::Socket::UNIX->new(Type => Socket::SOCK_SEQPACKET());
        # whose a socket is, is decided when it begins to listen
        unlink "$folder/socket";
        bind $fd, Socket::pack_sockaddr_un("$folder/socket");
        chmod 0666, "$folder/socket";
        POSIX::setuid(65534);
        listen $fd, 5;
        my $conn;
        accept $conn, $fd;
        sysread $conn, my ($bytes), 512;
        POSIX::_exit(length $bytes ? 1 : 0);
    }
    $t->wait_for(sub { listened_at("$folder/socket") }, 10, 'the impostor');
    like(told($t->token, 'short'), qr/^9 .* nobody has answered who would know/,
        'told nothing');
    waitpid $pid, 0;
    is($? >> 8, 0, 'not a byte was sent there');
}
like($short->log, qr/is not of the user whose the route table is/, 'it is said')
    if $> == 0;

my $log = $t->read('access.log');
like($log, qr/^$id refused:unknown \d+$/m, 'access log: unknown');
like($log, qr/refused:lookup (?:[5-9]|\d\d)\d{3}$/m, 'access log: lookup');
my @leaks = grep { my $s = $_; grep { index($_, $s) >= 0 } $nginx->log, $short->log,
    $host->log, $log }
    $token, $many, $over, $held;
is("@leaks", '', 'no token in the logs');

done_testing;
