# buildkit_worker_ca: a worker's certificate must be a server's of that
# authority, whatever the name in it, unless that is another namespace's;
# nothing is sent to any other.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my @bad = (
    ['with proxy_ssl_verify', sub { s/(proxy_ssl_verify +)off/${1}on/r },
        qr/"buildkit_worker_ca" is for workers .* use one of them, server in/],
    ['no file', sub { s/worker-ca\.pem;\n\z/nothing.pem;\n/r },
        qr/no certificates can be read from "\S+nothing.pem"/],
    ['no certificate', sub { s{\S+worker-ca\.pem;\n\z}{/dev/null;\n}r },
        qr/no certificates can be read from "\/dev\/null"/],
    ['no path', sub { s{\S+worker-ca\.pem;\n\z}{"";\n}r }, qr/needs a path/],
    ['without TLS', sub { s/(proxy_ssl +)on/${1}off/r },
        qr/"buildkit_worker_ca" needs "proxy_ssl on"/],
    ['twice', sub { $_ . (/(.*\n)\z/)[0] }, qr/is duplicate/],
);

# name, what is wrong with it
my @refused = (
    ['stranger', qr/unable to [\w ]+/],
    ['client', qr/un(suitable|supported) certificate purpose/],
    ['elsewhere', qr/[Hh]ostname mismatch/],
);

plan tests => 2 + 2 * @bad + 5 + 3 * @refused;

my $t = Test::Buildkit->new;

# the names that the table says are in none of their certificates
my %port = (named => $t->worker('named', tls_name => 'else.example'),
    stranger => $t->worker('stranger', ca => 'other',
        client_ca => $t->pki . '/worker-ca.pem'));

# what their certificates are for, and their names; the table's name is
# NAME.workers.buildkit.internal, as of a namespace "workers"
my %pipe = (stranger => $t->worker_object('stranger'));
for (['client', 'client', 'client.workers.buildkit.internal'],
    ['elsewhere', 'server', 'else.example',
        'Elsewhere.other.buildkit.internal'],
    ['several', 'server', 'several.other.buildkit.internal',
        'several.Workers.buildkit.internal'])
{
    my ($name, $eku, @names) = @$_;
    my $base = $t->dir . "/certs/x-$name";
    my $pki = $t->pki;
    $t->mkcert('--out', $base, '--ca', "$pki/worker-ca", '--cn', $name,
        '--eku', $eku, map { ('--san', "DNS:$_") } @names);
    $port{$name} = $t->port("worker-$name");
    $pipe{$name} = $t->start_pipe("worker-$name", $t->tool('worker'),
        '--name', $name, '--listen', "127.0.0.1:$port{$name}", '--cert',
        "$base.pem", '--key', "$base-key.pem", '--ca', "$pki/worker-ca.pem");
    $pipe{$name}->line(10) =~ /^ready/ or die 'no worker';
}

my %token = map { $_ => $t->token } keys %port;
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
$t->table('pool default/demo', map {
    "worker default/demo $_ 127.0.0.1:$port{$_} $_.workers.buildkit.internal"
        . ' ready', "alloc token:$token{$_} default/demo $_ ready 0" }
    sort keys %port);

sub conf {
    my ($change) = @_;
    local $_ = "        buildkit_worker_ca %%PKI%%/worker-ca.pem;\n";
    # the end of the server, where a change finds it
    my $conf = $t->gateway_conf(stream => "buildkit_retry 1s;\n",
        server => '@') =~ s/(proxy_ssl_verify +)on/${1}off/r;
    my ($head, $tail) = split /@/, $conf, 2;
    $_ = $head . $_;
    return ($change ? $change->() : $_) . $tail;
}

my ($rc, $text) = $t->nginx_conf_fails(conf());
is($rc, 0, 'loads') or diag $text;
unlike($text, qr/proxy_ssl_verify/, 'and proxy_ssl_verify off is no mistake then');
for (@bad) {
    my ($name, $change, $message) = @$_;
    my ($status, $said) = $t->nginx_conf_fails(conf($change));
    isnt($status, 0, "$name: does not load");
    like($said, qr/\[emerg\].*$message/, "$name: message");
}
$t->allow_log(qr/check\.conf/);

my $nginx = $t->nginx(conf());
like($t->say_hello($cert{named}), qr/worker named/, 'another name: served');
like($t->say_hello($cert{named}), qr/worker named/, 'and again');
my $stats = $t->worker_object('named')->stats;
is($stats->{resumed}, 1, 'with the same session');

like($t->say_hello($cert{several}), qr/worker several/,
    'several names, and that of the table among them');

for (@refused) {
    my ($name, $cause) = @$_;
    my $h2 = $t->grpc($cert{$name}, streams => [], keep => 1);
    $h2->open_stream(1);
    ok($h2->wait_stream(1, 30), "$name: told");
    like($h2->{streams}{1}{message}, qr/^buildkit gateway: worker $name \([\d.]+:\d+\) of allocation \S+ cannot be reached: its certificate is not trusted: $cause \(waited/,
        "$name: why");
    $h2->finish;
    is($pipe{$name}->stats->{read}, 0, "$name: got nothing");
}

$nginx->reload;
like($t->say_hello($cert{named}), qr/worker named/, 'after a reload');
