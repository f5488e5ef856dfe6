#!/usr/bin/perl

# Who is next: priority of the rule, then turns between identities, then
# arrival; and whoever has waited too long before all of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Queue;
use Test::Buildkit;

plan tests => 16;

my $t = Test::Buildkit->new;
my $host = start($t, rules(<<'END'), options => 'agingAfter: 1h');
    - {name: urgent, match: [{claim: urgent, values: ["yes"]}], priority: 10}
    - {name: low, match: [{claim: urgent, values: ["no"]}], priority: -10}
END

my $first = allocate_as($t, 'ann', {});
is $first->{json}{state}, 'ready', 'the only worker is taken';

# ann asks four times, then bob twice, then somebody in a hurry
my @asked = (map({ come('ann') } 1 .. 4), map({ come('bob') } 1 .. 2),
    come('low', { urgent => 'no' }), come('eve', { urgent => 'yes' }));
is_deeply [served($first->{json}{token}, @asked)],
    [qw(eve ann bob ann bob ann ann low)], 'priority, then turns';

# one that comes later has no debt and no credit
$first = allocate_as($t, 'zoe', {});
is $first->{json}{state}, 'ready', 'free again';
@asked = map { come($_) } qw(ann ann ann);
my $next = once($first->{json}{token}, @asked);
push @asked, map { come('bob') } 1 .. 3;
is_deeply [served($next->{json}{token}, grep { $_ != $next } @asked)],
    [qw(bob ann bob ann bob)], 'a late one begins at the present';

# places are told as they are
$first = allocate_as($t, 'zoe', {});
my @low = map { allocate_as($t, "low$_", {}, { urgent => 'no' }) } 1 .. 3;
is_deeply [map { $_->{json}{position} } @low], [1, 2, 3], 'positions';
is_deeply [map { $_->{json}{state} } @low], [('queued') x 3], 'queued';
my $hurry = allocate_as($t, 'eve', {}, { urgent => 'yes' });
is $hurry->{json}{position}, 1, 'a higher priority goes past them';
is lookup_as($t, $low[0]{json}{token})->{json}{position}, 2, '... and they see';
release_as($t, $hurry->{json}{token});
is lookup_as($t, $low[2]{json}{token})->{json}{position}, 3,
    'one that leaves lets them up';
like $low[0]{json}{waitsFor}, qr/^a worker: 1 of 1 allocated$/, 'what for';

# how long it may take, from how often the worker was given back
my @estimates = map { lookup_as($t, $low[$_]{json}{token})->{json}{estimate}
    // 'none' } 0 .. 2;
is scalar(grep { /^[1-9]\d*$/ } @estimates), 3,
    'an estimate in seconds' or diag "@estimates";
like $low[0]{json}{estimate}, qr/^[1-9]\d*$/, '... in the first answer too';
cmp_ok $estimates[2], '>=', $estimates[0], '... which grows with the place';
$host->stop;

# waited too long: first, whatever its priority is
system 'rm', '-rf', $t->dir . '/state', $t->dir . '/buildkit.table';
$host = start($t, rules(<<'END'), options => 'agingAfter: 1s');
    - {name: urgent, match: [{claim: urgent, values: ["yes"]}], priority: 10}
END
allocate_as($t, 'zoe', {});
my $old = allocate_as($t, 'ann', {});
is $old->{json}{estimate}, undef, 'nothing was given back: no estimate';
my $young = allocate_as($t, 'eve', {}, { urgent => 'yes' });
$t->wait_for(sub {
    lookup_as($t, $old->{json}{token})->{json}{position} == 1
}, 10, 'ann to be the first');
pass 'who has waited too long goes first';
is lookup_as($t, $young->{json}{token})->{status}, 200, 'the other one waits';
$host->stop;


# comes, and is in the queue
sub come {
    my ($who, $claims) = @_;

    my $n = queued($host);
    my $r = ask_as($t, $who, {}, $claims);
    $t->wait_for(sub { queued($host) == $n + 1 }, 10, "$who to queue");

    return $r;
}

# gives the worker back, returns who got it
sub once {
    my ($token, @waiting) = @_;

    release_as($t, $token);
    my ($got);
    $t->wait_for(sub {
        answers(0.02, @waiting);
        ($got) = grep { $_->{status} && !$_->{seen} } @waiting;
    }, 10, 'the next one');
    $got->{seen} = 1;

    return $got;
}

sub served {
    my ($token, @waiting) = @_;

    my @order;
    for (1 .. @waiting) {
        my $got = once($token, @waiting);
        push @order, $got->{who};
        $token = $got->{json}{token};
    }
    release_as($t, $token);

    return @order;
}
