# A worker whose port is closed: tried again while the client is held, until it
# opens; or until it is given up, with the cause.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;

my %token = map { $_ => $t->token } qw(late never off);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;

my $table = $t->table('pool default/demo', (map {
    "worker default/demo $_ 127.0.0.1:" . $t->port("worker-$_")
        . " $_.workers.buildkit.internal ready",
    "alloc token:$token{$_} default/demo $_ ready 0" } qw(late never)));

# tried for as long as it takes, and not for long
my $conf = $t->gateway_conf(stream =>
    'log_format bk "$status|$upstream_addr|$bytes_received|$buildkit_reason";',
    server => "access_log %%DIR%%/access.log bk;\nbuildkit_retry 60s;\n");
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
$server =~ s/%%PORT:gw%%/%%PORT:soon%%/;
$server =~ s/buildkit_retry 60s/buildkit_retry 2s/;
$conf =~ s/\n\}\n\z/\n$server\n}\n/;
my $nginx = $t->nginx($conf);

# --- opens later

my $h2 = $t->grpc($cert{late}, streams => [], keep => 1);
$h2->open_stream(1);
$t->wait_for(sub { 2 <= (() = $nginx->log =~ /connect\(\)/g) }, 10,
    'two tries');
$t->wait_for(sub { $h2->_more(0.1); $h2->{settings} }, 30, 'SETTINGS');
is($h2->{settings}, 1, 'held: SETTINGS');
ok(!$h2->{closed}, 'and nothing else');

my $port = $t->worker('late');
like($t->read_until($h2->{socket}, qr/HTTP/, 30), qr/worker late/,
    'the worker is reached');
$h2->finish;
is($t->worker_object('late')->stats->{accepted}, 1, 'once');

# --- never opens

$h2 = $t->grpc($cert{never}, streams => [1, 3], keep => 1, port => 'soon');
is($h2->{settings}, 1, 'one SETTINGS');
is($h2->{streams}{1}{grpc_status}, 9, 'code');
like($h2->{streams}{1}{message}, qr/worker never \(127\.0\.0\.1:\d+\) of /,
    'names the worker');
like($h2->{streams}{1}{message},
    qr/ cannot be reached: connection refused \(waited \d+s\); try again, or/,
    'the cause');
is_deeply($h2->{streams}{3}, $h2->{streams}{1}, 'the next stream alike');
$h2->finish;

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return $text =~ /\n.*\n/ && $text;
}, 5, 'the access log');
like($log, qr/^200\|127\.0\.0\.1:$port\|/m, 'one address in the log');
like($log, qr/^503\|127\.0\.0\.1:\d+\|.*cannot be reached/m,
    'also of the one that was given up');
