# k8s/overlays, each as its README says: built, taken by a real API server,
# and its pool by the controller's account with the rights that it has there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::IP;
use JSON ();
use Test::Buildkit;

plan skip_all => 'sanitizers: nothing of ours is in it' if $ENV{BK_SAN};

my %overlays = (
    'cache-pvc'    => { pool => 'default', of => 'buildkit-system' },
    'cert-manager' => { pool => 'default', of => 'buildkit-system' },
    'dev'          => { pool => 'dev', of => 'buildkit-system' },
    'loadbalancer' => { pool => 'default', of => 'buildkit-system' },
    'minimal'      => { pool => 'default', of => 'buildkit-system' },
    'rootless'     => { pool => 'rootless', of => 'builds' } );

plan tests => 22 + 6 * keys %overlays;

my $CONTROLLER = 'system:serviceaccount:buildkit-system:buildkit-controller';
my $t = Test::Buildkit->new;
my $folder = $t->root . '/k8s/overlays';
my $json = JSON->new->canonical;

# t/kubernetes_ingress.t has the one without a controller
is_deeply([grep { $_ ne 'ingress-controller' } map { s{.*/}{}r } sort
    glob "$folder/*"], [sort keys %overlays],
    'all of them');

my $kube = $t->kube(level => 'api');
$kube->must('apply', '-f', $t->root . '/t/k8s/others.yaml');
$kube->must('apply', '-k', $t->root . '/k8s/base/crds');
$kube->wait('condition=Established', 'crd', '--all');

my (%made, %objects);
for my $name (sort keys %overlays) {
    my ($pool, $ns) = @{$overlays{$name}}{qw(pool of)};

    # who needs it, in a few lines; what to type, of which the first is above
    my $readme = $t->read("$folder/$name/README.md");
    cmp_ok(scalar(split /\n/, $readme), '<=', 16, "$name: a README of a few "
        . 'lines');
    my @apply = $readme =~ /^    kubectl (apply -k k8s\S+)$/mg;
    is("@apply", "apply -k k8s/base/crds apply -k k8s/overlays/$name",
        'that says what to type');

    my @several = grep { my @kinds = $t->read($_) =~ /^kind: /mg; @kinds != 1 }
        grep { !m{/controller\.yaml$} } glob "$folder/$name/*.yaml";
    is("@several", '', 'an object a file');

    my $r = $kube->kubectl({ timeout => 120 }, 'apply', '-k', "$folder/$name",
        '--validate=strict', '-o', 'json');
    is($r->{rc}, 0, 'it is taken') or diag $r->{err};
    $objects{$name} = $json->decode($r->{out})->{items};

    # what comes of it
    my ($object) = grep { $_->{kind} eq 'BuildKitPool' } @{$objects{$name}};
    is("$object->{metadata}{namespace}/$object->{metadata}{name}",
        "$ns/$pool", 'a pool');
    $r = $t->run({ stdin => $json->encode($object) }, $t->tool('k8smake'),
        'buildkit-system', 'registry/gateway', 'registry/controller',
        'moby/buildkit:v0.33.0');
    $made{$name} = $json->decode($r->{out});
    my %bad = map { $_ => $made{$name}{$_}{error}[1] } grep {
        $made{$name}{$_}{error} } keys %{$made{$name}};
    is_deeply(\%bad, $name eq 'cache-pvc' ? {} : { claim => 'NoCache' },
        'all that it asks for can be');
}

# as in any cluster
$kube->apply(join "---\n", map { "apiVersion: v1\nkind: ServiceAccount\n"
    . "metadata: {name: $_->[0], namespace: $_->[1]}\n" }
    ['default', 'buildkit-system'], ['default', 'builds'],
    ['buildkit-gateway', 'builds']);
my @all = grep { $_->{kind} } map { values %$_ } values %made;
# rootless, the last one, lets no worker in where the controller is; what it
# lets the controller do holds some moments later
my $r;
eval { $t->wait_for(sub { $r = $kube->kubectl({ stdin => $json->encode({
    apiVersion => 'v1', kind => 'List', items => [grep { $_->{kind} ne 'Pod'
    || $_->{metadata}{namespace} eq 'builds' } @all] }) }, 'apply',
    '--server-side', '--dry-run=server', "--as=$CONTROLLER",
    '--field-manager=buildkit-gateway', '-f', '-'); $r->{rc} == 0 }, 30,
    'what it may') };
is($r->{rc}, 0, 'the controller may make it') or diag $r->{err};

# --- what each of them is for ----------------------------------------------

is($made{'cache-pvc'}{claim}{spec}{resources}{requests}{storage}, '50Gi',
    'cache-pvc: a claim');
is($made{'cert-manager'}{certificate}{spec}{issuerRef}{name}, 'buildkit-ca',
    'cert-manager: a Certificate');
is((grep { $_ eq '--tlscert' } @{$made{dev}{pod}{spec}{containers}[0]{args}})
    + (grep { ($_->{name} // '') eq 'certs' } @{$made{dev}{pod}{spec}
    {volumes}}), 0, 'dev: no TLS');
is("$made{loadbalancer}{service}{spec}{type} "
    . $made{loadbalancer}{service}{spec}{loadBalancerSourceRanges}[0],
    'LoadBalancer 10.0.0.0/8', 'loadbalancer: a balancer');
is($made{loadbalancer}{deployment}{spec}{template}{spec}
    {topologySpreadConstraints}[0]{labelSelector}{matchLabels}
    {'buildkit.smrt-devops.net/pool'}, 'default', 'two apart');
my ($replicas) = map { $_->{spec}{replicas} } grep { $_->{kind} eq
    'Deployment' } @{$objects{minimal}};
is($replicas, 1, 'minimal: one controller');

# rootless, the last: nothing else than what is restricted beside the controller
my ($deployment) = grep { $_->{kind} eq 'Deployment' } @{$objects{rootless}};
sub create {
    my ($ns, $pod) = @_;
    my $answer = $kube->api(POST => "/api/v1/namespaces/$ns/pods?dryRun=All", {
        apiVersion => 'v1', kind => 'Pod', metadata => { name => 'x' },
        spec => $pod->{spec} });
    return $answer->{kind} eq 'Pod' ? 'Pod' : $answer->{message};
}
is(create('buildkit-system', $deployment->{spec}{template}), 'Pod',
    'rootless: the controller runs');
like(create('buildkit-system', $made{rootless}{pod}),
    qr/violates PodSecurity "restricted/, 'a worker beside it does not');
is(create('builds', $made{rootless}{pod}), 'Pod', 'but where pools are');
is(create('builds', $made{rootless}{deployment}{spec}{template}), 'Pod',
    'as its gateway');

my ($here, $there) = map { $t->read($_) } "$folder/rootless/controller.yaml",
    $t->root . '/k8s/base/controller/config/controller.yaml';
is($here =~ s/namespaces: \[builds\]/namespaces: [buildkit-system]/r, $there,
    'its configuration is that of base but for the namespace');

# --- components/ipv6: base's files, with what is behind a # there ----------

my %files = ('nginx.conf' => 'gateway-config', 'front.conf' =>
    'controller/config');
my $listens = 0;
for my $name (sort keys %files) {
    my $text = $t->read($t->root . "/k8s/base/$files{$name}/$name");
    $listens += $text =~ s/^( *)#(listen \[::\])/$1$2/mg;
    is($t->read($t->root . "/k8s/components/ipv6/$name"), $text,
        "components/ipv6/$name: as that of base, with IPv6");
}

system 'cp', '-r', $t->root . '/k8s', $t->dir . '/k8s';
$t->write('six/kustomization.yaml', "resources: [../k8s/base]\n"
    . "components: [../k8s/components/ipv6]\n");
$r = $kube->kubectl('kustomize', $t->dir . '/six');
is(() = $r->{out} =~ /^ +listen \[::\]/mg, $listens, 'both are used')
    or diag $r->{err};

# --- components/network-policy: who reaches what the controller makes ----------

$t->write('wall/kustomization.yaml', "namespace: builds\n"
    . "components: [../k8s/components/network-policy]\n");
sub built {
    my $answer = $kube->kubectl({ timeout => 120 }, 'apply', '-k', $_[0],
        '--dry-run=server', '-o', 'json');
    die "apply $_[0]: $answer->{err}" if $answer->{rc} != 0;
    my $o = $json->decode($answer->{out});
    return $o->{kind} eq 'List' ? @{$o->{items}} : $o;
}
my ($policy) = grep { $_->{kind} eq 'NetworkPolicy' } built($t->dir . '/wall');
is($policy->{metadata}{namespace}, 'builds', 'a network policy');
sub selects {
    my ($selector, $object) = @_;
    my %want = %{$selector->{matchLabels}};
    return !grep { ($object->{metadata}{labels}{$_} // '') ne $want{$_} }
        keys %want;
}
my ($pod, $gateway) = ($made{minimal}{pod},
    $made{minimal}{deployment}{spec}{template});
my ($rule, @more) = @{$policy->{spec}{ingress}};
ok(selects($policy->{spec}{podSelector}, $pod)
    && !selects($policy->{spec}{podSelector}, $gateway) && !@more,
    'is about workers, and has one rule');
is("@{[map { $_->{port} } @{$rule->{ports}}]}", "@{[map { /^tcp:.*:(\d+)/ }
    @{$pod->{spec}{containers}[0]{args}}]}", 'their port');
my @from = @{$rule->{from}};
ok(@from == 2 && selects($from[0]{podSelector}, $gateway)
    && !selects($from[0]{podSelector}, $pod) && !$from[0]{namespaceSelector},
    'gateways beside them come to it');
my ($ingress) = grep { $_->{kind} eq 'Deployment' }
    built("$folder/ingress-controller");
ok(selects($from[1]{podSelector}, $ingress->{spec}{template})
    && !selects($from[1]{podSelector}, $gateway)
    && $from[1]{namespaceSelector}{matchLabels}
    {'kubernetes.io/metadata.name'} eq $ingress->{metadata}{namespace},
    'and the ingress controller, from where it is');

SKIP: {
    my $six = IO::Socket::IP->new(LocalHost => '::1', Listen => 1);
    skip 'no IPv6 here', 1 if !$six;
    my $front = $t->read($t->root . '/k8s/components/ipv6/front.conf');
    $front =~ s{(?<=\s)/tmp/}{%%DIR%%/tmp/}g;
    $front =~ s/listen (\d+)/listen 127.0.0.1:%%PORT:$1%%/g;
    $front =~ s/listen \[::\]:(\d+)/listen [::1]:%%PORT:$1%%/g;
    mkdir $t->dir . "/$_" for qw(tmp logs);
    my $proc = $t->start('front', { signal => 'QUIT' }, $t->nginx_program,
        '-p', $t->dir, '-c', $t->write('front.conf', $front));
    $t->wait_port($t->port(9090), 15, $proc);
    ok(IO::Socket::IP->new(PeerHost => '::1', PeerPort => $t->port(9090)),
        'nginx listens there, too');
}
