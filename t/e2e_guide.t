# What users' guides say, word for word: a job with nothing but the CI
# system's id token gets a worker with curl, takes the certificates from the
# JSON with jq and base64, and builds with buildx's remote driver; the same
# with bkctl.  A fork's token gets nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON;
use Oidc;
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $issuer = Oidc->new($t, 'github');
$issuer->key('one', 'RS256');
$issuer->publish;
$t->write('oidc.yaml', <<"END");
issuers:
  - name: github
    issuer: "@{[$issuer->url]}"
    audience: [buildkit-controller]
    caFile: "@{[$issuer->ca]}"
END
my ($host) = $t->gateway(workers => 2, conf => <<'END',
access:
  rules:
    - name: main-builds
      sources: [github]
      match:
        - {claim: repository, values: [octo/app]}
        - {claim: ref, pattern: "refs/heads/(main|release/.*)"}
      pools: ["default/*"]
END
    plugins => ['- {name: oidc, options: {file: "%%DIR%%/oidc.yaml"}}']);

# where a job of GitHub Actions gets its token
my $actions = Oidc->new($t, 'actions', tls => 0);
my %claims = (sub => 'repo:octo/app:ref:refs/heads/main', repository =>
    'octo/app', ref => 'refs/heads/main', aud => 'buildkit-controller',
    exp => time + 3600);
$actions->set("/token?v=2&audience=buildkit-controller", encode_json({
    value => $issuer->token('one', \%claims) }));
my $fork = $issuer->token('one', { %claims, sub => 'repo:mallory/app:x',
    repository => 'mallory/app' });

# docker with its buildx plugin, as far as these lines need it
mkdir "$dir/$_" for qw(bin docker docker/cli-plugins);
symlink $t->lab('buildx'), "$dir/docker/cli-plugins/docker-buildx" or die;
$t->write('bin/docker', "#!/bin/sh\nshift\nexec " . $t->lab('buildx')
    . " \"\$@\"\n");
chmod 0755, "$dir/bin/docker";
my $registry = $t->registry;
my $context = $t->context('app');
my %env = (PATH => "$dir/bin:" . $t->build . ":$ENV{PATH}", HOME => $dir,
    DOCKER_CONFIG => "$dir/docker", BUILDX_CONFIG => "$dir/buildx",
    API => '127.0.0.1:' . $t->port('api'), NO_COLOR => 1,
    REGISTRY => $registry, APP => $context, NAME => 'curl',
    ACTIONS_ID_TOKEN_REQUEST_URL => $actions->url . '/token?v=2',
    ACTIONS_ID_TOKEN_REQUEST_TOKEN => 'of-the-job');
delete @ENV{grep { /^BKCTL_/ } keys %ENV};

# the guide's lines; buildx takes absolute paths only
my $BUILD = <<'END';
jq -r '.caCert' alloc.json | base64 -d > ca.crt
jq -r '.clientCert' alloc.json | base64 -d > client.crt
jq -r '.clientKey' alloc.json | base64 -d > client.key
GATEWAY_ENDPOINT=$(jq -r '.gatewayEndpoint' alloc.json)
openssl x509 -in client.crt -noout -subject | grep alloc:
openssl verify -CAfile ca.crt client.crt
docker buildx create \
  --name my-builder-$NAME \
  --driver remote \
  --driver-opt "cacert=$PWD/ca.crt,cert=$PWD/client.crt,key=$PWD/client.key" \
  $GATEWAY_ENDPOINT \
  --use
docker buildx inspect my-builder-$NAME
docker buildx build \
  --builder my-builder-$NAME \
  --platform linux/amd64 \
  --tag $REGISTRY/app:$NAME \
  --push \
  $APP
docker buildx rm my-builder-$NAME
END

my $r = sh('curl', <<'END' . $BUILD . <<'END');
TOKEN=$(curl -sS -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
  "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=buildkit-controller" | jq -r .value)
curl -sS -X POST http://$API/api/v1/workers/allocate \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"poolName": "demo", "namespace": "default", "ttl": "1h"}' \
  > alloc.json
END
curl -sS -X POST http://$API/api/v1/workers/release \
  -H "Content-Type: application/json" -d "$(jq '{token}' alloc.json)"
END
built('curl', $r);
like($r->{out}, qr/Status:\s+running/, 'buildx inspect: running');
like($r->{out}, qr/^client\.crt: OK$/m, 'the certificates verify');
like($r->{out}, qr/\{\}\s*\z/, 'released without the CI system\'s token');

# the same with bkctl, which gets the token by itself or is given it
$r = sh('bkctl', <<'END' . $BUILD . "bkctl release alloc.json\n");
export BKCTL_ENDPOINT=http://$API
export BKCTL_TOKEN=$(curl -sS -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
  "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=buildkit-controller" | jq -r .value)
bkctl allocate -p demo -n default --ttl 1h > alloc.json
END
built('bkctl', $r);
like($r->{out}, qr/^released \w{12}$/m, 'bkctl release');

$r = sh('one', <<'END');
export BKCTL_ENDPOINT=http://$API
bkctl build --pool demo --oidc github --audience buildkit-controller -- \
  --platform linux/amd64 -t $REGISTRY/app:one --push $APP
bkctl explain --pool demo --oidc github --audience buildkit-controller
END
built('one', $r);
like($r->{out}, qr/^main-builds +decides /m, 'bkctl explain: the rule');
is($actions->requests('/token?v=2&audience=buildkit-controller'), 4,
    'the CI system was asked once by each');

# a fork, nobody, and somebody with an old token get nothing
for (['a fork', $fork, 403], ['nobody', undef, 401], ['an old token',
    $issuer->token('one', { %claims, exp => time - 3600 }), 401]) {
    my ($name, $token, $status) = @$_;
    $r = $t->http($env{API}, 'POST', '/api/v1/workers/allocate',
        { poolName => 'demo' }, headers => { Authorization =>
        defined $token ? "Bearer $token" : undef });
    is($r->{status}, $status, "$name: $status");
    $r = $t->run({ env => { %env, BKCTL_ENDPOINT => "http://$env{API}",
        BKCTL_TOKEN => $token } }, $t->build . '/bkctl', 'build', '--pool',
        'demo', '--', $context);
    is($r->{rc}, 125, "$name: bkctl build was never started");
    like($r->{err}, qr/^bkctl: \S.*\n +\S/, '... and says what to do');
}

my @all = @{$host->request('GET', '/api/v1/allocations')->{json}};
is(scalar(grep { $_->{state} ne 'released' } @all), 0, 'all is given back');
is(scalar @all, 3, 'nobody else had anything');


sub sh {
    my ($name, $script) = @_;

    mkdir "$dir/job-$name";

    return $t->run({ dir => "$dir/job-$name", timeout => 180, env => { %env,
        NAME => $name } }, 'sh', '-euc', $script);
}


sub built {
    my ($name, $r) = @_;

    is($r->{rc}, 0, "$name: every line works") or diag $r->{out}, $r->{err};
    is($t->http($registry, 'GET', "/v2/app/manifests/$name", undef, headers =>
        { Accept => join ',', map { "application/vnd.oci.image.$_.v1+json" }
            qw(manifest index) })->{status}, 200, "$name: it is pushed");

    return;
}
