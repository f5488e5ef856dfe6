# TLS sessions towards workers: over 99 % resumed, also when many connections
# run at once; never at another worker, nor under another identity of ours.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 14;

my $t = Test::Buildkit->new;

my @token = map { $t->token } 1 .. 2;
my @cert = map { $t->client_cert("c$_", cn => "alloc:$token[$_]") } 0, 1;
my %port = map { $_ => $t->worker($_) } qw(w1 w2);

my $table = $t->table('pool default/demo', (map {
        "worker default/demo $_ 127.0.0.1:$port{$_}"
        . " $_.workers.buildkit.internal ready" } sort keys %port),
    map { "alloc token:$token[$_] default/demo w" . ($_ + 1) . ' ready 0' }
        0, 1);

# a second server with another certificate towards workers
my $pki = $t->pki;
$t->mkcert('--out', "$pki/second", '--ca', "$pki/worker-ca", '--cn', 'second',
    '--eku', 'client');
my $conf = $t->gateway_conf;
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
$server =~ s/%%PORT:gw%%/%%PORT:second%%/;
$server =~ s/upstream(\.pem|-key\.pem)/second$1/g;
$conf =~ s/\n\}\n\z/\n$server\n}\n/;

# and a third one that chooses among certificates for each connection
$server =~ s/%%PORT:second%%/%%PORT:choice%%/;
$server =~ s/second(\.pem|-key\.pem)/\$ours$1/g;
$conf =~ s/\n\}\n\z/\n$server\n}\n/;
$conf =~ s{(    upstream)}{    map \$ssl_server_name \$ours {
        default upstream; second second; }\n$1};

my $nginx = $t->nginx($conf);

sub stats { $t->worker_object($_[0])->stats }

# one after the other
for (1 .. 100) {
    $t->say_hello($cert[0]) =~ /worker w1/ or die "connection $_";
}
my $s = stats('w1');
is($s->{handshakes}, 100, '100 handshakes');
is($s->{resumed}, 99, 'all but the first resumed');

# many at the same time: their handshakes overlap
my $wave = 40;
for my $round (1 .. 10) {
    my @sockets = map { $t->tls($cert[0]) // die 'no connection' } 1 .. $wave;
    print $_ "hello\n" for @sockets;
    $t->read_until($_, qr/hello/, 30) =~ /w1/ or die "round $round"
        for @sockets;
}
$s = stats('w1');
is($s->{handshakes}, 500, '400 more, 40 at a time');
cmp_ok($s->{resumed}, '>=', 495, 'over 99 % of all resumed');

# another worker starts from nothing
$t->say_hello($cert[1]) =~ /worker w2/ or die 'w2';
is(stats('w2')->{resumed}, 0, 'no session of one worker is used at another');
$t->say_hello($cert[1]);
is(stats('w2')->{resumed}, 1, 'but its own is');

# another identity of ours
my $before = stats('w1')->{resumed};
$t->say_hello($cert[0], port => 'second') =~ /worker w1/ or die 'second';
is(stats('w1')->{resumed}, $before, 'no session under another certificate');
like($t->worker_object('w1')->ask('peer'), qr/second/, 'the other is used');
$t->say_hello($cert[0], port => 'second');
is(stats('w1')->{resumed}, $before + 1, 'it has its own');

# the same where one server has both
$before = stats('w1')->{resumed};
my @choice = (port => 'choice');
$t->say_hello($cert[0], @choice) =~ /worker w1/ or die 'choice';
$t->say_hello($cert[0], @choice, sni => 'second') =~ /worker w1/ or die 'other';
is(stats('w1')->{resumed}, $before, 'nor within one server');
$t->say_hello($cert[0], @choice);
$t->say_hello($cert[0], @choice, sni => 'second');
is(stats('w1')->{resumed}, $before + 2, 'each has its own');

# the slot of a worker is used again for another one at the same address
$before = stats('w1')->{resumed};
$table->cmd("remove " . $t->hash($token[0]));
$table->cmd('del-worker default/demo w1');
$table->cmd("worker default/demo w1 127.0.0.1:$port{w1}"
    . ' w1.workers.buildkit.internal ready');
$table->cmd("alloc token:$token[0] default/demo w1 ready 0");
$t->say_hello($cert[0]) =~ /worker w1/ or die 'again';
is(stats('w1')->{resumed}, $before, 'a new generation starts from nothing');

# a worker that forgot everything (restarted, same address)
$t->worker_object('w2')->quit;
$t->worker('w2');
like($t->say_hello($cert[1]), qr/worker w2/, 'restarted: a full handshake');
$t->say_hello($cert[1]);
is(stats('w2')->{resumed}, 1, 'and then resumed again');
