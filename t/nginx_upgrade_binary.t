# USR2: another nginx takes the port, the sessions of the first one go on in
# its process, which still watches the table.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Old;

plan tests => Test::Buildkit::Old::CHECKS + 7;

my $t = Test::Buildkit->new;
my $old = Test::Buildkit::Old->new($t);
my $first = $t->nginx_service($t->gateway_conf(server =>
    "buildkit_max_connections 1;\n"));
my $pid = $t->wait_for(sub { ($t->children($first))[0] }, 5, 'its process');

$old->begin;
my $new = $t->nginx_upgrade($first);
my $worker = ($t->children($new))[0];
ok($worker && $worker != $pid, 'a new nginx runs beside the old one');
ok($t->wait_for(sub { logged(qr/ $pid#\d+: gracefully shutting down/) }, 5,
    'the old process to close its port'), 'the old one lets go of the port');

$old->check;

# counts are those of one nginx: what lives in the other is not in them
my ($client, $back) = $old->{live}->connect($old->{cert}{stays});
$client->request(1);
ok($back->until(sub { $back->seen(1, 1) }), 'the new one serves');
ok(logged(qr/ $worker#\d+: \*\d+ client .* connected/), 'in its own process');
$client->finish;

ok($old->end, 'the last session of the old one ends as it likes');
ok($t->wait_for(sub { !kill 0 => $first }, 15, 'the old nginx to end'),
    'and then the old nginx does');
kill QUIT => $new;
$t->wait_for(sub { !kill 0 => $new }, 15, 'the new nginx to end');
ok(!logged(qr/open socket|\[(alert|crit|error)\]/), 'nothing is left open');


sub logged { ($t->read('error.log') // '') =~ $_[0] }
