#!/usr/bin/perl

# Plugin oidc: many callers who wait for the keys of one issuer.  How many is
# bounded, each is answered exactly once, whatever ends its waiting: keys, a
# changed file, the end of the plugin.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oidc;
use Test::Buildkit;

plan tests => 13;

my $t = Test::Buildkit->new;
my $issuer = Oidc->new($t, 'main');
$issuer->key('k', 'ES256');
$issuer->publish;
$issuer->hang('/jwks');

my $yaml = <<"E";
issuers: [{name: main, issuer: "@{[$issuer->url]}", audience: [builds],
    caFile: "@{[$issuer->ca]}"}]
E
# made before: a request that hangs is given up after 10 s
my @tokens = map { $issuer->token('k', { sub => "s$_" }) } 1 .. 4;
my $p = Oidc::identify($t, $yaml);
is($p->{first}, 'ready', 'it starts');
# who waits has 5 s, which a busy machine would take
Oidc::clock($p, 'stop');

# 1024 may wait
my %count;
sub results {
    my @ids = @_;
    my %got;
    for my $id (@ids) {
        my $a = Oidc::answer($p, $id);
        $got{$a->{ok} ? 'ok' : $a->{text} =~ /callers wait/ ? 'full'
            : $a->{reason}}++;
    }
    return \%got;
}
my @ids = map { Oidc::begin($p, $tokens[$_ % 4]) } 1 .. 1100;
my $got = results(@ids[1024 .. 1099]);
is_deeply($got, { full => 76 }, 'those beyond 1024 are told at once');
ok(!$p->{answers}{$ids[0]}, 'while the others wait');
$issuer->publish;
$got = results(@ids[0 .. 1023]);
is($got->{ok} // 0, 1024 - ($got->{IssuerUnreachable} // 0),
    'all are answered when the keys are there');
cmp_ok($got->{ok} // 0, '>', 0, 'with who they are');
is(scalar @{$p->{order}}, 1100, 'once each');
Oidc::ping($p);
is(scalar @{$p->{order}}, 1100, 'and no more');
is(Oidc::quit($p), 0, 'the end');

# the issuer is taken out of the file
$issuer->hang('/jwks');
$p = Oidc::identify($t, $yaml);
Oidc::clock($p, 'stop');
my $id = Oidc::begin($p, $tokens[0]);
$t->write('oidc.yaml', "tokens: []\n");
like(Oidc::answer($p, $id)->{line},
    qr/^503 IssuerUnreachable the configuration of issuers was changed/,
    'a caller whose issuer is taken away');
ok(Oidc::ask($p, $tokens[0])->{none}, 'whose tokens are nobody\'s then');

# the plugin stops
$t->write('oidc.yaml', $yaml);
$id = $t->wait_for(sub {
    my $one = Oidc::begin($p, $tokens[0]);
    Oidc::ping($p);
    !$p->{answers}{$one} && $one }, 10, 'the file to be read');
is(Oidc::quit($p), 0, 'the end, with a caller who waits');
like(Oidc::answer($p, $id)->{line}, qr/^503 ShuttingDown plugin-host is/,
    'who is told so');
is(scalar(grep { $_ eq $id } @{$p->{order}}), 1, 'once');
