# A client that has said all of its own and gone before nginx has looked at its
# certificate: nobody reads what it said, and the log does not call that crit
# ("application data after close notify").

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use Test::Buildkit;
use Test::Buildkit::Live;

# what becomes of its allocation, and what is logged of its connection
my @cases = (
    [ held => 'starting 0', qr/^200 gone$/m ],
    [ refused => 'ready 1', qr/^403 refused:expired$/m ],
);

plan tests => @cases + 3;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { $_->[0] => $t->token } @cases;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo',
    $live->row,
    map { "alloc token:$token{$_->[0]} default/demo w1 $_->[1]" } @cases);
my $nginx = $t->nginx($t->gateway_conf(
    stream => 'log_format bk "$status $buildkit_outcome";',
    server => "access_log %%DIR%%/access.log bk;\n"));
my ($pid) = $nginx->worker_pids;

for (@cases) {
    my ($name, undef, $logged) = @$_;
    my $socket = hasty($cert{$name});
    ok($t->wait_for(sub { ($t->read('access.log') // '') =~ $logged }, 15,
        'the access log'), "$name: what is logged of it");
    close $socket;
}

is(join(' ', $nginx->worker_pids), $pid, 'all by the same process');
is($nginx->stop, 0, 'which ends well');
unlike($nginx->log, qr/\[(?:alert|crit|error)\]/, 'without an error');


# The last words of its handshake, all of its request, and its end: nginx finds
# them together.
sub hasty {
    my ($cert) = @_;

    while (1) {
        my $tcp = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
            PeerPort => $t->port('gw')) or die "connect: $@";
        $tcp->blocking(0);
        my $tls = $t->tls($cert, socket => $tcp,
            ssl => { SSL_startHandshake => 0 }) or die $SSL_ERROR;
        $tls->connect_SSL;
        IO::Select->new($tcp)->can_read($Test::Buildkit::PATIENCE)
            or die 'no answer to a ClientHello';

        # all of its answer is there, as a rule
        stopped();
        my $done = $tls->connect_SSL;
        if ($done) {
            print $tls "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                Test::Buildkit::H2::frame(4, 0, 0, ''),
                Test::Buildkit::H2::frame(1, 4, 1, "\x83\x86\x84");
            shutdown $tcp, 1;
        }
        kill CONT => $pid;
        return $tcp if $done;
    }
}


sub stopped {
    kill STOP => $pid;
    $t->wait_for(sub { ($t->read("/proc/$pid/stat") // '') =~ /\) T / }, 15,
        'a stop');

    return;
}
