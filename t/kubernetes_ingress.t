# The companion as an ingress controller, with a real kube-apiserver and nginx:
# Ingress objects and Secrets become names and certificates; what is wrong is
# in Events; addresses; conflicts; replicas, of which one writes.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use MIME::Base64 qw(encode_base64);
use Test::Buildkit;
use Test::Buildkit::Kube qw(good);

plan tests => 74;

my $API = '/apis/buildkit.smrt-devops.net/v1alpha1';
my $NET = '/apis/networking.k8s.io/v1';
my $MERGE = 'application/merge-patch+json';
my $t = Test::Buildkit->new;
my $overlay = $t->root . '/k8s/overlays/ingress-controller';
my $kube = $t->kube(level => 'api');
my $names = $t->dir . '/names';
$t->pki;

$kube->must('apply', '-k', $t->root . '/k8s/base/crds');
$kube->wait('condition=Established', 'crd', '--all');
$kube->must('create', 'namespace', $_) for qw(buildkit-system team other);
$kube->must('apply', '-f', $t->root . '/k8s/base/rbac/clusterrole-gateway.yaml');
my $r = $kube->kubectl({ timeout => 120 }, 'apply', '-k', $overlay,
    '--validate=strict');
is($r->{rc}, 0, 'the overlay is taken') or diag $r->{err};
is_deeply([grep { (() = $t->read($_) =~ /^kind: /mg) != 1 } grep {
    !m{/gateway\.yaml$} } glob "$overlay/*.yaml"], [], 'an object a file');
my $readme = $t->read("$overlay/README.md");
my ($apply) = $readme =~ /^    kubectl (apply -k k8s\/overlays\S+)$/m;
is($apply, 'apply -k k8s/overlays/ingress-controller', 'what to type');

# whose certificates it may read, as the README has it
my ($binding) = $readme =~ /^    kubectl (create rolebinding .+)$/m;
my $ACCOUNT = 'system:serviceaccount:buildkit-system:buildkit-ingress';
sub may { return $kube->kubectl('auth', 'can-i', @_, "--as=$ACCOUNT")->{out}
    =~ s/\n.*//sr }
is(may(qw(get secrets -n team)), 'no', 'nobody\'s Secrets');
$kube->must('-n', 'team', split ' ', $binding);
sees(sub { may(qw(get secrets -n team)) }, 'yes', 'those of who says so');
is(join(' ', map { may($_, 'secrets', '-n', 'team') } qw(list watch)),
    'no no', 'one by one');

# a certificate, its chain and its key
sub pair {
    my ($name, @args) = @_;
    my $out = $t->dir . "/$name";
    $t->mkcert('--out', $out, '--ca', $t->pki . '/gateway-ca', '--cn', $name,
        '--eku', 'server', '--san', "DNS:$name", @args);
    return ($t->read("$out.pem") . $t->read($t->pki . '/gateway-ca.pem'),
        $t->read("$out-key.pem"));
}

sub secret {
    my ($ns, $name, $cert, $key, $method, $type) = @_;
    my %body = (data => { 'tls.crt' => encode_base64($cert, ''),
        'tls.key' => encode_base64($key, '') });
    return good("secret $name", sub { $kube->api(PATCH =>
        "/api/v1/namespaces/$ns/secrets/$name", \%body, $MERGE) }) if $method;
    return good("secret $name", sub { $kube->api(POST =>
        "/api/v1/namespaces/$ns/secrets", { apiVersion => 'v1', kind =>
        'Secret', type => $type // 'kubernetes.io/tls', metadata => { name => $name },
        %body }) });
}

sub backend { return { service => { name => $_[0], port => { name =>
    'gateway' } } } }

sub rule {
    my ($host, $backend, %path) = @_;
    return { defined $host ? (host => $host) : (), http => { paths => [{
        path => '/', pathType => 'Prefix', backend => ref $backend ? $backend
        : backend($backend), %path }] } };
}

sub ingress {
    my ($ns, $name, $rules, %spec) = @_;
    my $meta = delete $spec{metadata};
    return good("ingress $name", sub { $kube->api(POST =>
        "$NET/namespaces/$ns/ingresses", { apiVersion =>
        'networking.k8s.io/v1', kind => 'Ingress', metadata => { name => $name,
        %{$meta // {}} }, spec => { $meta ? () : (ingressClassName =>
        'buildkit'), rules => $rules, %spec } }) });
}

sub remove {
    my ($ns, $name) = @_;
    return good("remove $name", sub { $kube->api(DELETE =>
        "$NET/namespaces/$ns/ingresses/$name") });
}

# "POOL ARCH CERT|-" of a name
sub line {
    my ($host) = @_;
    my ($line) = ($t->read("$names/names") // '') =~ /^\Q$host\E (.*)$/m;
    return $line // 'none';
}

sub sees {
    my ($code, $want, $name) = @_;
    my $got;
    eval { $t->wait_for(sub { $got = $code->();
        ref $want ? $got =~ $want : $got eq $want }, 90, $name) };
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

# "REASON: TEXT" of an object's Events, sorted
sub events {
    my ($ns, $name) = @_;
    return join "\n", sort map { "$_->{reason}: $_->{message}" } grep {
        $_->{involvedObject}{name} eq $name } @{good('events', sub {
            $kube->api(GET
        => "/api/v1/namespaces/$ns/events") })->{items}};
}

sub addresses {
    my ($ns, $name) = @_;
    my $o = good('ingress', sub { $kube->api(GET =>
        "$NET/namespaces/$ns/ingresses/$name") });
    return join ' ', map { $_->{ip} // $_->{hostname} }
        @{$o->{status}{loadBalancer}{ingress} // []};
}

sub conf {
    my ($dir, $folder, $namespaces) = @_;
    return <<"END";
state: %%DIR%%/$dir/state
table:
  path: "%%DIR%%/$dir.table"
  allocations: 100
  workers: 64
  pools: 16
api: {listen: ["unix:%%DIR%%/$dir/api.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics-$dir%%"]}
plugins:
  - name: kubernetes
    options:
      kubeconfig: "%%DIR%%/buildkit-system-buildkit-ingress.kubeconfig"
      namespaces: $namespaces
      ingressClass: buildkit
      ingressService: buildkit-system/buildkit-ingress
      names: $folder
      leaseDuration: 18s
  - {name: metrics}
END
}

sub metric {
    my ($dir, $name) = @_;
    my ($value) = $t->http('127.0.0.1:' . $t->port("metrics-$dir"), GET =>
        '/metrics')->{body} =~ /^buildkit_\S*\Q$name\E (\d+)/m;
    return $value // 'none';
}

# --- a name, its certificate, through to nginx ------------------------------

my %tok = map { $_ => $t->token } qw(team other);
for my $ns (qw(team other)) {
    good('pool', sub {
        $kube->api(POST => "$API/namespaces/$ns/buildkitpools", {
        apiVersion => 'buildkit.smrt-devops.net/v1alpha1', kind =>
        'BuildKitPool', metadata => { name => 'demo' }, spec => {} }) });
    good('worker', sub {
        $kube->api(POST => "$API/namespaces/$ns/buildkitworkers", {
        apiVersion => 'buildkit.smrt-devops.net/v1alpha1', kind =>
        'BuildKitWorker', metadata => { name => 'demo-0' }, spec => {
        poolRef => { name => 'demo' }, allocation => { tokenHash =>
        $t->hash($tok{$ns}), id => $t->id($tok{$ns}), allocatedAt =>
        '2027-01-01T00:00:00Z' } } }) });
}

secret('team', 'demo-cert', pair('build.example.com', '--cn', 'first'));
$kube->must('-n', 'team', 'create', 'ingress', 'demo', '--class=buildkit',
    '--rule=build.example.com/*=demo:gateway,tls=demo-cert');
ingress('other', 'stranger', [rule('stranger.example.com', 'demo')],
    ingressClassName => 'nginx');

$kube->account_kubeconfig('buildkit-system', 'buildkit-ingress');
my $host = $t->host(conf('main', $names, '["*"]'));
sees(sub { line('build.example.com') }, qr/^team\/demo - [0-9a-f]{64}\.pem$/,
    'a host is a line');
my $first = (split / /, line('build.example.com'))[2];
is(line('amd64.build.example.com'), "team/demo amd64 $first", 'amd64');
is(line('arm64.build.example.com'), "team/demo arm64 $first", 'arm64');
is(line('stranger.example.com'), 'none', 'another class');
like($t->read("$names/names"), qr/^buildkit-names 1 3 buildkit\n/, 'no more');
is(sprintf('%o', (stat $names)[2] & 07777), '700', 'the folder is ours');
is(sprintf('%o', (stat "$names/$first")[2] & 07777), '600', 'as the key is');

my $nginx = $t->nginx($t->gateway_conf(table => '%%DIR%%/main.table',
    stream => "buildkit_check 20ms;\nbuildkit_grace 60s;\n",
    server => "buildkit_names $names;\n"));
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$tok{$_}") } keys %tok;

sub subject {
    my ($sni) = @_;
    my $socket = $t->tls($cert{team}, sni => $sni) or return 'none';
    my $name = $socket->peer_certificate('commonName');
    $socket->close;
    return $name;
}

sees(sub { subject('build.example.com') }, 'build.example.com',
    'nginx has its certificate');
is(subject('arm64.build.example.com'), 'build.example.com', 'and arm64. it');
is(subject('elsewhere.example.com'), 'gateway', 'others the default one');
like($t->grpc($cert{other}, sni => 'build.example.com')->{streams}{1}{message},
    qr/is of pool other\/demo, and build\.example\.com is the name of pool team\/demo/,
    'and who is of another pool is told');

my ($crt, $key) = pair('build.example.com', '--cn', 'second');
secret('team', 'demo-cert', $crt, $key, 1);
sees(sub { line('build.example.com') }, qr/^team\/demo - (?!\Q$first\E)\w+\.pem/,
    'a certificate is renewed');
ok(-e "$names/$first", 'the one before stays a while');
sees(sub { my $s = $t->tls($cert{team}, sni => 'build.example.com')
    or return 'none';
    $crt =~ /\Q@{[Net::SSLeay::PEM_get_string_X509($s->peer_certificate)]}\E/
    ? 'second' : 'first' }, 'second', 'nginx has the new one');

# --- what is wrong is said --------------------------------------------------

my $resource = { resource => { apiGroup => 'buildkit.smrt-devops.net',
    kind => 'BuildKitPool', name => 'demo' } };
ingress('team', 'many', [
    rule('one.example.com', $resource),
    rule('*.ci.example.com', 'demo'),
    rule('bad-backend.example.com', { resource => { apiGroup => 'apps',
        kind => 'Deployment', name => 'demo' } }),
    rule('bad-port.example.com', { service => { name => 'demo', port => {
        number => 80 } } }),
    rule('number.example.com', { service => { name => 'demo', port => {
        number => 1235 } } }),
    rule('bad-path.example.com', 'demo', path => '/v2'),
    rule('exact.example.com', 'demo', pathType => 'Exact'),
    rule(undef, 'demo'),
    rule('one.example.com', 'other'),
    rule('one.example.com', 'demo'),
    { host => 'nothing.example.com' },
    ], tls => [{ hosts => ['one.example.com'], secretName => 'none' }]);
my $many = join "\n",
    'BadBackend: bad-backend.example.com: a resource as backend is a BuildKitPool of the group buildkit.smrt-devops.net',
    'BadBackend: bad-port.example.com: the backend is a BuildKitPool, or a pool\'s Service with its port gateway (1235)',
    'BadPath: bad-path.example.com: one path only, / with pathType Prefix or ImplementationSpecific: a pool is all of a name',
    'BadPath: exact.example.com: one path only, / with pathType Prefix or ImplementationSpecific: a pool is all of a name',
    'HostTwice: one.example.com is pool team/demo already, by a rule of this object, and cannot be team/other as well',
    'NoBackend: nothing.example.com: the rule has no path / with a backend',
    'NoCertificate: one.example.com has the default certificate: there is no Secret none of type kubernetes.io/tls',
    'NoHost: a rule without a host would be for every name, and no pool is that';
sees(sub { events('team', 'many') }, $many, 'each bad rule has its Event');
sees(sub { line('one.example.com') }, 'team/demo - -',
    'a good one beside them is used');
is(line('number.example.com'), 'team/demo - -', 'so is the port\'s number');
is(line('*.ci.example.com'), 'team/demo - -', 'and all of a level');
is(line('amd64.*.ci.example.com'), 'none', 'which has no amd64.');
is(line($_), 'none', "$_ is not") for map { "$_.example.com" }
    qw(bad-backend bad-port bad-path exact nothing);

# certificates
ingress('team', 'certs', [map { rule("$_.example.com", 'demo') }
    qw(late other-key old any amd64.one)], tls => [map { { hosts =>
    ["$_->[0].example.com"], secretName => $_->[1] } } ['late', 'late'],
    ['other-key', 'other-key'], ['old', 'old'], ['any', 'demo-cert']]);
secret('team', 'other-key', (pair('other-key.example.com'))[0],
    (pair('old.example.com'))[1]);
secret('team', 'old', pair('old.example.com', '--not-before', -7200,
    '--not-after', -60));
sees(sub { events('team', 'certs') },
    qr/^Expired: old\.example\.com has the default certificate: that of Secret old has expired\nKeyMismatch: other-key\.\S+ has the default certificate: Secret other-key: its tls\.key is another certificate's than the first one of tls\.crt\nNameMissing: any\.\S+ the certificate of Secret demo-cert is not for that name: clients will not trust it\nNoCertificate: late[^\n]*(?:\nNoCertificate: (?:old|other-key)[^\n]*)*$/,
    'certificates that cannot be used');
sees(sub { line("$_.example.com") }, 'team/demo - -', "$_: the default one")
    for qw(late other-key old);
sees(sub { line('any.example.com') }, qr/^team\/demo - \w+\.pem$/,
    'one for another name is used');
is(line('amd64.one.example.com'), 'team/demo - -',
    'amd64. of a host that is a rule\'s own');
secret('team', 'late', pair('late.example.com'));
sees(sub { line('late.example.com') }, qr/^team\/demo - \w+\.pem$/,
    'a Secret that comes late');

# nobody has said that those of this namespace may be read
ingress('other', 'shy', [rule('shy.example.com', 'demo')],
    tls => [{ secretName => 'shy' }]);
secret('other', 'shy', pair('shy.example.com'));
sees(sub { events('other', 'shy') }, qr/^NotAllowed: shy\.\S+ has the default certificate: the Secret shy may not be read: .*buildkit-ingress-certificates/,
    'a Secret that it may not read');
$kube->must('-n', 'other', split ' ', $binding);
sees(sub { line('shy.example.com') }, qr/^other\/demo - \w+\.pem$/,
    'until somebody lets it');
# what else there is in a namespace is no certificate
secret('team', 'opaque', pair('opaque.example.com'), undef, 'Opaque');
ingress('team', 'opaque', [rule('opaque.example.com', 'demo')],
    tls => [{ secretName => 'opaque' }]);
sees(sub { events('team', 'opaque') }, qr/^NoCertificate: .*no Secret opaque of type kubernetes\.io\/tls$/,
    'nor is a Secret of another type');
sees(sub { line('opaque.example.com') }, 'team/demo - -',
    'which is not used');
remove('team', 'opaque');
sees(sub { metric('main', 'kubernetes_ingress_secrets') }, 6,
    'it holds those that are named, and no other');

# pools whose workers it could not speak to
for (['foreign', { mode => 'certManager', certManager => { issuerRef => {
    name => 'own' } } }], ['plain', { enabled => JSON::false }])
{
    good('pool', sub {
        $kube->api(POST => "$API/namespaces/team/buildkitpools", {
        apiVersion => 'buildkit.smrt-devops.net/v1alpha1', kind =>
        'BuildKitPool', metadata => { name => $_->[0] }, spec => { tls =>
        $_->[1] } }) });
}
ingress('team', 'pools', [map { rule("$_.example.com", $_) } qw(foreign plain
    nobody)]);
sees(sub { events('team', 'pools') }, qr/^NoPool: nobody\.\S+ [^\n]+\nOtherIssuer: foreign\.\S+ is not served: [^\n]+\nTLSDisabled: plain\.[^\n]+$/,
    'pools of which nothing would come');
is(line($_), 'none', "$_ is not served") for qw(foreign.example.com
    amd64.plain.example.com);
$kube->api(PATCH => "$API/namespaces/team/buildkitpools/plain",
    { spec => { tls => { enabled => JSON::true } } }, $MERGE);
sees(sub { line('plain.example.com') }, 'team/plain - -', 'until it is');

# --- who has a host ----------------------------------------------------------

ingress('other', 'thief', [rule('build.example.com', 'demo'),
    rule('mine.example.com', 'demo')], metadata => { annotations => {
    'kubernetes.io/ingress.class' => 'buildkit' } });
sees(sub { line('mine.example.com') }, 'other/demo - -', 'the old annotation');
sees(sub { events('other', 'thief') }, 'HostTaken: build.example.com is that '
    . 'of an older Ingress in another namespace', 'a host is taken once');
like(line('build.example.com'), qr/^team\/demo /, 'and stays whose it was');

# names that come with a host
ingress('other', 'arch', [rule('amd64.build.example.com', 'demo'),
    rule('arm64.yet.example.com', 'demo')]);
sees(sub { events('other', 'arch') }, 'HostTaken: amd64.build.example.com is '
    . 'that of an older Ingress in another namespace', 'amd64. goes with it');
like(line('amd64.build.example.com'), qr/^team\/demo amd64 /, 'and is its own');
# an object's age is known to the second; of two of the same anybody is first
my $age = time;
$t->wait_for(sub { time > $age + 1 }, 5, 'an older object');
ingress('team', 'yet', [rule('yet.example.com', 'demo')]);
sees(sub { line('yet.example.com') }, 'team/demo - -', 'a host');
is(line('arm64.yet.example.com'), 'other/demo - -',
    'whose arm64. somebody had before');
is(line('amd64.yet.example.com'), 'team/demo amd64 -', 'has the other one');

# --- addresses ---------------------------------------------------------------

sub service {
    my (@addresses) = @_;
    good('service', sub {
        $kube->api(PATCH => '/api/v1/namespaces/buildkit-system'
        . '/services/buildkit-ingress/status', { status => { loadBalancer =>
        { ingress => \@addresses } } }, $MERGE) });
}

is(addresses('team', 'demo'), '', 'no address yet');
service({ ip => '192.0.2.7' });
sees(sub { addresses('team', 'demo') }, '192.0.2.7', 'the Service\'s');
sees(sub { addresses('other', 'thief') }, '192.0.2.7', 'for all of ours');
is(addresses('other', 'stranger'), '', 'and for no other class');
sees(sub { metric('main', 'kubernetes_ingress_leader') }, 1, 'it leads');

# --- two replicas ------------------------------------------------------------

my $second = $t->host(conf('second', $t->dir . '/names-2', '["*"]'),
    name => 'second');
sees(sub { $t->read($t->dir . '/names-2/names') // '' }, $t->read(
    "$names/names"), 'a second one writes the same');
is(metric('second', 'kubernetes_ingress_leader'), 0, 'and does not lead');
$t->wait_for(sub { $second->log =~ /the table is live/ }, 20, 'its table');
like($second->log, qr/names for nginx.*the table is live/s,
    'nginx, which waits for that, begins with names');
ok(!-e $t->dir . '/names-2/' . $first, 'only what it needs');
$host->kill('KILL');
service({ hostname => 'lb.example.com' });
sees(sub { addresses('team', 'demo') }, 'lb.example.com',
    'the first one dies: the second one writes');
is(events('team', 'many'), $many, 'no Event is there twice');

# --- this program, and the API server ----------------------------------------

my $before = $t->read("$names/names");
my $inode = (stat "$names/names")[1];
# meanwhile one names another Secret, which nobody may read
my ($role) = $binding =~ /create rolebinding (\S+)/;
$kube->must('-n', 'other', 'delete', 'rolebinding', $role);
$t->wait_for(sub { may(qw(get secrets -n other)) eq 'no' }, 20, 'the role');
good('ingress', sub {
    $kube->api(PATCH => "$NET/namespaces/other/ingresses/shy",
    { spec => { tls => [{ secretName => 'shy-2' }] } }, $MERGE) });
$host->restart;
$t->wait_for(sub { metric('main', 'kubernetes_ingress_names') > 0 }, 20,
    'names are known');
# and they were written, where that was needed
$t->wait_for(sub { $host->log =~ /the table is live.*the table is live/s }, 20,
    'its table');
is((stat "$names/names")[1], $inode, 'a restart writes nothing anew');
like(line('shy.example.com'), qr/^other\/demo - \w+\.pem$/,
    'a name keeps its certificate until the other one can be read');
sees(sub { events('other', 'shy') }, qr/^NotAllowed: shy\.\S+ has an old certificate: the Secret shy-2 may not be read: /m,
    'which is said');
$kube->restart('kube-apiserver');
remove('team', 'demo');
sees(sub { line('build.example.com') }, 'other/demo - -',
    'its Ingress is deleted: the next one has the host');
sees(sub { line('arm64.build.example.com') }, 'other/demo arm64 -', 'all of it');
is(subject('late.example.com'), 'late.example.com', 'others stay');
is($second->stop, 0, 'the end');
unlike($host->log . $second->log, qr/PRIVATE|BEGIN/, 'no key is in the log');
is($host->stop, 0, 'the end');
