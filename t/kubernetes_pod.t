# A worker's Pod as the controller makes it, run by a real kubelet: rootless,
# which is the default, with mutual TLS and its cache on a claim.  It builds,
# nothing of the volume's rights is in what it builds, it ends when nobody is
# connected any more, and the next one finds its cache.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use Test::Buildkit;

plan skip_all => 'sanitizers: nothing of ours is in it' if $ENV{BK_SAN};
plan tests => 28;

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'node');
my $json = JSON->new->canonical;

# --- what it needs ---------------------------------------------------------

my $tls_name = 'demo-0.demo.default.workers.buildkit.internal';
my $server = $t->worker_cert('worker', $tls_name);
my $upstream = { map { $_->[0] => $t->pki . "/$_->[1].pem" }
    ['cert', 'upstream'], ['key', 'upstream-key'], ['ca', 'worker-ca'] };
$kube->must('create', 'secret', 'generic', 'demo-worker-tls',
    "--from-file=tls.crt=$server->{cert}", "--from-file=ca.crt=$server->{ca}",
    "--from-file=tls.key=$server->{key}");

# as the kubelet leaves a volume with fsGroup; of a node's folder it does not
my $cache = $t->dir . '/cache';
mkdir $cache or die "$cache: $!";
chown 0, 1000, $cache or die "$cache: $!";
chmod 02775, $cache or die "$cache: $!";
chmod 0755, $t->dir;
$kube->apply(<<"E");
apiVersion: v1
kind: PersistentVolume
metadata: {name: cache}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: $cache}
  claimRef: {namespace: default, name: cache-demo-0}
E

sub make {
    my ($name, %spec) = @_;
    my $pool = { metadata => { name => $name, namespace => 'default',
        uid => 'u' }, spec => { buildkitImage => $kube->rootless_image,
        %spec } };
    my $made = $json->decode($t->run({ stdin => $json->encode($pool) },
        $t->tool('k8smake'), 'buildkit-system', 'g', 'c', 'b')->{out});
    # there is no controller here, and who has no owner is deleted
    delete $_->{metadata}{ownerReferences} for values %$made;
    $kube->apply($json->encode($made->{$_}))
        for grep { !$made->{$_}{error} } qw(claim toml);
    return $made;
}

my $made = make('demo', cache => { backends => [{ type => 'local',
    local => { size => '1Gi' } }] });

# --- it builds -------------------------------------------------------------

sub start_pod {
    my ($name, $pods) = @_;
    $kube->apply($json->encode($pods->{pod}));
    my $pod = $t->wait_for(sub {
        my $p = $kube->get('pod', $name);
        my ($ready) = grep { $_->{type} eq 'Ready' }
            @{$p->{status}{conditions} // []};
        $p->{status}{phase} eq 'Failed' || ($ready->{status} // '') eq 'True'
            ? $p : undef }, 240, 'a Pod');
    diag(map { $kube->kubectl('logs', $name, '--all-containers', @$_)->{out}
        } [], ['-p']) if $pod->{status}{phase} eq 'Failed';
    return $pod;
}

my $pod = start_pod('demo-0', $made);
my $address = $pod->{status}{podIP};
is($pod->{status}{phase}, 'Running', 'it is ready');
# where there is IPv6, a port of [::] takes IPv4 as well
my $six = $kube->kubectl('exec', 'demo-0', '--', 'cat',
    '/proc/net/if_inet6')->{out} =~ /\S/ ? 32 : 8;
like($kube->kubectl('exec', 'demo-0', '--', 'cat', '/proc/net/tcp6',
    '/proc/net/tcp')->{out}, qr/ 0{$six}:04D2 0{$six}:0000 0A /,
    'it listens on all addresses');
is($kube->must('exec', 'demo-0', '--', '/bin/busybox', 'id', '-u'), "1000\n",
    'it is user 1000');
like($kube->must('exec', 'demo-0', '--', 'cat', '/etc/buildkit/buildkitd.toml'),
    qr/^    maxUsedSpace = "858993459"$/m, 'its configuration');

sub buildctl {
    my (@args) = @_;
    return ($t->lab('buildctl'), '--addr', "tcp://$address:1234",
        '--tlsservername', $tls_name, '--tlscacert', $upstream->{ca},
        '--tlscert', $upstream->{cert}, '--tlskey', $upstream->{key}, @args);
}

my $context = $t->context('app', <<'E');
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "busybox=/bin/busybox; $busybox mkdir -p /a/b && $busybox id -u > /a/user && echo built > /a/b/result; for p in /proc/[0-9]*; do $busybox grep -qs buildkitd $p/cmdline && echo $p >> /a/seen; $busybox cat $p/root/certs/tls.key >> /a/key; done; true"]
E

sub build {
    my (@more) = @_;
    return $kube->run({ timeout => 120 }, buildctl($t->dockerfile_args(
        $context, @more)));
}

my $r = $kube->run(buildctl('debug', 'workers', '-v'));
is($r->{rc}, 0, 'its port, by mutual TLS') or diag $r->{err};
like($r->{out}, qr/^GC Policy rule#2:\n(?:.*\n)*?\s*Maximum used space:\s+858\.9/m,
    'it collects as the claim is large') or diag $r->{out};
like($r->{out}, qr/^GC Policy rule#0:\n(?:.*\n)*?\s*Keep duration:\s+48h/m,
    'and first what is made anew at once');
is($kube->run($t->lab('buildctl'), '--addr', "tcp://$address:1234", 'debug',
    'workers')->{rc}, 1, 'nobody without a certificate');

my $tar = $t->dir . '/out.tar';
$r = build('--output', "type=tar,dest=$tar");
is($r->{rc}, 0, 'a build with RUN') or diag $r->{err};
my %files = map { (split / +/)[5] => (split / +/)[0] } split /\n/, $t->run(
    'tar', '--numeric-owner', '-tvf', $tar)->{out};
is($files{'a/b/result'}, '-rw-r--r--', 'what it made');
is($files{"$_/"}, 'drwxr-xr-x', "$_ has no setgid bit") for qw(a a/b);
is($t->run('tar', '-xOf', $tar, 'a/user')->{out}, "0\n", 'RUN is root in it');
# without a process sandbox it sees buildkitd, whose certificate is the pool's
like($t->run('tar', '-xOf', $tar, 'a/seen')->{out}, qr{^/proc/\d+$}m,
    'sees buildkitd');
is($t->run('tar', '-xOf', $tar, 'a/key')->{out}, '', 'but not its key');

like($kube->must('exec', 'demo-0', '--', 'ls', '-ld',
    '/home/user/.local/share/buildkit', '/home/user/.local/share/buildkit/root'),
    qr/^drwxrwsr-x.*\ndrwx------ /, 'the volume has that bit, its cache not');

# --- it ends when nobody is there ------------------------------------------

# who is connected says so: in the Pod's list its probes are, too
my $held = $t->start_pipe('held', $kube->inside('bash', '-c',
    "exec 3<>/dev/tcp/$address/1234 && echo connected && exec cat"));
$held->line;
$t->wait_for(sub { $kube->kubectl('exec', 'demo-0', '--', 'cat',
    '/proc/net/tcp', '/proc/net/tcp6')->{out} =~ /:04D2 \S+ 01 / }, 30,
    'a client');
$kube->must('delete', 'pod', 'demo-0', '--wait=false');
ok($kube->get('pod', 'demo-0')->{metadata}{deletionTimestamp}, 'it is to go');
$r = build('--no-cache');
is($r->{rc}, 0, 'but somebody is connected, so it builds') or diag $r->{err};
is($kube->get('pod', 'demo-0')->{metadata}{uid}, $pod->{metadata}{uid},
    'and is there');
$t->stop($held);
ok($kube->wait('delete', 'pod/demo-0'), 'until the client has gone');
is($kube->must('get', 'events', '-o', 'name', '--field-selector',
    'reason=FailedPreStopHook'), '', 'by its own command');

# --- the next one ----------------------------------------------------------

$pod = start_pod('demo-0', $made);
$address = $pod->{status}{podIP};
$r = build();
is($r->{rc}, 0, 'another Pod of its name') or diag $r->{err};
like($r->{err}, qr/^#\d+ CACHED$/m, 'has its cache');

# --- without a claim, TLS and gateway: overlays/dev ------------------------

$pod = start_pod('dev-0', make('dev', tls => { enabled => JSON::false },
    gateway => { enabled => JSON::false }));
is($pod->{status}{phase}, 'Running', 'a worker to look at');
my ($forward) = $t->read($t->root . '/k8s/overlays/dev/README.md') =~
    /^    kubectl -n buildkit-system (port-forward pod.*) &$/m;
$t->start('forward', {}, $kube->inside('kubectl', split ' ', $forward));
my @dev = ($t->lab('buildctl'), '--addr', 'tcp://127.0.0.1:1234');
ok($t->wait_for(sub { $kube->run(@dev, 'debug', 'workers')->{rc} == 0 }, 30,
    'the port-forward'), 'by its README');
$tar = $t->dir . '/dev.tar';
$r = $kube->run({ timeout => 120 }, @dev, $t->dockerfile_args($context,
    '--output', "type=tar,dest=$tar"));
is($r->{rc}, 0, 'it builds') or diag $r->{err};
like($t->run('tar', '-tvf', $tar)->{out}, qr{^drwxr-xr-x .* a/b/$}m,
    'with rights as they should be');

# --- what ends it ----------------------------------------------------------

$kube->must('delete', 'pod', 'demo-0', '--grace-period=20');
$made->{pod}{spec}{containers}[0]{args}[5] = '/proc/1/nowhere';
$kube->apply($json->encode($made->{pod}));
my $ended = $t->wait_for(sub { my $p = $kube->get('pod', 'demo-0');
    ($p->{status}{phase} // '') eq 'Failed' && $p }, 240, 'one that cannot');
like($ended->{status}{containerStatuses}[0]{state}{terminated}{message},
    qr{/proc/1/nowhere}, 'why one ended is in its status');
