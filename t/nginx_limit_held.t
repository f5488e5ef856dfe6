# buildkit_max_held: so many connections of one address wait, the next one is
# told; places are free again when a client leaves or has got its worker.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $MAX = 3;
plan tests => 13;

my $t = Test::Buildkit->new;

my %token = map { $_ => $t->token } qw(one two ready);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $port = $t->worker('w1');
my $table = $t->table('pool default/demo',
    "worker default/demo w1 127.0.0.1:$port w1.workers.buildkit.internal ready",
    "alloc token:$token{one} default/demo w1 starting 0",
    "alloc token:$token{two} default/demo w1 starting 0",
    "alloc token:$token{ready} default/demo w1 ready 0");

my $nginx = $t->nginx($t->gateway_conf(server =>
    "buildkit_max_held $MAX;\naccess_log %%DIR%%/access.log basic;\n",
    stream => "log_format basic '\$status';\n"));

# two allocations, one address
my @held = map { held($_) } qw(one two one);
is(scalar(grep { $_->{settings} } @held), $MAX, 'as many as may wait');

my $got = $t->grpc($cert{two})->{streams}{1};
is($got->{grpc_status}, 8, 'one more: code');
like($got->{message}, qr/too many connections from 127\.0\.0\.1 wait/,
    'one more: text');
like($t->say_hello($cert{ready}), qr/worker w1/,
    'who need not wait is not concerned');
my $other = held('one', ssl => { LocalAddr => '127.0.0.2' });
ok(!$other->wait_stream(1, 0.3) && $other->{settings},
    'another address may');

# one leaves, one comes
(shift @held)->finish;
$t->wait_for(sub { lines() >= 3 }, 10, 'the end of it');
push @held, held('two');
is(scalar(grep { $_->{settings} && !$_->{streams}{1} } @held), $MAX,
    'one that left made room');
$got = $t->grpc($cert{one})->{streams}{1};
is($got->{grpc_status}, 8, 'for exactly one');

# one of the two gets its worker
$table->cmd("alloc token:$token{two} default/demo w1 ready 0");
my $ready = grep { spliced($_) } @held[0, 2];
is($ready, 2, 'those of one allocation have their worker');
my @more = (held('one'), held('one'));
is(scalar(grep { $_->{settings} && !$_->{streams}{1} } @more), 2,
    'they do not count any more');
$got = $t->grpc($cert{one})->{streams}{1};
is($got->{grpc_status}, 8, 'the others do');

$table->cmd("alloc token:$token{one} default/demo w1 ready 0");
is(scalar(grep { spliced($_) } $held[1], @more, $other), 4,
    'all have their worker in the end');
$_->finish for @held, @more, $other;
is($nginx->stop, 0, 'a good exit');
unlike($nginx->log, qr/\[(alert|error|crit)\]/, 'without an error');


sub held {
    my ($name, %opts) = @_;

    my $h2 = $t->grpc($cert{$name}, %opts, streams => [], keep => 1);
    $h2->open_stream(1);
    $t->wait_for(sub { $h2->_more(0.02); $h2->{settings} || $h2->{closed} },
        10, 'SETTINGS');

    return $h2;
}

# the stand-in worker says its name and all that it was sent
sub spliced {
    my ($h2) = @_;

    return $t->wait_for(sub {
        $h2->_more(0.02);
        return $h2->{buffer} =~ /worker w1/;
    }, 10, 'the worker');
}

sub lines { scalar(() = ($t->read('access.log') // '') =~ /\n/g) }
