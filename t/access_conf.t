#!/usr/bin/perl

# Rules in the configuration: what is wrong is an error with its place, what
# can never match, or matches anybody, a warning of -t and of the log.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->write('static.yaml', "pools:\n  - name: default/demo\n");

sub conf {
    my ($access) = @_;
    return <<"E" . "access:\n" . $access;
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/run/api.sock"]}
plugins: [{name: static, options: {file: "%%DIR%%/static.yaml"}}]
E
}

sub check {
    my ($access) = @_;
    my $path = $t->write('c.yaml', conf($access));
    return $t->run($t->build . '/buildkit-plugin-host', '-c', $path, '-t');
}

my $match = '    match: [{claim: a, ';
my @bad = (
    ["  rules:\n  - {name: a}\n  - {name: a}\n", qr/c\.yaml:8:
        \ access\.rules\.1\.name:\ there\ is\ a\ rule\ "a"\ already,
        \ at\ access\.rules\.0/x, 'a name twice'],
    ["  rules:\n  - {name: a}\n  pools:\n  - name: d/x\n    rules:\n"
        . "    - {name: a}\n", qr/c\.yaml:11: access\.pools\.0\.rules\.0\.name: /,
        'twice in different lists'],
    ["  rules:\n  - name: 'a b'\n", qr/:7: .*must be of letters/, 'a bad name'],
    ["  rules:\n  - name: unix-peers\n", qr/a built-in rule/, 'one of ours'],
    ["  rules:\n  - name: a\n$match pattern: 'x(y'}]\n", qr/c\.yaml:8:
        \ access\.rules\.0\.match\.0\.pattern:\ is\ no\ regular\ expression
        \ \(PCRE2\):\ missing\ closing\ parenthesis/x, 'a bad pattern'],
    ["  rules:\n  - name: a\n$match values: []}]\n", qr/:8: .*at least 1/,
        'no values'],
    ["  rules:\n  - name: a\n$match values: [x], pattern: y}]\n",
        qr/:8: .*needs either values or a pattern/, 'values and a pattern'],
    ["  rules:\n  - name: a\n    verbs: [allocate, biuld]\n",
        qr/:8: access\.rules\.0\.verbs\.1: must be one of: allocate, wake/,
        'no such verb'],
    ["  rules:\n  - name: a\n    pools: [demo]\n",
        qr/:8: access\.rules\.0\.pools\.0: must be namespace\/name/, 'a pool'],
    ["  rules:\n  - name: a\n    maxTtl: 2 hours\n", qr/:8: .*a duration/,
        'a duration'],
    ["  rules:\n  - name: a\n    concurency: 2\n",
        qr/:8: .*did you mean "concurrency"/, 'a key'],
    ["  rules:\n  - name: a\n    concurrency: -1\n", qr/:8: .*whole number/,
        'a number'],
    ["  rules:\n  - {name: a, deny: true, untrusted: true}\n",
        qr/a rule that refuses has no maxTtl/, 'what a refusal cannot have'],
    ["  pools:\n  - {name: d/x, rules: []}\n", qr/at least 1/, 'no rules'],
    ["  pools:\n  - {name: x, rules: [{name: a, deny: true}]}\n",
        qr/:7: access\.pools\.0\.name: must be the name of one pool/,
        'a pool without its namespace'],
    ["  - a\n", qr/must be a mapping/, 'a list'],
);
for (@bad) {
    my $r = check($_->[0]);
    ok($r->{rc} == 1 && $r->{err} =~ $_->[1], "refused: $_->[2]")
        or diag($r->{err});
}

my $dead = <<'E';
  rules:
  - {name: first, match: [{claim: r, values: [a, b]}], pools: ["ci/*"]}
  - {name: dead, match: [{claim: r, values: [b]}, {claim: s, values: [c]}], pools: [ci/x]}
  - {name: lives, match: [{claim: r, values: [b]}], pools: [ci/x, other/y]}
  pools:
  - name: ci/x
    rules:
    - {name: open}
    - {name: never, sources: [github]}
E
my $r = check($dead);
is($r->{rc}, 0, 'rules that can never match are no error');
is(join('', sort split /^/, $r->{err}), <<'E', 'but a warning for each');
buildkit-plugin-host: warning: the access rule dead can never match: rule first comes before it and matches all that it would
buildkit-plugin-host: warning: the access rule never can never match: rule open comes before it and matches all that it would
buildkit-plugin-host: warning: the access rule open has no match: it is for everybody with a valid token
E
like($r->{out}, qr/is good/, 'the configuration is good');

# who is anybody
my %open = (
    '' => '', 'match: []' => '', 'untrusted: true' => '',
    'sources: [github, unix, gitlab]' => ' of github or gitlab',
    'sources: [' . join(', ', map { "github-$_" } 1 .. 20) . ']'
        => ' of its sources',
);
for (sort keys %open) {
    is(check("  rules:\n  - {name: a, $_}\n")->{err}, 'buildkit-plugin-host: '
        . 'warning: the access rule a has no match: it is for everybody with a '
        . "valid token$open{$_}\n", "a warning of a rule for anybody: $_");
}
is(check("  rules:\n  - {name: a, $_}\n")->{err}, '', "none where it is meant: $_")
    for 'deny: true', 'sources: [unix]', 'match: [{claim: s, pattern: ".*"}]';

my $h = $t->host(conf($dead));
like($t->read($h->{proc}{log}),
    qr/warn  access: rule dead can never match: rule first comes before it/,
    'at the start they are in the log');
is($h->stop, 0, 'stops');

done_testing;
