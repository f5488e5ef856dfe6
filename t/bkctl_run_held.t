#!/usr/bin/perl

# bkctl run while its connection waits: which lines it writes for which
# answers of the API, how often it asks, and that an API that does not help
# changes nothing.  With real builds: e2e_bkctl_told.t.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

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

# name, answers to lookup (the last one for ever), how many are asked for,
# what is written on stderr (the time left out), exit status of the command
my @cases = (
    ['nothing to say', [{ %w1 }], 3, '', 0],
    ['a connection that is on its way', [{ %w1, held => 1 },
        { %w1, live => 1 }], 2, '', 0],
    ['a worker that does not answer', [{ %w1, held => 1 }, { %w1, held => 1 },
        { %w1, live => 1 }], 3, "bkctl: waiting for worker w1: it does not"
        . " answer (T)\nbkctl: worker w1 is there after T\n", 0],
    ['one that starts', [{ %starting, held => 1 }, { %starting, held => 2,
        workerMessage => "pulling\nit" }, { %starting, held => 1,
        workerMessage => "pulling\nit" }, { %w1, live => 1 }], 4,
        "bkctl: waiting for worker w1: starting (T)\nbkctl: waiting for worker"
        . " w1: starting: pulling?it (T)\nbkctl: worker w1 is there after T\n",
        0],
    ['held, and given up', [{ %starting, held => 1 }, { %starting }], 2,
        "bkctl: waiting for worker w1: starting (T)\n", 0],
    ['not held: not said', [{ %starting }, { %w1 }], 3, '', 0],
    ['an older API', [{ workerName => 'w1', state => 'ready' }], 2, '', 1],
    ['no JSON', [undef], 1, '', 1],
    ['drained, and good', [{ %w1, state => 'draining', reason => 'x' }], 1,
        '', 0],
    ['drained, and bad', [{ %w1, state => 'draining', reason => "a\e[31m" }],
        1, "bkctl: allocation $id takes no new connections: a?[31m\n", 7],
    ['ended, and good', [[410, "allocation $id was revoked"]], 1, '', 0],
    ['ended, and bad', [[410, "allocation $id was revoked"]], 1,
        "bkctl: allocation $id was revoked\n", 7],
);

for (@cases) {
    my ($name, $answers, $asked, $says, $rc) = @$_;

    unlink "$dir/req", "$dir/go", "$dir/api.sock", "$dir/run.log";
    my $n = 0;
    $t->write('rules', encode_json([
        { on => 'allocate', json => { token => $token, %w1 } },
        { on => 'release', json => {} },
        map { rule($_, ++$n < @$answers) } @$answers]));
    my $api = $t->start('fake', {}, "$FindBin::Bin/lib/fake_api",
        "$dir/api.sock", "$dir/rules", "$dir/req");
    $t->wait_for(sub { -S "$dir/api.sock" }, 10, 'the API');

    my $proc = $t->start('run', { env => \%env }, $t->build . '/bkctl',
        'run', '--', 'sh', '-c', 'while [ ! -e $DIR/go ]; do sleep 0.05; done;'
        . " exit $rc");
    $t->wait_for(sub { $asked <= looks() }, 20, 'the looks');
    # what it says to the last one
    $t->wait_for(sub { stripped() eq $says || $rc }, 5, 'its words');
    $t->write('go', '');
    $t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
    is($proc->{status}, $rc, "$name: exit status");
    is(stripped(), $says, '... what is said');
    $t->stop($api);
}

# one that ended is not asked about again; a command that is over at once
# asks nobody
like($t->read('req'), qr/lookup.*lookup/s, 'once while it runs, once at the end');
is(looks(), 2, '... no more');
unlink "$dir/api.sock", "$dir/req";
$t->start('fake', {}, "$FindBin::Bin/lib/fake_api", "$dir/api.sock",
    "$dir/rules", "$dir/req");
$t->wait_for(sub { -S "$dir/api.sock" }, 10, 'the API');
$t->run({ env => \%env }, $t->build . '/bkctl', 'run', '--', 'true');
is(looks(), 0, 'a quick command costs nothing');


sub rule {
    my ($answer, $once) = @_;

    return { on => 'lookup', ($once ? (times => 1) : ()),
        ref $answer eq 'ARRAY' ? (status => $answer->[0],
            json => { error => $answer->[1], reason => 'AllocationEnded' })
        : $answer ? (json => $answer) : (body => '<html>') };
}

sub looks { return scalar(() = ($t->read('req') // '') =~ /lookup/g) }

sub stripped {
    return ($t->read('run.log') // '') =~ s/\b\d+s\b/T/gr;
}
