# A live connection that is cut: in the log and in the counters it is one that
# was routed and then cut, with the reason; a hold before it and the bytes
# each way are kept; one that ends soon is marked.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 34;

my $t = Test::Buildkit->new;
mkdir $t->dir . '/reports' or die;

my @cuts = qw(revoked released failed gone moved);
my @soon = ('soon', map { "soon$_" } 2 .. 5);
my %token = map { $_ => $t->token } @cuts, 'held', @soon;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $table = $t->table('pool default/demo shared', $live->row,
    'worker default/demo w2 127.0.0.1:1 w2.workers.buildkit.internal ready',
    'worker default/demo w3 - - starting',
    (map { "alloc token:$token{$_} default/demo w1 ready 0" } @cuts),
    "alloc token:$token{held} default/demo w3 starting 0");

my $nginx = $t->nginx($t->gateway_conf(
    stream => "buildkit_report %%DIR%%/reports;\n"
        . 'log_format o "$buildkit_outcome $buildkit_kind $buildkit_wait_ms'
        . ' $buildkit_reason";',
    server => "access_log %%DIR%%/access.log o;\n"));
my $file = $t->wait_for(sub { (report_files($t))[0] }, 60, 'the report');

my $lines = 0;
sub line {
    $lines++;
    return $t->wait_for(sub {
        my @l = split /\n/, $t->read('access.log') // '';
        @l >= $lines && $l[$lines - 1];
    }, 60, "line $lines of the access log");
}
sub row { report_read($file)->{pools}{'default/demo'} // {} }
# the one of this allocation: those before it may not be over
sub session {
    my ($name) = @_;
    my $id = $t->id($token{$name});
    my ($s) = grep { $_->{allocation} eq $id }
        @{report_read($file)->{sessions} // []};
    return $s // { phase => '', kind => '', flags => 0 };
}
sub build {
    my ($client, $name) = @_;
    $client->frame(1, 4, 1, $Test::Buildkit::Live::SESSION);
    $t->wait_for(sub { session($name)->{kind} eq 'build' }, 60, 'a build');
}
# a counter, which comes before the line of the log or after it
sub counted {
    my ($code) = @_;
    return ok($t->wait_for($code, 60, $_[1]), $_[1]);
}

# its client has two seconds to go, so it may be over before we look
my $shown = 0;
for my $cut (@cuts) {
    my ($client, $worker) = $live->connect($cert{$cut});
    build($client, $cut);
    my $hash = "token:$token{$cut}";
    $table->cmd($cut eq 'gone' ? "remove $hash"
        : $cut eq 'moved' ? "alloc $hash default/demo w2 ready 0"
        : "end $hash $cut because");
    $t->wait_for(sub {
        my $phase = session($cut)->{phase};
        $shown++ if $phase eq 'cut';
        return $phase eq 'cut' || $phase eq '';
    }, 60, 'the cut');
    counted(sub { !report_read($file)->{live} }, "$cut: not live any more");
    close $client->{socket};
    like(line(), qr/^cut:$cut build 0 allocation .{8}/, "$cut: the log");
    counted(sub { row()->{cut}{$cut} }, "$cut: counted");
    is(row()->{cut}{$cut}, 1, "$cut: once");
}
cmp_ok($shown, '>', 0, 'one that is cut is shown as one until it goes');
my $p = row();
is($p->{routed}, 5, 'all had been routed');
is($p->{accepted}, 5, 'and are accepted once');
my ($up, $down) = @$p{qw(up down)};
ok($up > 5 * 60, 'bytes up');
ok($down >= 5 * 9, 'bytes down');

# a look is one; and one that ends soon is marked in the last tenth of what it
# had when that was known.  That and the two seconds after it may have passed
# before we look: then another one.
my $flags = 0;
for my $name (@soon) {
    my $hash = "token:$token{$name}";
    $table->cmd("alloc $hash default/demo w1 ready +3600000");
    my ($client, $worker) = $live->connect($cert{$name});
    $client->frame(1, 4, 1, $Test::Buildkit::Live::TIMEOUT);
    $t->wait_for(sub { session($name)->{kind} eq 'look' }, 60, 'a look');
    my $s = session($name);
    if ($name eq 'soon') {
        is($s->{allocation}, $t->id($token{soon}), 'a look is listed as one');
        ok($s->{expires_ms} > 1e12, 'with its expiry');
        is($s->{flags}, 0, 'which is not soon');
    }
    $table->cmd("alloc $hash default/demo w1 ready +3000");
    $t->wait_for(sub {
        $s = session($name);
        $flags |= $s->{flags};
        return $s->{phase} eq 'cut' || $s->{phase} eq '';
    }, 60, 'its expiry');
    close $client->{socket};
    my $line = line();
    next if !$flags && $name ne $soon[-1];
    is($flags, 1, 'it was marked as ending soon before');
    like($line, qr/^cut:expired look 0 /, 'expired: the log');
    last;
}

# held, then routed: the hold is measured
my $socket = $t->tls($cert{held}) or die;
$t->wait_for(sub { session('held')->{phase} eq 'held'
    && 1000 * time > session('held')->{phase_ms} + 1000 }, 60,
    'a hold of a while');
$table->cmd("alloc token:$token{held} default/demo w1 ready 0");
my $worker = $live->accept;
$t->wait_for(sub { session('held')->{phase} eq 'live' }, 60,
    'the end of the hold');
$worker->frame(4, 0, 0, '');
$t->wait_for(sub { row()->{hold} }, 10, "its worker's answer to be counted");
$p = row();
is("$p->{held} $p->{hold}", '1 1', 'one was held, and for how long');
my $s = session('held');
ok($s->{hold_ms} > 900, 'its record says for how long');
is($s->{hold_ms}, $p->{hold_ms}, 'as the counters do');
close $socket;
like(line(), qr/^routed unknown $s->{hold_ms} /, 'and in the log');
