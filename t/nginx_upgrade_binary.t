# USR2: another nginx takes the port, the sessions of the first one go on in
# its process, which still watches the table.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Old;

plan tests => Test::Buildkit::Old::CHECKS + 8;

my $t = Test::Buildkit->new;
my $old = Test::Buildkit::Old->new($t);

# in the background, as a service does: USR2 is ignored while the parent that
# started nginx is there
my $conf = $t->nginx_conf($t->gateway_conf(server =>
    "buildkit_max_connections 1;\n"), main => join '',
    map { "env $_;\n" } qw(BK_TEST_DIR ASAN_OPTIONS UBSAN_OPTIONS));
$t->write($conf, $t->read($conf) =~ s/daemon off/daemon on/r);
# started by its whole path, which it runs again
my ($program) = grep { -x } $t->nginx_program =~ m{/} ? $t->nginx_program
    : map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin';
my $r = $t->run({ env => { ASAN_OPTIONS => $Test::Buildkit::Nginx::ASAN } },
    $program, '-p', $t->dir . '/nginx', '-c', $conf);
is($r->{rc}, 0, 'nginx starts') or diag $r->{err};
my $first = $t->wait_for(sub { pid_in('nginx.pid') }, 10, 'nginx');
my $pid = $t->wait_for(sub { (children($first))[0] }, 5, 'its process');

$old->begin;
kill USR2 => $first;
my $new = $t->wait_for(sub {
    my $pid = pid_in('nginx.pid') or return 0;
    return (pid_in('nginx.pid.oldbin') // 0) == $first && $pid != $first
        && $pid;
}, 15, 'the new nginx');
my $worker = $t->wait_for(sub { (children($new))[0] }, 5, 'its process');
ok($worker, 'a new nginx runs beside the old one');

kill QUIT => $first;
ok($t->wait_for(sub { $t->read('error.log') =~ / $pid#\d+: gracefully shutting down/ },
    5, 'the old process to close its port'), 'the old one lets go of the port');

$old->check;

# counts are those of one nginx: what lives in the other is not in them
my ($client, $back) = $old->{live}->connect($old->{cert}{stays});
$client->request(1);
ok($back->until(sub { $back->seen(1, 1) }), 'the new one serves');
like($t->read('error.log'), qr/ $worker#\d+: \*\d+ client .* connected/,
    'in its own process');
$client->finish;

ok($old->end, 'the last session of the old one ends as it likes');
ok($t->wait_for(sub { !kill 0 => $first }, 15, 'the old nginx to end'),
    'and then the old nginx does');
kill QUIT => $new;
$t->wait_for(sub { !kill 0 => $new }, 15, 'the new nginx to end');
unlike($t->read('error.log'), qr/open socket|\[(alert|crit|error)\]/,
    'nothing is left open');


sub pid_in {
    my ($file) = @_;

    return (($t->read($file) // '') =~ /^(\d+)\n/)[0];
}

sub children {
    my ($master) = @_;

    return split ' ', $t->read("/proc/$master/task/$master/children") // '';
}
