# minWarm of the plugin process: so many workers run from the start, whoever
# uses them, and are there again after one was killed or drained; those beyond
# it are stopped when they are idle.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Test::Buildkit;

plan tests => 15;

my $t = Test::Buildkit->new;
my $yaml = conf([fake_pool($t, each => 1, options => { workers => 4,
    minWarm => 2, idle => '300ms', diskInterval => '200ms' }),
    '{name: allocator}']);
my $host = $t->host($yaml);

sub workers {
    return { map { $_->{name} => $_->{state} }
        @{$host->request(GET => '/api/v1/workers')->{json}} };
}
sub ready {
    my $w = workers();
    return join ' ', grep { $w->{$_} eq 'ready' } sort keys %$w;
}
sub wait_ready {
    my ($want, $what) = @_;

    my $is;
    $t->wait_for(sub { ($is = ready()) eq $want }, 20, "$what: $want");
    is $is, $want, $what;
}

wait_ready('w1 w2', 'two run though nobody asked');

# a third one for somebody, and it goes when it is idle
my @a = map { $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo' })->{json} } 1 .. 3;
is join(' ', sort map { $_->{workerName} } @a), 'w1 w2 w3', 'three are used';
is ready(), 'w1 w2 w3', 'all of them run';
$host->request(POST => '/api/v1/workers/release', { token => $_->{token} })
    for @a;
$t->wait_for(sub { 2 == split ' ', ready() }, 20, 'one to stop');
ok $t->wait_for(sub { 'ready ready stopped stopped'
    eq join ' ', sort values %{workers()} }, 30, 'it to have stopped'),
    'two are stopped, and two stay';

# idle again and again: still two
my @kept = split ' ', ready();
my $stopped = () = $host->log =~ /stopped: idle/g;
$t->wait_for(sub { (my $n = () = $host->log =~
    /GET \/api\/v1\/workers: 200/g) > 60 ? 1 : !workers() }, 20, 'some time');
is join(' ', split ' ', ready()), "@kept", 'the same two';
is scalar(() = $host->log =~ /stopped: idle/g), $stopped, 'nobody was stopped';

# one that is killed; the others make up for it at once
my ($pid) = $t->read($t->dir . "/state/workers/default_demo_$kept[0]/run")
    =~ /(\d+)/;
$t->write("mode-$kept[0]", "exit 3\n");
kill 'KILL', $pid;
$t->wait_for(sub { my $is = ready();
    $is !~ /$kept[0]/ && 2 == split ' ', $is }, 20, 'another one');
pass 'one that fails is replaced';
is workers()->{$kept[1]}, 'ready', 'the other one is not touched';
unlink $t->dir . "/mode-$kept[0]";

# a drained one does not count
my ($drained) = grep { $_ ne $kept[1] } split ' ', ready();
$host->request(POST => "/api/v1/workers/$drained/drain", { reason => 'x' });
$t->wait_for(sub { workers()->{$drained} eq 'stopped'
    && 2 == split ' ', ready() }, 20, 'one in its place');
pass 'one that is drained is replaced';
isnt workers()->{$drained}, 'ready', 'and not started itself';

# plugin-host comes back, its workers are there
my $before = ready();
my $run = $t->dir . "/state/workers/default_demo_$kept[1]/run";
my ($was) = $t->read($run) =~ /(\d+)/;
$host->stop('KILL');
$host->restart;
$t->wait_for(sub { my $is = ready();
    2 <= (() = $is =~ /\w+/g) && $is =~ /\b$kept[1]\b/ }, 30, 'them again');
is +($t->read($run) =~ /(\d+)/)[0], $was,
    "after kill -9 they are there: $before";

# refused
for my $bad ([minWarm => 5], [minWarm => -1], [maxDisk => 101],
    [diskInterval => '10ms'])
{
    my ($key, $value) = @$bad;
    $t->write('bad.yaml', $t->read('host.yaml')
        =~ s/(\b$key: )[^,}]+/$1$value/r
        =~ s/(options: \{)(?!.*\b$key:)/$1$key: $value, /r);
    like $t->run($t->build . '/buildkit-plugin-host', '-t', '-c', $t->dir
        . '/bad.yaml')->{err}, qr/$key/, "$key: not $value";
}
