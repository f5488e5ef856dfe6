#!/usr/bin/perl

# bkctl status: healthy, a check that fails (exit 1), nobody there (exit 5),
# and what it says of the route table in each case.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

plan tests => 21;

my $api;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $dir = $t->dir;
my %env = (BKCTL_ENDPOINT => "unix:$dir/api.sock", BKCTL_TOKEN => undef,
    BKCTL_TABLE => "$dir/buildkit.table", NO_COLOR => 1);

my $got = status();
is($got->{rc}, 5, 'nobody there: exit 5');
like($got->{err}, qr/cannot be reached.*\n +start it with:/, '... what to do');
like($got->{out}, qr/^the route table \S+ does not exist here$/m,
    '... and the table is looked at all the same');

$got = status('--live');
is("$got->{rc} $got->{out}$got->{err}", '0 ', '--live: it may be preparing');

my $w = $t->table('pool default/demo', 'live', 'heartbeat');
like(status()->{out}, qr/^table \S+: live, .* 0 live and 0 ended of 1000$/m,
    'a table without an API');
$w->quit;

my @pools = ({ name => 'default/demo', endpoint => 'tcp://gw:1235',
    status => 'ready', workers => { total => 2 } }, { odd => [1] });
my $checks = { table => 'ok', plugins => { allocator => 'ok',
    static => "its first\e[31m facts are not in" } };

api(503, $checks);
is(status('--live')->{rc}, 0, '--live: it answers');
$got = status();
is($got->{rc}, 1, 'a check fails: exit 1');
is($got->{err}, '', '... which is an answer, not an error');
like($got->{out}, qr/^api unix:\S+: a check fails\ngateway /m, '... said');
like($got->{out}, qr/^check table: ok$/m, '... each check');
like($got->{out}, qr/^check plugins static: its first\?\[31m facts are not/m,
    '... by name, without control bytes');
like($got->{out}, qr{^default/demo +ready +2 +- }m, 'a field that is missing');
is(decode_json(status('--json')->{out})->{healthy}, JSON::false, '--json');

# what says 200 but has a check that is not ok is not well either
api(200, $checks);
is(status()->{rc}, 1, '200 with a bad check: exit 1');

delete $checks->{plugins}{static};
api(200, $checks);
$got = status();
is($got->{rc}, 0, 'healthy: exit 0');
like($got->{out}, qr/: healthy$/m, '... said');

$t->write('buildkit.table', 'rubbish' x 100);
$got = status();
is($got->{rc}, 0, 'a table that cannot be read is no fault of the API');
like($got->{out}, qr/not a route table/, '... but said');
is(decode_json(status('--json')->{out})->{tableError},
    "the route table $dir/buildkit.table is not a route table (wrong magic)",
    '... in JSON too');

# what listens and does not answer, and what is dead
$t->stop($api);
undef $api;
unlink "$dir/api.sock";
my $hangs = IO::Socket::UNIX->new(Local => "$dir/api.sock", Listen => 1);
$got = status('--live');
is("$got->{rc} $got->{out}", '1 ', '--live: it hangs');
$hangs->close;
is(status('--live')->{rc}, 0, '--live: nobody listens there any more');


sub status { return $t->run({ env => \%env }, $bkctl, 'status', @_) }


sub api {
    my ($status, $health) = @_;

    $t->stop($api) if $api;
    unlink "$dir/api.sock";
    $t->write('rules', encode_json([
        { on => 'health', status => $status, json => { checks => $health } },
        { on => 'pools', json => \@pools }]));
    $api = $t->start('fake', {}, "$FindBin::Bin/lib/fake_api",
        "$dir/api.sock", "$dir/rules", "$dir/requests");
    $t->wait_for(sub { IO::Socket::UNIX->new(Peer => "$dir/api.sock") }, 10,
        'the API');
}
