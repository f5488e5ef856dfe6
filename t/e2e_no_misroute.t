# Invariant 1: a connection reaches the worker of its allocation, or none.
# Workers that name themselves, thousands of connections with 64 tokens, while
# allocations end, move, are removed and return into used slots.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(shuffle);
use Test::Buildkit;
use Time::HiRes qw(time sleep);

plan tests => 8;

my $CONNECTIONS = $ENV{BK_SAN} ? 4000 : 20000;
my $TOKENS = 64;
my @WORKERS = map { "w$_" } 1 .. 4;

my $t = Test::Buildkit->new;

my @tokens = map { $t->token } 1 .. $TOKENS;
my @certs = map { $t->client_cert("c$_", cn => "alloc:$tokens[$_]") }
    0 .. $#tokens;
$t->write('certs.list', join '', map { "$_->{cert} $_->{key}\n" } @certs);

my $table = $t->table({ allocations => $TOKENS + 8 },
    'pool default/demo shared',
    map { "worker default/demo $_ 127.0.0.1:" . $t->worker($_,
        mode => 'name') . " $_.workers.buildkit.internal ready" } @WORKERS);

# What the table said: for each token a list of [worker or '', since, until],
# from before the command was sent until after the next one was answered.
my @history = map { [['', 0, undef]] } @tokens;
my %count;

put($_, $WORKERS[$_ % @WORKERS]) for 0 .. $#tokens;

my $nginx = $t->nginx($t->gateway_conf(stream => "buildkit_grace 200ms;\n"),
    workers => 2);

my $storm = $t->start('storm', {}, $t->tool('storm'),
    '--addr', '127.0.0.1:' . $t->port('gw'),
    '--ca', $t->pki . '/gateway-ca.pem', '--certs', $t->dir . '/certs.list',
    '--connections', $CONNECTIONS, '--parallel', 48);

# a machine that is busy with other things has time for fewer
my ($enough, $deadline) = map { time + $_ } 300, 400;
my $fewer;
while ($t->alive($storm) && time < $deadline) {
    if (!$fewer && time > $enough) {
        $fewer = 1;
        kill USR1 => $storm->{pid};
    }
    my $i = int rand @tokens;
    my $is = $history[$i][-1][0];
    my $kind = rand;

    if ($is eq '') {
        put($i, $WORKERS[rand @WORKERS]);
    } elsif ($kind < 0.5) {
        put($i, (grep { $_ ne $is } @WORKERS)[rand @WORKERS - 1]);
    } elsif ($kind < 0.75) {
        gone($i, 'end', "end " . $t->hash($tokens[$i]) . ' revoked moved on');
    } else {
        gone($i, 'remove', 'remove ' . $t->hash($tokens[$i]));
    }
    sleep 0.002;
}

is($storm->{status}, 0, 'the clients ended by themselves');

my (%results, @wrong);
open my $fh, '<', $storm->{log} or die "$storm->{log}: $!";
while (my $line = <$fh>) {
    my ($i, $began, $ended, $what, $which) = split ' ', $line;
    $results{$what}++;
    my $error = check($i, $began / 1e6, $ended / 1e6, $what, $which // '');
    push @wrong, "$line$error" if $error;
}

my $all = 0;
$all += $_ for values %results;
diag join ', ', map { "$_: $results{$_}" } sort keys %results;
diag join ', ', map { "$_: $count{$_}" } sort keys %count;

cmp_ok($all, '>=', $CONNECTIONS / ($fewer ? 20 : 1),
    "$CONNECTIONS connections, or what there was time for");
is(scalar @wrong, 0, 'not one at a wrong worker, not one refused for nothing')
    or diag @wrong[0 .. (@wrong > 5 ? 4 : $#wrong)];
cmp_ok($results{worker} // 0, '>', $all / 3, 'many reached a worker');
cmp_ok($results{refused} // 0, '>', $all / 100, 'many were refused');
cmp_ok($count{move}, '>', 100, 'many allocations moved');

# The checker finds what it must find.
my $now = time;
$history[0] = [['w1', $now - 10, $now - 5], ['', $now - 5, $now - 4],
    ['w2', $now - 4, undef]];
ok(check(0, $now - 3, $now - 2, 'worker', 'w1'), 'a late one is found');
ok(check(0, $now - 3, $now - 2, 'refused', 16), 'a refusal for nothing too');


# Allocates token $i to a worker, or moves it there.
sub put {
    my ($i, $worker) = @_;

    $count{$history[$i][-1][0] eq '' ? 'return' : 'move'}++;

    # an ended one cannot come back to life: it is removed and made anew
    if ($history[$i][-1][3]) {
        $table->cmd('remove ' . $t->hash($tokens[$i]));
    }

    # half of them are bound to the client's key
    change($i, $worker, "alloc token:$tokens[$i] default/demo $worker ready 0"
        . ($i % 2 ? " key=$certs[$i]{spki_hash}" : ''));
}


sub gone {
    my ($i, $kind, $command) = @_;

    $count{$kind}++;
    change($i, '', $command);
    $history[$i][-1][3] = $kind eq 'end';
}


sub change {
    my ($i, $worker, $command) = @_;

    my $before = time;
    $table->cmd($command);
    $history[$i][-1][2] = time;
    push @{$history[$i]}, [$worker, $before, undef];
}


# What is wrong with a connection of token $i; '' when nothing is.
sub check {
    my ($i, $began, $ended, $what, $which) = @_;

    my %seen = map { $_->[0] => 1 }
        grep { $_->[1] <= $ended && (!defined $_->[2] || $_->[2] >= $began) }
        @{$history[$i]};

    if ($what eq 'worker') {
        return $seen{$which} ? '' : "was at $which, might be at: @{[keys %seen]}\n";
    }
    # one whose allocation moved before it was answered is cut: told so, or
    # closed where its worker has spoken already, which is no HTTP/2 here
    return '' if $seen{''} || keys %seen > 1;

    return "$what, might be at: @{[keys %seen]}\n";
}
