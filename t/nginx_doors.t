# The doors that a configuration may leave open: an upstream of ours used by a
# server that verifies nobody, and a server of ours that leads elsewhere.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 13;

my $t = Test::Buildkit->new;

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");
$t->worker('w2');
my $w2 = $t->port('worker-w2');

my $conf = $t->gateway_conf;
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
my $more = '';

for (['open', sub { s/buildkit on;//r }],
    ['plain', sub { s/buildkit on;//r =~ s/ ssl;/;/r }],
    ['past', sub { s/proxy_pass .*/proxy_pass 127.0.0.1:$w2;/r =~
        s/\$buildkit_worker_tls_name/w2.workers.buildkit.internal/r }],
    ['variable', sub { s/proxy_pass .*/proxy_pass \$to;/r =~
        s/\$buildkit_worker_tls_name/w2.workers.buildkit.internal/r }],
    ['group', sub { s/proxy_pass .*/proxy_pass others;/r =~
        s/\$buildkit_worker_tls_name/w2.workers.buildkit.internal/r }],
    ['return', sub { s/proxy_pass .*/return "here I am";/r }],
    ['by_name', sub { s/proxy_pass .*/proxy_pass \$ours;/r }])
{
    my ($name, $change) = @$_;
    local $_ = $server =~ s/%%PORT:gw%%/%%PORT:$name%%/r;
    $more .= $change->() . "\n";
}
$conf =~ s/\n\}\n\z/\n$more}\n/;
$conf =~ s/(    upstream)/    upstream others { server 127.0.0.1:$w2; }
    map \$remote_port \$to { default 127.0.0.1:$w2; }
    map \$remote_port \$ours { default workers; }
$1/;

my $nginx = $t->nginx($conf);

like($t->say_hello($cert), qr/worker w1/, 'the right way');
like($t->say_hello($cert, port => 'by_name'), qr/worker w1/,
    'proxy_pass with a variable that names our upstream');

my $socket = IO::Socket::INET->new(
    PeerAddr => '127.0.0.1:' . $t->port('plain'));
print $socket "hello\n";
is($t->read_until($socket, qr/hello/, 60), '', 'our upstream without TLS');
is($t->say_hello($cert, port => 'open'), '', 'our upstream unverified');
is($t->say_hello(undef, port => 'open'), '', 'nor without a certificate');

for my $way (qw(past variable group return)) {
    is($t->say_hello($cert, port => $way), '', "$way: not a byte comes back");
}

my $w = $t->worker_object('w2')->stats;
is($w->{read}, 0, 'not a byte went there');
is($t->worker_object('w1')->stats->{accepted}, 2, 'w1 saw the right ones only');

$nginx->stop;
like($nginx->log,
    qr/upstream "workers" is used by a server without "buildkit on"/,
    'logged: who verifies nobody');
like($nginx->log, qr/"proxy_pass" of a server with "buildkit on" leads past/,
    'logged: who leads past');
