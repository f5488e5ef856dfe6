#!/usr/bin/perl

# A queued allocation's client connects at once: the gateway holds it, which
# keeps its place beyond the lease, and lets it through when its turn comes.
# One whose client does not come is let go.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use MIME::Base64 qw(decode_base64);
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 13;

my $t = Test::Buildkit->new;
my $lease = 4;
my ($host, $nginx) = $t->gateway(workers => 1,
    allocator => "queueLease: ${lease}s",
    nginx => { stream => "buildkit_report %%DIR%%/reports;\n" });

my $one = $t->allocate('one');
is($one->{run}{rc}, 0, 'the only worker is taken') or diag $one->{run}{err};

# as long as its client is on its way somebody else shows interest
my $held = queued('held');
my $watch = IO::Socket::UNIX->new(Peer => $host->api) or die "watch: $!";
syswrite $watch, "GET /api/v1/allocations/$held->{id}?watch=1 HTTP/1.1\r\n"
    . "Host: localhost\r\n\r\n";
$watch->blocking(0);
my $seen = '';
$t->wait_for(sub { sysread $watch, $seen, 4096, length $seen;
    $seen =~ /"queued"/ }, 30, 'the watch');
my $left = queued('left');
is("$held->{state} $held->{position}", 'queued 1', 'queued, with certificate');
is("$left->{state} $left->{position}", 'queued 2', 'another one after it');

my $client = $t->start('client', { env => { HOME => $t->dir } },
    $t->lab('buildctl'), '--addr', 'tcp://localhost:' . $t->port('gw'),
    map({ ("--tls$_", $t->dir . "/held-$_.pem") } qw(cacert cert key)),
    $t->dockerfile_args($t->context('app')));
$t->wait_for(sub { phase($held) eq 'held' }, 60, 'the gateway to hold it');
pass('its client is held');
close $watch;

my $began = time;
$t->wait_for(sub { one($left)->{state} eq 'released' }, 30, 'the lease');
is(one($left)->{reason}, 'nobody waited for it any more',
    'whose client does not come is let go');
$t->wait_for(sub { time - $began > 2 * $lease }, 30, 'two leases');
is(one($held)->{state}, 'queued', 'the held one keeps its place');
is(phase($held), 'held', '... and is held');
ok($t->alive($client), '... without an error');

is($t->bkctl('release', $one->{file})->{rc}, 0, 'the worker is given back');
$t->wait_for(sub { !$t->alive($client) }, 60, 'the client to be through');
is($client->{status}, 0, 'its build succeeds')
    or diag $t->read($client->{log});
my $r = $host->request(GET => "/api/v1/allocations/$held->{id}");
is($r->{json}{state}, 'ready', 'it has the worker');
is_deeply([map { $_->{what} } @{$r->{json}{history}}], [qw(made placed)],
    'its history');
unlike($host->log . $t->read($nginx->{log} // '/dev/null'),
    qr/\Q$held->{token}\E/, 'no token is in the log');


# An allocation that does not wait, with its files.
sub queued {
    my ($name) = @_;

    my $r = $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' })->{json};
    $t->write("$name-$_->[0].pem", decode_base64($r->{$_->[1]}))
        for ['cacert', 'caCert'], ['cert', 'clientCert'], ['key', 'clientKey'];

    return $r;
}

# from the list: to look at its page would show interest
sub one {
    return (grep { $_->{id} eq $_[0]{id} }
        @{$host->request(GET => '/api/v1/allocations')->{json}})[0] // {};
}

sub phase {
    return ($host->request(GET => "/api/v1/sessions?allocation=$_[0]{id}")
        ->{json}[0] // {})->{phase} // '';
}
