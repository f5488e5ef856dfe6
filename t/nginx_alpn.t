# ALPN: h2 is selected where it is offered, a client without it is served
# (buildx sends none), a worker is always offered h2.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 12;

my $t = Test::Buildkit->new;

my @token = map { $t->token } 1 .. 2;
my @cert = map { $t->client_cert("c$_", cn => "alloc:$token[$_]") } 0, 1;

# w2 is as old as buildkitd before 0.17: selects nothing
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    'worker default/demo w2 127.0.0.1:' . $t->worker('w2', alpn => 0)
        . ' w2.workers.buildkit.internal ready',
    map { "alloc token:$token[$_] default/demo w" . ($_ + 1) . ' ready 0' }
        0, 1);

# whatever the configuration says about it
my $nginx = $t->nginx($t->gateway_conf(server => "ssl_alpn http/1.1;\n"));

for ([['h2'], 'h2'], [['http/1.1', 'h2'], 'h2'], [['http/1.1'], undef],
    [undef, undef], [['h2c', 'x'], undef])
{
    my ($offer, $want) = @$_;
    my $name = $offer ? join ' ', @$offer : 'none';

    my $socket = $t->tls($cert[0], alpn => $offer);
    is($socket && $socket->alpn_selected, $want, "$name offered");
    print $socket "hello\n";
    like($t->read_until($socket, qr/hello/, 30), qr/worker w1/,
        "$name: served");
}

is($t->worker_object('w1')->stats->{h2}, 5, 'workers are offered h2');
like($t->say_hello($cert[1]), qr/worker w2/, 'a worker that selects none');
