#!/usr/bin/perl

# Plugin oidc: issuers that misbehave.  One that hangs keeps nobody else
# waiting, and its own callers not for ever; redirects, wrong documents, huge
# answers and wrong certificates are refused with the reason.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $doc = '/.well-known/openid-configuration';
my $deaf = $t->port('deaf');
my $away = $t->port('away');

# names that say what is wrong with them
my @names = qw(good hangs hangs-later redirects moved-keys big big-keys other
    no-json http-keys no-keys broken gone untrusted down);
my %is = map { $_ => Oidc->new($t, $_, start => $_ ne 'down') } @names;
for my $name (@names) {
    $is{$name}->key('k', 'ES256');
    $is{$name}->publish;
}

$is{hangs}->hang($doc);
$is{'hangs-later'}->hang('/jwks');
$is{redirects}->set($doc, '', status => 302,
    headers => ["Location: @{[$is{good}->url]}$doc"]);
$is{'moved-keys'}->set('/jwks', '', status => 301,
    headers => ["Location: @{[$is{good}->url]}/jwks"]);
$is{big}->big($doc, 10 * 1024 * 1024);
$is{'big-keys'}->big('/jwks', 10 * 1024 * 1024);
$is{other}->publish(issuer => $is{good}->url);
$is{'no-json'}->set($doc, '<html>');
$is{'http-keys'}->publish(jwks_uri => $is{good}->url =~ s/https/http/r);
$is{'no-keys'}->publish(jwks_uri => undef);
$is{broken}->set('/jwks', '{"keys":7}');
$is{gone}->set($doc, '', status => 503);

my $p = Oidc::identify($t, "issuers:\n" . join '', map {
    my $ca = $_ eq 'untrusted' ? $t->pki . '/worker-ca.pem' : $is{$_}->ca;
    qq(  - {name: $_, issuer: "@{[$is{$_}->url]}", audience: [builds], )
        . qq(caFile: "$ca"}\n) } @names);

my %text = (
    hangs => qr/it does not answer in time|timed out|timeout/,
    'hangs-later' => qr/it does not answer in time|timed out|timeout/,
    redirects => qr/openid-configuration: HTTP status 302; redirects are not/,
    'moved-keys' => qr/key set: HTTP status 301; redirects are not followed/,
    big => qr/openid-configuration: its answer has more than 262144 bytes/,
    'big-keys' => qr/key set: its answer has more than 262144 bytes/,
    other => qr/is of \Q@{[$is{good}->url]}\E; the two must be the same/,
    'no-json' => qr/openid-configuration cannot be read: it is no JSON/,
    'http-keys' => qr/jwks_uri of its openid-configuration must be https/,
    'no-keys' => qr/jwks_uri of its openid-configuration is missing/,
    broken => qr/key set cannot be used: there is no list "keys" in it/,
    gone => qr/HTTP status 503 \(try again/,
    untrusted => qr/openid-configuration: .*certificate/,
    down => qr/openid-configuration: .*(?:refused|connect)/i,
);

plan tests => 9 + 2 * keys %text;

is($p->{first}, 'ready', 'it starts, whatever its issuers do');

ok(Oidc::warm($p, $is{good}->token('k', {})), 'one that works');
my $fetched = $is{good}->requests($doc);

# nobody is told that he has waited too long before it is said so
Oidc::clock($p, 'stop');

# asked first, and still waiting when another has been answered; again, as a
# request of before may be given up just then
my ($goes_on, $waits);
for my $jti (1 .. 3) {
    my $hung = Oidc::begin($p, $is{hangs}->token('k', { jti => $jti }));
    $goes_on = Oidc::ask($p, $is{good}->token('k', { jti => $jti }))->{ok};
    Oidc::ping($p);
    $waits = !$p->{answers}{$hung} and last;
}
ok($goes_on, 'goes on');
ok($waits, 'while another hangs');

# the tokens of all at the same time; those that hang at last
my %asked = map { $_ => Oidc::begin($p, $is{$_}->token('k', {})) }
    keys %text;
for my $name (sort({ ($a =~ /hangs/) <=> ($b =~ /hangs/) || $a cmp $b }
    keys %text))
{
    Oidc::clock($p, 5000) if $name eq 'hangs';
    my $a = Oidc::answer($p, $asked{$name});

    # which is none of what is wrong with it: the machine is busy
    for (1 .. 20) {
        last if $name =~ /hangs/ || $a->{text} !~ /timed? ?out/i;
        Oidc::clock($p, 2000);
        $a = Oidc::ask($p, $is{$name}->token('k', {}));
    }

    is("$a->{code} $a->{reason}", '503 IssuerUnreachable', "$name: 503");
    like($a->{text}, qr/^the keys of issuer \Q$name\E \(.*$text{$name}/,
        "$name: the reason");
}
Oidc::clock($p, 'go');
is($is{good}->requests($doc), $fetched, 'nobody was redirected to it');
my $expired = Oidc::ask($p, $is{down}->token('k', { exp => time - 900 }));
is($expired->{reason}, 'TokenExpired', 'an old token is old, keys or not');

# down goes up; the next caller finds out, without waiting for a timer
$is{down}->start;
my $a = $t->wait_for(sub {
    my $one = Oidc::ask($p, $is{down}->token('k', {}));
    $one->{ok} && $one }, 10, 'the issuer to be asked again');
ok($a, 'one that comes back');

my $stats = Oidc::stats($p);
cmp_ok($stats->{'oidc_key_fetches_total{issuer="gone",result="failed"}'}, '>=',
    1, 'failures are counted');
is(Oidc::quit($p), 0, 'the end, with fetches under way');
