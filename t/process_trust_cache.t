#!/usr/bin/perl

# Untrusted builds never use a cache of trusted ones, nor the other way round,
# in a pool that both share: each kind has workers of its own, which their
# allocations share.  Real buildkitds, asked as the gateway does it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Access;
use File::Basename qw(dirname);
use Queue;
use Test::Buildkit;

plan tests => 13;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $host = $t->host(<<"END", program => Access::program($t),
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 9, pools: 9}
reports: "%%DIR%%/reports"
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: debug, format: text}
@{[rules("    - {name: forks, match: [{claim: fork, values: [\"yes\"]}],\n"
    . "       untrusted: true}\n")]}
plugins:
  - {name: who}
  - {name: allocator}
  - {name: process, options: {pool: default/demo, workers: 2, shared: true,
     onStop: stop}}
END
    env => { PATH => dirname($t->lab('buildkitd')) . ":$ENV{PATH}" });
my %up = (cert => "$dir/state/tls/upstream.pem",
    key => "$dir/state/tls/upstream-key.pem",
    ca => "$dir/state/tls/worker-ca.pem");
my %app = (repository => 'octo/app');
my %fork = (%app, fork => 'yes');
my $context = $t->context('app');

# the same repository and build, on workers that nobody has just then
my $own = come('ann', \%app);
is $own->{state}, 'ready', 'a trusted one';
is cached($own), 0, '... builds';
my $more = come('bob', \%app);
is $more->{workerName}, $own->{workerName}, 'another trusted one: same worker';
is cached($more), 2, '... and cache';
release_as($t, $_->{token}) for $own, $more;
my $fork = come('eve', \%fork);
isnt $fork->{workerName}, $own->{workerName}, 'a fork: another worker';
is cached($fork), 0, '... where nothing is cached';
my $two = come('mallory', \%fork);
is $two->{workerName}, $fork->{workerName}, 'another fork: with the first';
is cached($two), 2, '... and its cache';

release_as($t, $_->{token}) for $fork, $two;

# whatever worker their keys would have, with no load on any
for (['trusted ones', {}, $own], ['forks', \%fork, $fork]) {
    my ($name, $claims, $before) = @$_;
    my %worker;
    for my $n (1 .. 10) {
        my $one = come('zoe', { %$claims, repository => "octo/app-$n" });
        $worker{$one->{workerName}}++;
        release_as($t, $one->{token});
    }
    is_deeply \%worker, { $before->{workerName} => 10 },
        "$name: always their worker";
}

# what a fork builds is not what a trusted one gets
my $bad = $t->context('bad', $t->read('app/Dockerfile') =~ s/built/bad/r);
$fork = come('eve', \%fork);
is cached($fork, $bad), 1, 'a fork builds something else';
$own = come('ann', \%app);
is cached($own, $bad), 1, '... which a trusted one builds by itself';
is $host->alive, 1, 'plugin-host lives';
$host->stop;


sub come {
    my ($who, $claims) = @_;

    return allocate_as($t, $who, { wait => '60s' }, $claims)->{json};
}

# how many steps of a build came from the cache
sub cached {
    my ($a, $what) = @_;

    my ($w) = grep { "$_->{pool} $_->{name}"
        eq "default/demo $a->{workerName}" }
        @{$host->request(GET => '/api/v1/workers')->{json}};
    my $r = $t->buildctl(\%up, { addr => "tcp://$w->{endpoint}",
        timeout => 300 }, '--tlsservername', $w->{tlsServerName},
        $t->dockerfile_args($what // $context));
    return "failed: $r->{err}" if $r->{rc} != 0;

    return scalar(() = $r->{err} =~ / CACHED$/mg);
}
