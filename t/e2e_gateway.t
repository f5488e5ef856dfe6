# All of it together: bkctl allocates, plugin-host starts buildkitd, nginx
# routes, real clients build; release and revoke are seen at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 31;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 2);
my $registry = $t->registry;
my $context = $t->context('app');

my $one = $t->allocate('one', '--job-id', 'job 1');
my $two = $t->allocate('two');
is($one->{run}{rc}, 0, 'allocate') or diag $one->{run}{err};
is($two->{run}{rc}, 0, 'allocate again') or diag $two->{run}{err};
isnt($one->{worker}, $two->{worker}, 'two callers, two workers');
is($t->whose($one), $one->{worker}, 'one is on its worker');
is($t->whose($two), $two->{worker}, 'two is on its worker');

my $three = $t->allocate('three', '--wait', '1s');
is($three->{run}{rc}, 4, 'no third worker within the wait');

my $r = $t->buildctl($one, $t->dockerfile_args($context, '--output',
    "type=image,name=$registry/app,push=true"));
is($r->{rc}, 0, 'buildctl build with RUN and push') or diag $r->{err};
is($t->http($registry, 'GET', '/v2/app/manifests/latest', undef, headers => {
    Accept => 'application/vnd.oci.image.manifest.v1+json' })->{status}, 200,
    'the image is in the registry');

# the token alone, with another key of the same authority, is worth nothing
my $thief = $t->mkcert('--out', $t->dir . '/thief', '--ca',
    $t->dir . '/state/ca/gateway-ca', '--cn', "alloc:$one->{token}");
my %thief = (%$one, cert => $t->dir . '/thief.pem',
    key => $t->dir . '/thief-key.pem');
$r = $t->buildctl(\%thief, 'debug', 'workers');
is($r->{rc}, 1, 'the right token with another key');
like($r->{err}, qr/key is not the one that allocation $one->{id} was issued/,
    'and what it is told');

# revoke
$r = $t->bkctl('revoke', $two->{id}, '--reason', 'key leaked');
is($r->{rc}, 0, 'revoke') or diag $r->{err};
$r = $t->buildctl($two, 'debug', 'workers');
is($r->{rc}, 1, 'a revoked one is refused');
like($r->{err}, qr/Unauthenticated: buildkit gateway: allocation $two->{id} was revoked at \S+ \(\d+s ago\): key leaked; run bkctl allocate$/m,
    'at once, and is told why');
is($t->whose($one), $one->{worker}, 'the other one goes on');

# its worker is free again, for one that was waiting
$three = $t->allocate('three', '--wait', '30s');
is($three->{worker}, $two->{worker}, 'its worker is used again');
is($t->whose($three), $three->{worker}, 'and reached');

# release, twice
is($t->bkctl('release', $three->{file})->{rc}, 0, 'release');
is($t->bkctl('release', $three->{file})->{rc}, 0, 'release again');
like($t->buildctl($three, 'debug', 'workers')->{err},
    qr/allocation $three->{id} was released at/, 'a released one is refused');

# renew: a new certificate for the same key, a later end
$r = $t->bkctl('renew', $one->{file}, '--ttl', '2h');
is($r->{rc}, 0, 'renew') or diag $r->{err};
is($t->whose($one), $one->{worker}, 'a renewed one is on its worker');

# the verbs that run something
$r = $t->bkctl('run', '--', 'sh', '-c',
    'echo "$BUILDKIT_HOST"; ls "$BKCTL_TLS_DIR"; exit 7');
is($r->{rc}, 7, 'run exits with its command\'s status');
like($r->{out}, qr{^tcp://localhost:\d+\nalloc.json\nca.pem\ncert.pem\nkey.pem\n}m,
    'what the command is given');
$r = $t->bkctl('buildctl', '--', $t->dockerfile_args($context));
is($r->{rc}, 0, 'bkctl buildctl') or diag $r->{err};
$r = $t->bkctl('build', '--', '--progress', 'plain', '--push', '-t',
    "$registry/app:bkctl", $context);
is($r->{rc}, 0, 'bkctl build') or diag $r->{err};
like($r->{err} . $r->{out}, qr/pushing manifest for \S+app:bkctl/,
    'which pushes');
like($t->bkctl('allocations')->{out}, qr/released/, 'each gave its worker back');

# lists, and the table itself
like($t->bkctl('workers')->{out}, qr/\bw1\b.*\n(?:.*\n)*.*\bw2\b/, 'workers');
like($t->bkctl('pools')->{out}, qr{default/demo}, 'pools');
$r = $t->bkctl('routes', '--table', $t->dir . '/buildkit.table');
like($r->{out}, qr/\Q$one->{id}\E/, 'routes') or diag $r->{err};
unlike($r->{out}, qr/\Q$one->{token}\E/, 'no token in it');

