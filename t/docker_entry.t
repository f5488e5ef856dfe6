# The first process of the gateway's image: which arguments it takes, what it
# runs, what it does when files change, when one of its programs ends, and
# when it is told to end.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Controller;
use IO::Socket::SSL;
use Test::Buildkit;
use Time::HiRes qw(time);

# arguments, what it says
my @bad = (
    [[], qr/option --pool-name is needed: the pool's name; or BUILDKIT_GATEWAY_CONF/],
    [['demo'], qr/"demo" is no option/],
    [['--pool'], qr/unknown option --pool; --help/],
    [['--pool-namespaces=x'], qr/unknown option/],
    [['--pool-name'], qr/--pool-name needs a value/],
    [['--pool-name', ''], qr/--pool-name is the pool's name, and ""/],
    [['--pool-name=a/b'], qr/and "a\/b" cannot be that/],
    [['--pool-name=-a'], qr/cannot be that/],
    [['--pool-name', 'a' x 64], qr/cannot be that/],
    [["--pool-namespace=a;\nuser root"], qr/--pool-namespace is its namespace/],
    [['--listen-addr', 'localhost:1235'], qr/--listen-addr is ADDRESS:PORT/],
    [['--listen-addr', '0.0.0.0'], qr/cannot be that/],
    [['--listen-addr', '0.0.0.0:65536'], qr/cannot be that/],
    [['--listen-addr', '0.0.0.0: 1235'], qr/cannot be that/],
    [['--listen-addr', '[::1]x:1235'], qr/cannot be that/],
    [['--metrics-addr', '0.0.0.0:9090 default_server'], qr/cannot be that/],
    [['--controller-endpoint', 'ftp://c:1'], qr/an http\(s\) URL/],
    [['--controller-endpoint', 'http://'], qr/cannot be that/],
    [['--controller-endpoint', 'http://c"}'], qr/cannot be that/],
    [['--controller-endpoint', 'http://' . 'c' x 1000], qr/cannot be that/],
    [['--server-cert', 'tls.crt'], qr/cannot be that/],
    [['--server-key', '/a b'], qr/cannot be that/],
    [['--ca-cert', '/a;'], qr/cannot be that/],
    [['--worker-tls', '/' . 'a' x 256], qr/cannot be that/],
);

plan tests => 2 * @bad + 44;

my $t = Test::Buildkit->new;
my $program = $t->build . '/buildkit-gateway';
my $pki = $t->pki;

# what it starts by its name
my ($nginx) = grep { -x } map { m{/} ? $_ : () } $t->nginx_program,
    map { "$_/" . $t->nginx_program } split(/:/, $ENV{PATH}), '/usr/sbin';
mkdir $t->dir . '/bin';
symlink $nginx, $t->dir . '/bin/nginx' or die "symlink: $!";
my %env = (PATH => $t->dir . '/bin:' . $t->build . ":$ENV{PATH}",
    ASAN_OPTIONS => $Test::Buildkit::Nginx::ASAN);

for (@bad) {
    my ($args, $message) = @$_;
    my $r = $t->run({ env => \%env }, $program, @$args);
    my $name = substr "@$args" =~ s/\n/ /r, 0, 50;
    is($r->{rc}, 2, "$name: does not start");
    like($r->{err}, qr/^gateway: .*$message/s, "$name: why");
}

my $help = $t->run($program, '--help');
is($help->{rc}, 0, 'help');
is(() = $help->{out} =~ /^  --\w/mg, 9, 'has all options');

# --- with a configuration: nginx alone -------------------------------------

# as Kubernetes swaps the files of a volume
my $swaps = 0;
sub volume {
    my ($folder, %files) = @_;
    my $data = '..' . ++$swaps;
    mkdir $folder;
    mkdir "$folder/$data" or die "$folder: $!";
    for (keys %files) {
        $t->write("$folder/$data/$_", $t->read($files{$_}));
        symlink "..data/$_", "$folder/$_";
    }
    symlink $data, "$folder/..new" or die;
    rename "$folder/..new", "$folder/..data" or die;
}

sub server_cert {
    my ($name) = @_;
    $t->mkcert('--out', "$pki/$name", '--ca', "$pki/gateway-ca", '--cn', $name,
        '--eku', 'server', '--san', 'DNS:localhost');
    return ('tls.crt' => "$pki/$name.pem", 'tls.key' => "$pki/$name-key.pem",
        'ca.crt' => "$pki/gateway-ca.pem");
}

sub served {
    my ($port) = @_;
    my $socket = IO::Socket::SSL->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->port($port), SSL_verify_mode => 0,
        Timeout => 30) or return '';
    return $socket->peer_certificate('cn') // '';
}

my $etc = $t->dir . '/etc';
volume($etc, server_cert('first'));
my $conf = $t->write('nginx.conf', $t->read($t->nginx_conf($t->gateway_conf,
    name => 'conf')) =~ s{\S+gateway(-key)?\.pem;}
    {"$etc/tls." . ($1 ? 'key;' : 'crt;')}ger);
volume($etc, server_cert('first'), 'nginx.conf' => $conf);

my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo', 'worker default/demo w1 127.0.0.1:'
    . $t->worker('w1') . ' w1.workers.buildkit.internal ready',
    "alloc token:$token default/demo w1 ready 0");

my $entry = $t->start('entry', { env => { %env,
    BUILDKIT_GATEWAY_CONF => "$etc/nginx.conf" } }, $program, '--pool-name',
    'demo', '--of-another', 'image');
$t->wait_port($t->port('gw'), 15, $entry);
is(served('gw'), 'first', 'with a configuration: nginx runs');
is(scalar(grep { ($t->read("/proc/$_/comm") // '') =~ /nginx/ }
    $t->children($entry->{pid})), 1, 'and nothing beside it');

my $live = $t->tls($cert);
print $live "hello\n";
like($t->read_until($live, qr/hello/, 30), qr/worker w1/, 'a connection');

volume($etc, server_cert('second'), 'nginx.conf' => $conf);
ok($t->wait_for(sub { served('gw') eq 'second' }, 60, 'the new one'),
    'a renewed certificate is used');
print $live "again\n";
like($t->read_until($live, qr/again/, 30), qr/again/,
    'and the connection lives on');
my $reloads = sub { scalar(() = $t->read('entry.log') =~ /nginx reads them/g) };
$t->wait_for($reloads, 30, 'what it says of that');
is($reloads->(), 1, 'read again once');
utime 1, 1, "$etc/..data/tls.key" or die;
$t->wait_for(sub { $reloads->() == 2 }, 30, 'the other reload');
pass('a touched file counts as well');

kill QUIT => $entry->{pid};
$t->wait_for(sub { served('gw') eq '' }, 15, 'no more clients');
print $live "still\n";
like($t->read_until($live, qr/still/, 30), qr/still/, 'QUIT: what lives goes on');
ok($t->alive($entry), 'and so does the container');
close $live;
$t->wait_for(sub { !$t->alive($entry) }, 15, 'the end');
is($entry->{status}, 0, 'until nothing is left');

$entry = $t->start('entry-bad', { env => { %env,
    BUILDKIT_GATEWAY_CONF => "$etc/none.conf" } }, $program);
$t->wait_for(sub { !$t->alive($entry) }, 15, 'the end');
is($entry->{status}, 1, 'no such configuration: it ends');
$t->allow_log(qr/none\.conf/);
is($t->run({ env => { BUILDKIT_GATEWAY_CONF => 'nginx.conf' } }, $program)
    ->{rc}, 2, 'a path that is not absolute');

# one that takes its time, told to read its configuration again meanwhile
my $slow = $t->dir . '/slow';
mkdir $slow or die "$slow: $!";
# (a shell would let the signals in)
$t->write('slow/nginx', "#!$^X\nopen my \$fh, '>', '$slow/began';\n"
    . "select undef, undef, undef, 0.1 until -e '$slow/go';\n"
    . "exec '$nginx', \@ARGV;\n");
chmod 0755, "$slow/nginx" or die "$slow/nginx: $!";
$entry = $t->start('entry-slow', { env => { %env, PATH => "$slow:$env{PATH}",
    BUILDKIT_GATEWAY_CONF => "$etc/nginx.conf" } }, $program);
$t->wait_for(sub { -e "$slow/began" }, 15, 'nginx to begin');
my ($starting) = $t->children($entry->{pid});
kill HUP => $entry->{pid};
my $pending = sub { ($t->read("/proc/$starting/status") // '')
    =~ /^ShdPnd:\s*([0-9a-f]+)$/m ? hex($1) & 1 : 'ended' };
is($t->wait_for($pending, 15, 'the signal'), 1, 'HUP while nginx starts: waits');
$t->write('slow/go', '');
ok($t->wait_for(sub { served('gw') eq 'second' }, 30, 'nginx'), 'it comes up');
kill TERM => $entry->{pid};
$t->wait_for(sub { !$t->alive($entry) }, 15, 'the end');
is($entry->{status}, 0, 'and ends well');

# --- with arguments: plugin-host and nginx ---------------------------------

my $run = $t->dir . '/run';
my $dropin = $t->root . '/docker/dropin';
my $modules = $t->nginx_modules;
my $made = $t->read("$dropin/nginx.conf") =~ s/load_module .*\n//gr
    =~ s/\@USER\@/$modules$&/r;
$made =~ s/(buildkit_shutdown_timeout) 25s;/$1 3s;/ or die 'no such time';
$t->write('templates/nginx.conf', $made);
$t->write('templates/gateway.yaml', $t->read("$dropin/gateway.yaml"));

# its worker's certificate has none of the names that one could expect
my $ctl = Controller->new($t);
$ctl->put($token, 'demo-worker-a', $t->port('worker-w1'));
volume($t->dir . '/worker-tls', 'client.crt' => "$pki/upstream.pem",
    'client.key' => "$pki/upstream-key.pem", 'ca.crt' => "$pki/worker-ca.pem");

my @args = ('--pool-name', 'demo', '--pool-namespace=team', '-listen-addr',
    '127.0.0.1:' . $t->port('gw'), '--metrics-addr', '127.0.0.1:'
    . $t->port('metrics'), '--controller-endpoint', $ctl->url,
    '--server-cert', "$etc/tls.crt", '--server-key', "$etc/tls.key",
    '--ca-cert', "$etc/ca.crt", '--worker-tls', $t->dir . '/worker-tls');
%env = (%env, BUILDKIT_GATEWAY_RUN => $run,
    BUILDKIT_GATEWAY_TEMPLATES => $t->dir . '/templates');

mkdir $run, 0755 or die;
chmod 0755, $run;
my $r = $t->run({ env => \%env }, $program, @args);
is($r->{rc}, 2, 'a folder that others may read');
like($r->{err}, qr/is not a folder of mine alone/, 'why');
rmdir $run;

$entry = $t->start('dropin', { env => \%env }, $program, @args);
$t->wait_port($t->port('gw'), 30, $entry);
like($t->say_hello($cert), qr/worker w1/,
    'a worker whose certificate has another name');
my $get = sub { $t->http('127.0.0.1:' . $t->port('metrics'), 'GET', $_[0]) };
ok($t->wait_for(sub { $get->('/readyz')->{status} == 200 }, 30, 'readiness'),
    'readiness');
like($get->('/metrics')->{body}, qr/^buildkit_gateway_controller_\w+/m, 'metrics');
is($get->('/api/v1/pools')->{status}, 404, 'and no API there');

$r = $t->run({ env => \%env }, $program, @args);
is($r->{rc}, 2, 'another one in the same folder');
like($r->{err}, qr/lock: another gateway has it/, 'why');

# outlives the renewal by more than the time that it gets at the end
$live = $t->tls($cert);
print $live "hello\n";
$t->read_until($live, qr/hello/, 30);
volume($etc, server_cert('third'));
ok($t->wait_for(sub { served('gw') eq 'third' }, 60, 'the new one'),
    'a renewed certificate is used');
my $renewed = time;

sub host {
    my ($pid) = grep { ($t->read("/proc/$_/comm") // '') =~ /^buildkit-plug/ }
        $t->children($entry->{pid});
    return $pid // 0;
}

my $before = host() or die 'no plugin-host';
kill KILL => $before;
$t->wait_for(sub { host() && host() != $before }, 15, 'plugin-host');
pass('plugin-host was killed: it is started again');
like($t->say_hello($cert), qr/worker w1/, 'and clients do not notice');
$t->wait_for(sub { $get->('/readyz')->{status} == 200 }, 15, 'readiness');

$t->wait_for(sub { time > $renewed + 4 }, 15, 'the time to pass');
print $live "still\n";
like($t->read_until($live, qr/still/, 30), qr/still/,
    'and cuts nobody, then or later');
close $live;

my ($master) = (grep { ($t->read("/proc/$_/comm") // '') =~ /nginx/ }
    $t->children($entry->{pid})) or die 'no nginx';
# nginx 1.22 complains of what an old process still has when TERM ends it
$t->wait_for(sub { $t->children($master) == 2 }, 15, 'the old process to end');
$before = host();
kill TERM => $master;
$t->wait_for(sub { !$t->alive($entry) }, 15, 'the end');
is($entry->{status}, 1, 'nginx has ended: so does all');
like($t->read('dropin.log'), qr/^gateway: nginx ended with status 0$/m, 'why');
is(kill(0 => $before), 0, 'plugin-host, too');

# workers' names, where they have one
my $name = 'in.{namespace}';
for (['', qr/^ +buildkit_worker_ca /m, qr/tlsName|proxy_ssl_verify/],
    [$name, qr/proxy_ssl_verify on;/, qr/buildkit_worker_ca \//],
    ['a b', undef])
{
    my ($set, $like, $unlike) = @$_;
    unlink glob "$run/*.conf $run/*.yaml";
    my $ended = $t->run({ timeout => 60, env => { %env,
        BUILDKIT_WORKER_TLS_NAME => $set || undef, PATH => '/none' } },
        $program, @args);
    my $made = join '', map { $t->read("$run/$_") // '' } qw(nginx.conf
        gateway.yaml);
    $like ? like($made, $like, "worker's name '$set'")
        : like($ended->{err}, qr/must be a DNS name/, "not '$set'");
    $unlike ? unlike($made, $unlike, 'and not the other')
        : is($made, '', 'nothing is written');
}

# what is left of the one before is no hindrance
$entry = $t->start('dropin-again', { env => \%env }, $program, @args);
$t->wait_port($t->port('gw'), 30, $entry);
like($t->say_hello($cert), qr/worker w1/, 'the same again');
$live = $t->tls($cert);
print $live "hello\n";
$t->read_until($live, qr/hello/, 30);
kill QUIT => $entry->{pid};
$t->wait_for(sub { !$t->alive($entry) }, 20, 'the end');
is($entry->{status}, 0, 'QUIT: ends in time, whoever is there');
like($t->read('dropin-again.log'), qr/"outcome":"cut:shutdown"/,
    'and what lives is cut');
close $live;

# a plugin-host that cannot run: no nginx
$t->write('templates/gateway.yaml', "state: nowhere\n");
$entry = $t->start('dropin-bad', { env => \%env }, $program, @args);
$t->wait_for(sub { !$t->alive($entry) }, 15, 'the end');
is($entry->{status}, 1, 'plugin-host does not start');
like($t->read('dropin-bad.log'), qr/^gateway: plugin-host does not start$/m,
    'why');
$t->write('templates/gateway.yaml', "state: \@STATE\@\n");
is($t->run({ env => \%env }, $program, @args)->{rc}, 2, 'an unknown word');
