#!/usr/bin/perl

# The configuration file: what is wrong is refused with file, line and key,
# and never with the value of a string.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $host = $t->build . '/buildkit-plugin-host';
my $n = 0;

sub check {
    my ($yaml) = @_;
    my $path = $t->write('conf' . ++$n . '.yaml', $yaml);
    my $r = $t->run($host, '-c', $path, '-t');
    $r->{err} =~ s/\Q$path\E/FILE/g;
    return $r;
}

my $static = "plugins:\n  - {name: static, options: {file: /x.yaml}}\n";

my $r = check("state: %%DIR%%/state\n$static");
is($r->{rc}, 0, 'the least that works') or diag($r->{err});
like($r->{out}, qr/is good/, 'says so');

$r = check(<<'E');
state: %%DIR%%/state
table:   {path: "%%DIR%%/t", allocations: 100000, workers: 4096, pools: 256,
          keepEnded: 1h30m}
reports: %%DIR%%/reports
api:     {listen: ["unix:%%DIR%%/api.sock", "127.0.0.1:8082", "[::1]:8082"]}
metrics: {listen: ["127.0.0.1:9090"]}
gateway: {endpoint: "tcp://localhost:1235", names: [gw.example.com, 10.0.0.1]}
log:     {level: info, format: json}
plugins:
  - {name: static, options: {file: /etc/static.yaml}}
  - {name: static, options: {file: /etc/second.yaml}}
  - {name: metrics}
E
is($r->{rc}, 0, 'everything that there is') or diag($r->{err});

my @bad = (
    ["stat: /x\n$static",
        qr/FILE:1: unknown key "stat", did you mean "state"\?/],
    ["state: /x\ntable: {path: /t,\n  alocations: 5}\n$static",
        qr/FILE:3: table: unknown key "alocations", did you mean "allocations/],
    ["state: /x\ntable:\n  allocations: many\n$static",
        qr/FILE:3: table\.allocations: must be a whole number/],
    ["table: {allocations: -1}\n$static", qr/FILE:1: .*must be a whole number/],
    ["table: {allocations: 010}\n$static", qr/must be a whole number/],
    ["table: {allocations: 99999999999}\n$static",
        qr/table\.allocations: must not be more than/],
    ["table: {allocations: 100000000}\n$static",
        qr/table\.allocations: must not be more than 67108864/],
    ["table: {group: no-such-group}\n$static",
        qr/FILE:1: table\.group: there is no group "no-such-group"/],
    ["table: {keepEnded: soon}\n$static",
        qr/table\.keepEnded: must be a duration/],
    ["state: relative\n$static", qr/FILE:1: state: must be an absolute path/],
    ["state: [a]\n$static", qr/FILE:1: state: must be a single value/],
    ["state: /x\nstate: /y\n$static", qr/FILE:2: state: is given twice/],
    ["state: /x\n", qr/FILE:1: the key "plugins" is missing/],
    ["plugins: []\n", qr/FILE:1: plugins: must have at least 1 entries/],
    ["plugins: {name: static}\n", qr/plugins: must be a list/],
    ["plugins:\n  - {options: {file: /x}}\n",
        qr/FILE:2: plugins\[0\]: the key "name" is missing/],
    ["plugins:\n  - {name: nosuch}\n",
        qr/FILE:2: plugins\.0\.name: there is no plugin nosuch .*list-plugins/],
    ["plugins:\n  - {name: ../x}\n", qr/a plugin's name is of a-z/],
    ["plugins:\n  - {name: static}\n",
        qr/FILE:2: plugins\.0\.options: plugin static needs the option "file"/],
    ["plugins:\n  - name: static\n    options:\n      fil: /x\n",
        qr/FILE:4: plugins\.0\.options\.fil: plugin static has no such option/],
    ["plugins:\n  - name: static\n    options:\n      fil: /x\n",
        qr/did you mean "file"\? \(its options: file\)/],
    ["plugins:\n  - name: static\n    options: {file: x}\n",
        qr/must be an absolute path/],
    ["plugins:\n  - {name: static, options: [x]}\n",
        qr/plugins\.0\.options: must be a mapping/],
    ["plugins:\n  - {name: static, options: {file: [x]}}\n",
        qr/options\.file: must be a string/],
    ["log: {level: loud}\n$static",
        qr/FILE:1: log\.level: must be one of: error, warn, info, debug/],
    ["api: {listen: [\"0.0.0.0:8082\"]}\n$static",
        qr/api\.listen\.0: must be unix:\/PATH or a loopback ADDRESS:PORT/],
    ["api: {listen: [\"unix:rel\"]}\n$static",
        qr/api\.listen\.0: must be unix/],
    ["gateway: {endpoint: \"localhost:1235\"}\n$static",
        qr/gateway\.endpoint: must be tcp:\/\/HOST:PORT/],
    ["gateway: {endpoint: \"tcp://a b:1\"}\n$static", qr/gateway\.endpoint/],
    ["gateway: {endpoint: \"tcp://x:99999\"}\n$static", qr/gateway\.endpoint/],
    ["a: b: c\n", qr/FILE:1: mapping values are not allowed/],
    ["state: \"x\n", qr/FILE:\d: .*unexpected end/],
    ["", qr/FILE:1: is empty/],
    ["- a\n", qr/FILE:1: must be a mapping/],
    ["state: &a /x\nreports: *a\n$static", qr/aliases are not allowed/],
    ["$static---\nx: y\n", qr/a second document/],
    ["state: \"/x\\0y\"\n$static", qr/control character/],
    ["state: /x\n\tplugins: x\n", qr/FILE:2: /],
    ["? [a]\n: b\n$static", qr/a key must be a single word/],
    ["\x{80}\xff: x\n", qr/FILE:/],
    ['{' x 5000, qr/FILE:/],
);

for my $case (@bad) {
    my ($yaml, $want) = @$case;
    my $got = check($yaml);
    my $name = substr $yaml =~ s/\n/\\n/gr, 0, 60;
    $name =~ s/[^\x20-\x7e]/?/g;
    ok($got->{rc} == 1 && $got->{err} =~ $want, "refused: $name")
        or diag("rc $got->{rc}: $got->{err}, not $want");
}

my $big = check("# " . 'x' x (1 << 20) . "\n$static");
ok($big->{rc} == 1 && $big->{err} =~ /larger than 1048576 bytes/, 'too large');

$r = $t->run($host, '-c', $t->dir . '/none.yaml', '-t');
ok($r->{rc} == 1 && $r->{err} =~ /none\.yaml: No such file/, 'no file');
$r = $t->run($host, '-c', $t->dir, '-t');
ok($r->{rc} == 1 && $r->{err} =~ /not a regular file/, 'a folder');

ok(!-e $t->dir . '/state', '-t makes nothing');

# the program's other faces
$r = $t->run($host, '--version');
like($r->{out}, qr/^buildkit-plugin-host \d.*interface 1\.\d/, '--version');
$r = $t->run($host, '--help');
ok($r->{rc} == 0 && $r->{out} =~ /^Usage:/, '--help');
$r = $t->run($host, '--nonsense');
ok($r->{rc} == 2 && $r->{err} =~ /Usage:/, 'an unknown option');
$r = $t->run($host, 'word');
ok($r->{rc} == 2 && $r->{err} =~ /"word" is not understood/, 'a stray word');
$r = $t->run($host, '--list-plugins');
is($r->{rc}, 0, '--list-plugins');
like($r->{out}, qr/^static \S+ - .*\n    file: string, required\n        the/m,
    'with options, types, defaults and help');
like($r->{out}, qr/^metrics /m, 'each plugin');

done_testing;
