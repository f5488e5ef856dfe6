#!/usr/bin/perl

# What replicas of the controller share, with a real kube-apiserver: one Secret,
# whoever is first, whatever happens to it, and a rotation that all take over.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON ();
use MIME::Base64 qw(decode_base64 encode_base64);
use POSIX qw(strftime);
use Test::Buildkit;

plan tests => 71;

my $SECRET = 'buildkit-controller-state';
my $PATH = "/api/v1/namespaces/buildkit-system/secrets/$SECRET";
my @CA = map { ("$_-trust.json", "$_-ca.pem", "$_-ca-key.pem") }
    qw(gateway worker);
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $dir = $t->dir;
my (%host, %runs);

$kube->must('apply', '-k', $t->root . '/k8s/base');
$kube->wait('condition=Established', 'crd', '--all');
my $kubeconfig = $kube->account_kubeconfig('buildkit-system',
    'buildkit-controller');

# --- the first start, of two at once ---------------------------------------

# it may not yet: the start waits, and says so
$kube->must('delete', 'rolebinding', '--all', '-n', 'buildkit-system');
$t->wait_for(sub { $kube->kubectl('auth', 'can-i', 'get', "secrets/$SECRET",
    '-n', 'buildkit-system', '--as',
    'system:serviceaccount:buildkit-system:buildkit-controller')->{rc} != 0 },
    30, 'that it may not');
begin('a');
begin('b');
$t->wait_for(sub { 2 == grep { $_->log =~ /cannot get resource "secrets"/ }
    values %host }, 20, 'both to say what they may not');
like $host{a}->log, qr/the start waits for it/, 'the start waits';
unlike $host{a}->log, qr/making the gateway authority/, '... with nothing made';
$kube->must('apply', '-k', $t->root . '/k8s/base');
$_->wait_ready(60) for values %host;

my $secret = secret();
is $secret->{type}, 'Opaque', 'there is a Secret';
is join(' ', sort keys %{$secret->{data}}),
    join(' ', sort 'allocator.secret', @CA), 'with all of it';
for my $who (qw(a b)) {
    is differs($who), '', "$who has what is in it";
}
is length $t->read('a/allocator.secret'), 32, 'the allocator\'s secret';
is((stat "$dir/b/ca/gateway-ca-key.pem")[2] & 07777, 0600, 'keys are ours');
like $t->read('b/tls/gateway.pem'), qr/BEGIN CERTIFICATE/, 'b serves';
is verify('b'), "b/tls/gateway.pem: OK\n", '... by the authority of both';

# its API, for nginx before it: whom to trust is for everybody to read
for my $who (qw(a b)) {
    is api_verify($who, $_), "$dir/$who-api/tls.pem: OK\n",
        "the API of $who is $_" for 'localhost', 'builds.example.com',
        'buildkit-controller-api.buildkit-system.svc';
}
like api_verify('a', 'demo.buildkit-system.svc'), qr/ostname mismatch/,
    '... and nothing else';
is((stat "$dir/a-api/tls.pem")[2] & 07777, 0600, '... with a key of ours');
my $logs = join '', map { $_->log } values %host;
my ($key) = $t->read('a/ca/gateway-ca-key.pem') =~ /^(MI\S{30})/m;
ok defined $key && index($logs, $key) < 0, 'no key in a log';
ok index($logs, substr $secret->{data}{'gateway-ca-key.pem'}, 0, 60) < 0,
    '... nor as base64';

# --- what others issued ------------------------------------------------------

my $leader = leader();
my $other = $leader eq 'a' ? 'b' : 'a';
my $trust = JSON::decode_json(decode('gateway-trust.json'));
# longer than by anything that these have issued
my $later = time + 500 * 86_400;
$trust->{until} = $later * 1000;
patch({ data => { 'gateway-trust.json' =>
    encode_base64(JSON::encode_json($trust), '') } });
for my $who (qw(a b)) {
    $t->wait_for(sub { (issued_until($who) // '') ge
        strftime('%Y-%m-%dT%H:%M:%S', gmtime $later) }, 20,
        "$who to hear of it");
    ok $host{$who}->alive, "$who goes on";
}
patch({ metadata => { labels => { mine => 'yes' } } });

# --- a rotation --------------------------------------------------------------

my $old = $t->read("$leader/ca/gateway-ca.pem");
is $host{$leader}->request(POST => '/api/v1/ca/rotate', {})->{status}, 200,
    'a rotation where it leads';
$t->wait_for(sub { decode('gateway-ca.pem') ne $old }, 20, 'the Secret');
is decode('gateway-ca-key.pem'), $t->read("$leader/ca/gateway-ca-key.pem"),
    'the new key is in the Secret';
is secret()->{metadata}{labels}{mine}, 'yes', 'what others put there stays';
ended($other, 1, 'the other ends');
like $host{$other}->log, qr/was changed by another controller/,
    '... and says why';
ok $host{$leader}->alive, 'who leads goes on';
begin($other);
$host{$other}->wait_ready(90);
is differs($other), '', 'started again it has the new ones';
is verify($other), "$other/tls/gateway.pem: OK\n", '... and serves by them';
like $t->read("$other/ca/gateway-trust.json"), qr/"old": \[\s*\{/,
    '... and trusts the old one';

$t->wait_for(sub { index(api_ca(), decode('gateway-ca.pem')) >= 0 }, 20,
    'clients of the API to be told');
is api_verify($leader, 'localhost', decode('gateway-ca.pem')),
    "$dir/$leader-api/tls.pem: OK\n", 'the API has a certificate of it';

# at one that does not lead
my $before = decode('gateway-ca.pem');
is $host{$other}->request(POST => '/api/v1/ca/rotate', {})->{status}, 200,
    'a rotation where it does not lead';
ended($other, 1, '... ends that one');
like $host{$other}->log, qr/by a controller that does not lead: that is undone/,
    '... and says why';
begin($other);
$host{$other}->wait_ready(90);
is differs($other), '', '... and is undone';
is decode('gateway-ca.pem'), $before, '... without a trace in the Secret';

# --- the Secret goes ---------------------------------------------------------

my $uid = secret()->{metadata}{uid};
$kube->must('delete', 'secret', $SECRET, '-n', 'buildkit-system');
$t->wait_for(sub { (secret()->{metadata}{uid} // $uid) ne $uid }, 20,
    'it to be made again');
is decode('gateway-ca.pem'), $before, 'as it was';
like $host{$leader}->log, qr/is gone: it is made again/, 'by the leader';
ok $host{$_}->alive, "$_ goes on" for qw(a b);

# --- killed before it was written ---------------------------------------------

$host{$_}->stop for qw(a b);
is rotate_alone($leader), 200, 'a rotation that is not written';
isnt $t->read("$leader/ca/gateway-ca.pem"), $before, '... is in the folder';
begin($leader);
$host{$leader}->wait_ready(90);
is decode('gateway-ca.pem'), $t->read("$leader/ca/gateway-ca.pem"),
    'the next start writes it';
like $host{$leader}->log, qr/changed here and not written/, '... and says so';
$host{$leader}->stop;
rotate_alone($other);
begin($other);
$host{$other}->wait_ready(90);
is differs($other), '', 'one that is older takes what is there';
is decode('gateway-ca.pem'), $t->read("$leader/ca/gateway-ca.pem"),
    '... and does not write over it';
$host{$other}->stop;
$before = decode('gateway-ca.pem');
unlink "$dir/$leader/ca/gateway-ca.pem";
begin($leader);
$host{$leader}->wait_ready(90);
is differs($leader), '', 'a file that is gone comes back';
is decode('gateway-ca.pem'), $before, '... as it was';
$host{$leader}->stop;

# --- what is in it is no good ---------------------------------------------------

my $good = secret()->{data};
for my $bad (
    ['gateway-trust.json', undef, qr/it has no gateway-trust\.json/],
    ['gateway-ca-key.pem', undef, qr/it has no gateway-ca-key\.pem/],
    ['allocator.secret', encode_base64('short', ''), qr/its
        \ allocator\.secret\ is\ damaged/x],
    ['worker-ca.pem', '', qr/its worker-ca\.pem is damaged/],
    ['worker-ca.pem', encode_base64('x' x 300_000, ''),
        qr/its worker-ca\.pem is no base64 of at most 262144 bytes/],
    ['worker-ca.pem', encode_base64('x', ''), qr/worker-ca\.pem/],
) {
    my ($name, $value, $text) = @$bad;
    patch({ data => { $name => $value } });
    begin('a');
    ended('a', 1, "$name: " . substr $value // 'none', 0, 10);
    like $host{a}->log, $text, '... and says why';
    patch({ data => $good });
}
begin('a');
$host{a}->wait_ready(90);
is differs('a'), '', 'put right it is taken again';
$host{a}->stop;

# --- one that somebody made for us -----------------------------------------------

$kube->must('delete', 'secret', $SECRET, '-n', 'buildkit-system');
$kube->must('create', 'secret', 'generic', $SECRET, '-n', 'buildkit-system');
$uid = secret()->{metadata}{uid};
begin('c');
$host{c}->wait_ready(90);
is secret()->{metadata}{uid}, $uid, 'an empty one is filled';
is differs('c'), '', '... with what was made';
isnt decode('gateway-ca.pem'), $t->read('a/ca/gateway-ca.pem'), '... anew';
is $host{c}->stop, 0, 'stops';

# --- it is gone while another one leads, who has it ------------------------------

$before = decode('gateway-ca.pem');
my $lost = secret();
lead('c_1234', 3600);
$kube->must('delete', 'secret', $SECRET, '-n', 'buildkit-system');
begin('d');
$t->wait_for(sub { $host{d}->log =~ /it is gone, but c_1234 leads, who makes it/ },
    20, 'd to see who leads');
unlike $host{d}->log, qr/making the gateway authority/, 'nothing is made';
is secret()->{kind}, 'Status', '... nor written';
delete @{$lost->{metadata}}{qw(uid resourceVersion managedFields)};
is $kube->api(POST => $PATH =~ s{/[^/]+\z}{}r, $lost)->{kind}, 'Secret',
    'he makes it again';
$host{d}->wait_ready(60);
is differs('d'), '', 'then it is as before';
$host{d}->stop;
$kube->must('delete', 'secret', $SECRET, '-n', 'buildkit-system');
lead(undef, 1);
begin('e');
$host{e}->wait_ready(60);
isnt decode('gateway-ca.pem'), $before, 'nobody leads: there is a new one';
$host{e}->stop;


sub begin {
    my ($who) = @_;

    mkdir "$dir/$who-api";
    $host{$who} = $t->host(<<"END", no_wait => 1, name => $who . ++$runs{$who});
state: %%DIR%%/$who
table: {path: "%%DIR%%/$who.table", allocations: 100, workers: 16, pools: 10}
api: {listen: ["unix:%%DIR%%/$who.sock"]}
plugins:
  - name: kubernetes
    options: {role: controller, kubeconfig: "$kubeconfig",
      apiTLS: "%%DIR%%/$who-api", apiNames: [builds.example.com],
      leaseDuration: 60s}
  - {name: allocator, options: {journal: store}}
END
    return;
}

# whom clients of the API are to trust
sub api_ca {
    my $map = $kube->api(GET => '/api/v1/namespaces/buildkit-system/configmaps/'
        . 'buildkit-controller-ca');
    return $map->{data}{'ca.crt'} // '';
}

sub api_verify {
    my ($who, $host, $ca) = @_;

    $t->write('api-ca.pem', $ca // $t->wait_for(sub { api_ca() }, 20,
        'the ConfigMap'));
    my $r = $t->run('openssl', 'verify', '-purpose', 'sslserver', '-CAfile',
        "$dir/api-ca.pem", '-verify_hostname', $host, "$dir/$who-api/tls.pem");
    return "$r->{out}$r->{err}";
}

# says that somebody leads
sub lead {
    my ($holder, $seconds) = @_;

    my $r = $kube->api(PATCH => '/apis/coordination.k8s.io/v1/namespaces/'
        . 'buildkit-system/leases/buildkit-controller', { spec => {
        holderIdentity => $holder, leaseDurationSeconds => $seconds,
        renewTime => '2026-01-01T00:00:00.000000Z' } },
        'application/merge-patch+json');
    die $r->{message} if $r->{kind} ne 'Lease';
    return;
}

sub ended {
    my ($who, $status, $name) = @_;

    $t->wait_for(sub { !$host{$who}->alive }, 90, "the end of $who");
    is $host{$who}{proc}{status}, $status, $name;
    return;
}

# A rotation by a host that knows no cluster.
sub rotate_alone {
    my ($who) = @_;

    my $h = $t->host(<<"END", name => "alone-$who");
state: %%DIR%%/$who
table: {path: "%%DIR%%/$who.table", allocations: 100, workers: 16, pools: 10}
api: {listen: ["unix:%%DIR%%/$who.sock"]}
plugins: [{name: metrics}]
END
    my $r = $h->request(POST => '/api/v1/ca/rotate', {});
    $h->stop;
    return $r->{status};
}

sub secret { $kube->api(GET => $PATH) }
sub decode { decode_base64(secret()->{data}{$_[0]}) }

sub patch {
    my ($body) = @_;

    my $r = $kube->api(PATCH => $PATH, $body, 'application/merge-patch+json');
    die $r->{message} if $r->{kind} ne 'Secret';
    return;
}

# what is not as in the Secret
# That something was issued is written soon, by who leads.
sub differs {
    my ($who) = @_;
    my $differs;

    eval { $t->wait_for(sub {
        my $data = secret()->{data};
        $differs = join ' ', grep {
            my $text = $t->read(/^allocator/ ? "$who/$_" : "$who/ca/$_") // '';
            encode_base64($text, '') ne ($data->{$_} // '')
        } 'allocator.secret', @CA;
        $differs eq '' }, 60, 'the same') };
    return $differs;
}

sub verify {
    my ($who) = @_;

    my $ca = $t->write('ca.pem', decode('gateway-ca.pem'));
    my $r = $t->run('openssl', 'verify', '-partial_chain', '-CAfile', $ca,
        "$dir/$who/tls/gateway.pem");
    return $r->{out} =~ s{^\Q$dir\E/}{}r;
}

sub leader {
    my $who;
    $t->wait_for(sub {
        ($who) = grep { $host{$_}->log =~ /kubernetes: leads, as/ } sort keys %host;
        $who;
    }, 30, 'a leader');
    return $who;
}

sub issued_until {
    my ($who) = @_;

    my $ca = $host{$who}->request(GET => '/api/v1/ca')->{json};
    my ($gateway) = grep { $_->{name} eq 'gateway' } @{$ca->{authorities}};
    return $gateway->{issuedUntil};
}
