# F5's NGINX Ingress Controller with our module, as far as it can be had here:
# components/nginx-ingress beside manifests of that shape; its snippets where
# that program's template has them; an nginx that is not ours takes it, and a
# real client comes by a host's name to a real buildkitd; and when its
# configuration is changed, which it is all the time, nobody notices.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;

plan skip_all => 'real clients; t/nginx_names.t is for sanitizers'
    if $ENV{BK_SAN};
plan tests => 23;

my $t = Test::Buildkit->new;
my $component = $t->root . '/k8s/components/nginx-ingress';

# --- the manifests -----------------------------------------------------------

system 'cp', '-r', $t->root . '/k8s', $t->dir . '/k8s';
$t->write('f5/kustomization.yaml', "resources: [all.yaml]\n");
$t->write('f5/all.yaml', <<'E');
apiVersion: v1
kind: ConfigMap
metadata: {name: nginx-config, namespace: nginx-ingress}
data: {proxy-read-timeout: 20s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx-ingress, namespace: nginx-ingress}
spec:
  selector: {matchLabels: {app: nginx-ingress}}
  template:
    metadata: {labels: {app: nginx-ingress}}
    spec:
      serviceAccountName: nginx-ingress
      containers:
      - name: nginx-ingress
        image: nginx/nginx-ingress:1
        ports: [{name: https, containerPort: 443}]
        args: [-nginx-configmaps=$(POD_NAMESPACE)/nginx-config]
E
# what the README says, with its example's comment
my ($kustomization) = $t->read("$component/README.md") =~
    /^( {7}apiVersion: kustomize.*?\n)(?! {7})/ms;
$t->write('my/kustomization.yaml', ($kustomization =~ s/^ {7}//gmr)
    =~ s{\[f5\]}{[../f5]}r);
my $r = $t->run($t->lab('kubectl'), 'kustomize', $t->dir . '/my');
is($r->{rc}, 0, 'the README\'s kustomization') or diag $r->{err};

my %made = map { my ($kind) = /^kind: (\S+)$/m; my ($name) =
    /^metadata:\n(?:  .*\n)*?  name: (\S+)$/m; ("$kind/$name" => $_) }
    split /^---\n/m, $r->{out};
my ($companion) = grep { /^ConfigMap\/buildkit-companion-/ } keys %made;
ok(delete $made{$companion // ''}, 'what the companion reads');
is_deeply([sort keys %made], [sort qw(BuildKitPool/ingress
    ClusterRole/buildkit-ingress ClusterRole/buildkit-ingress-certificates
    ClusterRoleBinding/buildkit-nginx-ingress
    ClusterRoleBinding/buildkit-nginx-ingress-gateway ConfigMap/nginx-config
    Deployment/nginx-ingress IngressClass/buildkit Role/buildkit-ingress
    RoleBinding/buildkit-controller-pools RoleBinding/buildkit-ingress
    Service/buildkit-ingress)], 'and what else there is');
my $deployment = $made{'Deployment/nginx-ingress'};
like($deployment, qr/^        image: REGISTRY\/controller:TAG$/m, 'companion');
like($deployment, qr/^        image: REGISTRY\/nginx-ingress:TAG$/m, 'nginx');
like($deployment, qr/containerPort: 443\b/, 'with what it had');
my $config = $made{'ConfigMap/nginx-config'};
like($config, qr/^  proxy-read-timeout: 20s$/m, 'as has the configuration');
is_deeply([grep { (() = $t->read($_) =~ /^kind: /mg) != 1 } grep {
    !m{/gateway\.yaml$} } glob "$component/*.yaml"], [], 'an object a file');

sub snippet {
    my ($key) = @_;
    my ($text) = $config =~ /^  \Q$key\E: \|\n((?:(?:    .*)?\n)+)/m
        or die "no $key: $config";
    return $text =~ s/^    //gmr;
}

# the same gateway as our own ingress controller's
sub directives {
    my ($text) = @_;
    $text =~ s/^\s*#.*\n|\s+$//gm;
    $text =~ s/\s+/ /g;
    return join "\n", sort map { s/^ //r } grep {
        !/^ ?(?:access_log|load_module)|^ ?\}?$/ } split /(?<=[;{}])/,
        $text =~ s/\bbuildkit_workers\b/workers/gr;
}
my ($ours) = $t->read($t->root . '/k8s/overlays/ingress-controller/nginx.conf')
    =~ /^stream \{\n(.*?)^\}/ms;
is(directives(snippet('stream-snippets')), directives($ours),
    'what the snippets say is what the overlay says');

# --- nginx --------------------------------------------------------------------

my ($host, $own) = $t->gateway(workers => 1);
my $one = $t->allocate('one');
is($one->{run}{rc}, 0, 'an allocation') or diag $one->{run}{err};
is($own->stop, 0, 'our own nginx goes');

# a name, as the companion writes it
my $pair = $t->dir . '/pair';
$t->mkcert('--out', $pair, '--ca', $t->dir . '/state/ca/gateway-ca', '--cn',
    'build', '--eku', 'server', '--san', 'DNS:build.example.com');
my $pem = $t->read("$pair.pem") . $t->read("$pair-key.pem");
my $file = sha256_hex($pem) . '.pem';
mkdir $t->dir . '/names', 0700;
$t->write("names/$file", $pem);
chmod 0600, $t->dir . "/names/$file";
$t->write('names/names', "buildkit-names 1 1 buildkit\n"
    . "build.example.com default/demo - $file\n");

# where snippets are in a configuration of that program
my $preread = $t->nginx_version =~ /stream_ssl_preread_module/;
sub conf {
    my ($status) = @_;
    my ($main, $http, $stream) = map { snippet("$_-snippets") } qw(main http
        stream);
    my $modules = $t->nginx_modules;
    my $dir = $t->dir;
    my %file = ('tls/tls.crt' => 'gateway.pem', 'tls/tls.key' =>
        'gateway-key.pem', 'tls/ca.crt' => 'gateway-ca.pem',
        'worker-tls/client.crt' => 'upstream.pem', 'worker-tls/client.key' =>
        'upstream-key.pem', 'worker-tls/ca.crt' => 'worker-ca.pem');
    $stream =~ s{/run/buildkit-gateway/}{$dir/}g;
    $stream =~ s{/etc/gateway/(\S+?);}{$dir/state/tls/$file{$1};}g;
    $http =~ s{listen 9090;}{listen 127.0.0.1:%%PORT:companion%%;};
    $http =~ s{127\.0\.0\.1:9191;}{127.0.0.1:%%PORT:metrics%%;}g;
    $stream =~ s{listen 1235 }{listen 127.0.0.1:%%PORT:gw%% };
    # that line, but for where modules are here
    $main =~ s{^load_module modules/ngx_stream_buildkit_module\.so;\n}{$modules}m
        or die "main-snippets: $main";
    my $name = $preread ? '"$ssl_preread_server_name"' : '-';
    my $user = $> == 0 ? "user root;\n" : '';
    my $temp = join '', map { "    ${_}_temp_path %%DIR%%/f5-$_;\n" }
        qw(client_body proxy fastcgi uwsgi scgi);
    return $t->write('f5.conf', <<"E");
worker_processes  1;
daemon off;
$user
error_log  stderr notice;
pid        %%DIR%%/f5.pid;

$main

events {
    worker_connections  1024;
}

http {
    default_type  application/octet-stream;
    map_hash_max_size 2048;
    $http
    log_format  main  '\$remote_addr "\$request" \$status';
    access_log  /dev/stdout main;
$temp
    server {
        listen 127.0.0.1:%%PORT:http%% default_server;
        server_name _;
        location / {
            return $status;
        }
    }
}

stream {
    log_format  stream-main  '\$remote_addr [\$time_local] \$protocol \$status '
                      '\$session_time $name';

    access_log  /dev/stdout  stream-main;

    $stream

    map_hash_max_size 2048;
}
E
}

mkdir $t->dir . '/logs';     # where nginx logs before it has read that
my $conf = conf(404);
$r = $t->run($t->nginx_program, '-t', '-p', $t->dir, '-c', $conf);
is($r->{rc}, 0, 'nginx -t') or diag $r->{err};
my $nginx = $t->start('f5', { signal => 'QUIT' }, $t->nginx_program, '-p',
    $t->dir, '-c', $conf);
$t->wait_port($t->port('gw'));
sub http { return $t->http('127.0.0.1:' . $t->port('http'), GET => '/')
    ->{status} }
is(http(), 404, 'what it is there for is');

sub build {
    my ($name, @args) = @_;
    return $t->buildctl($one, '--tlsservername', $name, @args);
}

my $context = $t->context('app');
$r = build('build.example.com', $t->dockerfile_args($context));
is($r->{rc}, 0, 'a build, by a host\'s name with its certificate')
    or diag $r->{err}, $t->read('f5.log');
ok($t->wait_for(sub { $t->read('f5.log') =~
    /"outcome":"routed","allocation":"$one->{id}","pool":"default\/demo"/ },
    30, 'the log'), 'is in the log');
like($t->http('127.0.0.1:' . $t->port('companion'), GET => '/metrics')->{body},
    qr/^buildkit_\w+/m, 'and is counted');
$r = build('localhost', 'debug', 'workers');
isnt($r->{rc}, 0, 'another name, that the default certificate has');
like($r->{err}, qr/no pool has the name localhost here/, 'is refused')
    or diag $r->{err};

# --- a change of an Ingress of theirs ------------------------------------------

my $slow = $t->context('slow', <<'E');
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sleep", "600"]
E
my $live = $t->start('live', {}, $t->lab('buildctl'), '--addr',
    'tcp://localhost:' . $t->port('gw'), '--tlsservername',
    'build.example.com', '--tlscacert', $one->{ca}, '--tlscert', $one->{cert},
    '--tlskey', $one->{key}, $t->dockerfile_args($slow, '--no-cache'));
$t->wait_for(sub { ($t->read('live.log') // '') =~ /RUN .*sleep/ }, 120,
    'a build that runs');
my ($before) = $t->children($nginx->{pid});
conf(418);
kill HUP => $nginx->{pid};
$t->wait_for(sub { http() == 418 }, 20, 'nginx with another configuration');
ok($t->alive($live), 'a live build goes on when it is reloaded');
is($t->read("/proc/$before/comm"), "nginx\n", 'in the process that it had');
is(build('build.example.com', 'debug', 'workers')->{rc}, 0, 'others come');
is($t->bkctl('release', $one->{file})->{rc}, 0, 'it is released');
$t->wait_for(sub { !$t->alive($live) }, 30, 'its end');
like($t->read('live.log'), qr/buildkit gateway: .*was released/,
    'which that process says');
$t->wait_for(sub { !-e "/proc/$before" }, 30, 'the old process to end');
