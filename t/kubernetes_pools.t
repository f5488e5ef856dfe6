# What the controller makes of a pool, with a real API server and its garbage
# collector: Secrets and who signs them, gateway, address, status; and what it
# does not touch.  Pods' and load balancers' status is written by the test.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use MIME::Base64 qw(decode_base64 encode_base64);
use Net::SSLeay;
use Test::Buildkit;
use Test::Buildkit::Kube qw(good);
use Time::Piece;

plan tests => 205;

my $MERGE = 'application/merge-patch+json';
my $DAY = 86400;
my ($NS, $ELSE, $SHUT) = qw(team else shut);
my %PATH = (
    pool => '/apis/buildkit.smrt-devops.net/v1alpha1/namespaces/%s/buildkitpools',
    secret => '/api/v1/namespaces/%s/secrets',
    config => '/api/v1/namespaces/%s/configmaps',
    service => '/api/v1/namespaces/%s/services',
    account => '/api/v1/namespaces/%s/serviceaccounts',
    pod => '/api/v1/namespaces/%s/pods',
    event => '/api/v1/namespaces/%s/events',
    deployment => '/apis/apps/v1/namespaces/%s/deployments',
    budget => '/apis/policy/v1/namespaces/%s/poddisruptionbudgets',
    binding => '/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings',
    ingress => '/apis/networking.k8s.io/v1/namespaces/%s/ingresses',
    route => '/apis/gateway.networking.k8s.io/v1alpha2/namespaces/%s/tlsroutes',
    gateway => '/apis/gateway.networking.k8s.io/v1/namespaces/%s/gateways',
    certificate => '/apis/cert-manager.io/v1/namespaces/%s/certificates',
);

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'control');
my $k8s = $t->root . '/k8s';
my $ca = $t->dir . '/one/state/ca';

$kube->must('apply', '-k', "$k8s/base");
$kube->must('-n', 'buildkit-system', 'delete', 'deployment', '--all');
sub serve {
    $kube->must('-n', $_[0], 'create', 'rolebinding',
        'buildkit-controller-pools', '--clusterrole=buildkit-controller-pools',
        '--serviceaccount=buildkit-system:buildkit-controller');
    return;
}
for my $ns ($NS, $ELSE, $SHUT) {
    $kube->must('create', 'namespace', $ns);
    serve($ns);
}

$kube->wait('condition=Established', 'crd', '--all');

# --- objects ---------------------------------------------------------------

# "else/NAME": in the other namespace
sub path {
    my ($kind, $name) = @_;
    my ($ns, $own) = ($name // '') =~ m!^(.+)/(.*)! ? ($1, $2)
        : ($NS, $name);
    return sprintf($PATH{$kind}, $ns) . ($own ? "/$own" : '');
}

# undef: there is none
sub obj {
    my ($kind, $name) = @_;
    my $o = $kube->api(GET => path($kind, $name));
    return ref $o && $o->{kind} ne 'Status' ? $o : undef;
}

sub make {
    my ($kind, $name, %body) = @_;
    my ($ns, $own) = $name =~ m!^(.+/)?(.*)!;
    return good("make $name", sub { $kube->api(POST => path($kind, $ns), {
        %body, metadata => { name => $own, %{$body{metadata} // {}} } }) });
}

sub pool {
    my ($name, %spec) = @_;
    return make(pool => $name, apiVersion =>
        'buildkit.smrt-devops.net/v1alpha1', kind => 'BuildKitPool',
        spec => \%spec);
}

sub patch {
    my ($kind, $name, $body, $sub) = @_;
    return good("patch $name", sub { $kube->api(PATCH => path($kind, $name)
        . ($sub ? "/$sub" : ''), $body, $MERGE) });
}

sub spec { patch(pool => $_[0], { spec => $_[1] }) }

# somebody wants it to be looked at
my $nudges = 0;
sub nudge {
    patch(pool => $_[0], { metadata => { annotations =>
        { 'example.com/look' => '' . ++$nudges } } });
    return;
}

sub remove {
    my (@which) = @_;
    return good("delete $which[1]", sub {
        $kube->api(DELETE => path(@which)) });
}

# {tls.crt => ..., ...}
sub secret {
    my $o = obj(secret => $_[0]) // return {};
    return { map { ($_ => decode_base64($o->{data}{$_})) }
        keys %{$o->{data} // {}} };
}

sub make_secret {
    my ($name, %data) = @_;
    return make(secret => $name, data => { map { ($_ =>
        encode_base64($data{$_}, '')) } keys %data });
}

sub fill_secret {
    my ($name, %data) = @_;
    return patch(secret => $name, { data => { map { ($_ =>
        encode_base64($data{$_}, '')) } keys %data } });
}

sub status { (obj(pool => $_[0]) // {})->{status} // {} }

# "True REASON: MESSAGE"
sub cond {
    my ($pool, $type) = @_;
    my ($c) = grep { $_->{type} eq $type } @{status($pool)->{conditions}
        // []};
    return $c ? "$c->{status} $c->{reason}: $c->{message}" : 'none';
}

sub endpoint { status($_[0])->{endpoint} // 'none' }

sub events {
    my ($pool, $reason) = @_;
    return join "\n", map { $_->{message} // $_->{note} // '' } grep {
        $_->{involvedObject}{name} eq $pool && $_->{reason} eq $reason }
        @{$kube->api(GET => path('event'))->{items}};
}

sub sees {
    my ($code, $want, $name) = @_;
    my $got;
    eval { $t->wait_for(sub { $got = $code->() // 'none';
        ref $want ? $got =~ $want : $got eq $want }, 120, $name) };
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

sub owner {
    my ($o) = @_;
    return join ' ', map { "$_->{kind} $_->{name}" }
        @{$o->{metadata}{ownerReferences} // []};
}

# --- certificates ------------------------------------------------------------

my $files = 0;
sub file { $t->write('file-' . ++$files, $_[0]) }

# does it lead to that authority?  "" or why not
sub verify {
    my ($pem, $authority, $purpose) = @_;
    my $file = file($pem);
    my $r = $t->run('openssl', 'verify', '-CAfile', file($authority),
        '-untrusted', $file, '-purpose', $purpose, $file);
    return $r->{rc} == 0 ? '' : "$r->{out}$r->{err}";
}

sub names {
    my $r = $t->run('openssl', 'x509', '-in', file($_[0]), '-noout', '-ext',
        'subjectAltName');
    return join ' ', sort $r->{out} =~ /(?:DNS|IP Address):([^\s,]+)/g;
}

# (certificate, key)
sub cert {
    my ($by, @args) = @_;
    my $out = $t->dir . '/made-' . ++$files;
    $t->mkcert('--out', $out, '--ca', $by, '--cn', 'made', @args);
    return ($t->read("$out.pem"), $t->read("$out-key.pem"));
}

sub count { my $n = () = $_[0] =~ /BEGIN CERT/g; return $n }

# A handshake of two who have those certificates: (cert, key, whom they trust)
# of Secrets, and the name that the client asks for.  "" or why it failed.
sub handshake {
    my ($server, $client, $name) = @_;
    my @ctx = map { Net::SSLeay::CTX_new_with_method(
        Net::SSLeay::TLS_method()) } 0, 1;
    my @ssl;
    for my $side (0, 1) {
        my ($cert, $key, $ca) = @{($server, $client)[$side]};
        Net::SSLeay::CTX_use_certificate_chain_file($ctx[$side], file($cert))
            == 1
            && Net::SSLeay::CTX_use_PrivateKey_file($ctx[$side], file($key),
                Net::SSLeay::FILETYPE_PEM()) == 1
            || die 'certificate: ' . Net::SSLeay::ERR_error_string(
                Net::SSLeay::ERR_get_error()) if $cert;
        Net::SSLeay::CTX_load_verify_locations($ctx[$side], file($ca), '')
            == 1 || die 'authority';
        Net::SSLeay::CTX_set_verify($ctx[$side],
            Net::SSLeay::VERIFY_PEER()
            | Net::SSLeay::VERIFY_FAIL_IF_NO_PEER_CERT());
        $ssl[$side] = Net::SSLeay::new($ctx[$side]);
    }
    Net::SSLeay::X509_VERIFY_PARAM_set1_host(
        Net::SSLeay::get0_param($ssl[1]), $name) if $name;
    my @bio = map { Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem()) } 0 .. 3;
    Net::SSLeay::set_bio($ssl[0], $bio[0], $bio[1]);
    Net::SSLeay::set_bio($ssl[1], $bio[2], $bio[3]);
    Net::SSLeay::set_accept_state($ssl[0]);
    Net::SSLeay::set_connect_state($ssl[1]);
    my ($why, $done) = ('', 0);
    for (1 .. 10) {
        $done = 0;
        for my $side (1, 0) {
            my $rc = Net::SSLeay::do_handshake($ssl[$side]);
            $done += $rc == 1;
            my $e = Net::SSLeay::ERR_get_error();
            $why ||= (qw(server client))[$side] . ': '
                . Net::SSLeay::ERR_error_string($e) if $rc != 1 && $e;
            my $data = Net::SSLeay::BIO_read($bio[$side ? 3 : 1]);
            Net::SSLeay::BIO_write($bio[$side ? 0 : 2], $data)
                if defined $data && length $data;
        }
        last if $why || $done == 2;
    }
    Net::SSLeay::free($_) for @ssl;
    Net::SSLeay::CTX_free($_) for @ctx;
    return $why || ($done == 2 ? '' : 'it did not end');
}

# may that pool's gateway come to a worker of this one?
sub comes {
    my ($gateway, $pool) = @_;
    my ($c, $w) = (secret("$gateway-client-certs"),
        secret("$pool-worker-tls"));
    my ($ns, $own) = $pool =~ m!^(?:(.+)/)?(.*)!;
    return handshake([@$w{qw(tls.crt tls.key ca.crt)}],
        [@$c{qw(client.crt client.key ca.crt)}],
        "$own-0.$own." . ($ns // $NS) . '.workers.buildkit.internal');
}

# does a client that was told to trust $ca take the gateway of that pool for
# that host?
sub takes {
    my ($ca, $pool, $host) = @_;
    my $g = secret("$pool-tls");
    my ($crt, $key) = cert($t->pki . '/other-ca', '--eku', 'client');
    return handshake([@$g{qw(tls.crt tls.key)}, $t->read($t->pki
        . '/other-ca.pem')], [$crt, $key, $ca], $host);
}

# caCert of an allocation
sub told {
    my ($pool) = @_;
    my ($ns, $own) = $pool =~ m!^(?:(.+)/)?(.*)!;
    my $r = $main::host->request(POST => '/api/v1/workers/allocate',
        { poolName => $own, namespace => $ns // $NS, wait => '0' })->{json};
    die "allocate $pool: $r->{error}" if !$r->{token};
    $main::host->request(POST => '/api/v1/workers/release',
        { token => $r->{token} });
    return decode_base64($r->{caCert} // '');
}

# --- the controller ------------------------------------------------------------

my $config = $kube->account_kubeconfig('buildkit-system',
    'buildkit-controller');

sub controller {
    my ($name) = @_;
    return $t->host(<<"END", name => $name);
state: %%DIR%%/$name/state
table: {path: "%%DIR%%/$name/buildkit.table", allocations: 1000, workers: 256, pools: 64}
api: {listen: ["unix:%%DIR%%/$name/api.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics-$name%%"]}
plugins:
  - name: kubernetes
    options:
      role: controller
      kubeconfig: "$config"
      leaseDuration: 60s
      namespaces: [$NS, $ELSE, $SHUT]
      gateways: [$NS/front, $NS/nobody, $SHUT/front]
      gatewayTemplate: "$k8s/base/gateway-config"
      gatewayImage: example.com/gateway:1
      buildkitImage: example.com/buildkit:1
      externalHost: nodes.example.com
  - {name: allocator, options: {journal: store}}
  - {name: metrics}
END
}

our $host = controller('one');

# --- a pool ----------------------------------------------------------------------

pool('demo');
sees(sub { cond('demo', 'CertificatesReady') }, qr/^True Valid/,
    'a pool has certificates');
my $server = secret('demo-tls');
my $gateway_ca = $t->read("$ca/gateway-ca.pem");
my $worker_ca = $t->read("$ca/worker-ca.pem");
my $own = secret('demo-authority');
is(verify($server->{'tls.crt'}, $own->{'ca.crt'}, 'sslserver'), '',
    'its gateway\'s is by the pool\'s own authority');
like(verify($server->{'tls.crt'}, $gateway_ca, 'sslserver'), qr/error/,
    'not by the one that all clients have');
is(names($server->{'tls.crt'}), join(' ', sort qw(demo demo.team demo.team.svc
    demo.team.svc.cluster.local localhost 127.0.0.1)), 'has its names');
is($server->{'ca.crt'}, $gateway_ca, 'and clients are to be that authority\'s');
my $client = secret('demo-client-certs');
is(verify($client->{'client.crt'}, $own->{'ca.crt'}, 'sslclient'), '',
    'it is a client of workers by the same one');
like(verify($client->{'client.crt'}, $worker_ca, 'sslclient'), qr/error/,
    'not by the one of all workers');
is($client->{'ca.crt'}, $worker_ca, 'which it trusts');
my $worker = secret('demo-worker-tls');
is(verify($worker->{'tls.crt'}, $worker_ca, 'sslserver'), '',
    'workers\' is the worker authority\'s');
is(names($worker->{'tls.crt'}), '*.demo.team.workers.buildkit.internal',
    'one is good for all of them');
is($worker->{'ca.crt'}, $own->{'ca.crt'},
    'and they take clients of the pool\'s own authority alone');
my %keys = map { ($_ => 1) } $server->{'tls.key'}, $client->{'client.key'},
    $worker->{'tls.key'}, $own->{'ca.key'};
is(keys %keys, 4, 'each has its key');
sees(sub { events('demo', 'CertificateIssued') },
    qr/demo-worker-tls: a certificate/, 'and an Event says so');

sees(sub { obj(deployment => 'demo-gateway') ? 'made' : 'none' }, 'made',
    'a gateway');
for ([deployment => 'demo-gateway'], [service => 'demo'], [budget =>
    'demo-gateway'], [secret => 'demo-tls'], [secret =>
    'demo-authority'], [config => 'demo-buildkitd'])
{
    sees(sub { owner(obj(@$_) // {}) }, 'BuildKitPool demo',
        "$_->[0] $_->[1] is the pool's");
}
is(owner(obj(config => 'buildkit-gateway-config')), '',
    'the configuration is all pools\'');
is(obj(config => 'buildkit-gateway-config')->{data}{'nginx.conf'},
    $t->read("$k8s/base/gateway-config/nginx.conf"), 'as the template is');
sees(sub { (obj(binding => 'buildkit-gateway') // {})->{subjects}[0]
    {namespace} }, $NS, 'its account may read there');

sees(sub { endpoint('demo') }, 'tcp://demo.team.svc:1235', 'its address');
sees(sub { cond('demo', 'Ready') },
    qr/^False GatewayNotReady: 0 of 1 Pods are ready; .*no nodes available/,
    'it is not ready, and its Pod says why');
is(status('demo')->{phase}, 'Pending', 'its phase');
ok(!status('demo')->{gateway}{ready}, 'nor is its gateway');
my $pod;
$t->wait_for(sub { ($pod) = map { $_->{metadata}{name} } grep {
    $_->{metadata}{name} =~ /^demo-gateway-/ }
    @{$kube->api(GET => path('pod'))->{items}} }, 60, 'a gateway\'s Pod');
patch(pod => $pod, { status => { phase => 'Running', podIP => '10.1.0.1',
    conditions => [{ type => 'Ready', status => 'True' }] } }, 'status');
sees(sub { cond('demo', 'Ready') }, 'True GatewayReady: clients may connect',
    'a Pod of its gateway is ready, and so is it');
is(status('demo')->{phase}, 'ScaledToZero', 'nobody needs workers');
is(cond('demo', 'GatewayReady'), 'True GatewayReady: 1 of 1 Pods are ready',
    'its gateway');
my $st = status('demo');
is_deeply([@{$st->{gateway}}{qw(deploymentName serviceName readyReplicas)},
    $st->{tlsSecretName}, $st->{workerTLSSecretName}], ['demo-gateway',
    'demo', 1, 'demo-tls', 'demo-worker-tls'], 'its status names them');
like($st->{serverCert}{renewalTime}, qr/^\d{4}-\d\d-\d\dT/,
    'and when its certificate is renewed');
like($kube->must('-n', $NS, 'get', 'buildkitpools'),
    qr/^demo\s+ScaledToZero\s+0\s+0\s+0\s+0\s/m, 'kubectl get');
my $version = obj(pool => 'demo')->{metadata}{resourceVersion};

# --- renewal, rotation -------------------------------------------------------------

# two thirds of its time are over
my ($old, $key) = cert("$ca/worker-ca", '--key-id', '--eku', 'server', '--san',
    'DNS:*.demo.team.workers.buildkit.internal', '--not-before', -9 * $DAY,
    '--not-after', 4 * $DAY);
fill_secret('demo-worker-tls', 'tls.crt' => $old, 'tls.key' => $key);
is(obj(pool => 'demo')->{metadata}{resourceVersion}, $version,
    'a status that is so is not written');
nudge('demo');
sees(sub { secret('demo-worker-tls')->{'tls.crt'} eq $old ? 'old' : 'new' },
    'new', 'it is renewed at two thirds of its time');
sees(sub { events('demo', 'CertificateRenewed') },
    qr/demo-worker-tls: it was time to renew it; .* until 20/,
    'and an Event says why');

fill_secret('demo-tls', 'tls.crt' => $old, 'tls.key' => $key);
nudge('demo');
sees(sub { verify(secret('demo-tls')->{'tls.crt'}, $own->{'ca.crt'},
    'sslserver') }, '', 'one of another authority is not left there');
remove(secret => 'demo-client-certs');
nudge('demo');
sees(sub { secret('demo-client-certs')->{'client.crt'} // '' }, qr/BEGIN/,
    'one that was removed is made again');

my $before = secret('demo-tls');
my $workers = secret('demo-worker-tls');
is($host->request(POST => '/api/v1/ca/rotate', {})->{status}, 200,
    'new authorities of the host');
sees(sub { count(secret('demo-tls')->{'ca.crt'}) }, 2, 'both are trusted');
my $after = secret('demo-tls');
is($after->{'tls.crt'}, $before->{'tls.crt'},
    'the gateway\'s certificate is not of theirs');
sees(sub { secret('demo-worker-tls')->{'tls.crt'} eq $workers->{'tls.crt'}
    ? 'old' : 'new' }, 'new', 'workers\' is made again');
$workers = secret('demo-worker-tls');
is(verify($workers->{'tls.crt'}, $worker_ca, 'sslserver'), '',
    'who knows the old one verifies it');
is(verify($workers->{'tls.crt'}, $t->read("$ca/worker-ca.pem"), 'sslserver'),
    '', 'who knows the new one as well');
is(count($workers->{'ca.crt'}), 1, 'their clients are the pool\'s');
sees(sub { count(secret('demo-client-certs')->{'ca.crt'}) }, 2,
    'the gateway trusts both');
sees(sub { cond('demo', 'Ready') }, qr/^True/, 'it stays ready');

# --- addresses -------------------------------------------------------------------

patch(pool => 'demo', { status => { conditions => [{ type => 'example.com/Ours',
    status => 'True', reason => 'Said', message => 'by another',
    lastTransitionTime => '2026-01-01T00:00:00Z' }] } }, 'status');
spec(demo => { gateway => { serviceType => 'LoadBalancer' } });
sees(sub { cond('demo', 'EndpointReady') },
    qr/^False LoadBalancerPending: .*no address yet/,
    'a load balancer that has given no address');
is(endpoint('demo'), 'none', 'nobody is told another');
is(cond('demo', 'example.com/Ours'), 'True Said: by another',
    'what others say of it stays');
patch(service => 'demo', { status => { loadBalancer => { ingress =>
    [{ ip => '192.0.2.7' }] } } }, 'status');
sees(sub { endpoint('demo') }, 'tcp://192.0.2.7:1235', 'its address');
sees(sub { names(secret('demo-tls')->{'tls.crt'}) }, qr/\b192\.0\.2\.7\b/,
    'is in the certificate');
spec(demo => { gateway => { serviceType => 'NodePort', nodePort => 30123 } });
sees(sub { endpoint('demo') }, 'tcp://nodes.example.com:30123',
    'a port of the nodes');
sees(sub { names(secret('demo-tls')->{'tls.crt'}) },
    qr/\bnodes\.example\.com\b/, 'their name is in the certificate');
spec(demo => { gateway => { serviceType => 'ClusterIP', nodePort => undef,
    port => 443 }, networking => { external => { enabled => JSON::true,
    hostname => 'build.example.com' } } });
sees(sub { endpoint('demo') }, 'tcp://build.example.com:443',
    'a name that somebody has given it');
spec(demo => { networking => { external => { enabled => JSON::false } } });
sees(sub { endpoint('demo') }, 'tcp://demo.team.svc:443',
    'the name is switched off');
spec(demo => { networking => { external => undef }, gateway => { ingress =>
    { enabled => JSON::true, hostname => 'in.example.com' }, port => undef } });
sees(sub { endpoint('demo') }, 'tcp://in.example.com:443', 'an Ingress');
sees(sub { owner(obj(ingress => 'demo-ingress') // {}) }, 'BuildKitPool demo',
    'it is there');
sees(sub { names(secret('demo-tls')->{'tls.crt'}) },
    qr/\bin\.example\.com\b/, 'its name is in the certificate');
spec(demo => { gateway => { ingress => undef } });
sees(sub { obj(ingress => 'demo-ingress') ? 'there' : 'gone' }, 'gone',
    'it goes when it is not asked for');
sees(sub { names(secret('demo-tls')->{'tls.crt'}) },
    qr/^(?!.*example\.com)/, 'and so does its name');
sees(sub { endpoint('demo') }, 'tcp://demo.team.svc:1235', 'its Service');

spec(demo => { gateway => { gatewayAPI => { enabled => JSON::true,
    hostname => 'api.example.com', tls => { mode => 'terminate' } } } });
sees(sub { cond('demo', 'EndpointReady') }, qr/^False TLSTerminate: /,
    'TLS must come through');
is(status('demo')->{phase}, 'Failed', 'so this cannot be');
spec(demo => { gateway => { gatewayAPI => { tls => undef } } });
sees(sub { cond('demo', 'EndpointReady') },
    qr/^False NotInstalled: there are no (TLSRoutes|Gateways) /,
    'kinds that are not installed');
install('gateway.networking.k8s.io');
nudge('demo');
sees(sub { endpoint('demo') }, 'tcp://api.example.com:1235', 'a TLSRoute');
sees(sub { owner(obj(route => 'demo-tlsroute') // {}) }, 'BuildKitPool demo',
    'it is there');
sees(sub { owner(obj(gateway => 'demo-gateway') // {}) }, 'BuildKitPool demo',
    'and its Gateway');
spec(demo => { gateway => { gatewayAPI => undef } });
sees(sub { obj(route => 'demo-tlsroute') || obj(gateway => 'demo-gateway')
    ? 'there' : 'gone' }, 'gone', 'both go');

# as it should be, it is left alone: answers with nothing between them
sub number {
    my $page = $t->http('127.0.0.1:' . $t->port('metrics-one'), GET =>
        '/metrics')->{body};
    return $page =~ /kubernetes_controller_$_[0]_total (\d+)$/m ? $1 : die;
}
# an API server that is busy answers a write late, and then there is a look; and
# twice a minute there is one anyway
sub calm {
    my ($looks, $writes, $began) = (number('pool_looks'), number('writes'),
        time);
    status('demo') for 1 .. 30;
    return number('writes') == $writes && number('pool_looks') - $looks
        <= (time - $began) / 10 ? 'calm' : 'busy';
}
sees(\&calm, 'calm', 'then it is left alone');
my ($looks, $writes) = map { number($_) } qw(pool_looks writes);
nudge('demo');
$t->wait_for(sub { number('pool_looks') > $looks }, 60, 'a look');
sees(\&calm, 'calm', 'who looks');
is(number('writes'), $writes, 'writes nothing');

# this load balancer gives an address only when there is somebody to lead to
pool('slow', gateway => { serviceType => 'LoadBalancer' });

# --- whom a pool's authority opens what ------------------------------------------

sub named {
    return networking => { external => { enabled => JSON::true,
        hostname => $_[0] } };
}

# who may edit pools and read Secrets in one namespace gets nothing in another,
# nor in another pool, whatever the names are that he asks for
pool("$ELSE/demo", named('demo.example.com'));
pool('peer', named('demo.example.com'));
sees(sub { cond($_, 'CertificatesReady') }, qr/^True/, "$_ has certificates")
    for "$ELSE/demo", 'peer';
is(comes("$ELSE/demo", "$ELSE/demo"), '', 'a gateway comes to its workers');
is(comes('peer', 'peer'), '', 'so does another');
like(comes('demo', "$ELSE/demo"), qr/^server: .*certificate verify failed/,
    'not to those of another namespace, whose pool has the same name');
like(comes('peer', 'demo'), qr/^server: .*certificate verify failed/,
    'not to those of another pool beside it');
like(names(secret('peer-tls')->{'tls.crt'}), qr/\bdemo\.example\.com\b/,
    'a certificate for the name of another one\'s gateway');
my $told = told("$ELSE/demo");
is($told, secret("$ELSE/demo-authority")->{'ca.crt'},
    'clients are told the authority of their pool');
is(takes($told, "$ELSE/demo", 'demo.example.com'), '', 'which its gateway has');
like(takes($told, 'peer', 'demo.example.com'),
    qr/^client: .*certificate verify failed/, 'and that one has not');

pool('nosy', named("demo.$ELSE.svc"));
sees(sub { cond('nosy', 'CertificatesReady') }, qr/^True/,
    'a name in the cluster');
like(takes($told, 'nosy', "demo.$ELSE.svc"),
    qr/^client: .*certificate verify failed/, 'which nobody there believes');
remove(pool => 'nosy');

# one that leads to all pools, by the administrator's word: all believe it, so
# of what is in the cluster it has its own names
pool('front', named("demo.$ELSE.svc"));
sees(sub { cond('front', 'Ready') },
    qr/^False BadHostname: "demo\.$ELSE\.svc"/,
    'a name of another namespace is refused');
is(obj(secret => 'front-tls'), undef, 'and nothing signed for it');
spec(front => { networking => undef });
sees(sub { count(secret("$ELSE/demo-worker-tls")->{'ca.crt'}) }, 2,
    'workers take the one of option gateways');
sees(sub { cond('front', 'CertificatesReady') =~ /^True/
    && secret('front-client-certs')->{'client.crt'} || '' }, qr/BEGIN/,
    'which has a certificate');
is(comes('front', "$ELSE/demo"), '', 'it comes to all of them');
sees(sub { comes('front', 'demo') }, '', 'in every namespace');
like(comes('demo', 'front'), qr/verify failed/, 'and they not to its own');
sees(sub { count(told("$ELSE/demo")) }, 2, 'clients are told it as well');
remove(pool => 'front');
sees(sub { count(secret("$ELSE/demo-worker-tls")->{'ca.crt'}) }, 1,
    'it goes, and opens nothing');

# renewed before it ends: the same key
$before = secret('peer-authority');
my ($cn, $private) = ('/CN=team\/peer', file($before->{'ca.key'}));
my $short = $t->run(qw(openssl req -x509 -key), $private, '-subj', $cn,
    qw(-days 400 -addext), 'keyUsage=critical,keyCertSign');
$after = secret('peer-tls');
my $two = $short->{out} . $gateway_ca;
fill_secret('peer-authority', 'ca.crt' => $two);
nudge('peer');
sees(sub { secret('peer-worker-tls')->{'ca.crt'} }, $two,
    'more than the one in an authority: workers take both');
is(secret('peer-authority')->{'ca.crt'}, $two, 'and nobody renews it');
fill_secret('peer-authority', 'ca.crt' => $short->{out});
nudge('peer');
sees(sub { my $c = secret('peer-authority')->{'ca.crt'}; $c ne $short->{out}
    && $c ne $before->{'ca.crt'} ? 'new' : 'old' }, 'new',
    'an authority that ends in a year has a new certificate');
is(secret('peer-authority')->{'ca.key'}, $before->{'ca.key'}, 'of its key');
sees(sub { secret('peer-worker-tls')->{'ca.crt'} }, secret('peer-authority')
    ->{'ca.crt'}, 'which workers take');
is(secret('peer-tls')->{'tls.crt'}, $after->{'tls.crt'},
    'nothing else is made again');
is(takes($before->{'ca.crt'}, 'peer', 'peer.team.svc'), '',
    'who was told the old one goes on');

# damaged, replaced by what is none, deleted
fill_secret('peer-authority', 'ca.crt' => $after->{'tls.crt'}, 'ca.key' =>
    $after->{'tls.key'});
nudge('peer');
sees(sub { cond('peer', 'CertificatesReady') },
    qr/^False BadAuthority: Secret peer-authority: .*CA:TRUE/,
    'what is no authority');
is(secret('peer-authority')->{'ca.crt'}, $after->{'tls.crt'},
    'is not written over');
remove(secret => 'peer-authority');
nudge('peer');
sees(sub { cond('peer', 'CertificatesReady') }, qr/^True/,
    'deleted, there is a new one');
isnt(secret('peer-authority')->{'ca.key'}, $before->{'ca.key'},
    'of another key');
sees(sub { comes('peer', 'peer') }, '', 'by which all is made again');
unlike(takes($before->{'ca.crt'}, 'peer', 'peer.team.svc'), qr/^$/,
    'the old one is worth nothing');
remove(secret => 'peer-authority');
nudge('peer');
sees(sub { events('peer', 'AuthorityMade') }, qr/it was deleted/,
    'and an Event says so');
remove(pool => 'peer');

# --- what others change -----------------------------------------------------------

my $toml = obj(config => 'demo-buildkitd')->{data}{'buildkitd.toml'};
patch(config => 'demo-buildkitd', { data => { 'buildkitd.toml' => 'x = 1' } });
nudge('demo');
sees(sub { obj(config => 'demo-buildkitd')->{data}{'buildkitd.toml'} }, $toml,
    'what others write into a ConfigMap does not stay');

# --- somebody else's ---------------------------------------------------------------

make(service => 'taken', spec => { ports => [{ port => 80 }] });
make_secret('taken-worker-tls', 'tls.crt' => 'mine');
make_secret('taken-authority', 'ca.crt' => 'mine');
pool('taken');
sees(sub { cond('taken', 'GatewayReady') },
    qr/^False NameTaken: .*Service taken .*not this pool's/,
    'a Service of its name that is another\'s');
is(obj(service => 'taken')->{spec}{ports}[0]{port}, 80, 'is not touched');
sees(sub { cond('taken', 'CertificatesReady') },
    qr/^False NameTaken: .*Secret/, 'nor is a Secret');
is(secret('taken-worker-tls')->{'tls.crt'}, 'mine', 'which stays');
is_deeply(secret('taken-authority'), { 'ca.crt' => 'mine' },
    'as does one that would be its authority');
is(status('taken')->{phase}, 'Failed', 'its phase');
sees(sub { events('taken', 'NameTaken') }, qr/Service taken/, 'and an Event');
remove(service => 'taken');
nudge('taken');
sees(sub { owner(obj(service => 'taken') // {}) }, 'BuildKitPool taken',
    'when it is removed the pool has its own');

pool('bad', buildkitConfig => "a = 1\x01\n", gateway => { enabled =>
    JSON::false });
sees(sub { cond('bad', 'Accepted') }, qr/^False \w+: /,
    'a configuration that is none');
is(status('bad')->{phase}, 'Failed', 'so no worker can be');
spec(bad => { buildkitConfig => undef });
sees(sub { cond('bad', 'Ready') }, qr/^True NoGateway/,
    'a pool without a gateway');
ok(!obj(deployment => 'bad-gateway') && !obj(service => 'bad'), 'has none');
like(cond('bad', 'EndpointReady'), qr/^True GatewayDisabled: .*configuration/,
    'clients are told another');
spec(bad => { networking => { external => { enabled => JSON::true,
    hostname => 'b.example.com' } } });
sees(sub { endpoint('bad') }, 'tcp://b.example.com:1235',
    'or where somebody else\'s is');
sees(sub { names(secret('bad-tls')->{'tls.crt'} // '') },
    qr/^\S+ amd64\.b\.example\.com arm64\.b\.example\.com b\.example\.com /,
    'which has a certificate for that, and its architectures');
sees(sub { secret('bad-client-certs')->{'client.crt'} && !obj(service => 'bad')
    && cond('bad', 'Ready') =~ /^True/ ? 'ready' : 'not yet' }, 'ready',
    'and one for workers, who wait for it');
spec(bad => { networking => { external => undef } });
spec(bad => { networking => { allowedCIDRs => ['192.0.2.0/24'] } });
sees(sub { cond('bad', 'Accepted') }, qr/^True Accepted: .*allowedCIDRs/,
    'what it asks for without effect');

# --- one gateway for two -------------------------------------------------------------

pool('guest', gateway => { poolRef => { name => 'nobody' } });
sees(sub { cond('guest', 'EndpointReady') },
    qr/^False PoolNotFound: .*nobody/, 'the gateway of no pool');
spec(guest => { gateway => { poolRef => { name => 'bad' } } });
sees(sub { cond('guest', 'EndpointReady') }, qr/^False NoGateway: .*\bbad\b/,
    'of one that has none');
spec(guest => { gateway => { poolRef => { name => 'demo' } }, tls => { mode =>
    'certManager', certManager => { issuerRef => { name => 'ca' } } } });
sees(sub { cond('guest', 'EndpointReady') }, qr/^False OtherIssuer: .*\bdemo\b/,
    'of one that does not trust its workers');
spec(guest => { tls => undef });
sees(sub { endpoint('guest') }, 'tcp://demo.team.svc:1235',
    'the gateway of another');
sees(sub { cond('guest', 'Ready') }, qr/^True/, 'is its own');
ok(!obj(deployment => 'guest-gateway') && !obj(secret => 'guest-tls'),
    'it has no other');
is(verify(secret('guest-worker-tls')->{'tls.crt'}, $worker_ca, 'sslserver'),
    '', 'its workers have certificates');
is(comes('demo', 'guest'), '', 'and take the gateway of the other pool');
is(told('guest'), secret('demo-authority')->{'ca.crt'}, 'as its clients do');

# --- tls.mode manual -------------------------------------------------------------------

my $pki = $t->pki;
my $other = $t->read("$pki/other-ca.pem");
pool('hand', tls => { mode => 'manual', manual => { serverCertSecret =>
    'hand-made', caSecret => 'hand-ca' } });
sees(sub { cond('hand', 'CertificatesReady') },
    qr/^False SecretMissing: .*hand-made/, 'a Secret that is not there');
my @hand = cert("$pki/other-ca", '--eku', 'server', '--san',
    'DNS:hand.team.svc');
make_secret('hand-ca', 'ca.crt' => "# a note\n$other");
make_secret('hand-made', 'tls.crt' => $hand[0], 'tls.key' => $key);
nudge('hand');
sees(sub { cond('hand', 'CertificatesReady') }, qr/^False KeyMismatch/,
    'a key that is another\'s');
is_deeply(secret('hand-tls'), {}, 'nothing of it is used');
fill_secret('hand-made', 'tls.key' => $hand[1]);
nudge('hand');
sees(sub { secret('hand-tls')->{'tls.crt'} }, $hand[0],
    'one that is good is used');
is(secret('hand-tls')->{'ca.crt'}, $t->read($t->dir
    . '/one/state/tls/gateway-ca.pem'), 'clients are ours all the same');
sees(sub { cond('hand', 'CertificatesReady') }, qr/^True/, 'all is well');
is(told('hand'), $other, 'they trust its maker');
is(comes('hand', 'hand'), '', 'and its gateway is known to its workers');

# a name that was free when it was looked for: nobody is asked to look again
pool('late', tls => { mode => 'manual', manual => { serverCertSecret =>
    'late-made', caSecret => 'hand-ca' } });
sees(sub { cond('late', 'CertificatesReady') },
    qr/^False SecretMissing: .*late-made/, 'a pool that waits');
make(secret => 'late-tls', type => 'kubernetes.io/tls', data => { map {
    ("tls.$_" => encode_base64('mine', '')) } qw(crt key) });
my @late = cert("$pki/other-ca", '--eku', 'server', '--san',
    'DNS:late.team.svc');
make_secret('late-made', 'tls.crt' => $late[0], 'tls.key' => $late[1]);
sees(sub { cond('late', 'CertificatesReady') },
    qr/^False NameTaken: .*late-tls/, 'what somebody has made meanwhile');
is_deeply(secret('late-tls'), { 'tls.crt' => 'mine', 'tls.key' => 'mine' },
    'is not written over');
remove(pool => 'late');

$before = secret('demo-tls');
spec(demo => { auth => { methods => [{ type => 'mtls', mtls =>
    { clientCASecret => 'hand-ca' } }] } });
sees(sub { count(secret('demo-tls')->{'ca.crt'}) }, 3,
    'another authority for clients');
is(secret('demo-tls')->{'tls.crt'}, $before->{'tls.crt'},
    'changes no certificate');
my @wrong = cert("$pki/other-ca", '--eku', 'server', '--san',
    'DNS:elsewhere');
fill_secret('hand-made', 'tls.crt' => $wrong[0], 'tls.key' => $wrong[1]);
nudge('hand');
sees(sub { cond('hand', 'CertificatesReady') },
    qr/^False NameMissing: .*hand\.team\.svc/, 'one with another name');
is(secret('hand-tls')->{'tls.crt'}, $hand[0], 'changes nothing');

# --- tls.mode certManager ----------------------------------------------------------------

pool('cm', tls => { mode => 'certManager', certManager => { issuerRef =>
    { name => 'ca' } } }, auth => { methods => [{ type => 'mtls', mtls =>
    { clientCASecret => 'hand-ca' } }] });
sees(sub { cond('cm', 'CertificatesReady') },
    qr/^False NotInstalled: .*cert-manager/, 'cert-manager is not there');
install('cert-manager.io');
nudge('cm');
sees(sub { join ' ', map { (obj(certificate => "cm-$_-issued")
    // {})->{spec}{issuerRef}{name} // 'none' } qw(server worker client) },
    'ca ca ca', 'it is asked for three');
patch(certificate => 'cm-server-issued', { status => { conditions => [{
    type => 'Ready', status => 'False', message => 'no such Issuer' }] } },
    'status');
sees(sub { cond('cm', 'CertificatesReady') },
    qr/^False CertificatePending: .*no such Issuer/, 'and what it says');
for (['server', 'server', map { @{$_->{spec}{dnsNames}} } obj(certificate =>
    'cm-server-issued')], ['worker', 'server',
    '*.cm.team.workers.buildkit.internal'], ['client', 'client', 'any'])
{
    my ($name, $eku, @dns) = @$_;
    my ($crt, $private) = cert("$pki/other-ca", '--eku', $eku,
        '--san', 'IP:127.0.0.1', map { ('--san', "DNS:$_") } @dns);
    make_secret("cm-$name-issued", 'tls.crt' => $crt, 'tls.key' => $private,
        'ca.crt' => $other);
}
sees(sub { cond('cm', 'CertificatesReady') }, qr/^True/, 'it issues them');
is(verify(secret('cm-worker-tls')->{'tls.crt'}, $other, 'sslserver'), '',
    'workers have its certificate');
is(secret('cm-client-certs')->{'ca.crt'}, $other, 'the gateway trusts it');
is(count(secret('cm-tls')->{'ca.crt'}), 3,
    'and as its clients ours and those of auth.methods');

is(secret('cm-worker-tls')->{'ca.crt'}, $other,
    'and they trust the gateway\'s');
is(obj(secret => 'cm-authority'), undef,
    'an Issuer of the namespace signs it all');

# whom everybody may ask opens no worker
spec(cm => { tls => { certManager => { issuerRef => { kind =>
    'ClusterIssuer' } } } });
sees(sub { secret('cm-worker-tls')->{'ca.crt'} eq (secret('cm-authority')
    ->{'ca.crt'} // 'none') ? 'own' : 'another' }, 'own',
    'a ClusterIssuer: workers take clients of the pool\'s own');
sees(sub { verify(secret('cm-client-certs')->{'client.crt'},
    secret('cm-authority')->{'ca.crt'}, 'sslclient') }, '',
    'which signs for its gateway');
isnt(secret('cm-worker-tls')->{'ca.crt'}, $other, 'and not the issuer\'s');
is(comes('cm', 'cm'), '', 'it comes to them');
sees(sub { obj(certificate => 'cm-client-issued') ? 'asked' : 'no' }, 'no',
    'cert-manager is not asked for that one');

# nor does it sign for names of others
sub asked {
    return join ' ', @{(obj(certificate => "$_[0]-server-issued") // {})
        ->{spec}{dnsNames} // []};
}

spec(cm => { named("*.demo.$ELSE.workers.buildkit.internal") });
sees(sub { cond('cm', 'CertificatesReady') }, qr/^False BadHostname: /,
    'a name of workers');
unlike(asked('cm'), qr/internal/, 'is not asked for');
spec(cm => { named('own.example.com') });
sees(sub { asked('cm') }, qr/\bown\.example\.com\b/, 'a free one is');
pool("$ELSE/late", named('*.example.com'), tls => { mode => 'certManager',
    certManager => { issuerRef => { name => 'ca', kind => 'ClusterIssuer' } } });
sees(sub { cond("$ELSE/late", 'CertificatesReady') },
    qr/^False HostnameTaken: "\*\.example\.com"/, 'and is nobody else\'s then');
is(asked("$ELSE/late"), '', 'who is not asked for');
spec(cm => { named('amd64.own.example.com') });
sees(sub { asked('cm') }, qr/\bamd64\.own\.example\.com\b/, 'another one');
spec("$ELSE/late" => { gateway => { enabled => JSON::false },
    named('own.example.com') });
sees(sub { cond("$ELSE/late", 'CertificatesReady') },
    qr/^False HostnameTaken: "own\.example\.com"/,
    'nor for its architectures by one that is in front of several');
remove(pool => "$ELSE/late");
spec(cm => { networking => { external => { enabled => JSON::false } } });

spec(cm => { tls => { mode => 'auto' } });
sees(sub { verify(secret('cm-worker-tls')->{'tls.crt'}, $worker_ca,
    'sslserver') }, '', 'the host\'s authority again');
sees(sub { join ' ', grep { obj(certificate => "cm-$_-issued") }
    qw(server worker client) }, '', 'cert-manager is not asked any more');

# --- another leads --------------------------------------------------------------------

sub versions {
    return join ' ', map { (obj(secret => $_) // {})->{metadata}
        {resourceVersion} // 'none' } qw(demo-tls demo-authority demo-worker-tls
        guest-worker-tls cm-tls);
}

# two that lead to all pools: one is being deleted, the other one's namespace
# cannot be read any more
pool($_, gateway => { enabled => JSON::false }, named('front.example.com'))
    for 'front', "$SHUT/front";
sees(sub { count(secret("$_-worker-tls")->{'ca.crt'}) }, 3,
    "$_: its workers take two gateways more") for qw(demo guest);
sees(sub { count(told('demo')) }, 3, 'as do its clients');
patch(pool => 'front', { metadata => { finalizers => ['example.com/test'] } });
remove(pool => 'front');

# what was asked for last is not of the other pools' Secrets
$t->wait_for(sub { my $o = obj(pool => 'cm');
    $o->{status}{observedGeneration} == $o->{metadata}{generation}
        && cond('cm', 'CertificatesReady') =~ /^True/ }, 60, 'all of cm\'s');
my $versions = versions();
is($host->stop, 0, 'the end of the first controller');

# as another controller of these kinds has left it
my %own = (labels => { 'buildkit.smrt-devops.net/pool' => 'old',
    'buildkit.smrt-devops.net/purpose' => 'gateway' },
    ownerReferences => [{ apiVersion => 'buildkit.smrt-devops.net/v1alpha1',
    kind => 'BuildKitPool', name => 'old', controller => JSON::true,
    uid => pool('old')->{metadata}{uid} }]);
my $labels = { %{$own{labels}}, 'app.kubernetes.io/name' => 'buildkit-gateway',
    'app.kubernetes.io/instance' => 'old', 'app.kubernetes.io/managed-by' =>
    'buildkit-controller' };
make(deployment => 'old-gateway', metadata => \%own, spec => { replicas => 0,
    selector => { matchLabels => $labels }, template => { metadata =>
    { labels => $labels }, spec => { containers => [{ name => 'gateway',
    image => 'theirs' }] } } });
make(secret => 'old-tls', metadata => \%own, type => 'Opaque', data => {});
$kube->must('-n', $SHUT, 'delete', 'rolebinding', 'buildkit-controller-pools');
# it holds some moments longer than it is there
$t->wait_for(sub { $kube->kubectl('auth', 'can-i', 'list', 'buildkitpools',
    '-n', $SHUT, '--as=system:serviceaccount:buildkit-system:'
    . 'buildkit-controller')->{rc} != 0 }, 30, 'that it may not');

$host = controller('two');
nudge('demo');
remove(secret => 'hand-client-certs');
nudge('hand');
sees(sub { obj(secret => 'hand-client-certs') ? 'made' : 'none' }, 'made',
    'the next one goes on');
is(comes('hand', 'hand'), '', 'with the same authorities');
is(versions(), $versions, 'and issues nothing again');
sees(sub { cond('demo', 'Ready') }, qr/^True/, 'all stays as it is');
sees(sub { cond($_, 'CertificatesReady') },
    qr/^True Valid: .*the authority of the gateway $SHUT\/front \S+ \S+ is not/,
    "$_: what cannot be read is said") for qw(demo old);
is(versions(), $versions, 'and nothing is taken away');
sees(sub { count(told('demo')) }, 3, 'nor from its clients');
sees(sub { count(secret('old-worker-tls')->{'ca.crt'}) }, 2,
    'a new one has what is known, also of one that is being deleted');
serve($SHUT);

sees(sub { secret('old-tls')->{'tls.crt'} // '' }, qr/BEGIN/,
    'a Secret of another controller, of another type');
sees(sub { obj(deployment => 'old-gateway')->{spec}{template}{spec}
    {containers}[0]{image} }, 'example.com/gateway:1', 'and its Deployment');

# --- no TLS, no gateway, no pool -----------------------------------------------------------

spec(hand => { tls => { enabled => JSON::false } });
sees(sub { cond('hand', 'EndpointReady') }, qr/^False TLSDisabled/,
    'without TLS no gateway leads to its workers');
sees(sub { obj(deployment => 'hand-gateway') ? 'there' : 'gone' }, 'gone',
    'it goes');
sees(sub { cond('hand', 'Ready') }, qr/^True NoGateway/,
    'which is as it should be');

sees(sub { count(secret('old-worker-tls')->{'ca.crt'}) }, 3,
    'and the rest when it can be read');
patch(pool => 'front', { metadata => { finalizers => undef } });
sees(sub { count(secret('demo-worker-tls')->{'ca.crt'}) }, 2,
    'one that is gone opens nothing');

# somebody comes through a gateway to another pool's worker
my @through = (POST => '/api/v1/workers/allocate', { poolName => 'guest',
    namespace => $NS, wait => '0', idempotencyKey => 'through' });
my $through = $host->request(@through)->{json};
sees(sub { join ' ', @{obj(pool => 'demo')->{metadata}{finalizers} // []} },
    qr/live-build/, 'somebody is on a worker of a pool that shares a gateway');
remove(pool => 'demo');
sees(sub { cond('guest', 'EndpointReady') }, qr/^False GatewayGoes: .*deleted/,
    'its pool is deleted: nobody new');
like($through->{gatewayEndpoint}, qr{^tcp://\S+:\d+$}, 'who is there');
is($host->request(@through)->{json}{gatewayEndpoint},
    $through->{gatewayEndpoint}, 'is told the same when he asks once more');
ok(obj(pool => 'demo') && obj(service => 'demo') && obj(secret => 'demo-tls'),
    'it stays for who is there');
$host->request(POST => '/api/v1/workers/release', { token =>
    $through->{token} });
sees(sub { join ' ', grep { obj(split /\//) } qw(deployment/demo-gateway
    service/demo secret/demo-tls secret/demo-authority secret/demo-client-certs
    secret/demo-worker-tls config/demo-buildkitd) }, '',
    'a pool goes, and all that it had');
sees(sub { cond('guest', 'EndpointReady') }, qr/^False PoolNotFound/,
    'who shared its gateway knows');
sees(sub { scalar grep { $_->{name} eq 'team/demo' || $_->{name} eq 'demo' }
    @{$host->request(GET => '/api/v1/pools')->{json}} }, 0,
    'and the host has forgotten it');

# made above
sub made {
    my $o = obj(@_) // return 0;
    return Time::Piece->strptime($o->{metadata}{creationTimestamp},
        '%Y-%m-%dT%H:%M:%SZ')->epoch;
}
sees(sub { made(deployment => 'slow-gateway') }, qr/[1-9]/,
    'a load balancer that never gives an address: it begins without');
cmp_ok(made(deployment => 'slow-gateway') - made(service => 'slow'), '>=', 59,
    'after a minute');
like(cond('slow', 'EndpointReady'), qr/^False LoadBalancerPending/,
    'nobody is sent there');

unlike($host->log, qr/PRIVATE KEY|error /i, 'nothing went wrong meanwhile');
is($host->stop, 0, 'the end');


# Their kinds, as far as they are used here.
sub install {
    my ($group) = @_;
    $kube->apply(join "---\n", grep { /^  group: \Q$group\E$/m }
        split /^---\n/m, $t->read($t->root . '/t/k8s/others.yaml'));
    $kube->wait('condition=Established', 'crd', '--all');
    return;
}
