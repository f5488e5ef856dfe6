# Why a worker cannot be reached, in words: what is wrong with its address, with
# its TLS, with its certificate or ours, or with what it does afterwards.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use IO::Socket::SSL;
use Test::Buildkit;

my $t = Test::Buildkit->new;

# name, cause
my @rows = (
    ['nowhere', qr/Network is unreachable/],
    ['filtered', qr/it did not answer in \d+s/],
    ['mute', qr/it did not finish the TLS handshake in \d+s/],
    ['plain', qr/the TLS handshake failed; is that port TLS\?/],
    ['hangup', qr/it closed the connection in the TLS handshake/],
    ['untrusted', qr/its certificate is not trusted: unable to [\w ]+/],
    ['name', qr/its certificate is not valid for "name\.workers\.buildkit\.internal"/],
    ['stranger12', qr/it does not accept the gateway's certificate: unknown CA/],
    ['stranger13', qr/it does not accept the gateway's certificate: unknown CA/],
    ['reset', qr/it closed the connection without a word/],
);

plan tests => 5 * @rows + 1;

my %token = map { $_->[0] => $t->token } @rows;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;

my @children;
my $owner = $$;
END { kill 'KILL', @children if $owner && $$ == $owner && @children }

# a server of our own, in a process of its own; each connection is its code's
sub serve {
    my ($name, $code, $backlog) = @_;

    my $listen = IO::Socket::INET->new(Listen => $backlog // 64,
        LocalAddr => '127.0.0.1', LocalPort => $t->port($name), ReuseAddr => 1)
        or die "listen: $!";
    return $listen if !$code;

    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        $SIG{PIPE} = 'IGNORE';
        while (my $socket = $listen->accept) {
            eval { $code->($socket) };
        }
        POSIX::_exit(0);
    }
    push @children, $pid;

    return;
}

# TLS whose authority for clients is not the one that signed the gateway's
sub tls {
    my ($name, %more) = @_;

    my $own = $t->worker_cert($name, "$name.workers.buildkit.internal",
        ca => delete $more{signer} // 'worker');
    my $ctx = IO::Socket::SSL::SSL_Context->new(SSL_server => 1,
        SSL_cert_file => $own->{cert}, SSL_key_file => $own->{key},
        SSL_verify_mode => SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
        SSL_ca_file => $t->pki . '/' . ($more{ca} // 'worker') . '-ca.pem',
        SSL_version => $more{version} // 'TLSv1_3') or die $SSL_ERROR;

    return sub {
        my $socket = IO::Socket::SSL->start_SSL($_[0], SSL_server => 1,
            SSL_reuse_ctx => $ctx) or return;
        sysread $socket, my $got, 24;
    };
}

# a queue of one that is full: the kernel answers nobody else
my $full = serve('filtered', undef, 1);
my @fill = map { IO::Socket::INET->new(Proto => 'tcp', Blocking => 0,
    PeerAddr => '127.0.0.1', PeerPort => $t->port('filtered')) } 1 .. 4;

my $mute = serve('mute');
serve('plain', sub { $_[0]->syswrite("220 hello\r\n"); sysread $_[0], my $x, 1 });
serve('hangup', sub { sysread $_[0], my $x, 1000 });
serve('untrusted', tls('untrusted', signer => 'other'));
serve('name', tls('wrong'));
serve('stranger12', tls('stranger12', ca => 'other', version => 'TLSv1_2'));
serve('stranger13', tls('stranger13', ca => 'other'));
serve('reset', tls('reset'));

$t->table('pool default/demo', map {
    "worker default/demo $_ " . ($_ eq 'nowhere' ? '255.255.255.255:' # at once
        : '127.0.0.1:') . $t->port($_)
        . " $_.workers.buildkit.internal ready",
    "alloc token:$token{$_} default/demo $_ ready 0" } sort keys %token);

# those that do not answer are given up soon; who does is waited for, should he
# be slow
my %nginx = map {
    my ($name, $timeout) = @$_;
    my $conf = $t->gateway_conf(port => $name, stream =>
        'log_format bk "$status|$upstream_addr|$buildkit_outcome|";'
        . "buildkit_retry 2s;\n",
        server => "access_log %%DIR%%/access.log bk;\n");
    ($name => $t->nginx($conf =~ s/(proxy_connect_timeout\s+)5s/$1$timeout/r,
        name => $name));
} ['soon', '1s'], ['late', '30s'];
my %by = map { $_->[0] => $_->[0] =~ /filtered|mute/ ? 'soon' : 'late' } @rows;

# all at once: each takes its time
my %h2;
for my $row (@rows) {
    my $h2 = $t->grpc($cert{$row->[0]}, streams => [], keep => 1,
        port => $by{$row->[0]});
    $h2->open_stream(1);
    $h2{$row->[0]} = $h2;
}

for my $row (@rows) {
    my ($name, $cause) = @$row;
    my $h2 = $h2{$name};

    ok($h2->wait_stream(1, 30), "$name: told");
    is($h2->{settings}, 1, "$name: one SETTINGS");
    is($h2->{streams}{1}{grpc_status}, 9, "$name: code");
    like($h2->{streams}{1}{message}, qr/^buildkit gateway: worker $name \([\d.]+:\d+\) of allocation \S+ cannot be reached: $cause \(waited \d+s\); try again/,
        "$name: the cause");
    $h2->finish;

    # 100, 200, 400 ... ms: five or six tries, a line each
    my $port = $t->port($name);
    my $lines = grep { /\[(?:error|crit)\].*upstream: "[\d.]+:$port"/ }
        split /\n/, $nginx{$by{$name}}->log;
    cmp_ok($lines, '<', 9, "$name: the log is not flooded");
}

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return @rows == (() = $text =~ /\n/g) && $text;
}, 10, 'the access log');
is(() = $log =~ /^503\|[\d.]+:\d+\|refused:worker\|$/mg, scalar @rows,
    'status, one address, outcome') or diag $log;
