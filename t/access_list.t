#!/usr/bin/perl

# What a caller sees: what a rule lets him list, and what is his own.  The
# rest is not there: 404, as if it did not exist, and never 403.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Report;
use Test::Buildkit;

plan tests => 44;

my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E');
reports: "%%DIR%%/reports"
access:
  rules:
    - {name: ci, match: [{claim: ci, values: ["one"]}], pools: [default/one]}
    - {name: ops, match: [{claim: ops, values: ["two"]}], pools: [default/two], verbs: [list]}
    - {name: all, match: [{claim: ops, values: ["all"]}], verbs: [list]}
    - {name: lead, match: [{claim: ops, values: [lead]}], pools: ["default/*"], verbs: [list, admin]}
    - {name: chief, match: [{claim: ops, values: [chief]}], verbs: [admin]}
E

# the plugin puts an allocation of who:ann into one, and one of nobody's into
# two
my ($anns, $other) = ('1' x 12, '2' x 12);

sub get {
    my ($user, $claims, $path) = @_;
    return Access::as($t, Access::token('now', $user, $claims),
        GET => "/api/v1/$path");
}

sub names { [map { $_->{$_[1]} } @{$_[0]{json}}] }

my %one = (ci => 'one');

# ann may get workers in one: she sees the pool, and what is hers
is_deeply(names(get(ann => \%one, 'pools'), 'name'), ['default/one'],
    'the pools that one may use');
is_deeply(get(ann => \%one, 'workers')->{json}, [], 'not their workers');
is_deeply(names(get(ann => \%one, 'allocations'), 'id'), [$anns],
    'but the allocation of hers');
is(get(ann => \%one, "allocations/$anns")->{json}{owner}, 'who:ann',
    'alone, too');
is(get(ann => \%one, "allocations/$other")->{status}, 404,
    'that of another is not there');

# bob may do the same, and has none
is_deeply(get(bob => \%one, 'allocations')->{json}, [], 'bob has none');
my $hidden = get(bob => \%one, "allocations/$anns");
my $nothing = get(bob => \%one, 'allocations/' . '3' x 12);
is($hidden->{status}, 404, 'the one of ann is not there');
is($hidden->{body}, $nothing->{body}, 'in the words of one that is nowhere');
is(get('ann-x' => \%one, "allocations/$anns")->{status}, 404,
    'a name that begins alike is another');

# by rule
my %two = (ops => 'two');
is_deeply(names(get(eve => \%two, 'pools'), 'name'), ['default/two'],
    'list: the pool');
is_deeply(names(get(eve => \%two, 'workers'), 'pool'), ['default/two'],
    'its workers');
is_deeply(names(get(eve => \%two, 'allocations'), 'id'), [$other],
    'and all of its allocations');
is(get(eve => \%two, "allocations/$other")->{status}, 200, 'each');
is(get(eve => \%two, "allocations/$anns")->{status}, 404,
    'and none of another pool');
is_deeply([sort @{names(get(ann => { %one, %two }, 'allocations'), 'id')}],
    [$anns, $other], 'ann would see hers as well');
is_deeply(names(get(ann => \%two, 'allocations'), 'id'), [$other],
    'but not where no rule gives her one: that of a job of hers is no other\'s');

# a filter by a pool that one does not see is one by a pool that is not there
for my $what (qw(workers allocations sessions)) {
    my $r = get(eve => \%two, "$what?pool=default/one");
    my $none = get(eve => \%two, "$what?pool=default/six");
    is("$r->{status} $r->{json}{reason}", '404 PoolNotFound', "$what: 404");
    is($r->{body} =~ s/one/six/r, $none->{body}, 'as for no pool');
}

my %all = (ops => 'all');
is_deeply([sort @{names(get(eve => \%all, 'allocations'), 'id')}],
    [$anns, $other], 'a rule for all pools');
is_deeply([sort @{names(get(eve => \%all, 'pools'), 'name')}],
    ['default/one', 'default/two'], 'has them all');
is(scalar @{$h->request(GET => '/api/v1/allocations')->{json}}, 2,
    'an operator at the socket sees all');
is($h->request(GET => "/api/v1/allocations/$anns")->{status}, 200, 'each');

# connections: those of one's own allocations, or of pools that one may list
my $n = 0;
report_make($t->dir . '/reports', generation => ++$n, pool => $_->[0],
    sessions => [{ worker => 'w1', phase => 'live', kind => 'build',
    allocation => $_->[1] }])
    for ['default/one', $anns], ['default/two', $other];
sub sessions { [sort @{names(get(@_[0, 1], 'sessions' . ($_[2] // '')),
    'allocation')}] }
$t->wait_for(sub { @{sessions(eve => \%all)} == 2 }, 10, 'the reports');
is_deeply(sessions(eve => \%all), [$anns, $other], 'sessions of all pools');
is_deeply(sessions(eve => \%two), [$other], 'of one');
is_deeply(sessions(ann => \%one), [$anns], 'of one\'s own allocation');
is_deeply(sessions(bob => \%one), [], 'of none');
is_deeply(sessions(chief => { ops => 'chief' }), [], 'or for another verb');
is_deeply(sessions(ann => { %one, %two }), [$anns, $other], 'of both');
for ([ann => \%one, $anns], [eve => \%two, $other]) {
    is_deeply(sessions(@$_[0, 1], "?allocation=$_->[2]"), [$_->[2]],
        "$_->[0] asks for it");
}
is_deeply(sessions(ann => \%one, "?allocation=$other"), [],
    'and for another\'s');
is_deeply(sessions(eve => \%two, "?allocation=$anns&worker=w1"), [],
    'or by its worker');
is_deeply(sessions(bob => \%one, '?pool=default/one'), [], 'or by the pool');

# the authorities are of no pool
is(get(ann => \%one, 'ca')->{status}, 403, 'the authorities: not who builds');
is(get(eve => \%two, 'ca')->{status}, 403, 'nor who may list in some pool');
is(get(eve => \%all, 'ca')->{status}, 200, 'but who may list everywhere');
sub retire {
    return Access::as($t, Access::token('now', 'eve', { ops => $_[0] }),
        POST => '/api/v1/ca/retire', {});
}
is(retire('all')->{status}, 403, 'nor are they for him to change');
is(retire('lead')->{status}, 403, 'or for an admin of some pools');
is(retire('chief')->{json}{reason}, 'NothingOld', 'but for one of all');
is($h->stop, 0, 'stops');
