#!/usr/bin/perl

# Clients of smrt-devops/buildkit-controller against our controller, with a real
# kube-apiserver: its command line (the real one where BK_GO_BKCTL names it,
# else t/lib/go_bkctl, which asks the same), its gateway's look-up, and the calls
# of its guides.  Pods' status is written by the test.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON ();
use MIME::Base64 qw(decode_base64 encode_base64);
use Oidc;
use Test::Buildkit;

plan tests => 45;

my $G = 'buildkit.smrt-devops.net';
my $API = "/apis/$G/v1alpha1/namespaces";
my $MERGE = 'application/merge-patch+json';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $theirs = $ENV{BK_GO_BKCTL} // $t->root . '/t/lib/go_bkctl';
my $port = $t->port('api');

$kube->must('apply', '-k', $t->root . '/k8s/base');
for my $ns (qw(team other)) {
    $kube->must('create', 'namespace', $ns);
    $kube->must('-n', $ns, 'create', 'serviceaccount', 'default');
    $kube->must('-n', $ns, 'create', 'rolebinding', 'pools',
        '--clusterrole=buildkit-controller-pools',
        '--serviceaccount=buildkit-system:buildkit-controller');
}
$kube->wait('condition=Established', 'crd', '--all');

# --- as their guides have it: an issuer, a pool ------------------------------

my $issuer = Oidc->new($t, 'ci');
$issuer->key('k', 'ES256');
$issuer->publish;
make('buildkit-system', BuildKitOIDCConfig => 'github-actions-oidc', {},
    { issuer => $issuer->url, audience => 'buildkit-controller',
    enabled => JSON::true, caBundle => $t->read($issuer->ca),
    claimsMapping => { user => 'actor', pools => 'repository' } });
make(team => BuildKitPool => 'demo', { tier => 'big', team => 'backend' },
    { scaling => { min => 0, max => 1 }, gateway => { enabled => JSON::true,
    serviceType => 'ClusterIP' }, networking => { port => 1235 } });
make(other => BuildKitPool => $_, { tier => 'big' }, { scaling => {
    min => 0, max => 1 } }) for qw(hidden demo);

my $kubeconfig = $kube->account_kubeconfig('buildkit-system',
    'buildkit-controller');
my $template = $t->root . '/k8s/base/gateway-config';
my $host = $t->host(<<"END");
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 16, pools: 10}
api: {listen: ["unix:%%DIR%%/api.sock", "127.0.0.1:$port"]}
access:
  rules:
    - {name: ci, sources: [github-actions-oidc], pools: ["team/*"],
       verbs: [allocate, wake, certs, list]}
plugins:
  - name: kubernetes
    options: {role: controller, kubeconfig: "$kubeconfig",
      gatewayTemplate: "$template", leaseDuration: 60s,
      namespaces: [buildkit-system, team, other]}
  - {name: allocator, options: {journal: store}}
  - {name: oidc, options: {file: "%%DIR%%/state/oidc.yaml", optional: yes}}
END
my %env = (BKCTL_ENDPOINT => "http://127.0.0.1:$port", BKCTL_NAMESPACE => 'team',
    BKCTL_TOKEN => $issuer->token('k', { sub => 'x', actor => 'ann',
    aud => 'buildkit-controller', repository => 'octo/app',
    exp => time + 3600 }));

# no controllers here: the gateway's Deployment says what the test writes
gateway_up($_->[0], $_->[1]) for ['team', 'demo'], ['other', 'hidden'],
    ['other', 'demo'];
$t->wait_for(sub { post('/api/v1/pools/demo/wake?namespace=team')->{status}
    == 200 }, 30, 'the pool, and who asks');
up('demo-0', '10.1.0.1');
$t->wait_for(sub { grep { $_->{pool} eq 'team/demo' && $_->{state} eq 'ready' }
    @{$host->request(GET => '/api/v1/workers')->{json} // []} }, 60, 'a worker');
$t->wait_for(sub { (bkctl(qw(status --pool demo))->{out} =~ /tcp:/) }, 30,
    'the gateway');

# --- the command line ----------------------------------------------------------

my $r = bkctl(qw(allocate --pool demo --ttl 30m --json));
is $r->{rc}, 0, 'allocate' or diag $r->{err};
my $a = JSON::decode_json($r->{out});
is $a->{workerName}, 'demo-0', 'the worker';
is $a->{endpoint}, 'tcp://10.1.0.1:1234', '... its address';
is $a->{gatewayEndpoint}, 'tcp://demo.team.svc:1235', 'the gateway';
like $a->{expiresAt}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'until when';
is cn($a->{clientCert}, $a->{caCert}), "alloc:$a->{token}",
    'the certificate is good, and carries the token';
my $o = $kube->api(GET => "$API/team/buildkitworkers/demo-0");
is $o->{spec}{allocation}{requestedBy}, 'github-actions-oidc:ann',
    'the object says for whom';
ok !exists $o->{spec}{allocation}{token}, '... and not the token';
like $kube->must('get', 'buildkitworkers', '-n', 'team', '-l', "$G/pool=demo"),
    qr/^demo-0 /m, 'their label selects it';

# their gateway asks without any credentials
$r = lookup($a->{token});
is "$r->{status} @{$r->{json}}{qw(workerEndpoint workerName poolName)}",
    '200 tcp://10.1.0.1:1234 demo-0 team/demo', 'look-up';
is lookup('x' x 43)->{status}, 404, 'of a token that nobody has';

$r = bkctl(qw(release --token), $a->{token});
is "$r->{rc} $r->{out}", "0 Worker released successfully\n", 'release';
is bkctl(qw(release --token), $a->{token})->{rc}, 0, '... once more';
isnt lookup($a->{token})->{status}, 200, 'then it is nowhere';

$r = bkctl(qw(status --pool demo));
my $status = JSON::decode_json($r->{out});
is "$r->{rc} $status->{name}", '0 team/demo', 'status';
is $status->{endpoint}, 'tcp://demo.team.svc:1235', '... its endpoint';
ok $status->{status}, '... and how it is';

# --- refusals ------------------------------------------------------------------

$r = bkctl(qw(allocate --pool nope));
is $r->{rc}, 1, 'a pool that is not there';
like $r->{err}, qr/allocation failed: .*there is no pool team\/nope/,
    '... is said';
$r = bkctl(qw(allocate --namespace other --pool demo));
like $r->{err}, qr/allocation failed: /, 'a pool that is not for him';
{
    local $env{BKCTL_TOKEN} = 'no.such.token';
    $r = bkctl(qw(allocate --pool demo));
    is $r->{rc}, 1, 'another token';
    like $r->{err}, qr/allocation failed: .*"reason": ?"/, '... is refused';
    local $env{BKCTL_TOKEN};
    isnt bkctl(qw(allocate --pool demo))->{rc}, 0, 'none at all';
}

# --- build ----------------------------------------------------------------------

mkdir $t->dir . '/bin';
$t->write('bin/docker', <<'END');
#!/bin/sh
echo "docker $*" >>"$DOCKER_LOG"
case $2 in
inspect) exit 1 ;;
create)
    opts=$(echo "$*" | sed 's/.*--driver-opt \([^ ]*\).*/\1/; s/,/ /g')
    for o in $opts; do cp "${o#*=}" "$DOCKER_LOG.${o%%=*}"; done ;;
esac
END
chmod 0755, $t->dir . '/bin/docker';
my $log = $t->dir . '/docker.log';
$r = bkctl({ PATH => $t->dir . "/bin:$ENV{PATH}", DOCKER_LOG => $log },
    qw(build --pool demo -- -t app .));
is $r->{rc}, 0, 'build' or diag $r->{err};
my $did = $t->read('docker.log');
like $did, qr{create --name bkctl-demo-0 --driver remote .* tcp://demo\.team}m,
    'its builder is at the gateway';
like $did, qr/buildx build --builder bkctl-demo-\d -t app \.$/m, '... is used';
my $cn = cn(map { encode_base64($t->read("docker.log.$_")) } qw(cert cacert));
like $cn, qr/^alloc:[-\w]{43}$/, '... with a certificate of the allocation';
my ($token) = $cn =~ /:(.*)/;
isnt lookup($token)->{status}, 200, '... which is released';

# --- calls of their guides --------------------------------------------------------

$r = post('/api/v1/allocate', { poolSelector => { tier => 'big' },
    namespace => 'team', duration => '1h', jobId => 'j-1' });
is "$r->{status} $r->{json}{poolName}", '200 team/demo', 'a pool by its labels';
ok $r->{json}{ready}, '... ready';
is $r->{json}{endpoint}, 'tcp://demo.team.svc:1235', '... and its endpoint';
is cn($r->{json}{clientCert}, $r->{json}{caCert}),
    "alloc:$r->{json}{allocationToken}", '... and a certificate';
post('/api/v1/workers/release', { token => $r->{json}{allocationToken} });
is post('/api/v1/allocate', { poolSelector => { tier => 'big' },
    namespace => 'other' })->{status}, 404, 'not one that is not for him';
label({ tier => 'small' });
$t->wait_for(sub { $r = post('/api/v1/allocate', { poolSelector => {
    tier => 'small' }, namespace => 'team' }); $r->{status} == 200 }, 20,
    'the label to be another');
post('/api/v1/workers/release', { token => $r->{json}{allocationToken} });
for (['certSecretName', 's'], ['useExistingCerts', JSON::true]) {
    is post('/api/v1/allocate', { poolName => 'demo', namespace => 'team',
        @$_ })->{json}{reason}, 'Unsupported', "$_->[0]: refused, and why";
}

$r = post('/api/v1/certs/request', { pools => ['demo'], duration => '1h' });
is $r->{json}{endpoints}{demo}, 'tcp://demo.team.svc:1235',
    'certs/request of a name: the pool that he may use';
like cn($r->{json}{clientCert}, $r->{json}{caCert}), qr/^alloc:/, '... is good';
post('/api/v1/workers/release', { token => $r->{json}{token} });
$r = post('/api/v1/certs/request', { pools => ['team/demo'] });
is $r->{status}, 200, 'with its namespace';
post('/api/v1/workers/release', { token => $r->{json}{token} });
isnt post('/api/v1/certs/request', { pools => ['hidden'] })->{status}, 200,
    'one that is not for him is not found by its name';

$r = post('/api/v1/pools/demo/wake?namespace=team');
is "$r->{status} $r->{json}{endpoint}", '200 tcp://demo.team.svc:1235', 'wake';
is post('/api/v1/pools/none/wake?namespace=team')->{status}, 404,
    '... of none';
is $t->http("127.0.0.1:$port", GET => '/api/v1/health')->{status}, 200,
    'health needs no credentials';
$r = $t->http("127.0.0.1:$port", GET => '/api/v1/pools', undef,
    headers => auth());
is join(' ', map { $_->{name} } @{$r->{json}}), 'team/demo',
    'the list has what he may use';
is $host->stop, 0, 'stops';
unlike $host->log, qr/Sanitizer|\Q$a->{token}\E/, 'quietly, without a token';


sub bkctl {
    my (@args) = @_;
    my $more = ref $args[0] ? shift @args : {};

    my %all = (%env, %$more);
    return $t->run({ timeout => 90, env => { map { $_ => $all{$_} // '' }
        keys %all } }, $theirs, @args);
}

sub make {
    my ($ns, $kind, $name, $labels, $spec) = @_;

    my $r2 = $kube->api(POST => "$API/$ns/\L${kind}s", {
        apiVersion => "$G/v1alpha1", kind => $kind,
        metadata => { name => $name, labels => $labels }, spec => $spec });
    die $r2->{message} if $r2->{kind} eq 'Status';
    return;
}

sub label {
    my ($labels) = @_;

    return $kube->api(PATCH => "$API/team/buildkitpools/demo", { metadata => {
        labels => $labels } }, $MERGE);
}

# What a controller-manager and a kubelet would say.
sub gateway_up {
    my ($ns, $pool) = @_;

    my $path = "/apis/apps/v1/namespaces/$ns/deployments";
    my $name = $t->wait_for(sub { my $list = $kube->api(GET => $path);
        my ($d) = grep { /^\Q$pool\E/ } map { $_->{metadata}{name} }
        @{$list->{items} // []}; $d }, 60, "the gateway of $ns/$pool");
    my $r2 = $kube->api(PATCH => "$path/$name/status", { status => {
        replicas => 1, readyReplicas => 1, availableReplicas => 1,
        updatedReplicas => 1, observedGeneration => 9 } }, $MERGE);
    die $r2->{message} if $r2->{kind} eq 'Status';
    return;
}

sub up {
    my ($name, $ip) = @_;

    my $path = "/api/v1/namespaces/team/pods/$name";
    $t->wait_for(sub { $kube->api(GET => $path)->{kind} eq 'Pod' }, 60,
        "Pod $name");
    my $r2 = $kube->api(PATCH => "$path/status", { status => {
        phase => 'Running', podIP => $ip, podIPs => [{ ip => $ip }],
        conditions => [{ type => 'Ready', status => 'True' }],
        containerStatuses => [] } }, $MERGE);
    die $r2->{message} if $r2->{kind} eq 'Status';
    return;
}

sub auth { +{ Authorization => "Bearer $env{BKCTL_TOKEN}" } }

sub post {
    my ($path, $body) = @_;

    return $t->http("127.0.0.1:$port", POST => $path, $body // {},
        headers => auth());
}

sub lookup {
    my ($of) = @_;

    return $t->http("127.0.0.1:$port", POST => '/api/v1/workers/lookup',
        { token => $of });
}

# (certificate, caCert): the one is the host's, by the other clients know their
# pool's gateway
sub cn {
    my ($cert, $ca) = map { decode_base64($_ // '') } @_;
    my $own = $kube->api(GET => '/api/v1/namespaces/team/secrets/demo-authority');
    return 'another authority' if $ca ne decode_base64($own->{data}{'ca.crt'});
    return cn_of($cert, $t->read('state/ca/gateway-ca.pem'));
}

# the CN of a client's certificate, if its authority vouches for it
sub cn_of {
    my ($cert, $ca) = @_;

    my ($file, $trust) = ($t->write('client.pem', $cert),
        $t->write('trust.pem', $ca));
    my $r2 = $t->run('openssl', 'verify', '-purpose', 'sslclient', '-CAfile',
        $trust, $file);
    return $r2->{err} if $r2->{rc} != 0;
    $r2 = $t->run('openssl', 'x509', '-in', $file, '-noout', '-subject',
        '-nameopt', 'multiline');
    return $r2->{out} =~ /commonName\s*=\s*(\S+)/ ? $1 : $r2->{out};
}
