#!/usr/bin/perl

# A host that is killed at any moment leaves its routes, and the next one
# takes them over; what nobody says again ends only when all facts are in.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;

my $t = Test::Buildkit->new;
my @token = map { $t->token } 1 .. 200;
my %id = map { $_ => $t->id($token[$_]) } 0 .. $#token;

sub static {
    my (@entries) = @_;
    return "pools:\n  - name: default/demo\n    shared: true\n    workers:\n"
        . join('', map { "      - {name: w$_, endpoint: \"127.0.0.1:700$_\", "
            . "tlsName: w$_}\n" } 1 .. 4) . "allocations:\n" . join('', map {
            sprintf "  - {token: %s, pool: default/demo, worker: w%d%s}\n",
                $token[$_], 1 + $_ % 4, $_ % 10 == 9
                    ? ', state: revoked, reason: "key leaked"' : '' }
            @entries);
}

sub routes {
    my $r = $t->run($t->build . '/bkctl', 'routes', '--table',
        $t->dir . '/bk.table', '--json');
    my $json = JSON::decode_json($r->{out} || '{}');
    my $list = $json->{routes} // [];
    return { map { $_->{id} => $_->{state} } @$list };
}

sub api { return { map { $_->{id} => $_->{state} }
    @{$_[0]->request(GET => '/api/v1/allocations')->{json}} } }

my $yaml = <<'E';
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 1000, workers: 10, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
$t->write('static.yaml', static(0 .. 199));
my $h = $t->host($yaml);
my $want = { map { $id{$_} => $_ % 10 == 9 ? 'revoked' : 'ready' } 0 .. 199 };
is_deeply(api($h), $want, '200 allocations');
is_deeply(routes(), $want, 'in the table as well');

# killed while the file changes all the time
for my $round (1 .. 8) {
    $t->write('static.yaml', static(0 .. 199));
    select undef, undef, undef, 0.04 + rand 0.04;   # the moment, not a wait
    $h->kill('KILL');
    $t->wait_for(sub { !$h->alive }, 5, 'its death');
    my $left = routes();
    is_deeply($left, $want, "killed ($round): all routes are there")
        or last;
    $h->restart;
}
is_deeply(api($h), $want, 'and every one was taken over');
like($h->log, qr/taken over, 200 allocations, 4 workers and 1 pools/,
    'as the log says');

# a bad file at the start: what was inherited stays, and is not ready
$h->kill('KILL');
$t->wait_for(sub { !$h->alive }, 5, 'its death');
$t->write('static.yaml', "pools: 7\n");
$h->restart;
is_deeply(api($h), $want, 'a bad file at the start changes nothing');
my $r = $h->request(GET => '/readyz');
is($r->{status}, 503, 'it is not ready');
like($r->{json}{checks}{plugins}{static}, qr/first facts are not in/,
    'and says who is missing');
is($h->request(GET => '/healthz')->{status}, 200, 'but alive');

# the good file is back, without some
$t->write('static.yaml', static(0 .. 99));
$t->wait_for(sub { $h->request(GET => '/readyz')->{status} == 200 }, 10,
    'readiness');
my $now = api($h);
is(scalar(grep { $now->{$id{$_}} eq $want->{$id{$_}} } 0 .. 99), 100,
    'what is listed stays');
is(scalar(grep { $now->{$id{$_}} eq ($_ % 10 == 9 ? 'revoked' : 'released') }
    100 .. 199), 100, 'what is no longer listed has ended');
is_deeply(routes(), $now, 'the table agrees');

# stopped and started: the same
is($h->stop, 0, 'stops');
is_deeply(routes(), $now, 'routes stay after a stop');
$h->restart;
is_deeply(api($h), $now, 'and come back');

# geometry changes: live ones are copied
$h->stop;
my $bigger = $t->host($yaml =~ s/allocations: 1000/allocations: 5000/r,
    name => 'bigger');
my $after = api($bigger);
is(scalar(grep { ($after->{$id{$_}} // '') eq 'ready' }
    grep { $_ % 10 != 9 } 0 .. 99), 90, 'a larger table has the live ones');
$bigger->stop;

done_testing;
