#!/usr/bin/perl

# Access rules where requests meet them: which routes one gets to, what a rule
# grants in a pool, what a refusal says, operators, and strangers.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E');
access:
  rules:
    - name: forks
      match: [{claim: fork, values: ["true"]}]
      pools: ["default/*"]
      untrusted: true
      maxTtl: 10m
      priority: -5
    - name: main-builds
      sources: [who]
      match:
        - {claim: repository, values: [octo/app, octo/lib]}
        - {claim: ref, pattern: "refs/heads/(main|release/.*)"}
      pools: [default/one]
      maxTtl: 2h
      concurrency: 20
      priority: 10
    - {name: staff, match: [{claim: groups, values: [ops]}], verbs: [admin]}
    - {name: peers, sources: [unix], match: [{claim: groups, values: ["#65531"]}], verbs: [list]}
    - {name: one-peer, sources: [unix], match: [{claim: uid, values: ["65530"]}], verbs: [wake]}
  pools:
    - name: default/two
      rules:
        - {name: two-only, match: [{claim: repository, values: [octo/two]}]}
        - {name: two-closed, match: [{claim: fork, values: ["true"]}], deny: true}
E
my ($allocate, $wake, $admin) = (1, 2, 8);

sub may {
    my ($claims, $verb, $pool) = @_;
    return Access::as($t, Access::token('now', 'ann', $claims),
        GET => "/api/v1/who/may?verb=$verb&pool=$pool");
}

sub get {
    my ($claims, $method, $path) = @_;
    return Access::as($t, Access::token('now', 'ann', $claims), $method, $path);
}

my %main = (repository => 'octo/app', ref => 'refs/heads/release/1.2');
my %fork = (%main, fork => JSON::true);

# what a rule grants
is_deeply(may(\%main, $allocate, 'default/one')->{json}, { rule =>
    'main-builds', maxTtl => 7200000, concurrency => 20, priority => 10,
    untrusted => 0 }, 'a rule, and all that comes with it');
is_deeply(may(\%fork, $allocate, 'default/one')->{json}, { rule => 'forks',
    maxTtl => 600000, concurrency => 0, priority => -5, untrusted => 1 },
    'the first that matches');
is(may({ repository => 'octo/two' }, $wake, 'default/two')->{json}{rule},
    'two-only', 'the rule of a pool');
is(may(\%main, $allocate, 'default/none')->{status}, 403,
    'a pool that no rule has');

# what a refusal says
my $r = may({ %main, ref => 'refs/pull/7' }, $allocate, 'default/one');
is("$r->{status} $r->{json}{reason}", '403 Forbidden', 'no rule');
is($r->{json}{error}, 'who:ann may not allocate in default/one: no rule allows '
    . 'it; claims seen: repository="octo/app", ref="refs/pull/7"',
    'the claims that were seen');
like($r->{json}{hint}, qr/bkctl explain --verb allocate/, 'and what to do');
like(may(\%fork, $allocate, 'default/two')->{json}{error},
    qr/in default\/two: rule two-closed refuses it; claims seen: .*fork=true/,
    'a rule that refuses');
is(may(\%main, $admin, 'default/one')->{status}, 403, 'another verb');

# routes: the verb must be allowed somewhere
is(get(\%main, POST => '/api/v1/who/wake')->{status}, 200, 'wake somewhere');
$r = get(\%main, POST => '/api/v1/who/admin');
is($r->{status}, 403, 'admin nowhere');
like($r->{json}{error}, qr/^who:ann may not admin: no rule allows it/, 'why');
is(get({ groups => ['dev', 'ops'] }, POST => '/api/v1/who/admin')->{status},
    200, 'admin by one group of several');
is(get({ groups => ['dev'] }, POST => '/api/v1/who/admin')->{status}, 403,
    'none of them');
is(get({ groups => ['ops'] }, POST => '/api/v1/who/wake')->{status}, 403,
    'no verb follows from another');

# somebody with a good token whom no rule knows
my %evil = (repository => 'evil/app');
for my $path (qw(pools workers allocations allocations/111111111111 sessions)) {
    is(get(\%evil, GET => "/api/v1/$path")->{status}, 403,
        "a stranger: no $path");
}
$r = get(\%evil, GET => '/api/v1/explain?pool=one');
is($r->{status}, 200, 'but may ask why');

# the socket: root and who runs plugin-host, and nobody by a claim
$r = $h->request(GET => "/api/v1/who/may?verb=$admin&pool=any/thing");
is($r->{json}{rule}, 'operators', 'the socket of an operator');
is(may({ uid => 0, user => 'root' }, $admin, 'any/thing')->{status}, 403,
    'claims make no operator');
SKIP: {
    skip 'not root', 6 if $> != 0;
    my $other = <<'P';
use IO::Socket::UNIX; use POSIX;
my ($sock, $uid, $gid, $groups) = @ARGV;
$) = "$gid $groups"; POSIX::setgid($gid); POSIX::setuid($uid);
for my $request ('GET who', 'GET pools', 'POST who/wake', 'POST who/admin') {
    my ($method, $path) = split / /, $request;
    my $s = IO::Socket::UNIX->new(Peer => $sock) or die "$sock: $!";
    print $s "$method /api/v1/$path HTTP/1.1\r\nConnection: close\r\n\r\n";
    print <$s>, "\n";
}
P
    my $peer = sub { $t->run('perl', '-e', $other, $h->api, @_) };
    chmod 0755, $t->dir, $t->dir . '/run';
    my $r = $peer->(65532, 65533, 65531);
    like($r->{err}, qr/Permission denied/, 'the mode of the socket');
    chmod 0666, $h->api;
    $r = $peer->(65532, 65533, 65531);
    like($r->{out}, qr{"name":"unix:\#65532".*"groups":\["\#65531","\#65533"\]}s,
        'who gets in is who he is') or diag($r->{err});
    # who, list, wake, admin
    for ([65532, 65533, 65531, '200 200 403 403', 'a rule for his group'],
        [65532, 65531, 65534, '200 200 403 403', 'for his first one'],
        [65530, 65533, 65533, '200 200 200 403', 'for his uid'],
        [65532, 65533, 65533, '200 403 403 403', 'for neither'])
    {
        my ($uid, $gid, $groups, $want, $name) = @$_;
        $r = $peer->($uid, $gid, $groups);
        is(join(' ', $r->{out} =~ m{^HTTP/1\.1 (\d+) }mg), $want,
            "a peer of the socket: $name, and no operator");
    }
}

done_testing;
