# How each connection ended, three times: in the access log, one line each;
# in the process's counters; in the sum, where accepted is all of routed,
# refused and gone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Report;
use Test::Buildkit;

plan tests => 33;

my $t = Test::Buildkit->new;
mkdir $t->dir . '/reports' or die;

my %token = map { $_ => $t->token } qw(good held revoked unknown dead);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
$cert{plain} = $t->client_cert('plain', cn => 'nobody');
$cert{key} = $t->client_cert('key', cn => "alloc:$token{good}");
my $w1 = $t->worker('w1');
my $table = $t->table('pool default/demo shared',
    "worker default/demo w1 127.0.0.1:$w1 w1.workers.buildkit.internal ready",
    'worker default/demo w2 127.0.0.1:' . $t->port('nobody')
        . ' w2.workers.buildkit.internal ready',
    "alloc token:$token{good} default/demo w1 ready 4102444800000"
        . " key=$cert{good}{spki_hash}",
    "alloc token:$token{held} default/demo w1 starting 0",
    "alloc token:$token{dead} default/demo w2 ready 0",
    "alloc token:$token{revoked} default/demo w1 revoked 0");

my ($format) = $t->read($t->root . '/conf/nginx.conf')
    =~ /(log_format buildkit .*?;)/s;
my $conf = $t->gateway_conf(
    stream => "$format\nbuildkit_report %%DIR%%/reports;\n",
    server => <<'END');
        access_log %%DIR%%/access.log buildkit;
        buildkit_grace 100ms;
        buildkit_retry 4s;
    }
    server {
        listen 127.0.0.1:%%PORT:hasty%% ssl;
        ssl_certificate         %%PKI%%/gateway.pem;
        ssl_certificate_key     %%PKI%%/gateway-key.pem;
        ssl_trusted_certificate %%PKI%%/gateway-ca.pem;
        ssl_verify_client       optional_no_ca;
        ssl_handshake_timeout 1s;
        access_log %%DIR%%/access.log buildkit;
        buildkit on;
        proxy_pass workers;
        proxy_ssl on;
    }
    server {
        listen 127.0.0.1:%%PORT:strict%% ssl;
        ssl_certificate         %%PKI%%/gateway.pem;
        ssl_certificate_key     %%PKI%%/gateway-key.pem;
        ssl_client_certificate  %%PKI%%/gateway-ca.pem;
        ssl_verify_client       on;
        access_log %%DIR%%/access.log buildkit;
        buildkit on;
        proxy_pass workers;
        proxy_ssl on;
    }
    server {
        listen 127.0.0.1:%%PORT:turn%%;
        return "";
END
my $nginx = $t->nginx($conf);
my $file = $t->wait_for(sub { (report_files($t))[0] }, 10, 'the report');

# the last line of the access log, when there are so many; it is counted a
# little later, but before the process does anything else
my $lines = 0;
sub line {
    $lines++;
    my $line = $t->wait_for(sub {
        my @l = split /\n/, $t->read('access.log') // '';
        @l >= $lines && $l[$lines - 1];
    }, 15, "line $lines of the access log");
    my $turn = IO::Socket::INET->new(PeerAddr => '127.0.0.1:'
        . $t->port('turn')) or die "turn: $!";
    sysread $turn, my $nothing, 1;
    return $line;
}
sub row { report_read($file)->{pools}{$_[0]} }

like($t->say_hello($cert{good}), qr/worker w1/, 'one is routed');
my $id = $t->id($token{good});
like(line(), qr{^\S+\ 127\.0\.0\.1:\d+\ id=$id\ pool=default/demo\ worker=w1
    \ outcome=routed\ kind=\w+\ state=ready\ expires=2100-01-01T00:00:00Z
    \ wait_ms=0\ time=\d+\.\d+\ connect=\d+\.\d+\ up=6\ down=16\ status=200
    \ reason="-"$}x, 'and its line says so');
my $p = row('default/demo');
is($p->{accepted}, 1, 'accepted');
is($p->{routed}, 1, 'routed');
is("$p->{up} $p->{down}", '6 16', 'bytes each way');
is($p->{connect}, 1, 'the time of its dial');
is($p->{held}, 0, 'it was not held');

# refused
for (['revoked', 'revoked', 'default/demo'], ['key', 'key', 'default/demo'],
    ['unknown', 'unknown', ''], ['plain', 'no_token', ''],
    [undef, 'certificate', ''], ['dead', 'worker', 'default/demo'])
{
    my ($name, $why, $pool) = @$_;
    $t->grpc($name && $cert{$name});
    like(line(), qr/ outcome=refused:$why .* status=\d+ reason=".{20,}"$/,
        "refused: $why");
    is(row($pool)->{refused}{$why}, 1, "counted for pool \"$pool\"");
}
my $tries = () = $nginx->log =~ /connect\(\) to worker w2 failed/g;
cmp_ok($tries, '>', 1, 'a dead worker was tried again');
is(row('default/demo')->{retries}, $tries - 1, 'each time counts once');

# held, and then the client leaves
my $held = $t->tls($cert{held}) or die;
my ($s) = $t->wait_for(sub {
    my $r = report_read($file);
    $r->{held} == 1 && $r->{sessions}[0]{phase} eq 'held' && $r->{sessions}[0];
}, 10, 'a held one');
is("$s->{phase} $s->{allocation}", 'held ' . $t->id($token{held}),
    'a held one is listed');
close $held;
like(line(), qr/ outcome=gone .* state=starting .* wait_ms=\d+ /,
    'a client that left');
is(row('default/demo')->{gone}, 1, 'is counted');
ok(row('default/demo')->{hold} > 0, 'and how long it waited');
is(report_read($file)->{held}, 0, 'nobody is held any more');

# handshakes
my $plain = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('gw'));
print $plain "GET / HTTP/1.0\r\n\r\n";
like(line(), qr/ id=- .* outcome=handshake:tls /, 'no TLS');
$plain = IO::Socket::INET->new(PeerAddr => '127.0.0.1:'
    . $t->port('hasty'));
like(line(), qr/ outcome=handshake:timeout /, 'no word');
$plain = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('gw'));
close $plain;
like(line(), qr/ outcome=handshake:closed /, 'gone at once');
$t->grpc($t->client_cert('other', ca => 'other', cn => 'x'),
    port => 'strict');
like(line(), qr/ outcome=handshake:certificate /, 'with ssl_verify_client on');
is_deeply(report_read($file)->{handshake}, { none => 0, closed => 1,
    timeout => 1, tls => 1, certificate => 1, limit => 0 }, 'all counted');

# the sums
for my $pool ('', 'default/demo') {
    my $r = row($pool);
    my $ends = $r->{routed} + $r->{gone};
    $ends += $_ for values %{$r->{refused}};
    is($r->{accepted}, $ends, "pool \"$pool\": accepted is all that ended");
}
