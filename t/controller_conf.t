# The plugin controller's options: what is refused before anything runs, whom
# it trusts over TLS, and where it shows its bearer token.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Controller;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $ctl = Controller->new($t, tls => 1);
$t->write('bearer', "  sesame\n");

# --- refused by -t

sub refused {
    my ($name, $text, %but) = @_;

    my %o = (endpoint => '"http://127.0.0.1:1"', pool => 'a/b', %but);
    my $options = join ', ', map { "$_: $o{$_}" } grep { defined $o{$_} } sort keys %o;
    my $conf = $t->write('bad.yaml', <<"END");
state: %%DIR%%/bad.state
table: {path: "%%DIR%%/bad.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/bad.sock"]}
plugins:
  - {name: controller, options: {$options}}
END
    my $r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c', $conf);

    is($r->{rc}, $text ? 1 : 0, $name) or diag $r->{err};
    like("$r->{out}$r->{err}", $text, 'says why') if $text;

    return;
}

refused('good', undef);
refused('all of it', undef, endpoint => '"https://c.svc:8082/x/"',
    socket => '/run/x/s', group => 'nogroup', caFile => '/ca.pem',
    bearerFile => '/token', bearerOverHttp => 'true', tlsName => '"{worker}.{pool}.{namespace}"',
    timeout => '1s', keep => '1s', refresh => '1h', unknownFor => '0s', release => 'false');
refused('no endpoint', qr/endpoint/, endpoint => undef);
refused('no pool', qr/pool/, pool => undef);
refused("endpoint $_", qr/endpoint must be https/, endpoint => "\"$_\"")
    for 'ftp://x:1', 'http://', 'https:///x', 'http://u:p@x:1', 'http://x:1/?q', 'x:1';
refused("pool $_", qr{pool must be namespace/name}, pool => "\"$_\"")
    for 'demo', '/demo', 'team/', 'a/b/c';
refused("socket $_", qr/socket must be an absolute path/, socket => "\"$_\"")
    for 'x/y', '/socket', '/run/', '/' . 'x' x 101;
refused("tlsName $_", qr/tlsName makes no name of a host/, tlsName => "\"$_\"")
    for '', '{cluster}.x', 'a b', '{pool}' . 'x' x 260;
refused("$_->[0] $_->[1]", qr/$_->[0] must be between/, @$_)
    for ['keep', '0s'], ['keep', '11m'], ['refresh', '10ms'], ['timeout', '2m'],
    ['unknownFor', '2m'];

# --- a folder in which others can write

mkdir $t->dir . '/open';
chmod 0777, $t->dir . '/open';
my $conf = $t->write('open.yaml', <<"END");
state: %%DIR%%/open.state
table: {path: "%%DIR%%/open.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/open.sock"]}
plugins:
  - {name: controller, options: {endpoint: "http://127.0.0.1:1", pool: a/b, socket: "%%DIR%%/open/s"}}
END
my $r = $t->run({ timeout => 20 }, $t->build . '/buildkit-plugin-host', '-c', $conf);
is($r->{rc}, 1, 'a folder for everybody: does not start');
like("$r->{out}$r->{err}", qr/others can make files in .*: tokens are sent to a socket/,
    'and says why');
$t->allow_log(qr/others can make files/);

# --- TLS

my $pki = $t->pki;
my $host = $ctl->host({ caFile => "\"$pki/gateway-ca.pem\"",
    bearerFile => '"%%DIR%%/bearer"', refresh => '1h' });
my $token = $ctl->put($t->token, 'w', 1234);
is($ctl->ask($token)->{verdict}, 'known', 'https, by an authority of its own');
is(($ctl->requests($token))[0]{authorization}, 'Bearer sesame', 'with the token');
$t->write('bearer', 'other');
$token = $ctl->put($t->token, 'w', 1234);
$ctl->ask($token);
is(($ctl->requests($token))[0]{authorization}, 'Bearer other', 'which may change');
unlink $t->dir . '/bearer';
my $a = $ctl->ask($t->token);
like("$a->{verdict} $a->{text}", qr/^trouble .*bearer: No such file/, 'or be lost');
$host->stop;

$host = $ctl->host({ caFile => "\"$pki/other-ca.pem\"" });
$a = $ctl->ask($t->token);
like("$a->{verdict} $a->{text}", qr/^trouble .*(?:certificate|SSL)/, 'another authority: not trusted');
is(scalar $ctl->requests, 2, 'nothing was sent there');
unlike($host->log, qr/sesame/, 'and no token is in the log');

done_testing;
