# A worker that takes the connection and then says nothing, and one that takes
# its time: the client is told to wait before it gives up, the next try gets
# every byte, and what was silent for too long is given up with the cause.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 13;

my $t = Test::Buildkit->new;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $slow = Test::Buildkit::Live->new($t, 'w2');
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
my %token = map { $_ => $t->token } qw(silent slow);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;

my $table = $t->table('pool default/demo', $live->row, $slow->row,
    "alloc token:$token{silent} default/demo w1 ready 0",
    "alloc token:$token{slow} default/demo w2 ready 0");
my $nginx = $t->nginx($t->gateway_conf(stream =>
    'log_format bk "$status|$buildkit_outcome|";'
    . "buildkit_retry 4s;\n", server => "access_log %%DIR%%/access.log bk;\n")
    =~ s/(proxy_connect_timeout\s+)5s/${1}30s/r);

sub client {
    my ($name) = @_;

    my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
    bless $h2, 'Test::Buildkit::Live::End';
    $h2->request(1);

    return $h2;
}

my $h2 = client('silent');
my $other = client('slow');

my $worker = $live->accept;
$worker->{preface} = $preface;
ok($worker->until(sub { $worker->seen(1, 1) }), 'silent: gets the request');
ok($h2->until(sub { $h2->{settings} }, 60), 'the client is told to wait');
ok($other->until(sub { $other->{settings} }, 60), 'slow: the same');
$h2->data(1, 'more');

# --- takes its time for the handshake, but then

my $accepted = $slow->accept;
$accepted->{preface} = $preface;
ok($accepted->until(sub { $accepted->seen(1, 1) }), 'slow: gets the request');
$accepted->frame(4, 0, 0, '');
$accepted->finish_stream(1);
ok($other->wait_stream(1, 60), 'and answers');
is($other->{settings}, 2, "after the worker's own SETTINGS");
$other->finish;

# --- silent for buildkit_retry: tried again, then given up

my $next = $live->accept;
$next->{preface} = $preface;
ok($next->until(sub { $next->seen(1, 1) && $next->body(1) eq 'more' }),
    'silent: tried again, with all that was said');
ok($worker->wait_closed(60), 'the first try is closed');
is($h2->{settings}, 1, 'the client knows nothing of it');

my ($code, $text) = $h2->said(1, 60);
is($code, 9, 'silent to the end: code');
like($text, qr/^buildkit gateway: worker w1 \(127\.0\.0\.1:\d+\) of allocation \S+ cannot be reached: it took the connection, but said nothing for \d+s \(waited \d+s\); try again/,
    'text');
$h2->finish;

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return (() = $text =~ /\n/g) == 2 && $text;
}, 10, 'the access log');
like($log, qr/^503\|refused:worker\|$/m, 'outcome');
like($log, qr/^200\|routed\|$/m, 'and of the slow one');
