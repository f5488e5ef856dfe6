# Every answer that needs no waiting: code and text, on every stream.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

my $when = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(\d+[smhd] ago\)/;
my $now = time * 1000;

# name, state in the table, expiry, reason; code, text
my @rows = (
    ['expired', 'expired 0 ttl is over', 16,
        qr/ expired at $when: ttl is over; run bkctl allocate$/],
    ['released', 'released 0', 16,
        qr/ was released at $when; run bkctl allocate$/],
    ['revoked', 'revoked 0 bad 100% job', 16,
        qr/ was revoked at $when: bad 100% job; run bkctl allocate$/],
    ['failed', 'failed 0 worker was lost', 9,
        qr/ failed at $when: worker was lost; run bkctl allocate$/],
    ['overdue', 'ready ' . ($now - 200_000), 16,
        qr/ expired at $when; run bkctl allocate$/],
    ['queued', 'queued 0', 8,
        qr{ waits for a free worker of pool default/demo}],
    ['starting', 'starting 0', 9, qr/ is starting.*try again/],
    ['draining', 'draining 0', 9, qr/ is draining: .*run bkctl allocate$/],
);

plan tests => 10 * @rows + 20;

my %token = map { $_->[0] => $t->token } @rows;
my @more = qw(rude lost gone stopped key pool);
$token{$_} = $t->token for @more;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
$cert{thief} = $t->client_cert('thief', cn => "alloc:$token{key}");
$cert{unknown} = $t->client_cert('unknown', cn => 'alloc:' . $t->token);

my $table = $t->table('pool default/demo', 'pool other/pool',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    'worker other/pool w9 127.0.0.1:1 w9.workers.buildkit.internal ready',
    'worker default/demo w2 127.0.0.1:1 w2.workers.buildkit.internal failed'
        . ' disk is full',
    'worker default/demo w3 127.0.0.1:1 w3.workers.buildkit.internal ready',
    'worker default/demo w4 - w4.workers.buildkit.internal starting'
        . ' unpacking',
    (map { "alloc token:$token{$_->[0]} default/demo "
        . ($_->[0] eq 'queued' ? '-' : $_->[0] eq 'starting' ? 'w4' : 'w1')
        . " $_->[1]" } @rows),
    "alloc token:$token{rude} default/demo w1 revoked 0"
        . " \e[31mred\x7f\xc2\x9b\xff10% \xc3\xa4",
    "alloc token:$token{lost} default/demo w2 ready 0",
    "alloc token:$token{gone} default/demo w3 ready 0",
    'del-worker default/demo w3',
    "alloc token:$token{key} default/demo w1 ready 0"
        . " key=$cert{key}{spki_hash}",
    "alloc token:$token{pool} other/pool w9 ready 0");

my $nginx = $t->nginx($t->gateway_conf(stream =>
    'buildkit_wait 0; buildkit_grace 0; '
    . 'log_format bk "$status|$buildkit_state|$buildkit_reason";',
    server => "buildkit_pool default/demo;\naccess_log %%DIR%%/access.log bk;\n"
    ));

for my $row (@rows) {
    my ($name, undef, $code, $text) = @$row;

    my $h2 = $t->grpc($cert{$name}, streams => [1, 3, 7], keep => 1);
    my $got = $h2->{streams}{1};
    is($h2->{settings}, 1, "$name: one SETTINGS");
    is($h2->{alpn}, 'h2', "$name: ALPN");
    is($got->{status}, 200, "$name: HTTP status");
    is($got->{content_type}, 'application/grpc', "$name: content type");
    is($got->{grpc_status}, $code, "$name: code");
    like($got->{message}, qr/^buildkit gateway: /, "$name: whose word it is");
    like($got->{message}, $text, "$name: text");
    like($got->{message}, qr/@{[$t->id($token{$name})]}/, "$name: id");
    is_deeply($h2->{streams}{3}, $got, "$name: the next stream alike");
    is_deeply($h2->{streams}{7}, $got, "$name: and the one after");
    $h2->finish;
}

sub says {
    my ($name, $code, $text) = @_;

    my $got = $t->grpc($cert{$name})->{streams}{1};
    is($got->{grpc_status}, $code, "$name: code");
    like($got->{message}, $text, "$name: text");

    return;
}

# what an operator or a worker wrote cannot command a terminal
my $rude = $t->grpc($cert{rude})->{streams}{1}{message};
unlike($rude, qr/[\x00-\x1f\x7f]|\xc2[\x80-\x9f]/, 'no control bytes');
like($rude, qr/ \[31mred \W*10% \xc3\xa4/, 'the rest is kept');

says('unknown', 16, qr/ is not known here.*run bkctl allocate$/);
says('lost', 9, qr/worker w2 of allocation \S+ has failed: disk is full;/);
says('gone', 9, qr/the worker of allocation \S+ is gone/);
says('pool', 7, qr{ is of pool other/pool, which is not served});
says('thief', 16, qr/key is not the one that allocation/);
like($t->say_hello($cert{key}), qr/worker w1/, 'the right key passes');
like($t->grpc($cert{starting})->{streams}{1}{message}, qr/: unpacking;/,
    'what a starting worker said last');

is($t->worker_object('w1')->stats->{accepted}, 1,
    'no refused client reached the worker');
like($nginx->log, qr/\[warn\].*attack: the token of allocation/,
    'a stolen token is reported');
like($nginx->log, qr/\[info\].*refused: code 16, allocation [0-9a-f]{12}: /,
    'a refusal is logged with code and id');

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    for my $line ('403|revoked', '503|failed', '403|expired', '503|starting') {
        return if index($text, $line) < 0;
    }
    return $text;
}, 30, 'the access log');
like($log, qr/^403\|expired\|allocation \S+ expired at/m, 'status 403, reason');
like($log, qr/^403\|revoked\|.*: bad 100% job;/m, 'reasons as they are read');
like($log, qr/^503\|starting\|the worker of/m, 'status 503, reason');
