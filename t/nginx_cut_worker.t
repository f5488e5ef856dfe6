# A worker that hangs up amid a request: the client is told why, with the
# table's reason when that comes in time; a worker that hangs up at rest is
# none of our business.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 32;

my $t = Test::Buildkit->new;

my %live = map { $_ => Test::Buildkit::Live->new($t, $_) } qw(w1 w2);
my @names = qw(told failed late soon worker rst write rest done stopped cancelled);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table('pool default/demo', $live{w1}->row, $live{w2}->row,
    map { "alloc token:$token{$_} default/demo "
        . ($_ eq 'worker' ? 'w2' : 'w1') . ' ready 0' } @names);
my $conf = $t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_allocation|";',
    server => "access_log %%DIR%%/access.log bk;\n");

# and two who wait for as long as it takes, or not at all
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
for (['late', '1h'], ['soon', '0']) {
    my ($port, $time) = @$_;
    my $more = $server =~ s/%%PORT:gw%%/%%PORT:$port%%/r
        =~ s/buildkit on;/$& buildkit_lost $time;/r;
    $conf =~ s/\n\}\n\z/\n$more\n}\n/;
}
my $nginx = $t->nginx($conf);

# amid a request that was answered in part
sub begin {
    my ($name, @port) = @_;

    my ($client, $worker) = $live{$name eq 'worker' ? 'w2' : 'w1'}
        ->connect($cert{$name}, @port);
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    $worker->frame(1, 4, 1, "\x88");
    $worker->data(1, 'a part');
    $client->until(sub { $client->body(1) });

    return ($client, $worker);
}

sub status {
    my ($name) = @_;

    my $id = $t->id($token{$name});

    return $t->wait_for(sub {
        ($t->read('access.log') // '') =~ /^(\d+)\|$id\|/m && $1;
    }, 10, "$name to end");
}

sub says {
    my ($name, $client, $text) = @_;

    my ($code, $got) = $client->said(1);
    is($code, 9, "$name: code");
    like($got, $text, "$name: text");
    $client->finish;
    is(status($name), 503, "$name: status");

    return;
}

my $closed = qr/^buildkit gateway: worker w1 of allocation \S+ closed the connection in the middle of the build; run the build again$/;

{
    my ($client, $worker) = begin('told');
    $worker->data(1, 'its last words');
    $worker->finish;
    says('told', $client, $closed);
    is($client->body(1), 'a partits last words', 'told: nothing is lost');
}

{
    my ($client, $worker) = begin('failed', port => 'late');
    $worker->finish;
    ok(!$client->wait_stream(1, 0.2), 'failed: not before the reason');
    $table->cmd("end token:$token{failed} failed worker w1: buildkitd was"
        . ' killed by signal 9');
    says('failed', $client, qr/ failed at \S+ \(\d+s ago\): worker w1: buildkitd was killed by signal 9; run bkctl allocate$/);
}

# longer than it would be waited for where nothing is said
{
    my ($client, $worker) = begin('late', port => 'late');
    $worker->finish;
    ok(!$client->wait_stream(1, 1.5), 'late: not before the reason');
    $table->cmd("end token:$token{late} failed OOMKilled");
    says('late', $client, qr/ failed at \S+ \(\d+s ago\): OOMKilled;/);
}

{
    my ($client, $worker) = begin('soon', port => 'soon');
    $worker->finish;
    my ($code, $got) = $client->said(1);
    like($got, $closed, 'soon: not waited for');
    $client->finish;
}

{
    my ($client, $worker) = begin('worker', port => 'late');
    $worker->finish;
    # and is to be started at another port: no other worker for that
    $table->cmd($live{w2}->row =~ s/:\d+ (.*) ready$/:1 $1 failed killed by signal 9/r);
    says('worker', $client, qr/worker w2 of allocation \S+ has failed in the middle of the build: killed by signal 9; run bkctl allocate$/);
}

{
    my ($client, $worker) = begin('rst');
    setsockopt $worker->{socket}, Socket::SOL_SOCKET, Socket::SO_LINGER,
        pack 'll', 1, 0 or die;
    $worker->finish;
    says('rst', $client, $closed);
}

# nginx finds out by writing
{
    my ($client, $worker) = begin('write');
    setsockopt $worker->{socket}, Socket::SOL_SOCKET, Socket::SO_LINGER,
        pack 'll', 1, 0 or die;
    kill STOP => my ($pid) = $nginx->worker_pids;
    $client->data(1, 'x' x 16384) for 1 .. 4;
    $worker->finish;
    kill CONT => $pid;
    says('write', $client, $closed);
}

# no request is open: as it always was
{
    my ($client, $worker) = $live{w1}->connect($cert{rest});
    $worker->finish;
    ok($client->wait_closed(60), 'rest: closed');
    is(status('rest'), 200, 'rest: status');
    is($client->{goaway}, undef, 'rest: without a word');
}
# requests that have ended, one way or another
my %ends = (
    done => sub { $_[1]->finish_stream(1) },
    stopped => sub { $_[1]->frame(3, 0, 1, "\0\0\0\0") },
    cancelled => sub {
        $_[0]->frame(3, 0, 1, "\0\0\0\x08");
        $_[1]->until(sub { $_[0]->seen(3) });
    },
);
for my $name (sort keys %ends) {
    my ($client, $worker) = $live{w1}->connect($cert{$name});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    $ends{$name}->($client, $worker);
    $worker->finish;
    ok($client->wait_closed(60), "$name: closed");
    is(status($name), 200, "$name: status");
}

unlike($nginx->log, qr/\[(crit|alert)\]/, 'nothing critical is logged');
