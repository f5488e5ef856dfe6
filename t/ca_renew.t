# nginx' own certificates are renewed while everything runs: nginx is reloaded
# and shows the new one, connections go on.  When that is done, by date:
# t/unit/ca_clock.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 10;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 1, shared => 1, reload => 1);
my $state = $t->dir . '/state';
my $one = $t->allocate('one');
is($t->whose($one), 'w1', 'it works');

my $live = $t->tls($one, ca => $one->{ca});
ok($live, 'a connection that stays');
my $key = $t->read("$state/tls/gateway-key.pem");
my $before = shown();

# 20 days are left
my $csr = $t->write('csr.pem', $t->run(qw(openssl req -new -subj
    /CN=buildkit-gateway -addext subjectAltName=DNS:localhost -key),
    "$state/tls/gateway-key.pem")->{out});
is($t->run(qw(openssl x509 -req -days 20 -copy_extensions copy -in), $csr,
    '-CA', "$state/ca/gateway-ca.pem", '-CAkey',
    "$state/ca/gateway-ca-key.pem", '-set_serial', 7, '-out',
    "$state/tls/gateway.pem")->{rc}, 0, 'one that ends soon');
$nginx->reload;
ok($t->wait_for(sub { shown() eq '07' }, 10, 'nginx'), 'nginx shows it');

$host->kill('HUP');
ok($t->wait_for(sub { shown() !~ /^(?:07)?$/ }, 30, 'nginx'),
    'renewed, and nginx shows the new one');
isnt(shown(), $before, 'which is no earlier one');
like($host->log, qr/tls\/gateway\.pem was issued/, 'logged');
is($t->read("$state/tls/gateway-key.pem"), $key, 'for the same key');
is($t->whose($one), 'w1', 'who is connected anew gets through');
ok(syswrite($live, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 'who was, stays');


# the serial number that a client sees
sub shown {
    my $r = $t->run('sh', '-c', 'openssl s_client -connect localhost:'
        . $t->port('gw') . ' </dev/null 2>/dev/null | openssl x509 -noout'
        . ' -serial');
    return $r->{out} =~ /serial=(\w+)/ ? $1 : '';
}
