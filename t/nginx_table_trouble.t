# Whatever is wrong with the table: a refusal per connection, one line in the
# log, no crash, and service as soon as a good table is there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $path = $t->dir . '/buildkit.table';
my $port = $t->worker('w1');
my @commands = ('pool default/demo',
    "worker default/demo w1 127.0.0.1:$port w1.workers.buildkit.internal ready",
    "alloc token:$token default/demo w1 ready 0");

# a good one to take apart
my $table = $t->table({ path => "$path.good" }, @commands);
$table->quit;
my $good = $t->read("$path.good");

srand 1;
my $random = join '', map { chr int rand 256 } 1 .. 65536;
my $newer = $good;
substr $newer, 7, 1, '9';
my $retired = $good;
substr $retired, 192, 1, "\3";
my $building = $good;
substr $building, 192, 1, "\1";
my $wild = $good;
substr $wild, 80, 8, "\xff" x 8;
my $huge = $good;
substr $huge, 60, 4, "\xff" x 4;

# name, the file's content, the log's reason
my @rows = (
    ['absent', undef,
        qr/cannot be opened; is buildkit-plugin-host running\? \(2: No such/],
    ['empty', '', qr/is empty;/],
    ['short', substr($good, 0, 100), qr/is shorter than a table's header/],
    ['truncated', substr($good, 0, length($good) / 2), qr/is truncated/],
    ['longer', $good . "\0" x 4096, qr/is longer than its header says/],
    ['wrong version', $newer, qr/has another layout version/],
    ['random bytes', $random, qr/is not a route table/],
    ['zeroes', "\0" x 65536, qr/is not a route table/],
    ['arrays elsewhere', $wild, qr/has arrays outside of the file/],
    ['huge geometry', $huge, qr/has a geometry out of bounds/],
    ['still building', $building, qr/is still being filled/],
    ['retired, no successor', $retired, qr/was retired and has no successor/],
    ['a folder', 'DIR', qr/is not a file/],
    ['a FIFO', 'FIFO', qr/is not a file/],
);

plan tests => 5 * @rows + 1;

my $text = qr/gateway is starting: it has no route table yet/;
my $pid;

for (@rows) {
    my ($name, $content, $reason) = @$_;

    unlink $path;
    if (!defined $content) {
        # nothing there

    } elsif ($content eq 'DIR') {
        mkdir $path;

    } elsif ($content eq 'FIFO') {
        system 'mkfifo', $path;

    } else {
        $t->write('buildkit.table', $content);
    }

    # a fresh process each time: complaints are limited per process
    my $nginx = $t->nginx($t->gateway_conf(stream => "buildkit_check 20ms;\n"
        . "buildkit_grace 0;\n"));
    ($pid) = $nginx->worker_pids;

    my $began = time;
    my @got = map { $t->grpc($cert)->{streams}{1} } 1 .. 3;
    is(scalar(grep { $_->{grpc_status} == 9 && $_->{message} =~ $text } @got),
        3, "$name: every connection is told");

    my @lines = grep { /\[error\].*route table/ } split /\n/, $nginx->log;
    # of ten seconds
    ok(@lines >= 1 && @lines <= 1 + int((time - $began) / 10),
        "$name: one line in the log") or diag "@lines";
    like($lines[0], $reason, "$name: the reason");

    rmdir $path;
    $t->write('buildkit.table', $good);
    my $hello = $t->wait_for(sub {
        my $h2 = $t->say_hello($cert, send => "PRI", until => qr/w1|\0/);
        return $h2 =~ /w1/ && $h2;
    }, 5, 'service');
    like($hello, qr/worker w1/, "$name: then service");

    is(join(' ', $nginx->worker_pids), $pid, "$name: the same process");
    $nginx->stop;
    unlink $t->dir . '/error.log';
}

is($t->worker_object('w1')->stats->{accepted}, scalar @rows,
    'only the good table led anywhere');
