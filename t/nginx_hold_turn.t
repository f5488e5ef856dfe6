# What a client waits for turns into something else in the very moment in
# which it has waited long enough: what it waits for now has its own limit.
# (A check that is longer than the waits makes every moment that one.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 7;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my @names = qw(starting ready stopped);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table('pool default/demo', $live->row,
    'worker default/demo w2 - w2.workers.buildkit.internal starting first',
    'worker default/demo w3 - w3.workers.buildkit.internal stopped');
my $nginx = $t->nginx($t->gateway_conf(stream => 'buildkit_check 10s;'
    . "buildkit_grace 5s; buildkit_retry 2s; buildkit_wait 8s;\n"));

# none of them is known; before its grace is over each is
my %becomes = (starting => 'w2 starting', ready => 'w1 ready',
    stopped => 'w3 ready');
my %h2 = map {
    my $h2 = bless $t->grpc($cert{$_}, streams => [], keep => 1),
        'Test::Buildkit::Live::End';
    $h2->request(1);
    $h2->until(sub { $h2->{settings} });
    $table->cmd("alloc token:$token{$_} default/demo $becomes{$_} 0");
    ($_ => $h2);
} @names;

my $worker = $live->accept;
$worker->{preface} = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
ok($worker->until(sub { $worker->seen(1, 1) }), 'ready: passed on');
$_->finish for $h2{ready}, $worker;

for (['stopped', qr/worker w3 of allocation \S+ is stopped \(waited (\d+)s\)/],
    ['starting', qr/ is starting: first \(waited (\d+)s\)/])
{
    my ($name, $text) = @$_;
    my ($code, $said) = $h2{$name}->said(1);
    is($code, 9, "$name: told");
    my ($waited) = ($said // '') =~ $text;
    ok(defined $waited, "$name: what it waited for last") or diag $said;
    cmp_ok($waited // 0, '>=', $name eq 'starting' ? 8 : 7,
        "$name: in vain, for all of its time");
    $h2{$name}->finish;
}
