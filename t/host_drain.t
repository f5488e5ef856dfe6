#!/usr/bin/perl

# A drained worker and the death of plugin-host: it stays drained, its builds
# stay routed, whatever was lost.  And what the process plugin makes of it: a
# worker that nobody needs is stopped at once, one that starts is given up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use JSON ();
use Test::Buildkit;

plan tests => 30;

my ($t, $a) = Test::Buildkit->new;

# the allocator comes before the workers, and after them
my $static = static_pool($t, 2);
for (['{name: allocator}', $static], [$static, '{name: allocator}']) {
    my $how = $_->[0] eq $static ? 'workers first' : 'allocator first';
    my $host = $t->host(conf($_));
    my $a = allocate($host)->{json};
    drain($host, $a->{workerName}, reason => 'disk');

    for my $lost (0, 1) {
        $host->kill('KILL');
        $host->stop;
        unlink $t->dir . '/buildkit.table' if $lost;
        my $what = $how . ($lost ? ', table lost' : '');
        is route($a)->{state}, 'draining', "$how: the table says it"
            if !$lost;

        $host->restart;
        is route($a)->{state}, 'draining', "$what: it drains";
        is route($a)->{reason}, "worker $a->{workerName} is drained: disk",
            "$what: and says why";
        ok worker($host, $a->{workerName})->{drained}, "$what: the worker too";
    }

    my $b = allocate($host);
    isnt $b->{json}{workerName}, $a->{workerName}, "$how: not given out";
    is allocate($host)->{json}{state}, 'queued', "$how: not at all";

    drain($host, $a->{workerName}, undo => JSON::true);
    $host->stop;
    $host->restart;
    is route($a)->{state}, 'ready', "$how: taken back is taken back";
    $host->stop;
    system 'rm', '-rf', $t->dir . '/state', $t->dir . '/buildkit.table';
}

# process: one that starts is given up for another one
$t->write('mode-w1', "mute\n");
$t->write('mode-w2', "ok\n");
my $host = $t->host(conf(['{name: allocator}', fake_pool($t, each => 1,
    options => { workers => 2, startTimeout => '60s' })]));
my $asked = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$t->wait_for(sub { worker($host, 'w1')->{state} eq 'starting' }, 15, 'a start');
drain($host, 'w1', reason => 'slow');
answers(60, $asked);
is $asked->{json}{workerName}, 'w2', 'who waits for it gets another one';
$t->wait_for(sub { worker($host, 'w1')->{state} eq 'stopped' }, 15,
    'w1 to stop');
is worker($host, 'w1')->{message}, 'drained: slow', 'it is stopped, drained';

# ... one in use goes on, and goes when it is not (idle: 10 minutes)
drain($host, 'w2', reason => 'x');
is worker($host, 'w2')->{state}, 'draining', 'one that is in use drains';
my $r = $host->request(POST => '/api/v1/pools/demo/wake', {});
is "$r->{status} $r->{json}{reason}", '503 NoCapacity', 'neither is woken';
release($host, $asked->{json});
$t->wait_for(sub { worker($host, 'w2')->{state} eq 'stopped' }, 15,
    'w2 to stop');
pass 'then it is stopped at once';

# ... an idle one at once; found running by the next plugin-host as well
$t->write('mode-w1', "ok\n");
drain($host, 'w1', undo => JSON::true);
$a = allocate($host, wait => '60s')->{json};
is $a->{workerName}, 'w1', 'taken back, it is started';
release($host, $a);
is worker($host, 'w1')->{state}, 'ready', 'idle';
drain($host, 'w1');
$t->wait_for(sub { worker($host, 'w1')->{state} eq 'stopped' }, 15,
    'w1 to stop');
pass 'an idle one is stopped at once';

drain($host, 'w1', undo => JSON::true);
$a = allocate($host, wait => '60s')->{json};
drain($host, 'w1');
$host->kill('KILL');
$host->restart;
is worker($host, 'w1')->{state}, 'draining', 'after a restart: it drains';
release($host, $a);
$t->wait_for(sub { worker($host, 'w1')->{state} eq 'stopped' }, 15,
    'w1 to stop');
pass 'and is stopped at the end';
$host->stop;


sub allocate {
    my ($h, %body) = @_;
    return $h->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0', %body });
}

sub drain {
    my ($h, $name, %body) = @_;
    return $h->request(POST => "/api/v1/workers/$name/drain", \%body);
}

sub release {
    return $_[0]->request(POST => '/api/v1/workers/release',
        { token => $_[1]{token} });
}

sub worker {
    my ($h, $name) = @_;
    return (grep { $_->{name} eq $name }
        @{$h->request(GET => '/api/v1/workers')->{json}})[0];
}

sub route {
    my $r = $t->run($t->build . '/bkctl', 'routes', '--json', '--table',
        $t->dir . '/buildkit.table');
    return (grep { $_->{id} eq $_[0]{id} }
        @{JSON::decode_json($r->{out})->{routes}})[0] // {};
}
