#!/usr/bin/perl

# Plugin oidc: a name server that says nothing.  A name that is not resolved
# keeps its own callers waiting, in time, and nobody else: neither while it is
# asked for nor when the request is given up.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $dir = $t->dir;

plan skip_all => 'no mount namespaces here'
    if $t->run('unshare', '-m', 'true')->{rc} != 0;

my ($dns, $server);
for (1 .. 100) {
    $server = join '.', 127, map { 2 + int rand 250 } 1 .. 3;
    $dns = IO::Socket::INET->new(Proto => 'udp', LocalAddr => $server,
        LocalPort => 53) and last;
}
plan skip_all => 'no port 53 here' if !$dns;
plan tests => 8;

$t->write('resolv.conf', "nameserver $server\noptions timeout:30\n");
$t->write('nsswitch.conf', "hosts: files dns\n");
my $issuer = Oidc->new($t, 'main');
$issuer->key('k', 'ES256');
$issuer->publish;
my $far = 'https://issuer.nowhere.example';

my $p = Oidc::identify($t, <<"E", { run => [qw(unshare -m sh -c), <<"R"] });
issuers:
  - {name: main, issuer: "@{[$issuer->url]}", audience: [builds],
     caFile: "@{[$issuer->ca]}"}
  - {name: far, issuer: "$far", audience: [builds]}
E
    mount --bind '$dir/resolv.conf' /etc/resolv.conf &&
    mount --bind '$dir/nsswitch.conf' /etc/nsswitch.conf && exec "\$0" "\$@"
R
is($p->{first}, 'ready', 'it starts');
Oidc::warm($p, $issuer->token('k', {}));
ok($dns->recv(my $query, 512), 'the name server is asked');

# again, as a request of before may be given up just then
my ($hung, $good, $waits);
for my $jti (1 .. 3) {
    $hung = Oidc::begin($p, $issuer->token('k', { iss => $far }));
    $good = Oidc::ask($p, $issuer->token('k', { jti => $jti }))->{ok};
    Oidc::ping($p);
    $waits = !$p->{answers}{$hung} and last;
}
ok($good, 'another issuer\'s token');
ok($waits, 'is answered meanwhile');
my $a = Oidc::answer($p, $hung);
like($a->{line}, qr/^503 IssuerUnreachable the keys of issuer far /,
    'its own caller is told');

# given up by now, or soon; the thread that asks is not
$t->wait_for(sub { Oidc::ping($p); $t->read($p->{log})
    =~ /issuer far: its openid-configuration: / }, 30, 'the end of it');
like($t->read($p->{log}), qr/issuer far: .*(?:timed? ?out|timeout)/i,
    'the request is given up');
ok(Oidc::ask($p, $issuer->token('k', { jti => 4 }))->{ok},
    'nobody waits for the thread');
is(Oidc::quit($p), 0, 'not even the end');
