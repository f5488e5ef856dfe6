#!/usr/bin/perl

# bkctl revoke: how many connections it cut, at a real gateway; those that a
# gateway did not cut; a caller who does not wait for the answer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::SSL;
use JSON;
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 39;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_POOL)),
    BKCTL_ENDPOINT => "unix:$dir/api.sock", NO_COLOR => 1);

# how long plugin-host waits for the gateways
my $WAIT = 2;

# those with a number: for what was not done in time
my @names = ('a' .. 'g', map { ("b$_", "c$_", "e$_") } 2 .. 5);
my %token = map { $_ => $t->token } @names;
my %id = map { $_ => $t->id($token{$_}) } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my %open;
my $port = $t->worker('w1');
$t->write('static.yaml', <<"END" . join '', map { <<"ROW" } @names);
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:$port", tlsName: w1.workers.buildkit.internal}
allocations:
END
  - {token: "$token{$_}", pool: default/demo, worker: w1, expires: "2099-01-01T00:00:00Z"}
ROW
my $host = $t->host(<<'END');
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
plugins:
  - {name: allocator}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
my $nginx = $t->nginx($t->gateway_conf(
    stream => "    buildkit_report %%DIR%%/reports;\n"), workers => 2);

# nobody is connected
my $got = revoke($id{a}, 'key leaked');
is("$got->{rc} $got->{out}", "0 revoked $id{a}: 0 connections cut\n", 'nobody');
is(revoke($id{a}, 'again')->{out}, $got->{out}, 'twice is once');
like(one($id{a})->{reason}, qr/^key leaked$/, '... with the first reason');

# one that is only told so is no connection to cut
my $told = $t->grpc($cert{a}, keep => 1);
like($told->{streams}{1}{message}, qr/was revoked/, 'a new one is refused');
$t->wait_for(sub { grep { $_->{phase} eq 'refused' }
    @{$host->request(GET => "/api/v1/sessions?allocation=$id{a}")->{json}} },
    15, 'its report');
is(revoke($id{a}, 'again')->{err}, '', '... and not counted');

# one, and several at two nginx processes; nobody else's
connected('c', 5);
($got, my $one) = cut('b', 1);
is($got->{out}, "revoked $id{$one}: 1 connection cut\n", 'one');
ok(over($open{$one}[0]), '... is closed');
is_deeply([@{lookup('c', '?connections=1')}{qw(live held workerState)}],
    [5, 0, 'ready'], 'lookup counts them');
ok(!exists lookup('c', '')->{live}, '... where it is asked to');
($got, $one) = cut('c', 5, '--json');
is_deeply(decode_json($got->{out}), { id => $id{$one}, state => 'revoked',
    reason => 'x', connectionsCut => 5, connectionsLeft => 0 },
    'five, as JSON');
is(scalar(grep { over($_) } @{$open{$one}}), 5, '... are closed');

# a gateway that does not get around to it
my @d = connected('d', 2);
my @waits = ('e', map { "e$_" } 2 .. 5);
connected($_, 1) for @waits;
kill STOP => $nginx->worker_pids;
$got = revoke($id{d}, 'x');
is($got->{rc}, 0, 'a gateway that stands still: revoked all the same');
is($got->{out}, "revoked $id{d}: 0 connections cut\n", '... none cut');
is($got->{err}, "bkctl: warning: 2 connections are not cut so far; look again:"
    . " bkctl sessions --allocation $id{d}\n", '... which is said');
is(one($id{d})->{state}, 'revoked', '... it has ended');

# who does not wait, unless it was killed too late for that; plugin-host goes
# on, and serves others meanwhile
my ($proc, $said, @e);
for my $name (@waits) {
    my $began = time;
    $proc = $t->start("gone-$name", { env => \%env }, $t->build . '/bkctl',
        'revoke', $id{$name}, '--reason', 'x');
    $t->wait_for(sub { one($id{$name})->{state} eq 'revoked' }, 60,
        'the end of it');
    kill KILL => $proc->{pid};
    $t->wait_for(sub { !$t->alive($proc) }, 60, 'bkctl to be gone');
    push @e, $name;
    $said = $t->read("gone-$name.log");
    last if $said eq '' || time - $began < $WAIT;
}
is($said, '', 'a caller who goes away while it waits');
is(one($id{$e[-1]})->{state}, 'revoked', '... plugin-host does not mind');
kill CONT => $nginx->worker_pids;
is(scalar(grep { over($_) } @d, map { @{$open{$_}} } @e), 2 + @e,
    'the gateway comes around: all closed');
delete @open{@waits};

# plugin-host is stopped while one waits: it gets its answer
my @f = connected('f', 1);
kill STOP => $nginx->worker_pids;
$proc = $t->start('stopped', { env => \%env }, $t->build . '/bkctl',
    'revoke', $id{f}, '--reason', 'x');
$t->wait_for(sub { one($id{f})->{state} eq 'revoked' }, 60, 'the end of it');
is($host->stop, 0, 'plugin-host stops with a revocation under way');
$t->wait_for(sub { !$t->alive($proc) }, 60, 'the answer');
is($proc->{status}, 0, '... which is answered');
like($t->read('stopped.log'), qr/1 connection is not cut so far/, '... truly');
kill CONT => $nginx->worker_pids;
ok(over($f[0]), 'the gateway needs no plugin-host for it');

# what cannot be revoked; the token is not repeated
$host->restart;
for ([['zz'], 2, qr/"zz" is no allocation's id/],
     [[$token{g}], 2, qr/this is no allocation's id/],
     [['0' x 12], 1, qr/there is no such allocation/],
     [[$id{g}, $id{a}], 2, qr/does not take "$id{a}"/],
     [[$id{g}, '--reason', "\xff"], 2, qr/not valid UTF-8/],
     [[$id{g}, '--reason', 'r' x 184], 1, qr/at most 183|183 are allowed/]) {
    my ($args, $rc, $text) = @$_;
    $got = $t->run({ env => \%env }, $t->build . '/bkctl', 'revoke', @$args,
        @$args > 1 && $args->[1] eq '--reason' ? () : ('--reason', 'x'));
    is($got->{rc}, $rc, "exit $rc");
    like($got->{err}, $text, '... and why');
}
is($t->run({ env => \%env }, $t->build . '/bkctl', 'revoke', $id{g})->{rc}, 2,
    'no reason: exit 2');
unlike($got->{err}, qr/\Q$token{g}\E/, 'no token in any of it');
is(one($id{g})->{state}, 'ready', 'nothing was revoked');
$host->stop;

# an API of the version before
unlink "$dir/api.sock";
$t->write('rules', encode_json([{ on => 'DELETE', json => { id => $id{g},
    state => 'revoked', reason => 'x' } }]));
$t->start('fake', {}, "$FindBin::Bin/lib/fake_api", "$dir/api.sock",
    "$dir/rules", "$dir/req");
$t->wait_for(sub { IO::Socket::UNIX->new(Peer => "$dir/api.sock") }, 60,
    'the API');
$got = revoke($id{g}, 'x');
is("$got->{rc} $got->{out}$got->{err}", "0 revoked $id{g}\n",
    'an older API does not say');
like($t->read('req'), qr/reason=x/, '... and is asked as ever');


sub revoke {
    my ($id, $reason, @more) = @_;

    return $t->run({ env => \%env }, $t->build . '/bkctl', 'revoke', $id,
        '--reason', $reason, @more);
}

# live ones, as the reports say
sub connected {
    my ($name, $n) = @_;

    return @{$open{$name}} if $open{$name};

    my @all = map {
        my $socket = $t->tls($cert{$name});
        print $socket "hello\n";
        $socket;
    } 1 .. $n;
    $t->wait_for(sub {
        my $r = $host->request(GET => "/api/v1/sessions?allocation=$id{$name}");
        $n == grep { $_->{phase} eq 'live' } @{$r->{json}};
    }, 60, "$n connections");
    $open{$name} = \@all;

    return @all;
}

# revokes one with so many connections, and another one where plugin-host may
# have waited in vain: what was said, and which it was
sub cut {
    my ($name, $n, @how) = @_;

    for my $try ($name, map { "$name$_" } 2 .. 5) {
        connected($try, $n);
        my $began = time;
        my $said = revoke($id{$try}, 'x', @how);
        return ($said, $try) if time - $began < $WAIT;
    }

    die "never within $WAIT s\n";
}

# closed by the gateway, sooner or later
sub over {
    my ($socket) = @_;

    my $closed;
    $socket->blocking(0);
    eval { $t->wait_for(sub {
        my $n = sysread $socket, my $text, 65536;
        $closed = defined $n ? $n == 0 : $SSL_ERROR != SSL_WANT_READ;
    }, 60, 'the close') };

    return $closed;
}

sub lookup {
    my ($name, $query) = @_;

    return $host->request(POST => "/api/v1/workers/lookup$query",
        { token => $token{$name} })->{json};
}

sub one { return $host->request(GET => "/api/v1/allocations/$_[0]")->{json} }
