# Plugin kubernetes: its options, and that it finds an API server before it
# starts.  What kubeconfigs may hold: t/unit/k8s_conf.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 45;

my $t = Test::Buildkit->new;
my $program = $t->build . '/buildkit-plugin-host';
my $n = 0;
delete @ENV{qw(KUBECONFIG KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT)};

$t->write('kubeconfig', <<'E');
current-context: one
contexts:
- {name: one, context: {cluster: c, user: u, namespace: team}}
- {name: two, context: {cluster: c, user: program}}
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: not-to-be-seen}},
        {name: program, user: {exec: {command: aws}}}]
E

sub check {
    my ($options) = @_;
    my $path = $t->write('conf' . ++$n . '.yaml', "state: %%DIR%%/state\n"
        . "plugins:\n  - {name: kubernetes, options: {$options}}\n");
    my $r = $t->run($program, '-c', $path, '-t');
    $r->{err} =~ s/\Q$path\E/FILE/g;
    return $r;
}

for my $good ('', 'role: controller', 'role: controller, leaseDuration: 5m,'
    . ' gatewayImage: "a/b:1", externalHost: h, controllerURL: "http://c:1"',
    'kubeconfig: "%%DIR%%/kubeconfig"',
    'namespaces: [team, a-1], kubeconfig: "%%DIR%%/kubeconfig", context: one',
    'namespaces: ["*"]', 'privileged: [], annotations: ["*"], labels: [none],'
    . ' scratchSize: ""', 'privileged: ["*"], apiTLS: /run/a, apiNames: [a.b,'
    . ' "::1"], scratchSize: 1.5Gi', 'privileged: [a, b],'
    . ' annotations: [example.com/, example.com/team, team]',
    'ingressService: x', 'ingressClass: buildkit, names: /run/names,'
    . ' ingressService: a/b, leaseDuration: 3s')
{
    my $r = check($good);
    is($r->{rc}, 0, "good: $good") or diag($r->{err});
}

for my $case (
    ['role: both', qr/FILE:3: plugins\.0\.options\.role: must be gateway or /],
    ['namespaces: [Team]', qr/FILE:3: \S+namespaces\.0: is no name of a namesp/],
    ['namespaces: [a, a/b]', qr/FILE:3: \S+namespaces\.1: is no name of a/],
    ['namespaces: [""]', qr/FILE:3: \S+namespaces\.0: is no name of a/],
    ['namespaces: [a, b, a]', qr/FILE:3: \S+namespaces\.2: is given twice/],
    ['namespaces: ["*", a]', qr/FILE:3: \S+namespaces\.1: "\*" is all of them/],
    ['namespaces: [a, "*"]', qr/FILE:3: \S+namespaces\.1: "\*" is all of them/],
    ['leaseDuration: 2s', qr/FILE:3: \S+leaseDuration: must be from 3s to 5m/],
    ['leaseDuration: 301s', qr/FILE:3: \S+leaseDuration: must be from 3s to/],
    ['ingressClass: "A B"', qr/"ingressClass" is no name of a class/],
    ['ingressClass: a, names: x', qr/"names" must be an absolute path/],
    ['ingressClass: a, names: ""', qr/"names" must be an absolute path/],
    ['ingressClass: a, ingressService: x', qr/"ingressService" must be NAMESP/],
    ['ingressClass: a, ingressService: "a/b/c"', qr/"ingressService" must be/],
    ['privileged: [A]', qr/FILE:3: \S+privileged\.0: is no name of a names/],
    ['privileged: ["*", a]', qr/FILE:3: \S+privileged\.1: "\*" is all of/],
    ['annotations: ["a b"]', qr{FILE:3: \S+annotations\.0: is neither a name}],
    ['annotations: [/a]', qr{FILE:3: \S+annotations\.0: is neither a name}],
    ['annotations: [a/b/c]', qr{FILE:3: \S+annotations\.0: is neither a name}],
    ['annotations: [none, a]', qr/FILE:3: \S+annotations\.1: "none" is none/],
    ['labels: [a, none]', qr/FILE:3: \S+labels\.1: "none" is none of them/],
    ['labels: [a, "*"]', qr/FILE:3: \S+labels\.1: "\*" is all of them/],
    ['labels: [a, a]', qr/FILE:3: \S+labels\.1: is given twice/],
    ['scratchSize: 10GB', qr/FILE:3: \S+scratchSize: is no size as 50Gi/],
    ['scratchSize: "1000"', qr/FILE:3: \S+scratchSize: is no size as 50Gi/],
    ['apiTLS: run', qr/FILE:3: \S+apiTLS: must be an absolute path/],
    ['apiNames: ["a,b"]', qr/FILE:3: \S+apiNames\.0: is neither a DNS name/],
    ['kubeconfig: x', qr/"kubeconfig" must be an absolute path/],
    ['kubeconfig: /x', qr{/x: No such file}],
    ['kubeconfig: "%%DIR%%/kubeconfig", context: x', qr/no context "x"/],
    ['kubeconfig: "%%DIR%%/kubeconfig", context: two',
        qr/kubeconfig:7: users\.1\.user\.exec: is not supported here/])
{
    like(check($case->[0])->{err}, $case->[1], "bad: $case->[0]");
}

sub conf {
    my ($options) = @_;
    return <<"E";
state: %%DIR%%/state
table: {path: "%%DIR%%/table", allocations: 100, workers: 4, pools: 4}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
plugins: [{name: kubernetes, options: {$options}}]
E
}

my $r = $t->run($program, '-c', $t->write('none.yaml', conf('')));
like($r->{err}, qr/there is no kubeconfig, and this is no Pod/,
    'nothing to be found');

my $host = $t->host(conf('kubeconfig: "%%DIR%%/kubeconfig"'));
like($host->log, qr{API server https://127\.0\.0\.1:1, as gateway},
    'it knows its server');
unlike($host->log, qr/not-to-be-seen/, 'and says no secret');
