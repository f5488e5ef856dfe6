#!/usr/bin/perl

# The host's own life, as plugins take part in it (ABI 1.4): they prepare its
# state folder, hear when its authorities change, and may end it; and where a
# pool's clients are sent.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Access;
use JSON ();
use Test::Buildkit;

plan tests => 64;

my $t = Test::Buildkit->new;
my $program = Access::program($t, 'prepare');
my $dir = $t->dir;
my ($host, $runs) = (undef, 0);
my %more;                   # of the next start

# from within, and one after the other
begin('first', {}, { how => 'file', go => "$dir/go2", pool => 'test/two' });
$t->wait_for(sub { $host->log =~ /prepare#2: it prepares/ }, 10, 'the second');
unlike $host->log, qr/it starts/, 'nobody is started before all are prepared';
ok !-e $host->api, 'nobody is listened to';
ok !-e "$dir/first.table", 'there is no table';
ok !-e "$dir/first/ca", 'and no authority';
$host->kill('HUP');
$host->kill('USR1');
$t->wait_for(sub { $host->log =~ /were reloaded/ }, 10, 'word of the reload');
go('go2', 'ok');
$host->wait_ready(10);
like $host->log, qr{prepare: it prepares, in \Q$dir\E/first\b.*?prepare#2: it prepares}s,
    'in the order of the configuration';
# it says so to systemd first
$t->wait_for(sub { $host->log =~ /\bready$/m }, 10, 'it in the log');
like $host->log, qr/#2: it prepares.*?prepare: it starts.*?prepare#2: it starts.*ready/s,
    'then the rest, in order';

# state_changed(): the authorities that the start made, then a rotation
is look()->{changed}, 1, 'what a start makes is heard of, once';
is $host->request(POST => '/api/v1/ca/rotate', {})->{status}, 200, 'a rotation';
is look()->{changed}, 2, '... of both authorities is heard of once';

# state_read(): what another host has issued
my $trust = JSON::decode_json($t->read('first/ca/gateway-trust.json'));
my $until = issued_until();
my $late = $trust->{old}[0];
$_ = (time + 40 * 86_400) * 1000 for $trust->{until}, $late->{until};
trust('first', $trust);
is post('read')->{status}, 200, 'what others issued is read';
cmp_ok issued_until(), 'gt', $until, '... and counts';
$until = issued_until();
$trust->{until} = 1;
trust('first', $trust);
is post('read')->{status}, 200, 'a shorter time is read';
is issued_until(), $until, '... and does not count';
is look()->{changed}, 3, '... and what is right is written again';
$trust->{old} = [];
trust('first', $trust);
my $r = post('read');
is "$r->{status} $r->{json}{reason}", '409 OtherAuthority',
    'without the old authority it is another one';
$trust->{old} = [$late];
$trust->{signer} = $late->{signer};
trust('first', $trust);
$r = post('read');
is "$r->{status} $r->{json}{reason}", '409 OtherAuthority',
    'nor with another that signs';
trust('first', 'nonsense');
is post('read')->{json}{reason}, 'BadAuthority', 'nor with nonsense';
is issued_until(), $until, 'nothing of those was taken';

# a pool's gateway
is look()->{endpoint}, 'tcp://gw.example:1235', 'that of the configuration';
is gateway('endpoint=tcp://one:1&ca=pem&why=soon')->{status}, 200, 'its own';
my $look = look();
is "$look->{endpoint} $look->{ca} $look->{why}", 'tcp://one:1 pem soon',
    '... is what clients get';
is $look->{events}, 1, '... and an event';
gateway('endpoint=tcp://one:1&ca=pem&why=soon');
is look()->{events}, 1, 'the same again is none';
gateway('why=later');
$look = look();
is "$look->{endpoint}:$look->{ca}:$look->{why}", '::later',
    'nobody knows an endpoint yet';
gateway('ca=other');
$look = look();
is "$look->{endpoint} $look->{ca}:$look->{why}", 'tcp://gw.example:1235 other:',
    'without one it is the configuration\'s';
gateway('endpoint=tcp://one:1');
is look()->{why}, '', 'usable again';
is gateway('endpoint=tcp://x:1&pool=test/two')->{status}, 404,
    'of another one\'s pool: refused';
is gateway('endpoint=tcp://x:1&pool=test/none')->{status}, 404, '... or of none';
post('again');
is look()->{endpoint}, 'tcp://gw.example:1235', 'it goes with the pool';

# quit
is post('quit')->{status}, 200, 'an end';
ended(1, 'with status 1');
like $host->log, qr/plugin prepare: it was asked to quit.*it stops/s,
    '... says why, and all stop';
unlike $host->log, qr/once more/, 'the first reason is the one';

# and the same where it begins anew
%more = (args => ['--again']);
begin('anew', {});
$host->wait_ready(10);
my $pid = $host->{proc}{pid};
my @open = glob "/proc/$pid/fd/*";
is post('quit')->{status}, 200, 'an end, again';
$t->wait_for(sub { 2 == (() = $host->log =~ /\bstarts, pid $pid\b/g) }, 10,
    'the same process to begin');
$host->wait_ready(10);
like $host->log, qr/asked to quit.*it stops.*begins anew.*starts, pid $pid\b/s,
    'a process that ends, and begins';
ok $host->alive, '... and lives';
# what a start opens for a moment goes again
ok $t->wait_for(sub { @open + 1 >= (() = glob "/proc/$pid/fd/*") }, 60,
    'descriptors'), '... with nothing that was open before';
is $host->stop, 0, 'a signal ends it';
# as if that had just been
$more{env} = { BK_BEGAN_ANEW => '999999999999' };
begin('circle', {});
$host->wait_ready(10);
post('quit');
ended(1, 'not in circles');
# told to end while it stops for that: it ends.  A plugin that did not come to
# its end is left as it is, with what it has.
$more{env} = { ASAN_OPTIONS => 'detect_leaks=0' };
begin('told', { how => 'slow', go => "$dir/never" });
$host->wait_ready(10);
post('quit');
$t->wait_for(sub { $host->log =~ /it stops/ }, 10, 'it to stop');
$host->kill('TERM');
ended(1, 'a signal while it is to begin anew ends it');
unlike $host->log, qr/begins anew/, '... and nothing begins';
%more = ();

# state_make(), and what is put in its place before the host opens it
begin('made', { make => 'yes', how => 'file', go => "$dir/go3" });
# all of it: what is written after this would take the place of what is put
$t->wait_for(sub { $host->log =~ /it has made the state/ }, 60,
    'the authorities');
ok -e "$dir/made/tls/gateway.pem", 'and a certificate of the gateway';
unlike $host->log, qr/it starts/, 'made while it prepares';
my $own = $t->read('made/ca/gateway-ca.pem');
like $own, qr/BEGIN CERTIFICATE/, 'with a certificate';
trust('first', { %$trust, old => [], signer => undef });
unlink glob "$dir/made/ca/*";
for my $name (map { ("$_-ca.pem", "$_-ca-key.pem") } qw(gateway worker)) {
    $t->write("made/ca/$name", $t->read("first/ca/$name"));
    chmod 0600, "$dir/made/ca/$name";
}
go('go3', 'ok');
$host->wait_ready(10);
my $shown = $t->read('made/tls/gateway-ca.pem');
isnt $shown, $own, 'those are not used';
is $shown, $t->read('first/ca/gateway-ca.pem'), 'what was put there is';
is $host->stop, 0, 'stops';

# not prepared
begin('failed', { how => 'file', go => "$dir/go4" });
go('go4', 'there is no such cluster');
ended(1, 'an error ends it');
like $host->log, qr/plugin prepare: there is no such cluster/, '... and says why';
like $host->log, qr/it stops/, '... and it is asked to stop';
unlike $host->log, qr/it starts|ready/, '... and never started';

begin('refused', {}, { how => 'refuse', pool => 'test/two' });
ended(1, 'a refusal ends it');
like $host->log, qr/plugin prepare#2: it does not prepare/, '... and says why';
like $host->log, qr/prepare: it stops/, 'who was prepared is asked to stop';
unlike $host->log, qr/prepare#2: it stops/, 'who refused is not';

begin('killed', { how => 'file', go => "$dir/never" });
$t->wait_for(sub { $host->log =~ /it prepares/ }, 10, 'it to prepare');
is $t->run({ env => { BKCTL_ENDPOINT => 'unix:' . $host->api } },
    $t->build . '/bkctl', 'status', '--live')->{rc}, 0, 'who waits is well';
is $host->stop, 0, 'a signal meanwhile stops it';
like $host->log, qr/it stops/, '... in good order';
ok !-e "$dir/killed.table", '... with no table made';

begin('twice', { how => 'twice' });
$host->wait_ready(10);
like $host->log, qr/error prepare: was not asked to prepare/, 'said twice';
is scalar(() = $host->log =~ /it starts/g), 1, '... it starts once';
is $host->stop, 0, 'stops';

# no plugin that prepares: a start as ever
begin('none');
$host->wait_ready(10);
is $host->request(GET => '/readyz')->{status}, 200, 'none of them';
is $host->stop, 0, 'stops';


sub begin {
    my ($state, @plugins) = @_;

    my $list = join '', map {
        my $o = $_;
        "  - {name: prepare, options: {"
            . join(', ', map { "$_: \"$o->{$_}\"" } sort keys %$o) . "}}\n"
    } @plugins;
    $list =~ s/"yes"/yes/g;
    $list ||= "  - {name: metrics}\n";
    $host = $t->host(<<"END", program => $program, no_wait => 1, name => 'h' . ++$runs, %more);
state: %%DIR%%/$state
table: {path: "%%DIR%%/$state.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/$state.sock"]}
gateway: {endpoint: "tcp://gw.example:1235"}
plugins:
$list
END
    return;
}

sub ended {
    my ($status, $name) = @_;

    $t->wait_for(sub { !$host->alive }, 10, 'its end');
    is $host->{proc}{status}, $status, $name;
    return;
}

sub go {
    my ($file, $text) = @_;

    $t->write("$file.new", $text);
    rename "$dir/$file.new", "$dir/$file" or die "$file: $!";
    return;
}

sub trust {
    my ($state, $json) = @_;

    $t->write("$state/ca/gateway-trust.json",
        ref $json ? JSON::encode_json($json) : $json);
    return;
}

sub issued_until {
    my $ca = $host->request(GET => '/api/v1/ca')->{json};
    my ($gateway) = grep { $_->{name} eq 'gateway' } @{$ca->{authorities}};
    return join ' ', $gateway->{issuedUntil} // '',
        map { $_->{neededUntil} // () } @{$gateway->{certificates}};
}

sub look { $host->request(GET => '/api/v1/prepare/look')->{json} }
sub post { $host->request(POST => "/api/v1/prepare/$_[0]") }
sub gateway { post("gateway?$_[0]") }
