# Clients that go away while they are held: noticed at once, however they go,
# never dialled for, and with them whatever they cost.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::Buildkit;
use Test::Buildkit::Live;

my @ways = ('close_notify', 'FIN', 'RST', 'half', 'silent', 'full');

plan tests => 3 * @ways + 3;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo', $live->row,
    "alloc token:$token default/demo w1 starting 0");
my $nginx = $t->nginx($t->gateway_conf(stream => 'log_format bk'
    . ' "$status $bytes_received $bytes_sent $buildkit_outcome|";'
    . "buildkit_wait 100s;\n", server => "access_log %%DIR%%/access.log bk;\n"));
my ($pid) = $nginx->worker_pids;

sub sockets {
    return scalar grep { (readlink($_) // '') =~ /^socket:/ }
        glob "/proc/$pid/fd/*";
}

my $idle;

for my $i (0 .. $#ways) {
    my $way = $ways[$i];
    my $h2 = $t->grpc($cert, streams => [], keep => 1);
    my $socket = $h2->{socket};
    $h2->open_stream(1) if $way ne 'silent';
    $t->wait_for(sub { $h2->_more(0.1); $h2->{settings} }, 10, 'SETTINGS');
    $idle //= sockets() - 1;

    if ($way eq 'full') {

        # more than is kept: the rest, and the end, are seen by the kernel
        $h2->send(Test::Buildkit::H2::frame(0, 0, 1, 'x' x 16000))
            for 1 .. 10;
    }

    if ($way eq 'close_notify') {
        $socket->close;
    } elsif ($way eq 'half') {
        $socket->stop_SSL(SSL_fast_shutdown => 1);
    } elsif ($way eq 'RST') {
        setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
        $h2->finish;
    } else {
        $h2->finish;
    }

    my @log;
    $t->wait_for(sub {
        @log = split /\n/, $t->read('access.log') // '';
        return @log > $i;
    }, 10, "$way to be noticed");
    is(scalar @log, $i + 1, "$way: noticed");
    like($log[$i], qr/^200 \d+ 9 gone\|/, "$way: gone, and how it is logged");
    is($t->wait_for(sub { sockets() == $idle && 'closed' }, 5, 'the sockets'),
        'closed', "$way: nothing is left of it");
}

$table->cmd("alloc token:$token default/demo w1 ready 0");
ok(!$live->knocked(0.5), 'nobody was dialled for them');

my ($client, $worker) = $live->connect($cert);
ok($client->{settings}, 'who comes now is served');
is(join(' ', $nginx->worker_pids), $pid, 'by the same process');
