#!/usr/bin/perl

# Jobs of a fork may have the very name of trusted ones: GitHub gives a
# pull_request_target the subject of the base branch.  What a rule calls
# untrusted is not handed, does not end, and does not see, what trusted ones
# have.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Report;
use Test::Buildkit;

plan tests => 21;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
    . join '', map { "      - {name: w$_, endpoint: \"127.0.0.1:700$_\", "
    . "tlsName: localhost}\n" } 1 .. 4);
my $h = Access::host($t, <<'E', plugins => <<'P');
reports: "%%DIR%%/reports"
access:
  rules:
    - {name: forks, match: [{claim: event, values: [fork]}], untrusted: true}
    - {name: main, match: [{claim: event, values: [push]}]}
    - {name: old, match: [{claim: event, values: [old]}], verbs: [certs]}
    - {name: wakes, match: [{claim: event, values: [wake]}], verbs: [wake]}
    - {name: ops, match: [{claim: event, values: [ops]}], verbs: [list]}
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

# What each of them sees; the plugin who has two more, one of ann's.
my @two = map { $_->{json}{id} } $main, $own;
my ($anns, $nobodys) = ('1' x 12, '2' x 12);
report_make($t->dir . '/reports', sessions => [map { { worker => 'w1',
    phase => 'live', kind => 'build', allocation => $_ } } @two]);
connections(2);

sub connections {
    my ($n) = @_;
    $t->wait_for(sub { @{as(ops => GET => '/api/v1/sessions')->{json}} == $n },
        10, 'the report to be read');
    return;
}

sub seen {
    my ($name, $event, %sees) = @_;
    my $list = sub { [sort map { $_->{$_[1]} }
        @{as($event, GET => "/api/v1/$_[0]")->{json}}] };
    is_deeply({ list => $list->(allocations => 'id'),
        sessions => $list->(sessions => 'allocation'),
        pages => [map { as($event, GET => "/api/v1/allocations/$_")->{status} }
            @two] },
        { list => [sort grep { $sees{$_} } @two, $anns, $nobodys],
        sessions => [sort grep { $sees{$_} } @two],
        pages => [map { $sees{$_} ? 200 : 404 } @two] }, $name);
    return;
}

my %all = map { $_ => 1 } @two, $anns;
seen('a fork sees its own', fork => $two[1] => 1);
seen('a trusted job all of its name', push => %all);
seen('and so does who gets some by certs', old => %all);
seen('who gets none no trusted ones', wake => $two[1] => 1);
seen('who may list those of others', ops => %all, $nobodys => 1);
is(scalar @{as(fork => GET => '/api/v1/pools')->{json}}, 3, 'a fork: pools');
is(scalar @{as(old => GET => '/api/v1/pools')->{json}}, 3, 'who has certs, too');
$h->restart;
seen('the same after a restart', fork => $two[1] => 1);
seen('for both', push => %all);

my $path = "/api/v1/allocations/$main->{json}{id}";
is(as(fork => GET => $path)->{status}, 404, 'what trusted ones have');
is(as(fork => POST => "$path/release")->{status}, 404, 'is not released');
is(as(fork => DELETE => $path)->{status}, 404, 'nor revoked');
report_make($t->dir . '/reports');
connections(0);
is(as(fork => DELETE => "/api/v1/allocations/$own->{json}{id}")->{status},
    200, 'but its own is');
is_deeply([map { $_->{state} } @{as(fork => GET => '/api/v1/allocations')
    ->{json}}], ['revoked'], 'and it sees that');
is(as(push => GET => $path)->{json}{state}, 'ready', 'the trusted one lives');
is($h->stop, 0, 'stops');
