#!/usr/bin/perl

# doc/access.md and the shipped configuration against the truth: their
# examples are taken as they are.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;
my $doc = $t->read($t->root . '/plugin-host/doc/access.md');
my ($example) = $doc =~ /^((?: {4}(?:access:|[ ]).*\n)+)/m;
my ($audit) = $doc =~ /^ {4}(audit: \{.*\})$/m;
s/^ {4}//mg for $example, $audit;
like($example, qr/^access:\n  rules:\n/, 'the example of rules');
like($audit, qr/file:/, 'the example of an audit log');

my $r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
    $t->write('c.yaml', "plugins: [{name: metrics}]\n$example$audit\n"));
is($r->{rc}, 0, 'are good') or diag($r->{err});
is($r->{err}, '', 'and each rule can match');

# every key of the table, and no other
my ($table) = $doc =~ /^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)/m;
my @keys = $table =~ /^\| (\w+) \|/mg;
my $source = $t->read($t->root . '/plugin-host/src/conf_access.c');
my ($fields) = $source =~ /bk_conf_rule_fields\[\] = \{(.*?)CYAML_FIELD_END/s;
is_deeply([sort @keys], [sort $fields =~ /\("(\w+)"/g], 'the keys of a rule');

my ($names) = $t->read($t->root . '/plugin-host/src/access.c')
    =~ /bk_verb_names\[BK_VERBS\] = \{(.*?)\}/s;
my ($verbs) = $doc =~ /^(\*\*verbs\*\*:.*?)\n\n/ms;
is_deeply([grep { $verbs !~ /`$_`/ } grep { $_ ne 'none' } $names =~ /"(\w+)"/g],
    [], 'every verb is explained');

my $limits = $t->read($t->root . '/plugin-host/src/access_int.h');
my %limit = $limits =~ /#define BK_ACCESS_(\w+)_MAX +(\d+)/g;
is("$limit{STEPS} $limit{SUBJECT} $limit{ELEMENTS}", '10000 4096 256',
    'the limits');
like($doc, qr/10,000 steps, values of 4 KiB, lists of 256/, 'are those of the doc');

my $lines = $t->read($t->root . '/plugin-host/src/gate_int.h');
my %lines = $lines =~ /#define BK_GATE_(\w+) +(\d+)/g;
my ($each, $all) = $doc =~ /at most (\d+) refusals a second.*together (\d+)/;
is("$each $all", "$lines{REFUSED} " . $lines{REFUSED} * $lines{CALLERS},
    'and those of refusals in the audit log');

# the shipped configuration, with its comments taken away
my $shipped = $t->read($t->root . '/conf/plugin-host.yaml');
ok($shipped =~ s/^(#access:\n(?:#.*\n)+)/$1 =~ s{^#}{}gmr/me
    && $shipped =~ s/^#(audit:)/$1/m, 'what is commented out');
$shipped =~ s{(state|reports): /\S+}{"$1: " . $t->dir . "/$1"}ge;
$r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
    $t->write('shipped.yaml', $shipped));
is($r->{rc}, 0, 'is good') or diag($r->{err});
