# Waiting has an end: what a client is told that waited in vain, for each thing
# that it may wait for, and that it never gets a code that buildx hides.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time);

my @rows = (
    # name, the table's line, code, text
    ['queued', 'alloc %s default/demo - queued 0 place 3 of 7', 8,
        qr{ waits for a free worker of pool default/demo: place 3 of 7 \(waited \d+s\); try again later$}],
    ['starting', 'alloc %s default/demo w2 starting 0', 9,
        qr/the worker of allocation \S+ is starting: pulling layer 2 \(waited \d+s\); try again/],
    ['unknown', undef, 16,
        qr/ is not known here \(waited \d+s\); .*run bkctl allocate$/],
    ['stopped', 'alloc %s default/demo w3 ready 0', 9,
        qr/worker w3 of allocation \S+ is stopped: out of work \(waited \d+s\); try again, or/],
);

plan tests => 6 * @rows + 9;

my $t = Test::Buildkit->new;
my %token = map { $_->[0] => $t->token } @rows, ['both'], ['table'], ['hasty'];
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;

my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:1 w1.workers.buildkit.internal ready',
    'worker default/demo w2 - w2.workers.buildkit.internal starting first',
    'worker default/demo w3 - w3.workers.buildkit.internal stopped out of work',
    map { sprintf $_->[1], "token:$token{$_->[0]}" } grep { $_->[1] } @rows);

my $conf = $t->gateway_conf(stream =>
    'log_format bk "$status $buildkit_state $buildkit_reason";'
    . "buildkit_wait 6s; buildkit_grace 4s; buildkit_retry 4s;\n",
    server => "access_log %%DIR%%/access.log bk;\n");
my $nginx = $t->nginx($conf);

sub held {
    my ($name) = @_;

    my $began = time;
    my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
    $h2->open_stream(1);
    $h2->{began} = $began;

    return $h2;
}

# unknown first, then queued: the longer time counts, from the beginning
my $both = held('both');
$table->cmd("alloc token:$token{both} default/demo - queued 0");

# what is told is what is so at the end, not what was at the beginning
my %h2 = (starting => held('starting'));
$table->cmd('worker default/demo w2 - w2.workers.buildkit.internal starting'
    . ' pulling layer 2');

%h2 = (%h2, map { $_ => held($_) } grep { !$h2{$_} } map { $_->[0] } @rows);

ok($both->wait_stream(1, 30), 'unknown, then queued: told in the end');
is($both->{streams}{1}{grpc_status}, 8, 'that it is queued');
my $took = time - $both->{began};
ok($took > 5, 'after buildkit_wait') or diag "took $took";
$both->finish;

for my $row (@rows) {
    my ($name, undef, $code, $text) = @$row;
    my $h2 = $h2{$name};

    ok($h2->wait_stream(1, 30), "$name: told in the end");
    is($h2->{streams}{1}{grpc_status}, $code, "$name: code");
    like($h2->{streams}{1}{message}, $text, "$name: text");
    is($h2->{settings}, 1, "$name: one SETTINGS");
    $h2->open_stream(3);
    ok($h2->wait_stream(3, 30), "$name: and asked again");
    is_deeply($h2->{streams}{3}, $h2->{streams}{1}, "$name: the same");
    $h2->finish;
}

# --- no table

$nginx->reload($conf =~ s/_wait 6s|_grace 4s/$& =~ s,\d,1,r/ger);
$table->quit;
unlink $t->dir . '/buildkit.table';
my $h2 = $t->wait_for(sub {
    my $h2 = held('table');
    $h2->wait_stream(1, 30);
    return ($h2->{streams}{1}{message} // '') !~ /not known/ && $h2;
}, 60, 'the table to be missed');
is($h2->{streams}{1}{grpc_status}, 9, 'no table: code');
like($h2->{streams}{1}{message}, qr/gateway is starting: it has no route table yet \(allocation \S+\) \(waited \d+s\); try again/,
    'no table: text');
$h2->finish;

sub logged {
    my ($line) = @_;
    return $t->wait_for(sub { ($t->read('access.log') // '') =~ $line }, 30,
        "$line in the access log");
}
ok(logged(qr/^503 queued allocation/m), 'status 503');
ok(logged(qr/^403 unknown allocation/m), 'status 403 of an unknown one');

# --- 0: nobody waits

$nginx->stop;
$t->nginx($conf =~ s/buildkit_grace 4s/buildkit_grace 0/r);
$h2 = held('hasty');
ok($h2->wait_stream(1, 30), 'buildkit_grace 0: told');
unlike($h2->{streams}{1}{message}, qr/waited/, 'without a wait');
$h2->finish;
