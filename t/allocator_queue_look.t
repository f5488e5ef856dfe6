#!/usr/bin/perl

# Who holds on at a gateway or watches keeps a place in the queue if he waits
# for something: a look (buildx ls) and an operator's watch extend nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Queue;
use Report;
use Test::Buildkit;

plan tests => 8;

my $t = Test::Buildkit->new;
my %ops = (ops => 'yes');
my $host = start($t, rules(<<'END'), workers => 1,
    - name: ops
      match: [{claim: ops, values: ["yes"]}]
      verbs: [list]
END
    # all of them come, and are held or watched, within that
    options => 'queueLease: 20s');
my ($has, $build, $look, $watched, $own) = map { allocate_as($t, $_, {})
    ->{json} } qw(zoe ann bob cat dan);
is $has->{state}, 'ready', 'one has the worker';

report_make($t->dir . '/reports', words => [2], sessions => [
    { worker => '', phase => 'held', kind => 'other',
      allocation => $build->{id} },
    { worker => '', phase => 'held', kind => 'look',
      allocation => $look->{id} }]);
my $ops = watch_as($t, 'ops', $watched->{id}, \%ops);
is line($ops)->{state}, 'queued', 'an operator looks on';
my $mine = watch_as($t, 'dan', $own->{id});
is line($mine)->{state}, 'queued', 'an owner does';

$t->wait_for(sub { state($look) eq 'released'
    && state($watched) eq 'released' }, 60, 'the lease to end');
pass 'neither a look nor an operator keeps a place';
my $line = line($ops);
# its place may change before that
$line = line($ops) while $line && $line->{state} eq 'queued';
is $line->{state}, 'released', '... who is told so';
is state($build), 'queued', 'who waits for a worker does';
is state($own), 'queued', 'and who watches his own';
is state($has), 'ready', 'and nothing happened to the first one';
$host->stop;


# from the list: a lookup would show interest
sub state {
    return (grep { $_->{id} eq $_[0]{id} }
        @{$host->request(GET => '/api/v1/allocations')->{json}})[0]{state};
}
