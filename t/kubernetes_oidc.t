#!/usr/bin/perl

# Issuers of OpenID Connect that are objects, with a real kube-apiserver: who
# may come follows them, and their status says what became of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON ();
use Oidc;
use Test::Buildkit;

plan tests => 39;

my $NS = 'buildkit-system';
my $PATH = "/apis/buildkit.smrt-devops.net/v1alpha1/namespaces/$NS/"
    . 'buildkitoidcconfigs';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $state = $t->dir . '/state';

$kube->must('apply', '-k', $t->root . '/k8s/base');
$kube->wait('condition=Established', 'crd', '--all');
my $kubeconfig = $kube->account_kubeconfig($NS, 'buildkit-controller');
my $port = $t->port('api');
my $host = begin('{name: oidc, options: {file: "%%DIR%%/state/oidc.yaml", '
    . 'optional: yes}}');

my %issuer = map { $_ => Oidc->new($t, $_) } qw(main other);
for my $i (values %issuer) {
    $i->key('k', 'ES256');
    $i->publish;
}
my $ca = $t->read($issuer{main}->ca);
my $token = $issuer{main}->token('k', { sub => 'ann', aud => 'builds',
    email => 'ann@example.com' });

is who($token), 401, 'without an object nobody is known';

# --- one that is good -------------------------------------------------------

make('main', issuer => $issuer{main}->url, audience => 'builds',
    caBundle => $ca, claimsMapping => { user => 'email', pools => 'pools' });
wait_for('main', 'KeysKnown');
is who($token), 'main:ann@example.com', 'its tokens are taken';
my $o = get('main');
ok $o->{status}{ready}, 'it is ready';
like $o->{status}{message}, qr/source main/, '... and says as what';
is $o->{status}{observedGeneration}, $o->{metadata}{generation}, '... of now';
is cond($o, 'Accepted')->{status}, 'True', '... it was accepted';
like cond($o, 'Ready')->{lastTransitionTime}, qr/^2\d{3}-.*Z$/, '... since when';
like $kube->must('get', 'buildkitoidcconfigs', '-n', $NS),
    qr/READY.*\nmain .* true /, 'kubectl shows it';
is((stat "$state/oidc.yaml")[2] & 07777, 0600, 'the file is ours');

# --- those that are not hurt no other ----------------------------------------

make('plain', issuer => 'http://127.0.0.1:1', audience => 'builds');
make('query', issuer => 'https://user@127.0.0.1:1/', audience => 'builds');
make('odd', issuer => 'https://127.0.0.1:1', audience => "b\x{fc}ilds");
make('token', issuer => 'https://127.0.0.1:1', audience => 'builds');
make('l' x 64, issuer => 'https://127.0.0.1:1', audience => 'builds');
make('pem', issuer => 'https://127.0.0.1:1', audience => 'builds',
    caBundle => 'no certificate');
make('claim', issuer => 'https://127.0.0.1:1', audience => 'builds',
    claimsMapping => { user => "a\tb" });
for (['plain', 'BadIssuer', qr/must be https/],
    ['query', 'BadIssuer', qr/no user, query/], ['odd', 'BadAudience', qr/ASCII/],
    ['token', 'BadName', qr/always there/], ['l' x 64, 'BadName', qr/63/],
    ['pem', 'BadCA', qr/certificates/], ['claim', 'BadClaim', qr/ASCII/])
{
    my ($name, $reason, $text) = @$_;
    wait_for($name, $reason);
    $o = get($name);
    like "$o->{status}{ready} $o->{status}{message}", qr/^0 .*$text/,
        "$reason: refused, and why";
}
is cond($o, 'Accepted')->{status}, 'False', 'not accepted';
is who($token), 'main:ann@example.com', 'the good one is not hurt';
like $host->log, qr/BuildKitOIDCConfig plain: issuer must be https/,
    'the log says it as well';
is scalar(() = $host->log =~ /BuildKitOIDCConfig plain/g), 1, '... once';

# one that cannot be reached
make('away', issuer => 'https://127.0.0.1:1', audience => 'builds');
wait_for('away', 'IssuerUnreachable');
is cond(get('away'), 'Accepted')->{status}, 'True', 'one that is away is good';

# of another namespace
$kube->must('create', 'namespace', 'team');
make_in('team', 'other', issuer => $issuer{other}->url, audience => 'builds',
    caBundle => $ca);
my $theirs = $issuer{other}->token('k', { sub => 'eve', aud => 'builds' });
is who($theirs), 401, 'another namespace\'s is nothing to us';

# --- changes ----------------------------------------------------------------

make('second', issuer => $issuer{other}->url, audience => 'builds',
    caBundle => $ca, enabled => JSON::false);
wait_for('second', 'Disabled');
is who($theirs), 401, 'one that is not enabled is not used';
patch('second', { enabled => JSON::true });
wait_for('second', 'KeysKnown');
is who($theirs), 'second:eve', 'enabled it is';
patch('main', { audience => 'elsewhere' });
$t->wait_for(sub { who($token) eq 401 }, 20, 'the other audience');
is who($theirs), 'second:eve', 'the other goes on';
$o = get('main');
ok $t->wait_for(sub { my $s = get('main')->{status}; $s->{ready}
    && $s->{observedGeneration} == $o->{metadata}{generation} }, 20,
    'the new generation'), 'ready as it is now';
patch('main', { audience => 'builds' });
$t->wait_for(sub { who($token) ne 401 }, 20, 'the audience of before');

# what others write into the status stays theirs
$kube->api(PATCH => "$PATH/main/status", { status => { ready => JSON::false } },
    'application/merge-patch+json');
$t->wait_for(sub { get('main')->{status}{ready} }, 20, 'the truth again');

# --- it outlives us, and goes -------------------------------------------------

is $host->restart->request(GET => '/healthz')->{status}, 200, 'started again';
$t->wait_for(sub { who($token) ne 503 }, 20, 'the keys');
is who($token), 'main:ann@example.com', '... it knows them from the file';
ok -e "$state/oidc-ca-main.pem", 'the authority is there';
$kube->must('delete', 'buildkitoidcconfig', 'main', '-n', $NS);
$t->wait_for(sub { who($token) eq 401 }, 20, 'its end');
$t->wait_for(sub { !-e "$state/oidc-ca-main.pem" }, 20, 'the authority to go');
ok -e "$state/oidc-ca-second.pem", 'another\'s stays';
is who($theirs), 'second:eve', '... and is taken';
my $file = JSON::decode_json($t->read('state/oidc.yaml'));
is join(' ', map { $_->{name} } @{$file->{issuers}}), 'away second',
    'the file has the good ones, by name';

# --- limits -------------------------------------------------------------------

my %many = (apiVersion => 'v1', kind => 'List', items => [map { {
    apiVersion => 'buildkit.smrt-devops.net/v1alpha1',
    kind => 'BuildKitOIDCConfig', metadata => { name => sprintf('zz%03d', $_),
    namespace => $NS }, spec => { issuer => 'https://127.0.0.1:1',
    audience => 'builds' } } } 1 .. 256]);
$kube->must({ stdin => JSON::encode_json(\%many), timeout => 120 }, 'create',
    '-f', '-');
$t->wait_for(sub { @{JSON::decode_json($t->read('state/oidc.yaml'))->{issuers}}
    == 256 }, 60, 'as many as there may be');
is who($theirs), 'second:eve', 'more than plugin oidc takes: the first by name';
ok $t->wait_for(sub { $host->log =~ /zz256: there are more than 256/ }, 20,
    'the last of them'), '... the others are told';
unlike $host->log, qr/nothing was changed/, 'the file was good at all times';
is $host->stop, 0, 'stops';

# --- nobody reads it ------------------------------------------------------------

$host = begin('{name: metrics}');
wait_for('second', 'NotRead');
like get('second')->{status}{message}, qr{no plugin oidc .* reads .*/oidc\.yaml},
    'without the plugin it says so';
is $host->stop, 0, 'stops';
unlike $host->log, qr/Sanitizer/, 'quietly';


sub begin {
    my ($plugin) = @_;

    return $t->host(<<"END");
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 16, pools: 10}
api: {listen: ["unix:%%DIR%%/api.sock", "127.0.0.1:$port"]}
access: {rules: [{name: all, sources: [main, second]}]}
plugins:
  - name: kubernetes
    options: {role: controller, kubeconfig: "$kubeconfig",
      leaseDuration: 60s}
  - {name: allocator, options: {journal: store}}
  - $plugin
END
}

sub make { make_in($NS, @_) }

sub make_in {
    my ($ns, $name, %spec) = @_;

    my $r = $kube->api(POST => $PATH =~ s/$NS/$ns/r, {
        apiVersion => 'buildkit.smrt-devops.net/v1alpha1',
        kind => 'BuildKitOIDCConfig', metadata => { name => $name },
        spec => \%spec });
    die $r->{message} if $r->{kind} eq 'Status';
    return;
}

sub patch {
    my ($name, $spec) = @_;

    my $r = $kube->api(PATCH => "$PATH/$name", { spec => $spec },
        'application/merge-patch+json');
    die $r->{message} if $r->{kind} eq 'Status';
    return;
}

sub get { $kube->api(GET => "$PATH/$_[0]") }

sub cond {
    my ($obj, $type) = @_;

    return (grep { $_->{type} eq $type } @{$obj->{status}{conditions}})[0] // {};
}

sub wait_for {
    my ($name, $reason) = @_;

    return $t->wait_for(sub { (cond(get($name), 'Ready')->{reason} // '')
        eq $reason }, 30, "$name: $reason");
}

# who the API takes him for, or the status of its refusal
sub who {
    my ($bearer) = @_;

    my $r = $t->http("127.0.0.1:$port", GET => '/api/v1/explain?verb=allocate'
        . '&pool=default/none', undef, headers => {
        Authorization => "Bearer $bearer" });
    return $r->{status} == 200 ? $r->{json}{identity} : $r->{status};
}
