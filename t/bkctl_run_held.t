#!/usr/bin/perl

# bkctl run while its connection waits: which lines it writes for which
# answers of the API, how often it asks, and that an API that does not help
# changes nothing.  With real builds: e2e_bkctl_told.t.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

plan tests => 27;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN)),
    BKCTL_ENDPOINT => "unix:$dir/api.sock", BKCTL_POOL => 'demo',
    NO_COLOR => 1, DIR => $dir);
my $token = $t->token;
my $id = $t->id($token);
my %w1 = (workerName => 'w1', state => 'ready', workerState => 'ready',
    workerMessage => '', held => 0, live => 0);
my %starting = (%w1, state => 'starting', workerState => 'starting');

# name, answers to lookup (the last one for ever) each with what is written on
# stderr when it has come (the time left out), how many are asked for until the
# next one comes, and whether there are no more of it whatever is said; what is
# written at the end, exit status of the command
my @cases = (
    ['nothing to say', [[{ %w1 }, '', 3]], '', 0],
    ['a connection that is on its way', [[{ %w1, held => 1 }, '', 1, 'once'],
        [{ %w1, live => 1 }, '', 2]], '', 0],
    ['a worker that does not answer', [[{ %w1, held => 1 },
        "bkctl: waiting for worker w1: it does not answer (T)\n", 2],
        [{ %w1, live => 1 }, "bkctl: worker w1 is there after T\n", 1]], '', 0],
    ['one that starts', [[{ %starting, held => 1 },
        "bkctl: waiting for worker w1: starting (T)\n", 1],
        [{ %starting, held => 2, workerMessage => "pulling\nit" },
        "bkctl: waiting for worker w1: starting: pulling?it (T)\n", 2],
        [{ %w1, live => 1 }, "bkctl: worker w1 is there after T\n", 1]], '', 0],
    ['held, and given up', [[{ %starting, held => 1 },
        "bkctl: waiting for worker w1: starting (T)\n", 1],
        [{ %starting }, '', 1]], '', 0],
    ['not held: not said', [[{ %starting }, '', 1], [{ %w1 }, '', 2]], '', 0],
    ['an older API', [[{ workerName => 'w1', state => 'ready' }, '', 2]], '',
        1],
    ['no JSON', [[undef, '', 1]], '', 1],
    ['drained, and good', [[{ %w1, state => 'draining', reason => 'x' }, '',
        1]], '', 0],
    ['drained, and bad', [[{ %w1, state => 'draining', reason => "a\e[31m" },
        '', 1]], "bkctl: allocation $id takes no new connections: a?[31m\n",
        7],
    ['ended, and good', [[[410, "allocation $id was revoked"], '', 1]], '', 0],
    ['ended, and bad', [[[410, "allocation $id was revoked"], '', 1]],
        "bkctl: allocation $id was revoked\n", 7],
);

for (@cases) {
    my ($name, $answers, $end, $rc) = @$_;

    unlink "$dir/req", "$dir/go", "$dir/run.log", glob "$dir/next*";
    my $n = 0;
    my $api = api({ on => 'allocate', json => { token => $token, %w1 } },
        { on => 'release', json => {} },
        map { rule(@$_[0, 3], ++$n < @$answers && "$dir/next$n") } @$answers);

    my $proc = $t->start('run', { env => \%env }, $t->build . '/bkctl',
        'run', '--', 'sh', '-c', 'while [ ! -e $DIR/go ]; do sleep 0.05; done;'
        . " exit $rc");
    my $says = '';
    for my $i (1 .. @$answers) {
        my (undef, $words, $asked) = @{$answers->[$i - 1]};
        my $looks = looks();
        $says .= $words;
        $t->wait_for(sub { $looks + $asked <= looks() }, 20, 'the looks');
        $t->wait_for(sub { stripped() eq $says }, 5, 'its words');
        $t->write("next$i", '');
    }
    $t->write('go', '');
    $t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
    is($proc->{status}, $rc, "$name: exit status");
    is(stripped(), $says . $end, '... what is said');
    $t->stop($api);
}

# one that ended is not asked about again; a command that is over at once
# asks nobody
like($t->read('req'), qr/lookup.*lookup/s, 'once while it runs, once at the end');
is(looks(), 2, '... no more');
unlink "$dir/req";
api(@{decode_json($t->read('rules'))});
my $r = $t->run({ env => \%env }, $t->build . '/bkctl', 'run', '--', 'true');
ok($r->{time} > 1 || looks() == 0, 'a quick command costs nothing');


sub api {
    my (@rules) = @_;

    unlink "$dir/api.sock";
    $t->write('rules', encode_json(\@rules));
    my $proc = $t->start('fake', {}, "$FindBin::Bin/lib/fake_api",
        "$dir/api.sock", "$dir/rules", "$dir/req");
    $t->wait_for(sub { IO::Socket::UNIX->new(Peer => "$dir/api.sock") }, 10,
        'the API');

    return $proc;
}

sub rule {
    my ($answer, $once, $until) = @_;

    return { on => 'lookup', ($once ? (times => 1) : ()),
        ($until ? (until => $until) : ()),
        ref $answer eq 'ARRAY' ? (status => $answer->[0],
            json => { error => $answer->[1], reason => 'AllocationEnded' })
        : $answer ? (json => $answer) : (body => '<html>') };
}

sub looks { return scalar(() = ($t->read('req') // '') =~ /lookup/g) }

# without what is said where an allocation takes a second
sub stripped {
    return ($t->read('run.log') // '') =~ s/\b\d+s\b/T/gr
        =~ s/^(?:waiting for a worker of pool|bkctl: waited) .*\n//mgr;
}
