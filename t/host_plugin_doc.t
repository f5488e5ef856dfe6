#!/usr/bin/perl

# doc/plugin.md against the truth: its example is compiled, loaded and asked,
# and every function that it names is in the header.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Copy qw(copy);
use File::Path qw(make_path);
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $doc = $t->read($t->root . '/plugin-host/doc/plugin.md');
my $header = $t->read($t->root . '/plugin-host/include/bk_plugin.h');

my ($code) = $doc =~ /^## The least that works\n\n(.*?)\n(?=\S)/ms;
$code =~ s/^ {4}//mg;
my $src = $t->write('hello.c', $code);

my $bin = $t->dir . '/bin';
make_path("$bin/plugins", { mode => 0755 });
copy($t->build . '/buildkit-plugin-host', "$bin/host") or die $!;
chmod 0755, "$bin/host";

my $r = $t->run(qw(cc -std=gnu11 -Wall -Werror -shared -fPIC
    -fvisibility=hidden -I), $t->root . '/plugin-host/include', '-o',
    "$bin/plugins/hello.so", $src);
is($r->{rc}, 0, 'the example compiles') or diag($r->{err});
chmod 0755, "$bin/plugins/hello.so";

my $conf = $t->write('host.yaml', <<'E');
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
  - {name: hello}
E
# the sanitizers of a host do not come with a plugin that has none
my $p = $t->start('host', {}, "$bin/host", '-c', $conf);
my $api = $t->dir . '/api.sock';
$t->wait_for(sub { !$t->alive($p)
    || $t->http($api, GET => '/readyz')->{status} == 200 }, 10, 'the host');
is($t->http($api, GET => '/api/v1/hello')->{body}, "{}\n", 'and answers');
is($t->stop($p), 0, 'and stops');

my @missing = grep { $header !~ /\b\Q$_\E\b/ && !/^(?:abort|events)$/ }
    $doc =~ /`(\w+)\(\)`/g;
is("@missing", '', 'every function that the page names is in the header');

my ($major, $minor) = map { $header =~ /^#define BK_ABI_$_\s+(\d+)/m }
    qw(MAJOR MINOR);
like($header, qr/^ \*   \d{4}-\d\d-\d\d  \Q$major.$minor\E  /m,
    'the list of changes has the version of the header');
unlike($header =~ s/^ \*   \d{4}.*//mgr, qr/^ \* .*\b$major\.@{[$minor + 1]}/m,
    'and nothing later');

done_testing;
