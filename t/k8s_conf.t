# What the programs of k8s/'s Pods read, with only its places changed: they
# take it, and nginx before the controller passes on what it should: nobody
# becomes somebody by it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Path qw(make_path);
use Test::Buildkit;

plan tests => 25;

my $t = Test::Buildkit->new;
my $base = $t->root . '/k8s/base';

sub shipped {
    my ($file, $name) = @_;

    my $text = $t->read("$base/$file");
    $text =~ s{/var/lib/buildkit-gateway/state}{%%DIR%%/state}g;
    $text =~ s{/run/buildkit-gateway}{%%DIR%%/run}g;
    $text =~ s{/run/buildkit-api}{%%DIR%%/api}g;
    $text =~ s{/etc/gateway/}{%%DIR%%/}g;
    $text =~ s{(?<=\s)/tmp/}{%%DIR%%/tmp/}g;
    $text =~ s{\blisten (\d+)}{listen 127.0.0.1:%%PORT:$1%%}g;
    $text =~ s{127\.0\.0\.1:(\d+)}{127.0.0.1:%%PORT:$1%%}g;
    $text =~ s/^load_module.*\n//mg and $text = $t->nginx_modules . $text;
    # there its processes are of one user, here they would be nobody's
    $text = "user root;\n$text" if $file =~ /front/ && $> == 0;
    return $t->write($name // $file =~ s{.*/}{}r, $text);
}

# logs/ is where nginx looks before it reads its configuration
make_path(map { $t->dir . "/$_" } qw(run tmp logs tls worker-tls));
my %env = (env => { ASAN_OPTIONS => $Test::Buildkit::Nginx::ASAN });
my @nginx = ($t->nginx_program, '-p', $t->dir, '-c');

# --- they are taken --------------------------------------------------------

for my $file (qw(controller/config/controller.yaml
    gateway-config/gateway.yaml))
{
    my $r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
        shipped($file));
    is($r->{rc}, 0, "plugin-host takes $file") or diag $r->{err};
}

# who loses the Lease is not started again for that: t/kubernetes_core.t
like($t->read("$base/controller/deployment.yaml"),
    qr/^ +command: \[buildkit-plugin-host, --again, -c, /m,
    'a controller that loses the Lease begins anew');

my $pki = $t->pki;
my %files = ('tls/tls.crt' => 'gateway', 'tls/tls.key' => 'gateway-key',
    'tls/ca.crt' => 'gateway-ca', 'worker-tls/client.crt' => 'upstream',
    'worker-tls/client.key' => 'upstream-key',
    'worker-tls/ca.crt' => 'worker-ca');
symlink "$pki/$files{$_}.pem", $t->dir . "/$_" for sort keys %files;
for my $file (qw(gateway-config/nginx.conf controller/config/front.conf)) {
    my $r = $t->run(\%env, @nginx, shipped($file), '-t');
    is($r->{rc}, 0, "nginx takes $file") or diag $r->{err};
}

# the same thing as conf/nginx.conf, but for paths, the log, and two more
sub directives {
    my ($file) = @_;
    my ($server) = $t->read($file) =~ /^    server \{\n(.*?)^    \}/ms;
    $server =~ s/^ *#.*\n//mg;
    $server =~ s{\s/\S+(?=;)}{ PATH}g;
    return { $server =~ /^\s*(\S+)\s+(.*);$/mg };
}

my $here = directives("$base/gateway-config/nginx.conf");
# a kubelet is slower than a parent
is(delete $here->{buildkit_lost}, '5s', 'why a worker hung up is waited for');
# and so is a companion that is started again
is(delete $here->{buildkit_grace}, '15s', 'nor is who is not known yet turned away');
is_deeply($here, directives($t->root . '/conf/nginx.conf'),
    'a gateway here is a gateway as anywhere');

# --- nginx before the controller -------------------------------------------

# without the cluster
my $yaml = $t->read('controller.yaml');
$yaml =~ s/^  - name: kubernetes\n(?:    .*\n)+//m or die;
$yaml =~ s/^    options: \{journal: store\}\n//m or die;
my $host = $t->host($yaml);
# deployment.yaml: the volume has 128 MiB, nginx' reports are in it as well
cmp_ok(-s $t->dir . '/run/buildkit.table', '<', 100 << 20,
    'the table fits into its volume');
my $front = $t->start('front', { %env, signal => 'QUIT' }, @nginx,
    $t->dir . '/front.conf');
$t->wait_port($t->port($_), 15, $front) for 8082, 9090;

sub ask {
    my ($port, $method, $path, @more) = @_;
    return $t->http('127.0.0.1:' . $t->port($port), $method, $path, @more);
}

is(ask(8082, GET => $_)->{status}, 200, "$_ of the API")
    for qw(/readyz /healthz);
is(ask(9090, GET => $_)->{status}, 200, "$_ of the metrics")
    for qw(/readyz /healthz);
like(ask(9090, GET => '/metrics')->{body}, qr/^# TYPE /m, 'metrics');
is(ask(9090, GET => '/api/v1/pools')->{status}, 404, 'and nothing else there');

is($host->request(GET => '/api/v1/pools')->{status}, 200,
    'who is in the container may ask');

# with TLS: as soon as there is a certificate, and with the next one as soon as
# that is there
sub https {
    my ($name, @more) = @_;
    return $t->run('curl', '-sS', '--noproxy', '*', '--cacert',
        "$pki/$name-ca.pem", @more, 'https://localhost:' . $t->port(8443)
        . '/api/v1/pools');
}

sub certificate {
    my ($cert) = @_;
    return $t->write('api/tls.pem', join '', map { $t->read($_) }
        @$cert{qw(cert key)});
}

$t->wait_port($t->port(8443), 15, $front);
isnt(https('gateway')->{rc}, 0, 'no certificate yet: nobody is answered');
certificate({ cert => "$pki/gateway.pem", key => "$pki/gateway-key.pem" });
my $r = https('gateway');
like($r->{out}, qr/"reason":\s*"Unauthenticated"/, 'the API by TLS')
    or diag $r->{err};
is(https('worker')->{rc}, 60, 'to who trusts its authority');
certificate($t->worker_cert('api', 'localhost'));
like(https('worker')->{out}, qr/Unauthenticated/, 'another one, at once');
isnt(https('worker', '--tls-max', '1.1')->{rc}, 0, 'and no old TLS');

$r = ask(8082, GET => '/api/v1/pools');
is("$r->{status} $r->{json}{reason}", '401 Unauthenticated',
    'who comes through nginx is nobody');
$r = ask(8082, GET => '/api/v1/pools', undef, headers => {
    Authorization => 'Bearer x' });
is($r->{status}, 401, 'with a token that nobody knows as well');
$r = ask(8082, POST => '/api/v1/workers/release', { token => 'x' x 60_000 });
is($r->{status}, 400, 'a large body is passed on');
$r = ask(8082, POST => '/api/v1/workers/release', { token => 'x' x 70_000 });
is("$r->{status} " . ($r->{json}{reason} // 'of nginx'), '413 TooLarge',
    'one that is too large is refused by the API itself');
