# A worker with an IPv6 address.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan skip_all => 'no IPv6 here' if !-e '/proc/net/if_inet6';
plan tests => 2;

my $t = Test::Buildkit->new;

# mapped: the stand-in listens on IPv4, nginx connects by an IPv6 socket
my $addr = '[::ffff:127.0.0.1]:' . $t->worker('w1');

my $token = $t->token;
my $table = $t->table('pool default/demo',
    "worker default/demo w1 $addr w1.workers.buildkit.internal ready",
    "alloc token:$token default/demo w1 ready 0");
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$upstream_addr";',
    server => "access_log %%DIR%%/access.log bk;\n"));

like($t->say_hello($t->client_cert('c', cn => "alloc:$token")), qr/worker w1/,
    'reached');
is($t->wait_for(sub { $t->read('access.log') }, 5, 'the log'), "$addr\n",
    'and named in the log');
