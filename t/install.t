# make install: everything is where it is looked for, what an operator changed
# is kept, and the installed programs find their plugins.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 22;

my $t = Test::Buildkit->new;
my $dest = $t->dir . '/root';
my @install = ($t->root . '/tools/install', $t->build, $dest, '/usr');

my $r = $t->run(@install);
is($r->{rc}, 0, 'install') or diag $r->{err};

ok(-f "$dest/$_", $_) for qw(
    usr/lib/nginx/modules/ngx_stream_buildkit_module.so
    usr/lib/buildkit-gateway/plugins/allocator.so
    usr/lib/buildkit-gateway/plugins/process.so
    usr/lib/buildkit-gateway/plugins/static.so
    usr/lib/buildkit-gateway/plugins/metrics.so
    usr/lib/buildkit-gateway/plugins/oidc.so
    etc/buildkit-gateway/nginx.conf
    etc/buildkit-gateway/plugin-host.yaml
    usr/lib/systemd/system/buildkit-gateway.service
    usr/lib/systemd/system/buildkit-plugin-host.service
    usr/share/man/man1/bkctl.1
    usr/share/man/man8/buildkit-plugin-host.8
    usr/share/bash-completion/completions/bkctl
    usr/share/zsh/vendor-completions/_bkctl
    usr/share/fish/vendor_completions.d/bkctl.fish);

$r = $t->run("$dest/usr/bin/bkctl", 'version');
is($r->{rc}, 0, 'bkctl runs');
$r = $t->run("$dest/usr/bin/buildkit-plugin-host", '--list-plugins');
is(join(' ', sort $r->{out} =~ /^([a-z]+) /mg),
    'allocator controller kubernetes metrics oidc process static', 'plugin-host finds its plugins');

my $conf = "$dest/etc/buildkit-gateway/plugin-host.yaml";
$t->write($conf, "# mine\n");
$r = $t->run(@install);
is($t->read($conf), "# mine\n", 'a changed configuration is kept');
ok(-f "$conf.new", 'the new one is put beside it');

$r = $t->run({}, $t->root . '/tools/install', $t->build, "$dest-local",
    '/usr/local');
like($t->read("$dest-local/usr/local/lib/systemd/system/"
    . 'buildkit-plugin-host.service'),
    qr{^ExecStart=/usr/local/bin/buildkit-plugin-host }m,
    'PREFIX is in the unit');
like($t->read("$dest-local/usr/local/lib/systemd/system/"
    . 'buildkit-plugin-host.service'),
    qr{^ExecStart=\S+ -c /usr/local/etc/buildkit-gateway/}m,
    'and the configuration it installs');
