# A gateway whose controller is another plugin-host: real builds of allocations
# that it has never heard of, one that waits in that one's queue, and one that
# is revoked there while it builds.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use MIME::Base64 qw(decode_base64);
use Test::Buildkit;

plan tests => 14;

my $t = Test::Buildkit->new;
my ($there) = $t->gateway(workers => 1);
my $here = $t->host(<<'END', name => 'here');
state: %%DIR%%/here.state
table: {path: "%%DIR%%/here.table", allocations: 1000, workers: 64, pools: 16}
reports: %%DIR%%/here.reports
api: {listen: ["unix:%%DIR%%/here.sock"]}
plugins:
  - {name: controller, options: {endpoint: "http://127.0.0.1:%%PORT:api%%/",
     pool: default/demo, socket: "%%DIR%%/here.lookup/socket", refresh: 1s}}
END

# with the authorities over there, as both images of a pool have them
my $nginx = $t->nginx($t->gateway_conf(port => 'here', table => '%%DIR%%/here.table',
    tls => '%%DIR%%/state/tls', stream => <<'END', server =>
    buildkit_lookup %%DIR%%/here.lookup/socket;
    buildkit_report %%DIR%%/here.reports;
    log_format bk '$buildkit_allocation $buildkit_outcome $buildkit_kind';
END
    "access_log %%DIR%%/here.log bk;\n"), name => 'here-nginx');

my $addr = 'tcp://localhost:' . $t->port('here');
my $context = $t->context('app');
my $slow = $t->context('slow', <<'END');
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "exec /bin/busybox sleep 600"]
END

sub alloc { $here->request(GET => "/api/v1/allocations/$_[0]{id}")->{json} // {} }

# as somebody who does not wait (bkctl gives a place back that it leaves)
sub allocate {
    my ($name, %body) = @_;

    my $json = $there->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', %body })->{json};
    my %file = (ca => 'caCert', cert => 'clientCert', key => 'clientKey');
    for (keys %file) {
        my $path = "$name-$_.pem";
        $t->write($path, decode_base64($json->{$file{$_}}));
        $json->{$_} = $t->dir . "/$path";
    }

    return $json;
}

sub revoke {
    my ($cert, $reason) = @_;

    return $there->request(DELETE => "/api/v1/allocations/$cert->{id}",
        { reason => $reason });
}

sub start {
    my ($name, $cert, $from) = @_;

    return $t->start($name, {}, $t->lab('buildctl'), '--addr', $addr,
        '--tlscacert', $cert->{ca}, '--tlscert', $cert->{cert}, '--tlskey',
        $cert->{key}, $t->dockerfile_args($from));
}

sub gone { my ($proc) = @_; $t->wait_for(sub { !$t->alive($proc) }, 60, $proc->{name}) }

# --- a build

my $first = $t->allocate('first', '--pool', 'default/demo');
is($first->{worker}, 'w1', 'an allocation over there');
my $r = $t->buildctl($first, { addr => $addr }, $t->dockerfile_args($context));
is($r->{rc}, 0, 'is built here') or diag $r->{err};
is(alloc($first)->{worker}, 'w1', 'on its worker');
is(alloc($first)->{expiresAt} =~ s/\.\d+Z$/Z/r, $first->{json}{expiresAt},
    'until it expires over there');

# --- one that is queued

my $second = allocate('second', wait => '0');
is($second->{state}, 'queued', 'the next one waits over there');
my $build = start('queued', $second, $context);
$t->wait_for(sub { (alloc($second)->{state} // '') eq 'queued' }, 20,
    'it to be known');
ok($t->alive($build), 'and is held here');
is($there->request(POST => '/api/v1/workers/release',
    { token => $first->{token} })->{status}, 200, 'its turn');
gone($build);
is($t->stop($build), 0, 'built') or diag $t->read($build->{log});
revoke($second, 'over');

# --- revoked amid a build

my $third = allocate('third', wait => '60s');
is($third->{state}, 'ready', 'a third');
$build = start('revoked', $third, $slow);
$t->wait_for(sub { ($t->read($build->{log}) // '') =~ m{\[2/2\] RUN}
    || !$t->alive($build) }, 60, 'its RUN step');
ok($t->alive($build), 'builds');
revoke($third, 'key leaked');
gone($build);
isnt($t->stop($build), 0, 'cut');
like($t->read($build->{log}), qr/allocation $third->{id} was revoked at \S+ .*: key leaked/,
    'with the reason over there');
is(alloc($third)->{state}, 'revoked', 'which is written down here');
unlike($here->log . $nginx->log . $t->read('here.log'),
    qr/$first->{token}|$third->{token}/, 'no token in any log');
