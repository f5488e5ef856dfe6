#!/usr/bin/perl

# Plugin oidc: oidc.yaml.  What is wrong in it is said with file and line, at
# start and under -t; a change is taken at once, what stays the same keeps
# its keys, and a bad change changes nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $issuer = Oidc->new($t, 'main');
my $http = Oidc->new($t, 'plain', tls => 0);
for ($issuer, $http) {
    $_->key('k', 'ES256');
    $_->publish;
}
my ($url, $plain, $ca) = ($issuer->url, $http->url, $issuer->ca);
my $token = $t->token;
my $hash = sha256_hex($token);
my $key = $t->write('key.pem', "no certificate\n");

my $one = qq(issuers:\n  - name: main\n    issuer: "$url"\n)
    . qq(    audience: [builds]\n    caFile: "$ca"\n);
my $review = qq(tokenReview:\n  name: kube\n  server: "$url"\n)
    . qq(  tokenFile: /nonexistent/token\n);
my $tokens = qq(tokens:\n  - name: one\n    sha256: "$hash"\n);

# what, the file, line, what is said
my @bad = (
    ['an unknown key', "issuer: x\n", 1,
        qr/unknown key "issuer", did you mean "issuers"/],
    ['no name', "issuers:\n  - issuer: x\n    audience: [a]\n", 2,
        qr/name.*(?:missing|given)/],
    ['no audience', "issuers:\n  - name: a\n    issuer: x\n", 2,
        qr/audience.*(?:missing|given)/],
    ['audiences that are none', $one =~ s/\[builds\]/[]/r, 4, qr/audience/],
    ['a name', $one =~ s/name: main/name: Main/r, 2,
        qr/issuers\.0\.name: must be of lower-case/],
    ['a name that is taken', $one =~ s/name: main/name: unix/r, 2,
        qr/unix is the name of a source that is always there/],
    ['no URL', $one =~ s/"https.*"/nowhere here/r, 3, qr/must be a URL/],
    ['http', $one =~ s/"https.*"/"http:\/\/issuer.example"/r, 3,
        qr/issuers\.0\.issuer: must be https$/m],
    ['http on loopback', $one =~ s/"https/"http/r, 3,
        qr/must be https \(insecureLoopback allows/],
    ['a file', $one =~ s/"https.*"/"file:\/\/\/etc\/passwd"/r, 3,
        qr/must be /],
    ['a user', $one =~ s/:\/\//:\/\/me\@/r, 3, qr/must have no user/],
    ['a query', $one =~ s/\d"\n/1?x=y"\n/r, 3, qr/no user, query or fragm/],
    ['an algorithm', "$one    algorithms: [HS256]\n", 6, qr/algorithms/],
    ['a certificate', $one =~ s/"\Q$ca\E"/"$key"/r, 5,
        qr/caFile: \Q$key\E: there is no certificate \(PEM\) in it/],
    ['a path', $one =~ s/"\Q$ca\E"/ca.pem/r, 5, qr/must be an absolute path/],
    ['no such file', $one =~ s/\Q$ca\E/\/nonexistent/r, 5,
        qr/caFile: \/nonexistent: No such file/],
    ['a duration', "$one    leeway: long\n", 6, qr/must be a duration/],
    ['a leeway of a day', "$one    leeway: 24h\n", 6,
        qr/leeway: must be from 0s to 10m/],
    ['a refresh of a second', "$one    jwksRefresh: 1s\n", 6,
        qr/jwksRefresh: must be from 10s to 1d/],
    ['an issuer twice', $one . $one =~ s/issuers:\n//r, 6,
        qr/issuer main is given twice/],
    ['a hash', $tokens =~ s/sha256: "../sha256: "xy/r, 3,
        qr/tokens\.0\.sha256: must be 64 hex digits/],
    ['a token twice', $tokens . qq(  - {name: two, sha256: "$hash"}\n), 4,
        qr/tokens\.1\.sha256: is that of token one/],
    ['a time', "$tokens    expires: tomorrow\n", 4, qr/must be a time like/],
    ['a claim without a value', "$tokens    claims: [{name: a}]\n", 4,
        qr/needs either a value or values/],
    ['a claim twice', "$tokens    claims:\n      - {name: a, value: b}\n"
        . "      - {name: a, value: c}\n", 6, qr/claim a is given twice/],
    ['a relative token file', $review =~ s/\/nonex.*/token/r, 4,
        qr/tokenReview\.tokenFile: must be an absolute path/],
    ['a review of an issuer\'s name', $one . $review =~ s/kube/main/r, 7,
        qr/main is the name of an issuer/],
);

plan tests => 16 + 2 * @bad;

for my $case (@bad) {
    my ($what, $yaml, $line, $text) = @$case;
    my $first = Oidc::identify($t, $yaml)->{first};
    like($first, $text, $what);
    like($first, qr/^check: \Q@{[$t->dir]}\E\/oidc\.yaml:$line: /,
        "$what: line $line");
}

my $h = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c', $t->write(
    'host.yaml', <<'E'));
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table"}
plugins: [{name: oidc, options: {file: "%%DIR%%/oidc.yaml"}}]
E
isnt($h->{rc}, 0, 'plugin-host -t fails');
like($h->{err}, qr/host\.yaml:3: .*oidc\.yaml:7: .*name of an issuer/,
    'and names both files');

# changes
my $p = Oidc::identify($t, $one);
is($p->{first}, 'ready', 'a good file');
my $jwt = $issuer->token('k', {});
ok(Oidc::warm($p, $jwt), 'its issuer');
my $fetched = $issuer->requests('/jwks');
ok(Oidc::ask($p, $token)->{none}, 'a token that is not there yet');

$t->write('oidc.yaml', $one . $tokens);
ok($t->wait_for(sub { Oidc::ask($p, $token)->{ok} }, 15, 'the new token'),
    'is there soon');
ok(Oidc::ask($p, $jwt)->{ok}, 'the issuer goes on');
is($issuer->requests('/jwks'), $fetched, 'with the keys that it had');

$t->write('oidc.yaml', "$one$tokens    expires: never\n");
$t->wait_for(sub { $t->read($p->{log}) =~ /nothing was changed/ }, 15,
    'the bad file to be seen');
like($t->read($p->{log}), qr/oidc\.yaml:9: tokens\.0\.expires: must be/,
    'a bad file is logged with its line');
unlike($t->read($p->{log}), qr/\Q$hash\E|\Q$token\E/, 'without the hash');
ok(Oidc::ask($p, $token)->{ok}, 'and changes nothing');

unlink $t->dir . '/oidc.yaml';
$t->wait_for(sub { $t->read($p->{log}) =~ /No such file.*nothing was/ }, 15,
    'the file to be missed');
ok(Oidc::ask($p, $token)->{ok}, 'nor does a file that is gone');

$t->write('oidc.yaml', $one =~ s/\[builds\]/[releases]/r);
$t->wait_for(sub { Oidc::ask($p, $token)->{none} }, 15, 'the third file');
is(Oidc::ask($p, $jwt)->{reason}, 'WrongAudience',
    'what was verified before is judged again');
is(Oidc::quit($p), 0, 'the end');

$p = Oidc::identify($t, $one =~ s/"https[^"]*"/"$plain"/r,
    'insecureLoopback=true');
ok(Oidc::warm($p, $http->token('k', {})), 'http, where it is allowed');
is(Oidc::quit($p), 0, 'its end');
