#!/usr/bin/perl

# Stores (plugin ABI 1.4): one plugin has rows, another one keeps them; what
# the host sees to between the two, in whatever order they start and stop.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Access;
use Allocator qw(ask answers);
use Test::Buildkit;

plan tests => 36;

my $t = Test::Buildkit->new;
my $program = Access::program($t, qw(store opener));
my $store = '{name: store, options: {file: "%%DIR%%/kept"}}';
my $late = '{name: store, options: {file: "%%DIR%%/kept", ready: no}}';
my $other = '{name: store, options: {file: "%%DIR%%/other"}}';
my $opener = '{name: opener}';
my $host;
my $runs = 0;

# who is one, and for whom
refused([$opener], qr/no plugin of this configuration keeps allocations/,
    'no store');
refused([$store, $opener, $other], qr/plugins store and store#2 are both/,
    'two stores');
refused([$store, $opener, $opener], qr/the store has the allocations of plugin opener/,
    'one store for two');
start($store, '{name: opener, options: {open: no}}');
is put(1)->{json}{reason}, 'StoreNotReady', 'not opened: nothing is kept';
is look()->{kept}, '', '... nor shown';
is look()->{within}, 0, '... nor answered from within';
$host->stop;
like $host->log, qr/the last one: the store of allocations is not ready/,
    'nor at the end';

# the store is there before, and ready at once
unlink $t->dir . '/kept';
start($store, $opener);
is look()->{ready}, 1, 'ready is heard once';
is put(1)->{status}, 200, 'a row is kept';
is put(2, worker => 'w1')->{status}, 200, '... and another';
is $host->request(POST => '/api/v1/opener/worker?worker=w2')->{status}, 200,
    '... and what is kept of a worker';
is look()->{kept}, '1::1 2:w1:3 w2/disk/2 ', 'all of it is shown';
my $r = put(3, worker => 'w1');
is "$r->{status} $r->{json}{reason}", '409 WorkerTaken', 'its refusal';
is put(4, record => 8192)->{status}, 200, 'a record of 8 KiB';
$r = put(5, record => 8193);
is "$r->{status} $r->{json}{reason}", '400 RecordTooLarge', 'a larger one';

# somebody else writes
is look()->{changed}, 0, 'of its own rows it hears nothing';
control('edit?hash=0101&worker=w9');
$t->wait_for(sub { look()->{changed} == 1 }, 10, 'word of the change');
like look()->{kept}, qr/1:w9:1/, 'of others it does';

# not ready, and answers that come late
my $puts = rows()->{puts};
control('hold');
my @asked = map { ask($host, POST => "/api/v1/opener/put?byte=$_") } 6, 7;
$t->wait_for(sub { rows()->{puts} == $puts + 2 }, 10, 'two to be asked for');
control('unready');
is look()->{unready}, 1, 'not ready is heard';
is look()->{kept}, '', 'nothing is shown meanwhile';
is put(8)->{json}{reason}, 'StoreNotReady', 'nothing is taken meanwhile';
is rows()->{puts}, $puts + 2, '... nor asked of the store';
control('edit?hash=0202&worker=w8');
$t->wait_for(sub { grep { $_->{worker} eq 'w8' } @{rows()->{rows}} }, 10,
    'the store to see it');
is look()->{changed}, 1, 'who has not heard that it is ready hears no more';
control('go');
answers(10, @asked);
is "@{[map { $_->{status} } @asked]}", '200 200',
    'what was under way is answered';
control('ready');
control('ready');
is look()->{ready}, 2, 'and ready again, once';
control('fail?n=1&code=503');
is put(9)->{json}{reason}, 'TestFault', 'its errors come as they are';

# a store that answers from within, and twice
control('twice');
is put(10)->{status}, 200, 'one answer';
is look()->{within}, 0, '... when the call was over';
like $host->log, qr/error store: answered twice/, '... and the log says it';
is $host->stop, 0, 'stops';
like $host->log, qr/the last one: kept.*the store stops/s,
    'the store after whoever needs it';

# the other way around, ready later
start($opener, $late);
is look()->{ready}, 0, 'it is not ready yet';
is put(11)->{json}{reason}, 'StoreNotReady', '... and takes nothing';
control('ready');
is look()->{ready}, 1, 'then it is';
like look()->{kept}, qr/255:last:3/, 'what the last run ended with is there';
is $host->stop, 0, 'stops';
like $host->log, qr/the last one: kept.*the store stops/s,
    'in the same order';


sub conf {
    my (@plugins) = @_;

    return join '', <<'END', map { "  - $_\n" } @plugins;
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
END
}

sub start {
    # each has a log of its own
    $host = $t->host(conf(@_), program => $program, name => 'h' . ++$runs);
    return;
}

sub refused {
    my ($plugins, $text, $name) = @_;

    my $h = $t->host(conf(@$plugins), program => $program, no_wait => 1);
    $t->wait_for(sub { !$h->alive }, 10, 'its end');
    like $h->log, $text, $name;
    return;
}

sub put {
    my ($byte, %more) = @_;

    return $host->request(POST => "/api/v1/opener/put?byte=$byte"
        . join '', map { "&$_=$more{$_}" } sort keys %more);
}

sub look { $host->request(GET => '/api/v1/opener/look')->{json} }
sub rows { $host->request(GET => '/api/v1/store/rows')->{json} }
sub control { $host->request(POST => "/api/v1/store/$_[0]") }
