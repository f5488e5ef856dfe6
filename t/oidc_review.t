#!/usr/bin/perl

# Plugin oidc: tokens of Kubernetes service accounts, with a stand-in for the
# API server (the real one: oidc_kubernetes.t).  Nothing but such a token is
# ever sent to it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oidc;
use Test::Buildkit;

plan tests => 37;

my $t = Test::Buildkit->new;
my ($kube, $issuer) = map { Oidc->new($t, $_) } qw(kube main);
$_->key('k', 'ES256') for $kube, $issuer;
$issuer->publish;

my $path = '/apis/authentication.k8s.io/v1/tokenreviews';
my $sa = 'system:serviceaccount';

sub review {
    my (%status) = @_;
    $kube->set($path, JSON->new->encode({ kind => 'TokenReview',
        apiVersion => 'authentication.k8s.io/v1', status => \%status }),
        status => 201);
}

sub says {
    my ($name, %more) = @_;
    review(authenticated => JSON::true(), audiences => ['builds'], user => {
        username => $name, uid => 'u-1', groups => ["${sa}s"],
        extra => { 'authentication.kubernetes.io/pod-name' => ['p'] } },
        %more);
}

my $own = $t->token;
my $file = $t->write('own.token', "$own\n");
my $yaml = <<"E";
issuers:
  - {name: main, issuer: "@{[$issuer->url]}", audience: [builds],
     caFile: "@{[$issuer->ca]}"}
tokenReview:
  name: kube
  server: "@{[$kube->url]}/"
  caFile: "@{[$kube->ca]}"
  tokenFile: "$file"
  audiences: [builds]
  issuer: https://kubernetes.default.svc
E
my $p = Oidc::identify($t, $yaml);
is($p->{first}, 'ready', 'it starts');
Oidc::warm($p, $issuer->token('k', {}));

my %claims = (iss => 'https://kubernetes.default.svc', aud => ['builds'],
    sub => "$sa:team:runner");
my $jti = 0;
sub account { $kube->token('k', { %claims, jti => ++$jti, @_ }) }

# A review is waited for no longer than 5 s, which a busy machine may take.
my $late = 0;
sub asked {
    my ($token) = @_;
    my $got = Oidc::ask($p, $token);
    for (1 .. 20) {
        last if ($got->{text} // '') !~ /timed? ?out/i;
        $late++;
        $got = Oidc::ask($p, $token);
    }
    return $got;
}

# ten seconds are over when it is said
Oidc::clock($p, 'still');
says("$sa:team:runner");
my $token = account();
my $a = asked($token);
is($a->{name}, "kube:$sa:team:runner", 'the name');
is($a->{source}, 'kube', 'the source');
is_deeply($a->{claims}, { username => "$sa:team:runner", uid => 'u-1',
    groups => ["${sa}s"], namespace => 'team', serviceaccount => 'runner',
    extra => { 'authentication.kubernetes.io/pod-name' => ['p'] } },
    'the claims');
cmp_ok($a->{until}, '>', (time + 200) * 1000, 'until the token ends');

my ($body) = $kube->bodies;
is($body->{kind}, 'TokenReview', 'what is sent');
is($body->{spec}{token}, $token, 'the token');
is_deeply($body->{spec}{audiences}, ['builds'], 'and the audiences');
like($kube->heads, qr/^authorization: Bearer \Q$own\E\r$/mi,
    'with our own token');

# remembered shortly
my $n = $kube->requests($path);
Oidc::ask($p, $token);
is($kube->requests($path), $n, 'not asked again at once');
Oidc::clock($p, 10_000);
asked($token);
cmp_ok($kube->requests($path), '>', $n, 'but soon');
Oidc::clock($p, 'go');

# our own token is renewed
my $new = $t->token;
$t->write('own.token', $new);
asked(account());
like($kube->heads, qr/^authorization: Bearer \Q$new\E\r$/mi,
    'our own token is read again');

# what is not sent to it
$n = $kube->requests($path);
is_deeply([map { Oidc::ask($p, $_)->{none} } 'opaque',
    account(sub => 'system:admin'), account(iss => 'https://other.example'),
    account(iss => undef), account(sub => undef)], [(1) x 5],
    'what is no service account\'s of this cluster');
ok(Oidc::ask($p, $issuer->token('k', { sub => "$sa:a:b" }))->{ok},
    'an issuer\'s goes to the issuer');
is($kube->requests($path), $n, 'none of them was sent there');

# its answers
my @away = (503, 'IssuerUnreachable');
sub raw { my ($status, $body, @headers) = @_; return sub { $kube->set($path,
    $body, status => $status, headers => \@headers) } }
my @cases = (
    [sub { review(authenticated => JSON::false(),
        error => 'token has expired') }, 401, 'TokenRefused',
        qr/kube does not take the token: token has expired/],
    [sub { review(authenticated => JSON::false(), error => 'got TOKEN') },
        401, 'TokenRefused', qr/: it is not authenticated/],
    [sub { review() }, 401, 'TokenRefused', qr/not authenticated/],
    [sub { review(authenticated => 'true') }, 401, 'TokenRefused', qr/not/],
    [sub { says("$sa:a:b", audiences => ['api']) }, 401, 'WrongAudience',
        qr/not for builds/],
    [sub { says("$sa:a:b", audiences => undef) }, 401, 'WrongAudience',
        qr/not for builds/],
    [sub { says('') }, @away, qr/names no user/],
    [raw(403, '{}'), @away, qr/HTTP status 403 \(.*system:auth-delegator/],
    [raw(401, '{}'), @away, qr/HTTP status 401 \(what \S+own\.token holds/],
    [raw(500, '{}'), @away, qr/status 500/],
    [raw(201, '[['), @away, qr/is no TokenReview/],
    [sub { $kube->big($path, 10 << 20) }, @away, qr/more than 262144 bytes/],
    [raw(302, '', "Location: @{[$issuer->url]}/"), @away, qr/status 302/],
    [sub { unlink $file }, @away, qr/our own token \S+: No such file/],
    [sub { $t->write('own.token', "a\r\nX: y") }, @away,
        qr/our own token \S+ is none/],
);
for my $case (@cases) {
    my ($set, $code, $reason, $text) = @$case;
    $set->();
    my $one = account();
    if ($code == 401 && $text =~ /it is not/) {
        my ($last) = $one =~ /([^.]{12})[^.]*\z/;
        review(authenticated => JSON::false(), error => "bad: $last");
    }
    my $got = asked($one);
    like("$got->{code} $got->{reason} $got->{text}",
        qr/^$code $reason .*$text/, "$code $reason: $text");
}

my $stats = Oidc::stats($p);
is_deeply([map { $stats->{qq(oidc_reviews_total{result="$_"})} } qw(ok failed)],
    [9, 7 + $late],
    'reviews are counted: what it decided, and what it did not');
is_deeply([map { $stats->{qq(oidc_tokens_total{source="kube",result="$_"})} }
    qw(accepted cached refused wrong_audience unreachable)],
    [3, 1, 4, 2, 9 + $late], 'and what became of the tokens');

# it hangs: others are served meanwhile
$t->write('own.token', $own);
$kube->hang($path);
# again, as it may be given up just then
my ($hung, $good, $waits);
for (1 .. 3) {
    my ($slow, $quick) = (account(), $issuer->token('k', { jti => ++$jti }));
    $hung = Oidc::begin($p, $slow);
    $good = Oidc::ask($p, $quick)->{ok};
    $waits = !$p->{answers}{$hung} and last;
}
ok($good, 'while it hangs');
ok($waits, 'nobody else waits');
like(Oidc::answer($p, $hung)->{line}, qr/^503 IssuerUnreachable .*timed? ?out/,
    'and its own caller not for ever');
unlike($t->read($p->{log}), qr/\Q$own\E|eyJ/, 'no token in the log');
is(Oidc::quit($p), 0, 'the end');
