#!/usr/bin/perl

# Jobs of a fork may have the very name of trusted ones: GitHub gives a
# pull_request_target the subject of the base branch.  What a rule calls
# untrusted is not handed, and does not end, what trusted ones have.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Test::Buildkit;

plan tests => 10;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
    . join '', map { "      - {name: w$_, endpoint: \"127.0.0.1:700$_\", "
    . "tlsName: localhost}\n" } 1 .. 4);
my $h = Access::host($t, <<'E', plugins => <<'P');
access:
  rules:
    - {name: forks, match: [{claim: event, values: [fork]}], untrusted: true}
    - {name: main, match: [{claim: event, values: [push]}]}
E
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
  - {name: allocator}
  - {name: who}
P

sub as {
    my ($event, @request) = @_;
    return Access::as($t, Access::token('now', 'ann', { event => $event }),
        @request);
}

sub allocate {
    my ($event, $key) = @_;
    return as($event, POST => '/api/v1/workers/allocate',
        { poolName => 'demo', idempotencyKey => $key });
}

my $main = allocate(push => 'run-1');
is($main->{status}, 200, 'a trusted job');
is(allocate(push => 'run-1')->{json}{id}, $main->{json}{id}, 'and again');
my $fork = allocate(fork => 'run-1');
is("$fork->{status} $fork->{json}{reason}", '409 Duplicate',
    'its key gives a fork nothing');
is($fork->{json}{token}, undef, 'no token');
my $own = allocate(fork => 'run-2');
is($own->{status}, 200, 'it gets one of its own');

my $path = "/api/v1/allocations/$main->{json}{id}";
is(as(fork => GET => $path)->{status}, 404, 'what trusted ones have');
is(as(fork => POST => "$path/release")->{status}, 404, 'is not released');
is(as(fork => DELETE => $path)->{status}, 404, 'nor revoked');
is(as(fork => DELETE => "/api/v1/allocations/$own->{json}{id}")->{status},
    200, 'but its own is');
is(as(push => GET => $path)->{json}{state}, 'ready', 'the trusted one lives');
