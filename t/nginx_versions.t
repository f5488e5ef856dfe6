#!/usr/bin/perl

# The module compiles without a warning against newer releases of nginx than
# the one that is installed: Debian's, by their headers alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan skip_all => 'the compiler is not built with sanitizers' if $ENV{BK_SAN};
plan tests => 6;

my $t = Test::Buildkit->new;
my $root = "$FindBin::Bin/..";

# suite of Debian, the oldest nginx that counts for it
for (['trixie', 1026000], ['sid', 1030000]) {
    my ($suite, $oldest) = @$_;

    my $got = $t->run({timeout => 300}, "$root/tools/nginx-headers", $suite);
    chomp(my $src = $got->{out});
    is $got->{rc}, 0, "$suite: headers" or diag $got->{err};

    my $version = version_of("$src/src/core/nginx.h");
    cmp_ok $version, '>=', $oldest, "$suite: nginx $version";

    # -Werror is among the module's own flags
    my $build = $t->dir . "/$suite";
    $got = $t->run({timeout => 300}, 'make', '-C', $root, 'module',
        "NGINX_SRC=$src", "BUILD=$build", 'SAN=', 'SAN_FLAGS=');
    ok $got->{rc} == 0 && -s "$build/ngx_stream_buildkit_module.so",
        "$suite: the module compiles" or diag $got->{err};
}

sub version_of {
    my ($file) = @_;
    open my $fh, '<', $file or return 0;
    my ($version) = join('', <$fh>) =~ /define nginx_version\s+(\d+)/;
    return $version // 0;
}
