#!/usr/bin/perl

# The whole way of a job's token: a TCP listener, plugin oidc, access rules,
# an allocation of its own; the same for a token that is refused, and while
# an issuer hangs.  No token in any log.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use Oidc;
use Test::Buildkit;

plan tests => 28;

my $t = Test::Buildkit->new;
my ($github, $hangs) = map { Oidc->new($t, $_) } qw(github hangs);
for ($github, $hangs) {
    $_->key('k', 'ES256');
    $_->publish;
}
$hangs->hang('/jwks');

my $static = $t->token;
$t->write('oidc.yaml', <<"E");
issuers:
@{[join "\n", map { qq(  - {name: $_->{name}, issuer: "$_->{url}", )
    . qq(audience: [builds], caFile: "$_->{ca}"}) } $github, $hangs]}
tokens:
  - {name: nightly, sha256: "@{[sha256_hex($static)]}"}
E

my $yaml = conf([static_pool($t, 3), '{name: allocator}', '{name: metrics}',
    '{name: oidc, options: {file: "%%DIR%%/oidc.yaml"}}']);
$yaml =~ s{unix:%%DIR%%/api\.sock"}{$&, "127.0.0.1:%%PORT:api%%"};
$yaml .= <<'E';
audit: {file: "%%DIR%%/audit.log"}
metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}
access:
  rules:
    - name: main-builds
      sources: [github]
      match:
        - {claim: repository, values: [octo/app]}
        - {claim: ref, pattern: "refs/heads/.*"}
    - name: nightly
      sources: [token]
      match: [{claim: sub, values: [nightly]}]
E
my $host = $t->host($yaml);
my $api = '127.0.0.1:' . $t->port('api');

sub call {
    my ($token, $method, $path, $body) = @_;
    return $t->http($api, $method, $path, $body, headers => {
        Authorization => defined $token ? "Bearer $token" : undef });
}

my %claims = (sub => 'repo:octo/app:ref:refs/heads/main', ref =>
    'refs/heads/main', repository => 'octo/app');
my $good = $github->token('k', \%claims);
my $what = { poolName => 'demo', ttl => '5m' };
my $allocate = '/api/v1/workers/allocate';

# a busy machine may take longer for the keys than a caller waits
my $r = $t->wait_for(sub {
    my $one = call($good, POST => $allocate, $what);
    $one->{status} != 503 && $one }, 60, 'the keys of the issuer');
is($r->{status}, 200, 'a job gets a worker') or diag($r->{body});
like($r->{json}{token} // '', qr/^[\w-]{43}$/, 'with a token of its own');
my $id = $r->{json}{id};
$r = call($good, GET => '/api/v1/allocations');
is_deeply([map { $_->{id} } @{$r->{json} // []}], [$id], 'which it sees');
$r = call($github->token('k', { %claims, jti => 2 }), GET =>
    '/api/v1/explain?pool=demo');
is($r->{json}{rule}, 'main-builds', 'the rule') or diag($r->{body});
is($r->{json}{identity}, 'github:repo:octo/app:ref:refs/heads/main',
    'the name');
is(call($static, POST => $allocate, $what)->{status}, 200,
    'an API token as well');

# refusals
my @cases = (
    [undef, 401, qr/token/i, 'no token'],
    ['opaque', 401, qr/nobody here knows/, 'a token of nobody'],
    [$github->token('k', { %claims, exp => time - 900 }), 401,
        qr/the token expired 15m(\d+s)? ago/, 'an old one'],
    [$github->token('k', { %claims, aud => 'x' }), 401,
        qr/wrong audience: saw x, want builds/, 'of another audience'],
    [$github->token('k', \%claims, { alg => 'none' }), 401,
        qr/signed with none; accepted/, 'without an algorithm'],
    [$github->token('k', { %claims, repository => 'octo/other' }), 403,
        qr/octo\/other/, 'of another repository'],
);
for my $case (@cases) {
    my ($token, $status, $text, $name) = @$case;
    $r = call($token, POST => $allocate, $what);
    is($r->{status}, $status, $name);
    like($r->{body}, $text, "$name: the text");
}
like(call('opaque', GET => '/api/v1/allocations')->{headers}
    {'www-authenticate'} // '', qr/^Bearer/, '401 says how');

# an issuer that hangs
my $slow = IO::Socket::INET->new(PeerAddr => $api) or die $!;
syswrite $slow, "GET /api/v1/allocations HTTP/1.1\r\nHost: x\r\n"
    . "Connection: close\r\nAuthorization: Bearer "
    . $hangs->token('k', \%claims) . "\r\n\r\n";
is(call($good, GET => '/api/v1/allocations')->{status}, 200,
    'others go on while an issuer hangs');
my $text = '';
1 while sysread $slow, $text, 65536, length $text;
like($text, qr/^HTTP\/1\.1 503 .*issuer hangs .*"IssuerUnreachable"/s,
    'whose own callers are told');

my $metrics = $t->http('127.0.0.1:' . $t->port('metrics'), GET =>
    '/metrics')->{body};
for my $line ('tokens_total{source="github",result="accepted"} [1-9]',
    'tokens_total{source="github",result="expired"} 1',
    'tokens_total{source="hangs",result="unreachable"} 1',
    'key_fetches_total{issuer="github",result="ok"} 1',
    'cached_tokens [1-9]')
{
    like($metrics, qr/^buildkit_gateway_oidc_\Q@{[$line =~ s{ .*}{ }r]}\E
        @{[$line =~ s{.* }{}r]}\d*$/mx, $line);
}
my $parts = join '|', map { quotemeta substr $_, -20 } $good, $static;
unlike($host->log . $t->read('audit.log'), qr/$parts|eyJ/,
    'no token in the logs');
is($host->stop, 0, 'it stops');
