# How many allocations a worker of a pool takes: one, any number or so many,
# from static.yaml and from the plugin process, as the API and bkctl show it,
# after a change and after a restart.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Test::Buildkit;

my @bad = ('1', '0', '-4', '100001', '4294967298', '99999999999', '2x', '02',
    'maybe');

plan tests => 11 + @bad;

my $t = Test::Buildkit->new;

sub yaml {
    my (%shared) = @_;

    return join '', "pools:\n", map {
        "  - {name: team/$_" . (defined $shared{$_} ? ", shared: $shared{$_}"
            : '') . "}\n"
    } sort keys %shared;
}

$t->write('static.yaml', yaml(none => undef, one => 'false', any => 'true',
    some => 4));
my $host = $t->host(conf([
    '{name: static, options: {file: "%%DIR%%/static.yaml"}}',
    '{name: process, options: {pool: ci/many, shared: 8, command: [/bin/true]}}'
    ]));

sub pool {
    my ($name) = @_;

    my ($pool) = grep { $_->{name} eq $name }
        @{$host->request(GET => '/api/v1/pools')->{json}};
    return ($pool->{shared} ? 'shared ' : 'alone ')
        . ($pool->{allocationsPerWorker} // 'any');
}

is pool('team/none'), 'alone 1', 'nothing is said: one';
is pool('team/one'), 'alone 1', 'false: one';
is pool('team/any'), 'shared any', 'true: any number';
is pool('team/some'), 'shared 4', 'a number: so many';
is pool('ci/many'), 'shared 8', 'the same from the plugin process';

my %env = (BKCTL_ENDPOINT => 'unix:' . $host->api);
my $out = $t->run({ env => \%env }, $t->build . '/bkctl', 'pools')->{out};
my %seen = $out =~ m{^(\S+/\S+) .* (\S+) +tcp://}mg;
is_deeply \%seen, { 'team/none' => 'no', 'team/one' => 'no',
    'team/any' => 'yes', 'team/some' => '4', 'ci/many' => '8' },
    'bkctl pools shows it';

# the limit itself may change
$t->write('static.yaml', yaml(some => 5));
$t->wait_for(sub { pool('team/some') eq 'shared 5' }, 10, 'a new limit');
pass 'another limit';
$t->write('static.yaml', yaml(some => 'true'));
$t->wait_for(sub { pool('team/some') eq 'shared any' }, 10, 'no limit');
pass 'no limit any more';
$t->write('static.yaml', yaml(some => 6));
$t->wait_for(sub { pool('team/some') eq 'shared 6' }, 10, 'a limit again');
$host->stop('KILL');
$host->restart;
is pool('team/some'), 'shared 6', 'it is there after kill -9';

for my $bad (@bad) {
    my ($size, $new) = length $host->log;
    $t->write('static.yaml', yaml(some => "\"$bad\""));
    $t->wait_for(sub { $new = substr $host->log, $size;
        $new =~ /nothing was changed/ }, 10, "the refusal of $bad");
    like $new, qr/:2: .*shared: must (?:be true, false or how|have 1 to 10)/,
        "static: not $bad";
}

$t->write('bad.conf', $t->read('host.yaml') =~ s/shared: 8/shared: 1/r);
my $r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c',
    $t->dir . '/bad.conf');
is $r->{rc}, 1, 'process: not 1';
like $r->{err}, qr/shared is true, false or how many .* not "1"/, 'and why';
