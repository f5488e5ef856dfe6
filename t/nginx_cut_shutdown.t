# An nginx worker that must go: before worker_shutdown_timeout ends its live
# connections they are told; until then they go on as if nothing were.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 14;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my @names = qw(one two frame);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_allocation|";',
    server => "access_log %%DIR%%/access.log bk;\n"),
    # they are told 1.5 s before that, and go on until then, however long this
    # process may stand still
    main => "worker_shutdown_timeout 15s;\n");
my ($old) = $nginx->worker_pids;

my %at;
for my $name (@names) {
    my ($client, $worker) = $live->connect($cert{$name});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    $at{$name} = [$client, $worker];
}
$at{two}[0]->frame(1, 5, 3, "\x83\x86\x84");
$at{two}[1]->until(sub { $at{two}[1]->seen(1, 3) });

$nginx->reload;
my ($client, $worker) = @{$at{one}};
$worker->data(1, 'after the reload');
ok($client->until(sub { $client->body(1) eq 'after the reload' }),
    'a live connection survives a reload');
$at{frame}[1]->send("\0\0\x0a");
$at{frame}[0]->until(sub { length $at{frame}[0]{buffer} });

for my $name (qw(one two)) {
    my ($code, $text) = $at{$name}[0]->said(1, 60);
    is($code, 9, "$name: code");
    is($text, 'buildkit gateway: gateway is shutting down (allocation '
        . $t->id($token{$name}) . '); run the build again', "$name: text");
    is(($at{$name}[0]->said(3))[0], 9, 'a stream that said all, too')
        if $name eq 'two';
    ok($at{$name}[1]->wait_closed(60), "$name: the worker is let go");
    $at{$name}[0]->finish;
}
ok($at{frame}[0]->wait_closed(60), 'one amid a frame: closed');

$t->wait_for(sub { !grep { $_ == $old } $nginx->worker_pids }, 10,
    'the old worker to go');
pass('the old worker is gone');
is((() = $t->read('access.log') =~ /^503\|/mg), 3, 'the status of all');
unlike($nginx->log, qr/open socket|\[(alert|crit)\]/, 'nothing was left open');

# that one was cut says nothing against its next connection
($client, $worker) = $live->connect($cert{one});
$client->request(1);
ok($worker->until(sub { $worker->seen(1, 1) }), 'and it may come again');
$client->finish;
ok($worker->wait_closed(60), 'as often as it likes');
