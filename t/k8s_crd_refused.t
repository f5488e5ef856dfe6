# What the three kinds (k8s/base/crds) refuse, in a real API server, and how
# they say it: bad values by name, and what must hold between two writes,
# whoever writes.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;

plan skip_all => 'nothing of ours is in it for sanitizers' if $ENV{BK_SAN};

my $GROUP = 'buildkit.smrt-devops.net';
my $TEAM = "/apis/$GROUP/v1alpha1/namespaces/team";
my $WORKERS = "$TEAM/buildkitworkers";
my $MERGE = 'application/merge-patch+json';
my ($A, $B, $C) = map { $_ x 64 } qw(a b c);
my $NOW = '2027-01-01T00:00:00Z';
my $on = JSON::true;
my $POOL = { name => 'demo' };

sub alloc { return { allocatedAt => $NOW, @_ } }
sub ended { return { tokenHash => $_[0], state => 'released', at => $NOW } }
sub worker { return [Worker => 'w', { poolRef => $POOL, @_ }] }
sub allocated { return worker(allocation => alloc(@_)) }
sub pool { return [Pool => 'p', { @_ }] }
sub oidc { return [OIDCConfig => 'o', { issuer => 'https://i.example',
    audience => 'a', @_ }] }
sub method { return pool(auth => { methods => [{ @_ }] }) }
sub backend { return pool(cache => { backends => [{ @_ }] }) }
sub labels { return pool(podTemplate => { metadata => { labels => { @_ } } }) }

# --- values: the object, and what is said about it -------------------------

my @refused = (
    [pool(scaling => { min => 3, max => 2 }),
        'spec.scaling.min: .*min must not be larger than max'],
    [pool(scaling => { min => 11 }), 'which is 10 where it is not given'],
    [pool(scaling => { min => -1 }), 'spec.scaling.min: .*greater than'],
    [pool(scaling => { max => 0 }), 'spec.scaling.max: '],
    [pool(scaling => { max => 10001 }), 'spec.scaling.max: '],
    [pool(scaling => { mode => 'often' }), 'spec.scaling.mode: .*"often"'],
    [pool(scaling => { scaleDownDelay => '15' }), 'scaling.scaleDownDelay: '],
    [pool(scaling => { scaleDownDelay => '-15m' }), 'scaleDownDelay: '],
    [pool(scaling => { scaleDownSchedule => '0 18 * *' }),
        'scaling.scaleDownSchedule: '],
    [pool(buildkitConfig => 'x' x 65537), 'buildkitConfig: Too long'],
    [pool(buildkitImage => "a b"), 'spec.buildkitImage: '],
    [pool(arch => '../amd64'), 'spec.arch: '],
    [pool(security => { mode => 'root' }), 'spec.security.mode: '],
    [pool(security => { seccompProfile => { type => 'Localhost' } }),
        'seccompProfile: .*localhostProfile goes with type Localhost'],
    [pool(security => { appArmorProfile => { type => 'Unconfined',
        localhostProfile => 'x' } }), 'appArmorProfile: .*goes with'],
    [labels("$GROUP/worker" => 'x'), 'labels: .*are the controller\'s'],
    [labels('app.kubernetes.io/name' => 'x'), 'are the controller\'s'],
    [pool(resources => { buildkit => { limits => { cpu => 'two' } } }),
        'spec.resources.buildkit.limits.cpu: '],
    [backend(type => 'disk'), 'backends\[0\].type: .*"disk"'],
    [backend(type => 'local'), 'backends\[0\]: .*settings of its type'],
    [backend(type => 'registry', s3 => { bucket => 'b', region => 'r' }),
        'settings of its type'],
    [backend(type => 'local', local => { size => 'big' }), 'local.size: '],
    [pool(cache => { gc => { keepStorage => 'much' } }), 'gc.keepStorage: '],
    [pool(tls => { mode => 'manual' }),
        'spec.tls.manual: .*needs manual.serverCertSecret'],
    [pool(tls => { mode => 'certManager' }), 'needs certManager.issuerRef'],
    [method(type => 'saml'), 'methods\[0\].type: .*"saml"'],
    [method(type => 'oidc'), 'methods\[0\].oidc: .*needs oidc.issuer'],
    [method(type => 'token'), 'methods\[0\].token: .*needs token.secretRef'],
    [method(type => 'oidc', oidc => { issuer => 'file:///etc',
        audience => 'a' }), 'oidc.issuer: '],
    [pool(gateway => { tokenTTL => '2h', maxTokenTTL => '60m' }),
        'gateway.tokenTTL: .*must not be larger than maxTokenTTL'],
    [pool(gateway => { replicas => 0 }), 'spec.gateway.replicas: '],
    [pool(gateway => { port => 65536 }), 'spec.gateway.port: '],
    [pool(gateway => { nodePort => 80 }), 'spec.gateway.nodePort: '],
    [pool(gateway => { serviceType => 'ExternalName' }), 'serviceType: '],
    [pool(gateway => { poolRef => { name => 'p' } }),
        'gateway.poolRef: .*is the pool itself'],
    [pool(gateway => { ingress => { enabled => $on } }),
        'gateway.ingress: .*needs a hostname'],
    [pool(gateway => { gatewayAPI => { enabled => $on, hostname => '' } }),
        'gateway.gatewayAPI: .*needs a hostname'],
    [pool(gateway => { ingress => { hostname => 'a;b' } }), 'ingress.hostname'],
    [pool(networking => { allowedCIDRs => ['10.0.0.0/33'] }),
        'allowedCIDRs\[0\]: .*networks as 10.0.0.0/8'],
    [pool(observability => { logging => { level => 'loud' } }), 'level: '],
    [[Pool => 'p' x 59, {}], 'metadata.name: .*at most 58'],
    [[Pool => 'a.b', {}], 'metadata.name: .*a pool\'s name is a Service\'s'],
    [[Pool => '1a', {}], 'a letter first'],
    [[Worker => 'w', {}], 'spec.poolRef: Required'],
    [[Worker => 'w', { poolRef => { name => '../p' } }], 'poolRef.name: '],
    [allocated(), 'spec.allocation: .*exactly one of them'],
    [allocated(token => 't', tokenHash => $A), 'exactly one of them'],
    [worker(allocation => { tokenHash => $A }), 'allocatedAt: Required'],
    [allocated(tokenHash => uc $A), 'allocation.tokenHash: '],
    [allocated(tokenHash => "${A}a"), 'allocation.tokenHash: Too long'],
    [allocated(tokenHash => $A, id => 'b' x 12),
        'allocation.id: .*first 12 digits of tokenHash'],
    [allocated(token => 'a b'), 'allocation.token: '],
    [allocated(token => 'a' x 257), 'allocation.token: Too long'],
    [allocated(tokenHash => $A, clientKeyHash => 'x' x 64), 'clientKeyHash: '],
    [allocated(tokenHash => $A, expiresAt => 'soon'), 'expiresAt: '],
    [allocated(tokenHash => $A, state => 'expired'), 'allocation.state: '],
    [allocated(tokenHash => $A, clientKey => '%'), 'allocation.clientKey: '],
    [allocated(tokenHash => $A, ttl => '1 hour'), 'allocation.ttl: '],
    [worker(ended => [ended($A), ended($A)]), 'ended\[1\]: Duplicate'],
    [worker(ended => [map { ended(sprintf '%064x', $_) } 1 .. 33]),
        'spec.ended: Too many'],
    [worker(ended => [{ %{ended($A)}, state => 'ready' }]), 'state: '],
    [worker(ended => [{ %{ended($A)}, reason => 'x' x 256 }]), 'reason: '],
    [worker(trust => 'perhaps'), 'spec.trust: '],
    [worker(trust => 'trusted', allocation => alloc(tokenHash => $A,
        untrusted => $on)), 'allocation: .*needs an untrusted worker'],
    [worker(trust => 'untrusted', allocation => alloc(tokenHash => $A)),
        'and a trusted one a trusted worker'],
    [worker(allocation => alloc(tokenHash => $A), ended => [ended($A)]),
        'allocation: .*has ended cannot come back'],
    [oidc(issuer => 'i.example'), 'spec.issuer: '],
    [oidc(issuer => 'https://i.example/?a=b'), 'spec.issuer: '],
    [oidc(audience => ''), 'spec.audience: '],
    [oidc(clientSecretRef => {}), 'clientSecretRef.name: Required'],
);

plan tests => @refused + 16;

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
$kube->must('create', 'namespace', 'team');
$kube->must('apply', '-k', $t->root . '/k8s/base/crds');
$kube->wait('condition=Established', 'crd', '--all');

sub object {
    my ($kind, $name, $spec) = @_;
    return { apiVersion => "$GROUP/v1alpha1", kind => "BuildKit$kind",
        metadata => { name => $name }, spec => $spec };
}

# served a moment after it is established
$t->wait_for(sub { my $r = $kube->api(GET => $WORKERS); ref $r && $r->{items}
    }, 30, 'the kinds');
for (@refused) {
    my ($object, $why) = @$_;
    my $r = $kube->api(POST => "$TEAM/buildkit\L$object->[0]s?dryRun=All",
        object(@$object));
    like(($r->{reason} // '') eq 'Invalid' ? $r->{message}
        : JSON->new->encode($r), qr/^BuildKit\S+ "\S+ is invalid: .*$why/s,
        substr $why =~ tr/\\//dr, 0, 60);
}

# --- between two writes ----------------------------------------------------

sub patched {
    my ($patch, $name) = @_;
    return $kube->api(PATCH => "$WORKERS/" . ($name // 'w'), $patch, $MERGE);
}

sub refuses {
    my ($spec, $why, $what) = @_;
    my $r = patched({ spec => $spec });
    like($r->{message} // 'it was taken', $why, $what);
    return;
}

sub takes {
    my ($spec, $what) = @_;
    my $r = patched({ spec => $spec });
    ok($r->{metadata}{uid}, $what) or diag $r->{message};
    return $r->{metadata}{resourceVersion};
}

my $version = $kube->api(POST => $WORKERS, object(Worker => 'w',
    { poolRef => $POOL }))->{metadata}{resourceVersion};
refuses({ poolRef => { name => 'other' } }, qr/poolRef: .*is immutable/,
    'a worker of another pool');
refuses({ poolRef => { namespace => 'kube-system' } }, qr/is immutable/,
    'of another namespace');

# two controllers that both believe to lead
my %first = (metadata => { resourceVersion => $version });
my $r = patched({ %first, spec => { allocation => alloc(tokenHash => $A) } });
is($r->{spec}{allocation}{tokenHash}, $A, 'the first has it');
$r = patched({ %first, spec => { allocation => alloc(tokenHash => $B) } });
is($r->{reason}, 'Conflict', 'the second is told so');
refuses({ allocation => { tokenHash => $B } }, qr/is somebody else's/,
    'and without a precondition as well');
refuses({ allocation => { tokenHash => undef, token => 't' } },
    qr/is somebody else's/, 'by a token');

takes({ allocation => { expiresAt => $NOW } }, 'renewed');
takes({ allocation => { tokenHash => $B }, ended => [ended($A)] },
    'the next one together with the end of the one before');
refuses({ allocation => { tokenHash => $A } }, qr/cannot come back/,
    'the one before, again');
takes({ allocation => undef, ended => [ended($A), ended($B)] }, 'free again');
takes({ allocation => alloc(tokenHash => $C), trust => 'trusted' },
    'a third one, trusted');
refuses({ trust => 'untrusted', allocation => undef }, qr/is for good/,
    'the worker cannot become untrusted');
refuses({ trust => undef }, qr/is for good/, 'nor unknown');
takes({ allocation => undef, ended => [map { ended($_) } $A, $B, $C] },
    'it is free');
refuses({ allocation => alloc(tokenHash => "d$B" =~ s/.\z//r, untrusted => $on)
    }, qr/needs an untrusted worker/, 'not for an untrusted build');
is(patched({ spec => { ended => [] } })->{spec}{trust}, 'trusted',
    'what ended is forgotten after a time, trust is not');
