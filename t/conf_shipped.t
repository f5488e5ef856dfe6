# conf/ as it is shipped, with only its paths changed: both programs take it,
# and it serves.  The systemd units name what exists.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Basename qw(dirname);
use File::Path qw(make_path);
use Test::Buildkit;

plan tests => 19;

my $t = Test::Buildkit->new;
my $conf = $t->root . '/conf';

sub shipped {
    my ($file) = @_;

    my $text = $t->read("$conf/$file");
    $text =~ s{/var/lib/buildkit-gateway}{%%DIR%%/state}g;
    $text =~ s{/dev/shm/buildkit\.table}{%%DIR%%/buildkit.table}g;
    $text =~ s{/run/buildkit-gateway}{%%DIR%%/run}g;
    $text =~ s{/var/log/nginx}{%%DIR%%/log}g;
    $text =~ s{\b127\.0\.0\.1:9090}{127.0.0.1:%%PORT:metrics%%};
    $text =~ s{\blisten 1235}{listen 127.0.0.1:%%PORT:gw%%};
    $text =~ s{localhost:1235}{localhost:%%PORT:gw%%};
    return $text;
}

# logs/ is where nginx looks before it reads its configuration
make_path(map { $t->dir . "/$_" } qw(run log logs));
chmod 0755, $t->dir;

# plugin-host
my $yaml = shipped('plugin-host.yaml');
my $check = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
    $t->write('check.yaml', $yaml));
is($check->{rc}, 0, 'plugin-host takes the shipped configuration')
    or diag $check->{err};
$yaml =~ s/^(\s+)idle:.*/$&\n$1onStop: stop/m or die;
my $host = $t->host($yaml, env => {
    PATH => dirname($t->lab('buildkitd')) . ":$ENV{PATH}" });

# the example in README.md is the same thing, shorter
my ($readme) = $t->read($t->root . '/README.md') =~ /```yaml\n(.*?)```/s;
$check = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
    $t->write('readme.yaml', $readme));
is($check->{rc}, 0, 'and the example in README.md') or diag $check->{err};

# nginx: its own error log and user, so not by $t->nginx
my $nginx_conf = shipped('nginx.conf');
my ($user) = $nginx_conf =~ /^user\s+(\S+);/m;
is($user, 'www-data', 'workers do not run as root');
$nginx_conf =~ s/^load_module.*\n//mg;
$nginx_conf = $t->nginx_modules . $nginx_conf;
my $path = $t->write('shipped.conf', $nginx_conf . "daemon off;\n");
my %env = (env => { ASAN_OPTIONS => $Test::Buildkit::Nginx::ASAN });
my @nginx = ($t->nginx_program, '-p', $t->dir, '-c', $path);
$check = $t->run(\%env, @nginx, '-t');
is($check->{rc}, 0, 'nginx takes the shipped configuration')
    or diag $check->{err};
my $nginx = $t->start('shipped', { %env, signal => 'QUIT' }, @nginx);
$t->wait_port($t->port('gw'), 15, $nginx);

# it serves, with workers that are not root
my $r = $t->bkctl({ env => { BKCTL_ENDPOINT => 'unix:' . $t->dir
    . '/run/api.sock' } }, 'buildctl', '--', 'debug', 'workers');
is($r->{rc}, 0, 'it serves') or diag $r->{err};
like($r->{out}, qr/linux/, 'a worker answers');
# written when nginx has seen the end of the connection
like($t->wait_for(sub { $t->read('log/buildkit-gateway-access.log') }, 60,
    'the access log'),
    qr{^\S+\ [\d.]+:\d+\ id=[0-9a-f]{12}\ pool=default/demo\ worker=w1
       \ outcome=routed\ kind=\w+\ state=ready\ expires=[-\d:TZ]+\ wait_ms=\d+
       \ time=[\d.]+\ connect=[\d.]+\ up=\d+\ down=\d+\ status=200
       \ reason="-?"$}mx,
    'the access log says who went where');
# each process of nginx reports, into a folder that plugin-host made for it
my @reports = glob $t->dir . '/run/reports/nginx-*.report';
ok(@reports > 0 && !grep({ (stat $_)[4] != getpwnam 'www-data' } @reports),
    'processes that are not root report');
is(sprintf('%o', (stat $t->dir . '/run/reports')[2] & 07777), '3770',
    'mode of the folder of reports');
my ($mode, $gid) = (stat $t->dir . '/buildkit.table')[2, 5];
is(sprintf('%o', $mode & 07777), '640', 'mode of the table');
is((stat $t->dir . '/state')[2] & 07777, 0700, 'mode of the state folder');
is((stat $t->dir . '/state/ca/gateway-ca-key.pem')[2] & 07777, 0600,
    'mode of a key');

# units
for my $unit (qw(buildkit-plugin-host buildkit-gateway)) {
    my $text = $t->read("$conf/systemd/$unit.service");
    # what plugin-host may not have, a build's RUN step has not either: sudo
    # and rootless workers need privileges to be had
    my $has = $text =~ /^NoNewPrivileges=yes$/m ? 'yes' : 'no';
    is($has, $unit eq 'buildkit-gateway' ? 'yes' : 'no',
        "$unit: new privileges are as they must be");
    like($text, qr/^Restart=/m, "$unit: is restarted");
    is(join(' ', grep { !-e $t->root . '/conf/' . ($_ =~ s{.*/}{}r) }
        $text =~ m{-c (\S+)}g), '', "$unit: names the shipped files");
}
like($t->read("$conf/systemd/buildkit-plugin-host.service"),
    qr/^Type=notify$(?:.*\n)+?^KillMode=process$/m,
    'plugin-host says when it is ready, and its end touches no build');
