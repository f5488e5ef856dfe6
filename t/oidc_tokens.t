#!/usr/bin/perl

# Plugin oidc: tokens that are good.  The four algorithms, claims as GitHub
# Actions and GitLab send them, how the user is named, static tokens, what is
# not ours.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use MIME::Base64 qw(decode_base64url);
use Oidc;
use Test::Buildkit;

plan tests => 32;

my $t = Test::Buildkit->new;
my ($github, $gitlab) = map { Oidc->new($t, $_) } qw(github gitlab);
$github->key($_, $_) for qw(RS256 PS256 ES256 ES384);
$gitlab->key('only', 'RS256');
$_->publish for $github, $gitlab;

my ($static, $old) = ($t->token, $t->token);
my ($hash, $old_hash) = map { sha256_hex($_) } $static, $old;

my $p = Oidc::identify($t, <<"E");
issuers:
  - name: github
    issuer: "@{[$github->url]}"
    audience: [builds, other]
    caFile: "@{[$github->ca]}"
  - name: gitlab
    issuer: "@{[$gitlab->url]}"
    audience: ["https://builds.example"]
    caFile: "@{[$gitlab->ca]}"
    algorithms: [RS256]
    claims: {user: project_path}
  - name: gitlab-deploy
    issuer: "@{[$gitlab->url]}"
    audience: [deploy]
    caFile: "@{[$gitlab->ca]}"
    claims: {user: /user_identities/0}
tokens:
  - name: nightly
    sha256: "$hash"
    claims:
      - {name: repository, value: octo/app}
      - {name: groups, values: [ci, "release"]}
  - {name: old, sha256: "$old_hash", expires: "2020-01-01T00:00:00Z"}
E
is($p->{first}, 'ready', 'it starts');
Oidc::warm($p, $github->token('RS256', {}));
Oidc::warm($p, $gitlab->token('only', { project_path => 'x',
    aud => 'https://builds.example' }));
Oidc::warm($p, $gitlab->token('only', { user_identities => { 0 => 'x' },
    aud => 'deploy' }));

my $branch = 'repo:octo/app:ref:refs/heads/main';
my %actions = (sub => $branch, aud => 'builds', repository => 'octo/app',
    jti => 'e6f3f2c4-0d2b', ref => 'refs/heads/main', ref_type => 'branch',
    sha => '0123456789012345678901234567890123456789', actor => 'octocat',
    repository_owner => 'octo', repository_owner_id => '65',
    repository_visibility => 'private', repository_id => '74',
    workflow => 'CI', event_name => 'push', run_id => '1', run_number => '10',
    run_attempt => '2', runner_environment => 'github-hosted',
    head_ref => '', base_ref => '', environment => 'prod',
    job_workflow_ref => 'octo/app/.github/workflows/ci.yml@refs/heads/main',
    ref_protected => 'true');

for my $alg (qw(RS256 PS256 ES256 ES384)) {
    # GitHub sends x5t
    my $token = $github->token($alg, \%actions, { x5t => 'ZHBl' });
    my $a = Oidc::ask($p, $token);
    is($a->{name}, "github:$branch", "$alg: the name");
    is($a->{source}, 'github', "$alg: the source");
    my (undef, $payload) = split /\./, $token;
    is_deeply($a->{claims}, JSON::decode_json(decode_base64url($payload)),
        "$alg: all claims");
    is($a->{until}, ($a->{claims}{exp} + 60) * 1000,
        "$alg: until it expires, and a minute");
}

my %job = (aud => ['x', 'https://builds.example'], namespace_id => '72',
    namespace_path => 'team', project_id => '20', project_path => 'team/app',
    sub => 'project_path:team/app:ref_type:branch:ref:main',
    user_id => '1', user_login => 'sample', user_email => 's@team.example',
    user_identities => [{ provider => 'saml', extern_uid => 's' }],
    pipeline_id => '574', pipeline_source => 'push', job_id => '302',
    ref => 'main', ref_type => 'branch', ref_path => 'refs/heads/main',
    ref_protected => 'true', runner_id => 1, nbf => int(time) - 5,
    runner_environment => 'self-hosted', jti => '235b3a54',
    ci_config_ref_uri => 'gitlab.example/team/app//.gitlab-ci.yml@main');

my $a = Oidc::ask($p, $gitlab->token('only', \%job));
is($a->{name}, 'gitlab:team/app', 'GitLab: named by another claim');
is($a->{claims}{runner_id}, 1, 'GitLab: its claims');
$a = Oidc::ask($p, $gitlab->token('only', \%job, { kid => undef }));
is($a->{name}, 'gitlab:team/app', 'no key id, and only one key');

$a = Oidc::ask($p, $gitlab->token('only', { %job, aud => 'deploy',
    user_identities => { 0 => 7 } }));
is($a->{source}, 'gitlab-deploy', 'two entries of one issuer: by audience');
is($a->{name}, 'gitlab-deploy:7', 'a pointer, a number');

# a name that is too long stays another than its neighbour
my @long = map { Oidc::ask($p, $github->token('ES256', { sub => "repo:x/y:ref:"
    . 'b' x 400 . $_ }))->{name} } 'a', 'b';
is_deeply([map { length } @long], [256, 256], 'long names are cut');
isnt($long[0], $long[1], 'and stay two');

# verified once
my $cached = 'oidc_tokens_total{source="github",result="cached"}';
my $before = Oidc::stats($p)->{$cached} // 0;
my $again = $github->token('ES384', \%actions);
my $one = Oidc::ask($p, $again)->{line};
is(Oidc::ask($p, $again)->{line}, $one, 'the same token again');
is(Oidc::stats($p)->{$cached}, $before + 1, 'is not verified again');
Oidc::clock($p, 360_500);
is(Oidc::ask($p, $again)->{reason}, 'TokenExpired', 'nor when it is over');

# static tokens
$a = Oidc::ask($p, $static);
is($a->{name}, 'token:nightly', 'a static token');
is_deeply($a->{claims}, { sub => 'nightly', repository => 'octo/app',
    groups => ['ci', 'release'] }, 'its claims');
$a = Oidc::ask($p, $old);
like($a->{line}, qr/^401 TokenExpired the token old expired \d+d/,
    'one that has expired');

# others'
my $other = $github->token('ES256', { iss => 'https://elsewhere.example' });
is_deeply([map { Oidc::ask($p, $_)->{none} } 'abc', "$static.", 'a.b.c',
    'e30', $other], [(1) x 5], 'not ours');
is(Oidc::quit($p), 0, 'the end');
