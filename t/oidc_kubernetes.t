# Plugin oidc against a real kube-apiserver (with etcd): TokenReview of
# service accounts, and the same server as an issuer of OpenID Connect.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use MIME::Base64 qw(decode_base64url);
use Oidc;
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $url = $kube->url;
pass('it is ready');

$kube->api(POST => '/api/v1/namespaces', { metadata => { name => 'team' } });
my $accounts = '/api/v1/namespaces/team/serviceaccounts';
for my $name (qw(runner gateway nobody)) {
    is($kube->api(POST => $accounts, { metadata => { name => $name } })
        ->{metadata}{name}, $name, "account $name");
}

sub account_token { return $kube->account_token('team', @_) }

sub bind_role {
    my ($role, %subject) = @_;
    return $kube->api(POST => '/apis/rbac.authorization.k8s.io/v1/'
        . 'clusterrolebindings', { metadata => { name => $subject{name} =~
        s/.*://r }, roleRef => { kind => 'ClusterRole', name => $role,
        apiGroup => 'rbac.authorization.k8s.io' }, subjects => [\%subject] });
}

bind_role('system:auth-delegator', kind => 'ServiceAccount',
    name => 'gateway', namespace => 'team');
$t->write('own.token', account_token('gateway'));

my $yaml = <<"E";
tokenReview:
  name: kube
  server: "$url"
  caFile: "${\ $kube->ca}"
  tokenFile: "%%DIR%%/own.token"
  audiences: [builds]
E
my $p = Oidc::identify($t, $yaml);
is($p->{first}, 'ready', 'the plugin');

# It has 5 s to answer, which a busy machine may take; and the role that it
# was given counts for it a moment later.
sub told {
    my ($token, $but) = @_;
    return $t->wait_for(sub {
        my $one = Oidc::ask($p, $token);
        my $text = $one->{text} // '';
        $text !~ /timed? ?out/i && !($but && $text =~ $but) && $one;
    }, 60, 'the API server');
}

my $token = account_token('runner', 'builds');
Oidc::clock($p, 'still');   # an answer is believed for ten seconds
my $a = told($token, qr/status 403/);
my $name = 'system:serviceaccount:team:runner';
is($a->{name}, "kube:$name", 'the name') or diag($a->{line});
is($a->{source}, 'kube', 'the source');
is($a->{claims}{username}, $name, 'username');
is("$a->{claims}{namespace}/$a->{claims}{serviceaccount}", 'team/runner',
    'namespace and serviceaccount');
like($a->{claims}{uid} // '', qr/^[0-9a-f-]{36}$/, 'uid');
ok((grep { $_ eq 'system:serviceaccounts:team' } @{$a->{claims}{groups}}),
    'groups');
my $claims = JSON->new->decode(decode_base64url((split /\./, $token)[1]));
is($a->{until}, $claims->{exp} * 1000, 'as long as the token');

# tokens that are not good
for my $case ([account_token('runner', 'elsewhere'), 'another audience'],
    [account_token('runner'), 'the API server\'s own audience'],
    [$token =~ s/.{4}\z/AAAA/r, 'a wrong signature'])
{
    $a = told($case->[0], qr/status 403/);
    like($a->{line}, qr/^401 TokenRefused kube does not take the token: ./,
        $case->[1]) or diag($a->{line});
}
$kube->api(DELETE => "$accounts/runner");
ok(Oidc::ask($p, $token)->{ok}, 'an account that is deleted');
Oidc::clock($p, 'go');
# the API server remembers it for ten seconds as well, by its own clock
$a = $t->wait_for(sub {
    Oidc::clock($p, 10_000);
    my $one = Oidc::ask($p, $token);
    ($one->{text} // '') !~ /timed? ?out/i && $one->{reason};
}, 30, 'the API server to forget the account');
is($a, 'TokenRefused', 'is refused soon');

# our own token is of no use
$t->write('own.token', account_token('nobody'));
my $other = account_token('gateway', 'builds');
like(told($other)->{line}, qr/^503 IssuerUnreachable .*status 403 /,
    'an account that may not ask');
$t->write('own.token', account_token('gateway'));
ok(told($other)->{ok}, 'until it may');
is(Oidc::quit($p), 0, 'the end');

# the same server as an issuer
bind_role('system:service-account-issuer-discovery', kind => 'Group',
    name => 'system:unauthenticated', apiGroup => 'rbac.authorization.k8s.io');
$p = Oidc::identify($t, <<"E");
issuers: [{name: cluster, issuer: "$url", audience: [builds],
    caFile: "${\ $kube->ca}", claims: {user: /kubernetes.io/namespace}}]
E
$a = $t->wait_for(sub { my $one = Oidc::ask($p, account_token('gateway',
    'builds')); $one->{ok} && $one }, 15, 'its keys to be readable');
is($a->{name}, 'cluster:team', 'a real issuer of OpenID Connect');
is($a->{claims}{'kubernetes.io'}{serviceaccount}{name}, 'gateway',
    'its claims');
is(Oidc::ask($p, account_token('gateway'))->{reason}, 'WrongAudience',
    'for another audience');
