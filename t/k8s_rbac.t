# k8s/base and k8s/gateway as they are, in a real API server: what the accounts
# may do and what not, that nobody gets more by what he may make, and that our
# Pods pass as "restricted".

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Path qw(make_path);
use File::Spec;
use JSON ();
use Test::Buildkit;

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};
plan tests => 149;

my $GROUP = 'buildkit.smrt-devops.net';
my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $k8s = $t->root . '/k8s';
my $CONTROLLER = 'system:serviceaccount:buildkit-system:buildkit-controller';
my $GATEWAY = 'system:serviceaccount:team:buildkit-gateway';
my $reviews = 0;

$kube->must('create', 'namespace', $_) for qw(team other);
my $r = $kube->kubectl('apply', '--validate=strict', '-k', "$k8s/base");
is($r->{rc}, 0, 'k8s/base is taken') or diag $r->{err};
# the gateway as users would make it: an overlay with a namespace and images
my $overlay = $t->dir . '/overlay';
make_path($overlay);
$t->write('overlay/kustomization.yaml', 'resources: ['
    . File::Spec->abs2rel("$k8s/gateway", $overlay) . "]\nnamespace: team\n"
    . "images: [{name: buildkit-gateway/gateway, newName: r.example/g, "
    . "newTag: '7'}]\n");
$r = $kube->kubectl('apply', '--validate=strict', '-k', $overlay);
is($r->{rc}, 0, 'k8s/gateway is taken') or diag $r->{err};

# answers(USER, NAMESPACE or '' for the cluster, 'VERB GROUP/RESOURCE/SUB:NAME'
# ...): one connection for all of them, 1 or 0 each
sub answers {
    my ($user, $namespace, @what) = @_;
    my @requests = map {
        my ($verb, $group, $resource, $sub, $name) =
            m{^(\S+) ([^/:]*)/([^/:]+)(?:/([^:]+))?(?::(.*))?$} or die;
        my $file = $t->write("review-" . ++$reviews, JSON->new->encode({
            apiVersion => 'authorization.k8s.io/v1',
            kind => 'SubjectAccessReview', spec => { user => $user,
            groups => ['system:authenticated'], resourceAttributes => {
            verb => $verb, group => $group, resource => $resource,
            namespace => $namespace, ($sub ? (subresource => $sub) : ()),
            ($name ? (name => $name) : ()) } } }));
        join "\n", 'cacert = ' . $kube->ca, map { "$_->[0] = \"$_->[1]\"" }
            ['noproxy', '*'], ['cert', $kube->dir . '/pki/admin.crt'],
            ['key', $kube->dir . '/pki/admin.key'],
            ['header', 'Content-Type: application/json'],
            ['data', "\@$file"], ['url', $kube->url
            . '/apis/authorization.k8s.io/v1/subjectaccessreviews'];
    } @what;
    my $got = $kube->run({ stdin => join "\nnext\n", @requests }, 'curl', '-sS',
        '-K', '-');
    return map { $_->{status}{allowed} ? 1 : 0 }
        JSON->new->incr_parse($got->{out});
}

# what was given somebody is known a moment later
sub expect {
    my ($expected, $user, $namespace, @what) = @_;
    my ($short) = $user =~ /([^:]+)$/;
    my @got;
    eval { $t->wait_for(sub { @got = answers($user, $namespace, @what);
        $expected == 0 || !grep { !$_ } @got }, 30, 'what he may') };
    for (@what) {
        is(shift @got, $expected, "$short: $_ in "
            . ($namespace || 'the cluster') . ($expected ? '' : ': no'));
    }
    return;
}

# --- the gateway: exactly this ---------------------------------------------

# what `kubectl auth can-i --list` says beyond what anybody may
sub rules {
    my ($user, $namespace) = @_;
    my ($mine, $all) = map {
        my $list = $kube->must('auth', 'can-i', '--list', '--no-headers', '-n',
            $namespace, "--as=$_", '--as-group=system:authenticated');
        +{ map { s/\s+/ /gr => 1 } split /\n/, $list };
    } $user, 'system:serviceaccount:team:nobody';
    return [sort grep { !$all->{$_} } keys %$mine];
}

my @gateway = (
    "buildkitpools.$GROUP [] [] [get list watch]",
    "buildkitworkers.$GROUP [] [] [get list watch]",
    'pods [] [] [get list watch]');
my $rules;
eval { $t->wait_for(sub { $rules = rules($GATEWAY, 'team'); @$rules >= @gateway },
    30, 'its role') };
is_deeply($rules, \@gateway, 'all that a gateway may');
is_deeply(rules($GATEWAY, $_), [], "and nothing in $_")
    for qw(other buildkit-system);
expect(1, $GATEWAY, 'team', map { ("$_ $GROUP/buildkitpools",
    "$_ $GROUP/buildkitworkers", "$_ /pods") } qw(get list watch));
expect(0, $GATEWAY, 'team', "patch $GROUP/buildkitworkers",
    "patch $GROUP/buildkitworkers/status", "get $GROUP/buildkitoidcconfigs",
    'get /secrets', 'get /secrets:demo-tls', 'get /configmaps', 'delete /pods',
    'get /pods/log', 'create /pods/exec', 'create /events');
expect(0, $GATEWAY, '', 'list /pods', "list $GROUP/buildkitworkers",
    "watch $GROUP/buildkitpools");

# --- the controller --------------------------------------------------------

my @pools = ((map { my $verb = $_; map { "$verb $_" } "$GROUP/buildkitworkers",
    '/pods', '/persistentvolumeclaims', '/services', 'apps/deployments',
    'policy/poddisruptionbudgets' } qw(list create patch delete)),
    "watch $GROUP/buildkitpools", "watch $GROUP/buildkitoidcconfigs",
    "patch $GROUP/buildkitpools", "patch $GROUP/buildkitpools/status", "patch $GROUP/buildkitworkers/status",
    "update $GROUP/buildkitworkers/finalizers", 'get /secrets:a',
    'create /secrets', 'patch /secrets:a', 'create /configmaps',
    'create networking.k8s.io/ingresses',
    'create gateway.networking.k8s.io/tlsroutes',
    'create cert-manager.io/certificates', 'create /events');
my @never = ('bind rbac.authorization.k8s.io/clusterroles:cluster-admin',
    'bind rbac.authorization.k8s.io/clusterroles:buildkit-gateway',
    'list /secrets', 'watch /secrets', 'delete /secrets:a',
    "delete $GROUP/buildkitpools",
    "create $GROUP/buildkitpools", "patch $GROUP/buildkitoidcconfigs",
    'create /pods/exec', 'get /pods/log', 'create /pods/ephemeralcontainers',
    'create /serviceaccounts/token',
    'create rbac.authorization.k8s.io/roles',
    'patch rbac.authorization.k8s.io/rolebindings:any', 'list /nodes',
    'impersonate /users');

expect(1, $CONTROLLER, 'buildkit-system', @pools,
    'update coordination.k8s.io/leases:buildkit-controller',
    'patch /secrets:buildkit-controller-state');
expect(0, $CONTROLLER, 'buildkit-system', @never,
    'update coordination.k8s.io/leases:another',
    'delete coordination.k8s.io/leases:buildkit-controller');
expect(1, $CONTROLLER, '', 'create authentication.k8s.io/tokenreviews');
expect(0, $CONTROLLER, '', 'list /pods', 'list /namespaces', 'list /nodes',
    "list $GROUP/buildkitpools", 'escalate rbac.authorization.k8s.io/'
    . 'clusterroles', 'get apiextensions.k8s.io/customresourcedefinitions');
is_deeply(rules($CONTROLLER, 'other'), ['tokenreviews.authentication.k8s.io '
    . '[] [] [create]'], 'nothing in a namespace that it was not given');

# a namespace more, as README.md says
$kube->must('apply', '-n', 'team', '-f',
    "$k8s/base/rbac/rolebinding-controller-pools.yaml");
expect(1, $CONTROLLER, 'team', "create $GROUP/buildkitworkers",
    'create /pods', 'get /secrets:a');
expect(0, $CONTROLLER, 'team', @never);
expect(0, $CONTROLLER, 'other', "create $GROUP/buildkitworkers",
    'get /secrets:a');

# what it may give away
sub binds {
    my ($namespace, $name, $role) = @_;
    return $kube->kubectl("--as=$CONTROLLER", 'create', 'rolebinding',
        '--dry-run=server', '-n', $namespace, $name, "--clusterrole=$role",
        '--serviceaccount=team:someone');
}

is(binds('team', 'x', 'buildkit-gateway')->{rc}, 0, 'it makes gateways\' '
    . 'accounts what they are');
like(binds('team', 'x', $_)->{err}, qr/is attempting to grant RBAC perm/,
    "nobody gets $_ by it") for qw(cluster-admin buildkit-edit);
like(binds('other', 'x', 'buildkit-gateway')->{err}, qr/forbidden/,
    'nor anything elsewhere');

# everywhere, where that is wanted
$kube->must('apply', '-k', "$k8s/components/all-namespaces");
expect(1, $CONTROLLER, 'other', "create $GROUP/buildkitworkers");
expect(1, $CONTROLLER, '', "watch $GROUP/buildkitpools");
expect(0, $CONTROLLER, '', 'list /secrets');

# --- people ----------------------------------------------------------------

$kube->must('create', 'rolebinding', '-n', 'team', $_,
    "--clusterrole=buildkit-$_", "--user=$_") for qw(edit view);
expect(1, 'edit', 'team', "create $GROUP/buildkitpools",
    "patch $GROUP/buildkitpools", "list $GROUP/buildkitworkers");
expect(0, 'edit', 'team', "create $GROUP/buildkitworkers",
    "patch $GROUP/buildkitworkers", "patch $GROUP/buildkitworkers/status",
    "patch $GROUP/buildkitpools/status", "create $GROUP/buildkitoidcconfigs");
expect(0, 'edit', 'other', "get $GROUP/buildkitpools",
    "create $GROUP/buildkitpools");
expect(1, 'view', 'team', "list $GROUP/buildkitpools");
expect(0, 'view', 'team', "list $GROUP/buildkitworkers");
is_deeply([map { $kube->get('clusterrole', $_)->{metadata}{labels} }
    qw(buildkit-edit buildkit-view)], [{ map {
    ("rbac.authorization.k8s.io/aggregate-to-$_" => 'true') } qw(edit admin) },
    { 'rbac.authorization.k8s.io/aggregate-to-view' => 'true' }],
    'which go into edit, admin and view');

# --- the objects -----------------------------------------------------------

my @all = map { $_->{items} ? @{$_->{items}} : $_ } map { JSON->new->incr_parse(
    $kube->must('create', '-o', 'json', '--dry-run=client', '-k', $_)) }
    "$k8s/base", $overlay;
my @rules = map { @{$_->{rules} // []} } @all;
is(scalar(grep { $_ eq '*' } map { map { @$_ } @{$_}{qw(apiGroups resources
    verbs)} } @rules), 0, 'no role has a wildcard');

$kube->must('label', 'namespace', 'buildkit-system', 'team',
    'pod-security.kubernetes.io/enforce=restricted');
for my $deployment (grep { $_->{kind} eq 'Deployment' } @all) {
    my ($name, $namespace) = @{$deployment->{metadata}}{qw(name namespace)};
    my $template = $deployment->{spec}{template};
    my $spec = $template->{spec};
    my @containers = (@{$spec->{initContainers} // []}, @{$spec->{containers}});
    my $create = sub { $kube->api(POST => "/api/v1/namespaces/$namespace/pods"
        . '?dryRun=All', { apiVersion => 'v1', kind => 'Pod', metadata => {
        name => 'x', labels => $template->{metadata}{labels} },
        spec => $spec }) };
    my $pod = $create->();
    is($pod->{kind}, 'Pod', "$name: a Pod of it is restricted")
        or diag $pod->{message};
    is_deeply([map { $_->{name} } grep { grep { $_->{mountPath} =~
        /serviceaccount/ } @{$_->{volumeMounts}} } @{$pod->{spec}{containers}},
        @{$pod->{spec}{initContainers} // []}], [$name =~ /gateway/
        ? 'companion' : 'controller'], 'one container has its token');
    is(scalar(grep { !$_->{securityContext}{readOnlyRootFilesystem} }
        @containers), 0, 'no root file system can be written');
    delete $containers[0]{securityContext}{capabilities};
    my $said;
    eval { $t->wait_for(sub { ($said = $create->()->{message} // '')
        =~ /violates/ }, 30, 'the label to be known') };
    like($said, qr/violates PodSecurity "restricted/,
        'with a capability more it is not');

    # who finds these Pods
    my %labels = (%{$template->{metadata}{labels}},
        "$GROUP/leader" => 'true');
    for (grep { $_->{kind} =~ /^(?:Service|PodDisruptionBudget)$/
        && $_->{metadata}{namespace} eq $namespace } @all)
    {
        my $selector = $_->{spec}{selector}{matchLabels}
            // $_->{spec}{selector};
        is(scalar(grep { ($labels{$_} // '') ne $selector->{$_} }
            keys %$selector), 0, "$_->{kind} $_->{metadata}{name}");
    }
}
is((grep { $_->{metadata}{name} eq 'demo-gateway' } @all)[0]
    {spec}{template}{spec}{containers}[0]{image}, 'r.example/g:7',
    'an overlay names the image');
