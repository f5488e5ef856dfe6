# buildkit_shutdown_timeout counts when nginx quits, and never from a reload:
# a connection outlives any number of those, also while a process is replaced.
# When nginx quits, all are told, those of older configurations too, and
# nothing holds up the end.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

my $TIMEOUT = 5;
my %ends = (busy => ['old', 'new'], idle => ['old']);
plan tests => 6 + 3 * 3 + 3 * 2;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { $_ => $t->token } qw(old new);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$token{$_} default/demo w1 ready 0" } keys %token);

my ($status, $text) = $t->nginx_conf_fails($t->gateway_conf(
    server => "buildkit_shutdown_timeout 3s;\n"));
isnt($status, 0, 'it is no directive of a server');
like($text, qr/"buildkit_shutdown_timeout" directive is not allowed here/,
    'why');

# busy: the newest process has a connection when nginx quits; idle: it has
# none, and is gone at once; removed: it knows nothing of this module
my (%nginx, %conf, %at, %first);
for my $name (qw(busy idle removed)) {
    $conf{$name} = $t->gateway_conf(port => $name,
        stream => "buildkit_shutdown_timeout ${TIMEOUT}s;\n"
        . ($name eq 'busy' ? "server { listen 127.0.0.1:%%PORT:plain%%; "
        . "proxy_pass 127.0.0.1:%%PORT:else%%; }\n" : ''));
    $nginx{$name} = $t->nginx($conf{$name}, name => $name);
    ($first{$name}) = $nginx{$name}->worker_pids;
    connected($name, 'old');
}

$nginx{busy}->reload;
$nginx{busy}->reload;
$nginx{idle}->reload;
$nginx{removed}{opts}{modules} = $t->nginx_modules
    =~ s/load_module \S*buildkit\S*;\n//r;
$nginx{removed}->reload("stream { }\n");
my $reloaded = time;

# a configuration that is not taken replaces none
$t->allow_log(qr/unknown directive "nonsense"/);
$t->nginx_conf("stream { nonsense on; }\n", name => 'busy');
$nginx{busy}->kill('HUP');
$t->wait_for(sub { $nginx{busy}->log =~ /unknown directive/ }, 10,
    'the bad configuration');
$t->nginx_conf($conf{busy}, name => 'busy');

# nor does a process that ends alone end the others
my ($one) = grep { $_ != $first{idle} } $nginx{idle}->worker_pids;
kill QUIT => $one;
my $another = $t->wait_for(sub {
    (grep { $_ != $first{idle} && $_ != $one } $nginx{idle}->worker_pids)[0];
}, 10, 'another process');
isnt($another, $one, 'a process that is told to end: there is another one');

connected('busy', 'new');
$t->wait_for(sub { time > $reloaded + $TIMEOUT + 1 }, 20, 'the time to pass');
for my $name (sort keys %nginx) {
    my ($client, $worker) = @{$at{$name}{old}};
    $worker->data(1, 'after the time');
    ok($client->until(sub { $client->body(1) eq 'after the time' }),
        "$name: a reload cuts nobody");
}

# who is none of ours, and would stay for longer
my $else = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
    LocalPort => $t->port('else')) or die "listen: $!";
my $plain = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
    PeerPort => $t->port('plain')) or die "connect: $!";
my $accepted = $else->accept or die "accept: $!";

$at{removed}{old}[0]->finish;
$nginx{$_}->kill('QUIT') for sort keys %ends;

for my $name (sort keys %ends) {
    for my $which (@{$ends{$name}}) {
        my ($client, $worker) = @{$at{$name}{$which}};
        my ($code, $text) = $client->said(1, $TIMEOUT + 30);
        is($code, 9, "$name, $which: code");
        is($text, 'buildkit gateway: gateway is shutting down (allocation '
            . $t->id($token{$which}) . '); run the build again',
            "$name, $which: text");
        ok($worker->wait_closed(30), "$name, $which: the worker is let go");
        $client->finish;
    }
    my $proc = $nginx{$name}{proc};
    $t->wait_for(sub { !$t->alive($proc) }, 15, "$name to end");
    is($proc->{status}, 0, "$name: a good exit");
    like($nginx{$name}->log, qr/ $first{$name}#\d+: buildkit: nginx was told /,
        "$name: the log has it");
    unlike($nginx{$name}->log, qr/open socket|\[(alert|crit)\]/,
        "$name: nothing was left open");
}
close $plain;


sub connected {
    my ($name, $which) = @_;

    my ($client, $worker) = $live->connect($cert{$which}, port => $name);
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) }) or die "no request\n";
    $at{$name}{$which} = [$client, $worker];

    return;
}
