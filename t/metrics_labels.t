#!/usr/bin/perl

# Whatever strangers send, /metrics has no more series than before: pools,
# paths, methods, ids, tokens and reasons that somebody made up are in none of
# its labels.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Access;
use Allocator qw(static_pool);
use Oidc;
use Report ();
use Test::Buildkit;

plan tests => 6;

my $t = Test::Buildkit->new;
my $issuer = Oidc->new($t, 'main');
$issuer->key('k', 'ES256');
$issuer->publish;
$t->write('oidc.yaml', qq(issuers: [{name: main, issuer: "@{[$issuer->url]}", )
    . qq(audience: [builds], caFile: "@{[$issuer->ca]}"}]\n));

my $static = static_pool($t, 1);
my $host = Access::host($t, <<'A', plugins => <<"P");
access:
  rules:
    - {name: ci, sources: [who], pools: ["default/*"]}
A
  - {name: who}
  - {name: metrics}
  - {name: oidc, options: {file: "%%DIR%%/oidc.yaml"}}
  - $static
  - {name: allocator}
P
my $api = '127.0.0.1:' . $t->port('api');
my $allocate = '/api/v1/workers/allocate';

# each path once as it is meant to be, so that its series are there
my $n = 0;
everything('demo', 'ann', 'k');
my %before = %{Report::metrics($t)};
everything("made-up-$_", "made-up-$_", "made-up-$_") for 1 .. 50;
my %after = %{Report::metrics($t)};

is $n, 51 * 14, 'many were sent';
is_deeply [grep { !/^http_request(?:s_total|_seconds)/ && !exists $before{$_} }
    sort keys %after], ['allocate_refused_total{reason="PoolNotFound"}'],
    'no series but that of a reason of our own';
is_deeply [grep { /made.?up/i } keys %after], [], 'nothing that was made up';

# methods, routes and status: each of its list
my %labels;
for (keys %after) {
    push @{$labels{$1}{$2}}, $_ while /(\w+)="([^"]*)"/g;
}
is_deeply [grep { !/^(?:GET|HEAD|POST|PUT|DELETE|)$/ }
    keys %{$labels{method}}], [], 'methods that we know';
is_deeply [grep { !m{^(?:|/healthz|/readyz|/metrics|/api/v1/[a-z*/]+)$} }
    keys %{$labels{route}}], [], 'routes as they are registered';
cmp_ok scalar(keys %after), '<', keys(%before) + 200, 'and few of them';
$host->stop;


sub everything {
    my ($pool, $user, $kid) = @_;

    my $who = Access::token('now', $user);
    my $jwt = $issuer->token('k', { aud => 'builds' }, { kid => $kid });
    my $id = substr unpack('H*', $pool), 0, 12;

    for ([$who, POST => $allocate, { poolName => $pool, wait => '0' }],
        [$who, POST => $allocate, { poolName => $pool, ttl => $pool }],
        [$who, POST => '/api/v1/workers/release', { token => $pool }],
        [$who, GET => "/api/v1/allocations/$id"],
        [$who, GET => "/api/v1/allocations?pool=$pool"],
        [$who, GET => "/api/v1/explain?pool=$pool&verb=$user"],
        [$who, POST => "/api/v1/pools/$pool/wake"],
        [$who, POST => "/api/v1/workers/$pool/drain", {}],
        [$who, GET => "/$pool"], [$who, GET => "/api/v1/$pool/$user"],
        [$who, uc($pool =~ tr/a-zA-Z//cdr) => '/api/v1/pools'],
        [$jwt, GET => '/api/v1/pools'], [$pool, GET => '/api/v1/pools'],
        [$issuer->token('k', { iss => "https://$pool.example" }),
            GET => '/api/v1/pools'])
    {
        my ($token, $method, $path, $body) = @$_;
        $t->http($api, $method, $path, $body,
            headers => { Authorization => "Bearer $token" });
        $n++;
    }
}
