# Expiry: by the clock when the writer of the table is dead, later when it was
# renewed, with a warning before; draining and a lost table change nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;
use Test::Buildkit::Live;
use Time::HiRes qw(time);

plan tests => 17;

my $t = Test::Buildkit->new;
mkdir $t->dir . '/reports' or die;

my $live = Test::Buildkit::Live->new($t, 'w1');
# others of these take the place of one that nginx, or we, came too late for
my @renewed = map { "renewed$_" } 1 .. 5;
my @kept = map { "kept$_" } 1 .. 3;
my @short = map { "short$_" } 1 .. 5;
my @names = ('draining', @renewed, @kept, @short);
my %token = map { $_ => $t->token } @names;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } @names;
my $table = $t->table({ name => 'writer' }, 'pool default/demo', $live->row,
    map { "alloc token:$token{$_} default/demo w1 ready 0" } @names);
my $nginx = $t->nginx($t->gateway_conf(server => "buildkit_grace 200ms;\n",
    stream => "buildkit_report %%DIR%%/reports;\n"));

my %client;
connected($_) for 'draining', @kept;

sub connected {
    my ($name) = @_;

    my ($client, $worker) = $live->connect($cert{$name});
    $client->request(1);
    $worker->until(sub { $worker->seen(1, 1) });
    $client{$name} = [$client, $worker];

    return;
}

# from now on it has so many milliseconds, and nginx has seen that, or cut it;
# returns when it ends
sub lives {
    my ($name, $ms) = @_;

    my $end = int(1000 * time) + $ms;
    my $id = $t->id($token{$name});
    $table->cmd("alloc token:$token{$name} default/demo w1 ready $end");
    $t->wait_for(sub {
        $nginx->log =~ /cut: code \d+, allocation $id/
            || grep { $_->{allocation} eq $id && $_->{expires_ms} == $end }
            map { @{$_->{sessions} // []} } map { report_read($_) // () }
            report_files($t);
    }, 30, "nginx to see when $name ends");

    return $end;
}

# does a byte still get to the other side?
sub alive {
    my ($name, $text) = @_;

    my ($client, $worker) = @{$client{$name}};
    $worker->data(1, $text);

    return $client->until(sub { $client->body(1) =~ /\Q$text\E$/ });
}

# renewed long enough before it would be warned of: a tenth
my ($renewed, $old);
for (@renewed) {
    $renewed = $_;
    connected($renewed);
    $old = lives($renewed, 5000);
    $table->cmd("alloc token:$token{$renewed} default/demo w1 ready +1000000");
    last if 1000 * time < $old - 1000;
}
$table->cmd("alloc token:$token{draining} default/demo w1 draining 0 worker"
    . ' is taken out of service');

# a tenth before its end, and then at its end: of another one, if nginx stood
# still just then
my ($short, $id, $end);
for (@short) {
    ($short, $id) = ($_, $t->id($token{$_}));
    connected($short);
    $end = lives($short, 6000);
    $t->wait_for(sub { $nginx->log =~ /allocation $id expires in|cut: .* $id/ },
        30, "word of $short");
    last if $nginx->log =~ /allocation $id expires in/;
}
like($nginx->log, qr/\[warn\].*buildkit: allocation $id/,
    'a warning comes before the expiry');
like($nginx->log, qr/allocation $id expires in 1s and has a live connection, which will be cut/,
    'and says how long before');

# a change that is none of its expiry
$table->cmd("alloc token:$token{$short} default/demo w1 draining $end");

my ($got, $text) = $client{$short}[0]->said(1);
is($got, 16, 'short: code');
like($text, qr/ expired at \S+Z \(\d+s ago\); run bkctl allocate$/,
    'short: text');
is((() = $nginx->log =~ /$id expires in/g), 1, 'one warning');

$t->wait_for(sub { 1000 * time > $old }, 10, 'its old expiry to pass');
ok(alive($renewed, 'after it'), 'renewed: goes on');
unlike($nginx->log, qr/allocation @{[$t->id($token{$renewed})]}/,
    'renewed: without a warning');
ok(alive('draining', 'on and on'), 'draining: goes on');

# no writer, then no table: what is known counts
lives(@$_) for [$kept[2], 60_000], [$kept[1], 20_000], [$kept[0], 7000];
$t->stop($table, 'KILL');
my $kept;
for (@kept) {
    next if !alive($_, 'no writer');
    $kept = $_;
    last;
}
ok($kept, 'no writer: goes on');
$kept //= $kept[-1];
unlink $t->dir . '/buildkit.table' or die;
$t->wait_for(sub {
    $t->grpc($cert{$renewed}, seconds => 5)->{streams}{1}{message};
}, 20, 'the table to be missed');
ok(alive($renewed, 'no table'), 'no table: goes on');

($got, $text) = $client{$kept}[0]->said(1, 90);
is($got, 16, 'but no longer than it may');
like($text, qr/ expired at /, 'and the client is told');
ok($client{$kept}[1]->wait_closed(30), 'the worker is let go');

# a table that is broken, and one that is another
$t->write('buildkit.table', 'x' x 100_000);
ok(!$client{$renewed}[0]->until(sub { $client{$renewed}[0]->seen(1) }, 0.5),
    'a broken table: goes on');
unlink $t->dir . '/buildkit.table';
$table = $t->table({ name => 'next' }, 'pool default/demo', $live->row,
    "alloc token:$token{$renewed} default/demo w1 ready 0");
is(($client{draining}[0]->said(1))[0], 9, 'the next table does not know one');
ok(alive($renewed, 'next table'), 'and the other goes on');
$table->cmd("end token:$token{$renewed} released");
is(($client{$renewed}[0]->said(1))[0], 16, 'until its end');
