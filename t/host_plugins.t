#!/usr/bin/perl

# Plugins: the gate for what does not fit, old ones that go on working, and
# what a plugin can do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Fcntl qw(:flock);
use File::Copy qw(copy);
use File::Path qw(make_path);
use IO::Socket::UNIX;
use Test::Buildkit;

my $t = Test::Buildkit->new;

# a host of our own, with the test plugins beside it
my @plugins = qw(good no_start newer_major newer_minor short_struct other_name
    no_entry half_store old_1_0);
my $bin = $t->dir . '/bin';
make_path("$bin/plugins", { mode => 0755 });
copy($t->build . '/buildkit-plugin-host', "$bin/host") or die $!;
chmod 0755, "$bin/host";
for my $name (@plugins) {
    my $so = $t->build . "/t/plugins/$name.so";
    if (!-e $so) {
        open my $lock, '>', $t->build . '/.tools.lock' or die "lock: $!";
        flock $lock, LOCK_EX;
        my $r = $t->run({ timeout => 600 }, 'make', '-s', '-C',
            $t->root . '/plugin-host', 'BUILD=' . $t->build, $so);
        die $r->{err} if !-e $so;
    }
    copy($so, "$bin/plugins/$name.so") or die $!;
    chmod 0755, "$bin/plugins/$name.so";
}

sub check {
    my ($plugins) = @_;
    my $path = $t->write('check.yaml', "plugins:\n$plugins");
    return $t->run("$bin/host", '-c', $path, '-t');
}

my %refused = (
    no_start => qr/plugin no_start has no start, which every plugin needs/,
    newer_major => qr/made\ for\ version\ 2\.0\ of\ the\ plugin\ interface,
        \ this\ host\ has\ 1\.4/x,
    newer_minor => qr/version\ 1\.5\ of\ the\ plugin\ interface,\ this\ host
        \ has\ 1\.4\ .*use\ a\ newer\ buildkit-plugin-host/x,
    short_struct => qr/short_struct:\ its\ description\ has\ \d+\ bytes,
        \ version\ 1\.0\ has\ \d+/x,
    other_name => qr/plugin other_name calls itself "someone_else"/,
    half_store => qr/half_store has no store_each, which every store needs/,
    no_entry => qr/no_entry\.so is no plugin: it has no bk_plugin_entry/,
);

for my $name (sort keys %refused) {
    my $r = check("  - {name: $name}\n");
    ok($r->{rc} == 1 && $r->{err} =~ $refused{$name}, "$name is refused")
        or diag($r->{err});
}

my $r = check("  - {name: old_1_0}\n");
is($r->{rc}, 0, 'a plugin of 1.0 is taken') or diag($r->{err});

chmod 0777, "$bin/plugins/old_1_0.so";
$r = check("  - {name: old_1_0}\n");
ok($> != 0 || ($r->{rc} == 1
    && $r->{err} =~ /not safe to load as root: others/),
    'root takes none that others may write');
chmod 0755, "$bin/plugins/old_1_0.so";

# options of each kind, from the plugin's own table
my $good = '  - {name: good, options: {needed: x';
my %options = (
    'count: many' => qr/options\.count: must be a whole number/,
    'count: 101' => qr/check\.yaml:2: plugins\.0\.options\.count: is more than/,
    'flag: maybe' => qr/options\.flag: must be true or false/,
    'pause: 5' => qr/options\.pause: must be a duration/,
    'words: one' => qr/options\.words: must be a list/,
    'words: [[a]]' => qr/options\.words\.0: must be a list/,
    'flag: true, count: 13' => qr/flag and count 13 do not go together/,
    'count: 1, count: 2' => qr/options\.count: is given twice/,
);
for my $option (sort keys %options) {
    $r = check("$good, $option}}\n");
    ok($r->{rc} == 1 && $r->{err} =~ $options{$option}, "refused: $option")
        or diag($r->{err});
}

# it runs
my $api = $t->dir . '/api.sock';

sub start {
    my ($plugins) = @_;
    my $conf = $t->write('run.yaml', <<'E' . $plugins);
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins:
E
    my $p = $t->start('own-host', {}, "$bin/host", '-c', $conf);
    $t->wait_for(sub { !$t->alive($p)
        || $t->http($api, GET => '/readyz')->{status} == 200
    }, 10, 'the host');
    return $p;
}

my $p = start(<<'E');
  - name: good
    options: {needed: x, flag: yes, pause: 1.5s, words: [a, b c]}
  - {name: good, options: {needed: y, pool: test/other, route: /api/v1/two}}
E
ok(!$t->alive($p), 'two instances cannot own one allocation');
like($t->read($p->{log}), qr/good#2: the allocation belongs to another/,
    'and the log names the second');

unlink $t->dir . '/bk.table';
$p = start(<<'E');
  - name: good
    options: {needed: x, flag: yes, pause: 1.5s, words: [a, b c]}
  - {name: old_1_0}
E
$r = $t->http($api, GET => '/api/v1/good/x?q=a%20b+c&z');
is($r->{status}, 200, 'its route answers');
is($r->{headers}{'x-good'}, 'yes', 'with its header');
is($r->{json}{q}, 'a b c', 'query values are decoded');
is($r->{json}{seen}, 'pool=test/good;count=3;flag=true;pause=1500;words=a;'
    . 'words=b c;needed=x;route=/api/v1/good/*;',
    'options and defaults came in the form that is promised');
is($r->{json}{state}, 3, 'the allocation became ready with its worker');

is($t->http($api, GET => '/api/v1/old')->{body}, '{"abi":"1.0"}',
    'the old plugin answers');
is($t->http($api, GET => '/api/v1/good/want')->{json}{wants}, 1,
    'the owner of a worker is asked for it');
is($t->http($api, GET => '/api/v1/good/later')->{status}, 200,
    'an answer may come later');

my $s = IO::Socket::UNIX->new(Peer => $api) or die $!;
print $s "GET /api/v1/good/never HTTP/1.1\r\nHost: x\r\n\r\n";
$s->flush;
is($t->http($api, GET => '/api/v1/workers')->{status}, 200,
    'others are answered while one waits');
close $s;
ok($t->wait_for(sub { $t->http($api, GET => '/api/v1/good/x')->{json}{gone} },
    5, 'gone'), 'a plugin hears that a waiting client went away');

$t->http($api, GET => '/api/v1/good/slow');
like($t->read($p->{log}), qr/warn  good: \S+ held everything up for \d{3,} ms/,
    'a slow callback is warned of');

is($t->http($api, GET => '/api/v1/good/a/b')->{status}, 404,
    '* is one segment');

# stopping while a client waits: it is answered
$s = IO::Socket::UNIX->new(Peer => $api) or die $!;
print $s "GET /api/v1/good/never HTTP/1.1\r\nHost: x\r\n\r\n";
$s->flush;
$t->http($api, GET => '/api/v1/workers');
is($t->stop($p), 0, 'stops');
sysread $s, my $last, 1000;
like($last // '', qr{^HTTP/1\.1 200}, 'the last answer went out');

$p = start(<<'E');
  - {name: good, options: {needed: x, route: /api/v1/pools}}
E
ok(!$t->alive($p), 'a route that is taken is an error');
like($t->read($p->{log}), qr{GET /api/v1/pools is answered by host already},
    'which names it');

done_testing;
