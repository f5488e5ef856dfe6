# A running nginx whose table is replaced, removed, cut short or overwritten
# under its feet; and that it maps the table read-only.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 14;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $path = $t->dir . '/buildkit.table';
my %port = map { $_ => $t->worker($_) } qw(w1 w2);

sub commands {
    my ($name) = @_;

    return ('pool default/demo', "worker default/demo $name"
        . " 127.0.0.1:$port{$name} $name.workers.buildkit.internal ready",
        "alloc token:$token default/demo $name ready 0");
}

# a worker answers with no frame: where one may, nothing is waited long for
sub told {
    my ($seconds) = @_;

    return $t->grpc($cert, seconds => $seconds // 60)->{streams}{1}{message}
        // '';
}

sub served_by {
    my ($name) = @_;

    return $t->wait_for(sub {
        $t->say_hello($cert, send => 'PRI', until => qr/w\d|\0/) =~ /$name/;
    }, 5, "service by $name");
}

my $first = $t->table(commands('w1'));
my $nginx = $t->nginx($t->gateway_conf(stream => "buildkit_check 20ms;\n"
    . "buildkit_grace 0;\n"));
my ($pid) = $nginx->worker_pids;

like($t->say_hello($cert), qr/worker w1/, 'the first table');

my ($map) = grep { /\Q$path\E/ } split /\n/, $t->read("/proc/$pid/maps");
like($map, qr/ r--s /, 'is mapped read-only');

# replaced by another of another size: the successor counts
$first->quit;
my $second = $t->table({ path => "$path.new", allocations => 5000 },
    commands('w2'));
rename "$path.new", $path or die "rename: $!";
ok(served_by('w2'), 'replaced: the second table');
unlike(join('', grep { /deleted/ } split /^/, $t->read("/proc/$pid/maps")),
    qr/table/, 'the first one is no longer mapped');

# removed
rename $path, "$path.away" or die "rename: $!";
like($t->wait_for(sub { told(0.5) =~ /(gateway is starting)/ && $1 }, 60,
    'the loss to be noticed'), qr/gateway/, 'removed: refused');
rename "$path.away", $path or die "rename: $!";
ok(served_by('w2'), 'put back: served');
like($nginx->log, qr/\[notice\].*route table .* can be used again/,
    'which the log says');

# cut short while it is mapped, which the timer notices (or a look-up does:
# nginx_table_cut_short.t)
$second->quit;
truncate $path, 4096 or die "truncate: $!";
like(told(), qr/gateway is starting|is not known here/, 'cut short: refused');
like($t->wait_for(sub { told(0.5) =~ /(gateway is starting)/ && $1 }, 60,
    'the cut to be noticed'), qr/gateway/, 'cut short: the reason is right');
is(join(' ', $nginx->worker_pids), $pid, 'the same process');

unlink $path;
my $third = $t->table(commands('w1'));
ok(served_by('w1'), 'a good one again: served');

# overwritten with random bytes in place: any answer but a crash or a worker
$third->quit;
srand 2;
open my $fh, '+<:raw', $path or die "$path: $!";
seek $fh, 512, 0;
print $fh join '', map { chr int rand 256 } 1 .. (-s $path) - 512;
close $fh;
my $before = $t->worker_object('w1')->stats->{accepted};
my $got = told();
like($got, qr/gateway is starting|is not known here|changing too fast/,
    'random bytes behind a good header: refused');
is(join(' ', $nginx->worker_pids), $pid, 'still the same process');

is($t->worker_object('w1')->stats->{accepted}, $before, 'nothing was routed');
