#!/usr/bin/perl

# The audit log: one line of JSON for each decision, opened again by signal,
# without tokens; a file that cannot be written stops nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use JSON ();
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $audit = $t->dir . '/audit.log';
my $h = Access::host($t, <<'E', plugins => "  - {name: metrics}\n  - {name: who}\n");
audit: {file: "%%DIR%%/audit.log"}
access:
  rules:
    - {name: one, match: [{claim: r, values: [a]}], pools: [default/one], verbs: [allocate, wake]}
    - {name: closed, match: [{claim: r, values: [b]}], deny: true}
E

sub lines {
    my ($file) = @_;
    return map { JSON::decode_json($_) } split /\n/, $t->read($file // $audit);
}

sub last_line { (lines())[-1] }

sub as {
    my ($claims, $method, $path) = @_;
    return Access::as($t, Access::token('now', 'ann', $claims), $method,
        "/api/v1/$path");
}

is((stat $audit)[2] & 07777, 0640, 'its mode') or diag sprintf '%o', (stat _)[2];

# what the handler says, with what the host knows
my $q = 'verb=1&pool=default/one';
as({ r => 'a' }, GET => "who/may?$q&say=%22allocation%22%3a%22123456789abc%22"
    . ',%22what%22%3a%22mine%22,%22n%22%3a7');
my $line = last_line();
like(delete $line->{time}, qr/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/, 'when');
like(delete $line->{client}, qr/^127\.0\.0\.1:\d+$/, 'from where');
is_deeply($line, { what => 'test', outcome => 'allowed', who => 'who:ann',
    source => 'who', rule => 'one', pool => 'default/one', n => 7,
    allocation => '123456789abc', request => 'GET /api/v1/who/may' },
    'who, by which rule, what; members cannot change what the host says');
as({ r => 'a' }, GET => "who/may?$q&say=%22pool%22%3a%22default/two%22");
is(last_line()->{pool}, 'default/two', 'but the pool');
as({ r => 'a' }, GET => "who/may?$q&say=%22a%22%3a1}%0a{%22who%22%3a%22x%22");
is(scalar(grep { !$_->{who} } lines()), 0, 'nor begin another line');
is(last_line()->{what}, 'test', 'the rest of it is written');

# refusals
my $n = () = lines();
is(as({ r => 'b' }, POST => "who/may?$q")->{status}, 403, 'refused by a rule');
$line = last_line();
is_deeply([@$line{qw(what outcome rule pool who)}],
    ['allocate', 'refused', 'closed', 'default/one', 'who:ann'], 'by which');
is(() = lines(), $n + 1, 'in one line');
as({ r => 'c' }, POST => 'who/wake');
is_deeply([@{last_line()}{qw(what outcome status reason request)}],
    ['wake', 'refused', 403, 'Forbidden', 'POST /api/v1/who/wake'],
    'by no rule, before the handler');
Access::as($t, Access::token('refuse'), POST => '/api/v1/who/wake');
is_deeply([@{last_line()}{qw(what outcome status reason who)}],
    ['wake', 'refused', 401, 'BadToken', undef], 'nobody');
Access::as($t, Access::token('busy'), POST => '/api/v1/who/wake');
is_deeply([@{last_line()}{qw(outcome status)}], ['failed', 503],
    'nobody can tell');

# a handler that says nothing; looks
$n = () = lines();
as({ r => 'a' }, POST => 'who/wake');
is_deeply([@{last_line()}{qw(what outcome status who)}],
    ['wake', 'done', 200, 'who:ann'], 'what is done has a line');
as({ r => 'a' }, GET => 'pools');
as({ r => 'a' }, GET => 'allocations');
as({ r => 'a' }, GET => 'explain?pool=one');
$h->request(GET => '/healthz');
is(() = lines(), $n + 1, 'a look has none');
is(as({ r => 'a' }, GET => 'allocations/' . 'x' x 43)->{status}, 404,
    'a look for nothing');
is(() = lines(), $n + 1, 'has none either');
is(as({ r => 'c' }, GET => 'allocations/' . 'x' x 43)->{status}, 403,
    'a refused one');
is(last_line()->{request}, 'GET /api/v1/allocations/*',
    'has one, without the path: there may be a token in it');

# numbers
my $m = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')->{body};
like($m, $_, 'metrics') for
    qr/^buildkit_gateway_access_decisions_total\{rule="one",outcome="allowed"\} 3$/m,
    qr/^buildkit_gateway_access_decisions_total\{rule="closed",outcome="refused"\} 1$/m,
    qr/^buildkit_gateway_access_decisions_total\{rule="none",outcome="refused"\} 2$/m,
    qr/^buildkit_gateway_access_decisions_total\{rule="one",outcome="refused"\} 0$/m,
    qr/^buildkit_gateway_audit_lines_total\{outcome="written"\} \d+$/m,
    qr/^buildkit_gateway_identities_total\{outcome="unknown"\} 1$/m,
    qr/^buildkit_gateway_identities_total\{outcome="failed"\} 1$/m,
    qr/^buildkit_gateway_audit_lines_total\{outcome="lost"\} 0$/m,
    qr/^#\ TYPE\ buildkit_gateway_http_request_seconds\ histogram\n
       (?:.*_bucket\{.*\n)+(?:.*_sum\{.*\n)+(?:.*_count\{.*\n)+/mx,
    qr/^buildkit_gateway_http_request_seconds_bucket\{method="POST",
       route="\/api\/v1\/who\/wake",le="\+Inf"\}\ 4$/mx,
    qr/^buildkit_gateway_http_request_seconds_count\{method="POST",
       route="\/api\/v1\/who\/wake"\}\ 4$/mx;

# moved away
rename $audit, "$audit.1" or die $!;
as({ r => 'a' }, POST => 'who/wake');
is(() = lines("$audit.1"), $n + 3, 'it goes on where it was');
$h->kill('USR1');
$t->wait_for(sub { -e $audit }, 5, 'a new file');
as({ r => 'a' }, POST => 'who/wake');
is(() = lines(), 1, 'after the signal in a new one');

# behind a proxy: whom that has seen, not what the client says
for (['203.0.113.9, 198.51.100.7', '198.51.100.7'], ['2001:db8::1',
    '2001:db8::1'], ['198.51.100.7, <b>', undef], [',', undef])
{
    $t->http('127.0.0.1:' . $t->port('api'), POST => '/api/v1/who/wake', undef,
        headers => { 'X-Forwarded-For' => $_->[0], Authorization => 'Bearer '
            . Access::token('now', 'ann', { r => 'a' }) });
    is(last_line()->{forwardedFor}, $_->[1], "forwarded for $_->[0]");
}

# it cannot be opened again, or written
unlink $audit;
mkdir $audit or die $!;
$h->kill('USR1');
$t->wait_for(sub { $t->read($h->{proc}{log}) =~ /cannot open the audit log/ }, 5,
    'the log to say so');
is(as({ r => 'a' }, POST => 'who/wake')->{status}, 200, 'all goes on');
rmdir $audit;
unlike(join('', map { $t->read($_) } "$audit.1", $h->{proc}{log}),
    qr/who\.(?:now|refuse|busy)/, 'no token is anywhere');
is($h->stop, 0, 'stops');

# a disk that is full
$h = Access::host($t, "audit: {file: /dev/full}", name => 'full',
    plugins => "  - {name: metrics}\n  - {name: who}\n");
is($h->request(POST => '/api/v1/who/wake')->{status}, 200, 'a full disk');
like($t->read($h->{proc}{log}), qr/audit: \/dev\/full: No space left on device; 1 lines are lost/,
    'is said once');
$h->request(POST => '/api/v1/who/wake') for 1 .. 3;
is(() = $t->read($h->{proc}{log}) =~ /No space left/g, 1, 'and not each time');
like($t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')->{body},
    qr/^buildkit_gateway_audit_lines_total\{outcome="lost"\} 4$/m, 'but counted');
is($h->stop, 0, 'and stops nothing');

my $r = $t->run(Access::program($t), '-c',
    $t->write('bad.yaml', $t->read('full.yaml') =~ s{/dev/full}{/no/such/f}r));
ok($r->{rc} == 1 && $r->{err} =~ m{cannot open the audit log /no/such/f},
    'a folder that is not there is an error at the start') or diag($r->{err});

done_testing;
