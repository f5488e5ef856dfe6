# An allocation that expires while its client is held: told when it happens,
# though nothing in the table changes, and in spite of a long buildkit_wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 9;

my $t = Test::Buildkit->new;
my @names = qw(starting queued refused);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;

$t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->port('nobody')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token{starting} default/demo w1 starting +1500",
    "alloc token:$token{queued} default/demo - queued +1500",
    "alloc token:$token{refused} default/demo w1 ready +1500");
$t->nginx($t->gateway_conf(stream =>
    "buildkit_wait 1h; buildkit_retry 1h;\n"));

my %h2 = map {
    my $h2 = $t->grpc($cert{$_}, streams => [], keep => 1);
    $h2->open_stream(1);
    $_ => $h2 } @names;

for my $name (@names) {
    my $h2 = $h2{$name};

    ok($h2->wait_stream(1, 40), "$name: told");
    is($h2->{streams}{1}{grpc_status}, 16, "$name: code");
    like($h2->{streams}{1}{message},
        qr/allocation \S+ expired at \S+ \(\d+s ago\); run bkctl allocate$/,
        "$name: text");
    $h2->finish;
}
