# What the controller makes of pools, as a real API server takes it: every
# manifest of every pool, by the controller's own account and as it sends them;
# a gateway as k8s/gateway has it; Pods as restricted as they can be.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Path qw(make_path);
use File::Spec;
use JSON ();
use Test::Buildkit;

plan skip_all => 'sanitizers: t/unit/k8s_make.c' if $ENV{BK_SAN};
plan tests => 40;

my $GROUP = 'buildkit.smrt-devops.net';
my $CONTROLLER = 'system:serviceaccount:buildkit-system:buildkit-controller';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $k8s = $t->root . '/k8s';
my $json = JSON->new->canonical;

$kube->must('create', 'namespace', $_) for qw(team locked);
$kube->must('label', 'namespace', 'locked',
    'pod-security.kubernetes.io/enforce=restricted');
$kube->must('apply', '-k', "$k8s/base");
$kube->must('apply', '-f', $t->root . '/t/k8s/others.yaml');
$kube->must('apply', '-n', 'team', '-f',
    "$k8s/base/rbac/rolebinding-controller-pools.yaml");
$kube->apply(<<'END');
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: gvisor}
handler: runsc
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: builds}
value: 7
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: team}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: locked}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: buildkit-gateway, namespace: locked}
END
$kube->wait('condition=Established', 'crd', '--all');

# --- what is made of each pool ---------------------------------------------

# with what the API server puts into them
my @pools = map { $_->{items} ? @{$_->{items}} : $_ } map { $json->decode(
    $kube->must('apply', '-n', 'team', '--validate=strict', '-o', 'json', '-f',
        $t->root . "/t/k8s/$_.yaml")) } qw(pools pool);
my $r = $t->run({ stdin => join "\n", map { $json->encode($_) } @pools },
    $t->tool('k8smake'), 'buildkit-system', 'registry/gateway:1',
    'registry/controller:1', 'moby/buildkit:v0.33.0');
is($r->{rc}, 0, 'manifests') or diag $r->{err};
my %made;
@made{map { $_->{metadata}{name} } @pools} = map { $json->decode($_) }
    split /\n/, $r->{out};

# as the controller sends them: server-side apply, by its own account
sub apply {
    my ($objects, @more) = @_;
    return $kube->kubectl({ stdin => $json->encode({ apiVersion => 'v1',
        kind => 'List', items => $objects }) }, 'apply', '--server-side',
        '--dry-run=server', '--validate=strict', "--as=$CONTROLLER",
        '--field-manager=buildkit-gateway', '-f', '-', @more);
}

for my $name (sort keys %made) {
    my $all = $made{$name};
    is_deeply([map { "$_: @{$all->{$_}{error}}" } grep {
        $all->{$_}{error} && $all->{$_}{error}[1] ne 'NoCache' } sort keys
        %$all], [], "$name: all is made");
}
$r = apply([grep { $_->{kind} } map { values %{$made{$_}} } sort keys %made],
    '-o', 'name');
is($r->{rc}, 0, 'and all is taken') or diag $r->{err};
is(scalar(split /\n/, $r->{out}), scalar(grep { $_->{kind} } map { values %$_ }
    values %made), 'object for object');

my %kinds = map { $_->{kind} => 1 } grep { $_->{kind} } map { values %$_ }
    values %made;
is(join(' ', sort keys %kinds), 'BuildKitWorker Certificate ConfigMap '
    . 'Deployment Gateway Ingress PersistentVolumeClaim Pod '
    . 'PodDisruptionBudget RoleBinding Secret Service ServiceAccount TLSRoute',
    'of every kind');

# the checks are some
my $bad = $json->decode($json->encode($made{demo}{pod}));
$bad->{spec}{containers}[0]{volumemounts} = [];
like(apply([$bad])->{err}, qr/unknown field "volumemounts"/,
    'a field that nobody knows is seen');
$bad = $json->decode($json->encode($made{'own-gateway'}{tlsroute}));
$bad->{spec}{rules}[0]{backendRefs}[0]{port} = '1235';
like(apply([$bad])->{err}, qr/invalid type for \S+port: got/,
    'one of the wrong type as well');

# --- a gateway as anybody makes it -----------------------------------------

my $overlay = $t->dir . '/overlay';
make_path($overlay);
$t->write('overlay/kustomization.yaml', 'resources: ['
    . File::Spec->abs2rel("$k8s/gateway", $overlay) . "]\nnamespace: team\n"
    . "images: [{name: buildkit-gateway/gateway, newName: registry/gateway, "
    . "newTag: '1'}, {name: buildkit-gateway/controller, newName: "
    . "registry/controller, newTag: '1'}]\n");
my %by_hand = map { ("$_->{kind} $_->{metadata}{name}" => $_) } @{$json->decode(
    $kube->must('apply', '--server-side', '--dry-run=server', '-o', 'json',
        '-k', $overlay))->{items}};
$r = apply([@{$made{demo}}{qw(deployment service gatewayBudget account
    rolebinding)}], '-o', 'json');
my @ours = @{$json->decode($r->{out})->{items}};

# but for what is each one's own: a name with a hash, labels of what all pools
# share
sub shape {
    my ($o) = @_;
    my $shape = $json->decode($json->encode($o));
    delete $shape->{status};
    $shape->{metadata} = $o->{kind} =~ /^(?:ServiceAccount|RoleBinding)$/ ? {}
        : { labels => $o->{metadata}{labels} };
    my $spec = $shape->{spec} // return $shape;
    delete @$spec{qw(clusterIP clusterIPs)};
    if ($spec->{template}) {
        delete $spec->{template}{metadata}{annotations};
        $_->{configMap} && $_->{configMap}{name} =~ s/-[a-z0-9]{10}$//
            for @{$spec->{template}{spec}{volumes}};
    }
    return $shape;
}

for my $ours (@ours) {
    my $key = "$ours->{kind} $ours->{metadata}{name}";
    is_deeply(shape($ours), shape($by_hand{$key}), "$key as in k8s/gateway");
}
is($ours[0]{spec}{template}{metadata}{annotations}{"$GROUP/spec-hash"},
    '0123456789abcdef', 'and what it is made of');

# --- a pool that changes ---------------------------------------------------

# what was asked for before and is not any more goes away again
sub changed {
    my (%spec) = @_;
    my ($pool) = grep { $_->{metadata}{name} eq 'demo' } @pools;
    my $made = $t->run({ stdin => $json->encode({ %$pool, spec => \%spec }) },
        $t->tool('k8smake'), 'buildkit-system', 'registry/gateway:1',
        'registry/controller:1', 'moby/buildkit:v0.33.0');
    my $all = $json->decode($made->{out});
    my $applied = $kube->kubectl({ stdin => $json->encode({ apiVersion => 'v1',
        kind => 'List', items => [@$all{qw(service deployment)}] }) }, 'apply',
        '--server-side', "--as=$CONTROLLER", '--force-conflicts',
        '--field-manager=buildkit-gateway', '-o', 'json', '-f', '-');
    return diag $applied->{err} if $applied->{rc} != 0;
    my ($service, $deployment) = @{$json->decode($applied->{out})->{items}};
    my $s = $service->{spec};
    my $pod = $deployment->{spec}{template};
    return join ' ', $s->{type}, (map { "$_->{name}:$_->{port}" }
        @{$s->{ports}}), $s->{loadBalancerClass} // (),
        @{$s->{loadBalancerSourceRanges} // []},
        join(',', map { $service->{metadata}{annotations}{$_} } sort keys
        %{$service->{metadata}{annotations} // {}}) || '-',
        $deployment->{spec}{replicas},
        $pod->{spec}{containers}[0]{resources}{limits}{cpu},
        $pod->{spec}{nodeSelector}{disk} // '-',
        $pod->{metadata}{labels}{team} // '-';
}

is(changed(), 'ClusterIP gateway:1235 metrics:9090 - 1 2 - -', 'at first');
is(changed(gateway => { serviceType => 'LoadBalancer', loadBalancerClass =>
    'example.com/metal', port => 443, replicas => 3, resources => { cpu =>
    '500m' }, podTemplate => { metadata => { labels => { team => 'a' } },
    spec => { nodeSelector => { disk => 'nvme' } } } }, networking => {
    allowedCIDRs => ['10.0.0.0/8'], annotations => { note => 'n' } }),
    'LoadBalancer gateway:443 example.com/metal 10.0.0.0/8 n 3 '
    . '500m nvme a', 'a load balancer and more, and no metrics in public');
# somebody else's word about what is not ours
$kube->must('annotate', '-n', 'team', 'service/demo', 'theirs=t');
$kube->must('patch', '-n', 'team', 'service/demo', '-p',
    '{"spec": {"externalTrafficPolicy": "Local"}}');
is(changed(gateway => { serviceType => 'LoadBalancer', loadBalancerClass =>
    'example.com/metal' }), 'LoadBalancer gateway:1235 '
    . 'example.com/metal t 1 2 - -', 'less of it');
is($kube->get('-n', 'team', 'service/demo')->{spec}{externalTrafficPolicy},
    'Local', 'what others have set stays');
is(changed(gateway => { serviceType => 'NodePort', nodePort => 31235 }),
    'NodePort gateway:1235 t 1 2 - -', 'a port of the nodes');
is($kube->get('-n', 'team', 'service/demo')->{spec}{ports}[0]{nodePort}, 31235,
    'that one');
is(changed(observability => { metrics => { enabled => JSON::false } }),
    'ClusterIP gateway:1235 t 1 2 - -', 'no metrics, and in the cluster');
ok(!$kube->get('-n', 'team', 'service/demo')->{spec}{ports}[0]{nodePort},
    'no port of the nodes is kept');
is(changed(), 'ClusterIP gateway:1235 metrics:9090 t 1 2 - -', 'as it was');

# --- Pods ------------------------------------------------------------------

sub create {
    my ($namespace, $pod, $account) = @_;
    $pod = $json->decode($json->encode($pod));
    $pod->{metadata} = { name => 'x', labels => $pod->{metadata}{labels} };
    return $kube->api(POST => "/api/v1/namespaces/$namespace/pods?dryRun=All",
        { apiVersion => 'v1', kind => 'Pod', %$pod });
}

for my $name (sort keys %made) {
    my $pod = create('locked', $made{$name}{deployment}{spec}{template});
    next if ($pod->{kind} // '') eq 'Pod';
    diag "$name: $pod->{message}";
    $bad++;
}
is(ref $bad, 'HASH', 'every gateway is restricted');

# a worker: no more than BuildKit needs, so these are all
is_deeply([create('locked', $made{demo}{pod})->{message} =~
    /(?:latest": |\), )([^(]*) \(container "buildkitd"/g],
    ['forbidden AppArmor profile', 'allowPrivilegeEscalation != false',
    'unrestricted capabilities', 'seccompProfile'],
    'a rootless worker cannot be');
unlike(create('locked', $made{demo}{pod})->{message}, qr/runAs|volume|host/,
    'but is no root and has no folder of the node');
unlike(create('locked', $made{mesh}{pod})->{message}, qr/"prepare"/,
    'what prepares its cache is restricted');
like(create('locked', $made{privileged}{pod})->{message}, qr/privileged \(/,
    'a privileged one is what it is');

my $every = create('team', $made{'every-field'}{pod});
is("$every->{spec}{priority} $every->{spec}{runtimeClassName} "
    . "$every->{spec}{nodeSelector}{disk} "
    . $every->{spec}{nodeSelector}{'kubernetes.io/arch'},
    '7 gvisor nvme arm64', 'where it runs, as the pool says')
    or diag $every->{message};
my ($c) = @{$every->{spec}{containers}};
is("$c->{securityContext}{seccompProfile}{localhostProfile} "
    . "$c->{resources}{limits}{'example.com/disk'}",
    'profiles/buildkit.json 1500M', 'and what it has');
