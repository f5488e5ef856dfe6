#!/usr/bin/perl

# The endpoints of older callers under access rules: certs/request is the verb
# certs, /api/v1/allocate is allocate; neither follows from the other, and
# both get what their rule grants, and no more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Allocator qw(journal);
use JSON ();
use Test::Buildkit;

my ($allocate, $certs) = ('/api/v1/allocate', '/api/v1/certs/request');

# claim c, path, pool: status
my @who = (
    ['builds', $allocate, 'demo', 200],
    ['builds', $certs, 'demo', 403],
    ['certs', $allocate, 'demo', 403],
    ['certs', $certs, 'demo', 200],
    ['builds', $allocate, 'other/pool', 403],
    ['certs', $certs, 'other/pool', 403],
    ['both', $allocate, 'other/pool', 200],
    ['both', $certs, 'other/pool', 200],
    ['sees', $allocate, 'demo', 403],
    ['sees', $certs, 'demo', 403],
    ['none', $allocate, 'demo', 403],
    ['none', $certs, 'demo', 403],
);
plan tests => 2 * @who + 22;

my $t = Test::Buildkit->new;
$t->write('static.yaml', join "\n", 'pools:', map({ my $pool = $_;
    ("  - name: $pool", '    workers:', map { "      - {name: w$_, endpoint: "
    . "\"127.0.0.1:700$_\", tlsName: localhost}" } 1 .. 4) }
    'default/demo', 'other/pool'), '');
my $h = Access::host($t, <<'E', plugins => <<'P');
audit: {file: "%%DIR%%/audit.log"}
access:
  rules:
    - {name: builds, match: [{claim: c, values: [builds]}], pools: ["default/*"], verbs: [allocate]}
    - {name: certs, match: [{claim: c, values: [certs]}], pools: ["default/*"], verbs: [certs], maxTtl: 10m}
    - {name: both, match: [{claim: c, values: [both]}], verbs: [allocate, certs], maxTtl: 20m}
    - {name: forks, match: [{claim: c, values: [fork]}], verbs: [certs], untrusted: true}
    - {name: theirs, match: [{claim: c, values: [theirs]}], pools: ["other/*"], verbs: [certs]}
    - {name: sees, match: [{claim: c, values: [sees]}], verbs: [list]}
E
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
  - {name: allocator}
  - {name: who}
P

sub ask {
    my ($c, $path, $pool, %more) = @_;
    return Access::as($t, Access::token('now', "u-$c", { c => $c }),
        POST => $path, { $path eq $certs ? (pools => [$pool])
        : (poolName => $pool, wait => '0'), %more });
}

sub last_line {
    return JSON::decode_json((split /\n/, $t->read('audit.log'))[-1]);
}

sub release {
    return Access::as($t, 'x', POST => '/api/v1/workers/release', { token =>
        $_[0]{json}{allocationToken} // $_[0]{json}{token} })->{status};
}

for (@who) {
    my ($c, $path, $pool, $status) = @$_;
    my $r = ask($c, $path, $pool);
    my $line = last_line();
    is($r->{status}, $status, "$c: $path in $pool") or diag($r->{body});
    is_deeply([@$line{qw(who outcome request)}, $line->{rule} // ''],
        ["who:u-$c", $status == 200 ? 'allocated' : 'refused', "POST $path",
        $status == 200 ? $c : ''], '... and what the audit log says');
    release($r) if $status == 200;
}

# what the rule grants
for (['certs', $certs, '10m', 200], ['certs', $certs, '11m', 400],
    ['both', $allocate, '20m', 200], ['both', $allocate, '21m', 400],
    ['both', $certs, '21m', 400])
{
    my ($c, $path, $duration, $status) = @$_;
    my $r = ask($c, $path, 'demo', duration => $duration);
    is($r->{status}, $status, "$c: $duration at $path");
    release($r) if $status == 200;
    like($r->{json}{error}, qr/ that rule $c allows/,
        '... and whose limit it is') if $status != 200;
}
my $r = ask(certs => $certs, 'demo');
my ($row) = journal($t, "SELECT owner, rule, untrusted,
    (expires_ms - created_ms) / 1000 AS s FROM allocations
    ORDER BY created_ms DESC, rowid DESC LIMIT 1");
is_deeply([@$row{qw(owner rule untrusted)}], ['who:u-certs', 'certs', 0],
    'whose it is, and by which rule');
ok($row->{s} <= 601 && $row->{s} >= 598, 'as long as the rule lets it')
    or diag($row->{s});
my $id = last_line()->{allocation};
is(release($r), 200, 'its token releases it');
my $fork = ask(fork => $certs, 'demo');
is($fork->{status}, 200, 'who is not trusted');
($row) = journal($t, "SELECT rule, untrusted FROM allocations
    ORDER BY created_ms DESC, rowid DESC LIMIT 1");
is_deeply($row, { rule => 'forks', untrusted => 1 }, 'is not');
is(Access::as($t, Access::token('now', 'u-certs', { c => 'fork' }),
    GET => "/api/v1/allocations/$id")->{status}, 404,
    'a fork of that name sees none of the trusted ones');
is(Access::as($t, Access::token('now', 'u-certs', { c => 'certs' }),
    GET => "/api/v1/allocations/$id")->{json}{rule}, 'certs', 'who made it does');
is($t->http('127.0.0.1:' . $t->port('api'), POST => $certs,
    { pools => ['demo'] })->{status}, 401, 'nobody');

# a name alone, where one pool has it
for (
    [{ c => 'both' }, 409, 'of any namespace: whose is it?'],
    [{ c => 'both', namespace => 'other' }, 200, 'one of his own'],
    [{ c => 'both', 'kubernetes.io' => { namespace => 'other' } }, 200,
        'as service accounts say it'],
    [{ c => 'both', namespace => 'default' }, 409, 'not of another\'s'],
    [{ c => 'theirs' }, 200, 'the only one that he may use'],
) {
    my ($claims, $status, $name) = @$_;
    my $got = Access::as($t, Access::token('now', 'u-one', $claims),
        POST => $certs, { pools => ['pool'] });
    is("$got->{status} " . ($got->{json}{reason} // ''),
        $status == 200 ? '200 ' : "$status Ambiguous", "a name alone: $name")
        or diag($got->{body});
    release($got) if $got->{status} == 200;
}
is($h->stop, 0, 'stops');
