#!/usr/bin/perl

# plugin-host/doc/oidc.md: its examples are taken by plugin-host -t, and it
# names every option, key, reason and number that there is.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 9;

my $t = Test::Buildkit->new;
my $doc = $t->read($t->root . '/plugin-host/doc/oidc.md');
my $src = $t->root . '/plugin-host/plugins/oidc';

# the indented block that begins with this line
sub block {
    my ($first) = @_;
    my ($text) = $doc =~ /^(    \Q$first\E\n(?:(?:    .*)?\n)*?)(?=\S)/m;
    $text //= '';
    $text =~ s/^    //mg;
    return $text;
}

my $file = block('issuers:');
like($file, qr/^tokenReview:\n/m, 'the file has all three kinds');
my $ca = $t->pki . '/gateway-ca.pem';
$file =~ s/caFile: \S+/caFile: $ca/g;
$file =~ s/"7d3a\.\.\."/'"' . '7d3a' x 16 . '"'/e;
$t->write('oidc.yaml', $file);

my $plugins = block('plugins:');
$plugins =~ s/\/etc\S+oidc\.yaml/%%DIR%%\/oidc.yaml/;
my $access = block('access:');
like($access, qr/untrusted: true/, 'and the rules one for forks');
my $r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
    $t->write('host.yaml', <<"E" . $plugins . $access));
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table"}
api: {listen: ["unix:%%DIR%%/api.sock"]}
E
is($r->{rc}, 0, 'the examples are good') or diag($r->{err});
unlike($r->{err}, qr/never/, 'every rule can match');

my $list = $t->run($t->build . '/buildkit-plugin-host', '--list-plugins')
    ->{out};
my ($options) = $list =~ /^oidc\b.*\n((?:\s+.*\n)*)/m;
my @options = ($options // '') =~ /^    (\w+):/mg;
is_deeply([grep { $doc !~ /^\| $_ \|/m } @options], [], 'options')
    or diag($list);
cmp_ok(scalar @options, '>=', 3, 'there are some');

my @keys = $t->read("$src/file.c") =~ /CYAML_FIELD_\w+\("(\w+)"/g;
is_deeply([grep { $doc !~ /\b$_\b/ } @keys], [], 'keys of the file');

my $stats = $t->read("$src/stats.c");
my @labels = map { /\{ "(\w+)", / ? $1 : () } split /\n/, $stats;
my @names = $stats =~ /"(oidc_\w+)"/g;
is_deeply([grep { $doc !~ /\b$_\b/ } @labels, @names], [],
    'results and numbers');

my %reasons = map { $_ => 1 } map { $t->read($_) =~ /40[13], "(\w+)"/g }
    glob "$src/*.c";
is_deeply([grep { $doc !~ /\b$_\b/ } sort keys %reasons], [], 'reasons');
