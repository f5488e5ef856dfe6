#!/usr/bin/perl

# Who asks: bearer tokens are put to the plugins in order, peers of the unix
# socket are their uid, everybody else gets 401; what a plugin says of an
# identity is checked.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E', plugins => <<'P');
access: {rules: [{name: all, sources: [who, two], verbs: [admin, list]}]}
E
  - {name: who}
  - {name: who, options: {prefix: two}}
P
my $tcp = '127.0.0.1:' . $t->port('api');

sub who { Access::as($t, shift, GET => '/api/v1/who') }

my %claims = (repository => 'octo/app', n => 1, list => ['a', 'b "c\\']);

# one that says so at once, later, or after the one before said "not mine"
for my $how (qw(now later)) {
    my $r = who(Access::token($how, 'ann', \%claims));
    is_deeply([@{$r->{json}}{qw(name source claims)}],
        ['who:ann', 'who', \%claims], "$how: who it is");
}
is(who('two.now.bob')->{json}{name}, 'two:bob', 'the second is asked');
is(who('two.later.bob')->{json}{name}, 'two:bob', 'and may take its time');
is(who('two.now.bob')->{json}{claims} ? 1 : 0, 1, 'no claims are {}');

# who is not known
my $r = who('three.now.bob');
is($r->{status}, 401, 'nobody knows it');
is($r->{headers}{'www-authenticate'}, 'Bearer', 'what is wanted');
like($r->{json}{hint}, qr/issuer/, 'and where it comes from');

$r = who(Access::token('refuse'));
is("$r->{status} $r->{json}{reason}", '401 BadToken', 'refused');
is($r->{json}{error}, 'the token has expired', 'in the words of the plugin');
$r = who(Access::token('busy'));
is($r->{status}, 503, 'nobody can tell now');
is($r->{headers}{'retry-after'}, 5, 'but soon');
is(who(Access::token('odd'))->{status}, 503, 'another status is 503');

# what cannot be
for my $how (qw(foreign unix control list twice large)) {
    $r = who(Access::token($how));
    is("$r->{status} $r->{json}{reason}", '500 BadIdentity', "$how: refused");
}
is(who(Access::token('old'))->{status}, 401, 'one whose time is over');

# no token, no socket
$r = $t->http($tcp, GET => '/api/v1/pools');
is("$r->{status} $r->{json}{reason}", '401 Unauthenticated', 'nobody');
is($r->{headers}{'www-authenticate'}, 'Bearer', 'a token is wanted');
like($r->{json}{hint}, qr/Authorization: Bearer TOKEN/, 'and how');
is($t->http($tcp, GET => "/api/v1/who/open")->{json}{name}, '',
    'an open route asks nobody');
is($t->http($tcp, GET => $_)->{status}, 200, "$_ is open")
    for qw(/healthz /readyz /api/v1/health);

# the unix socket: the kernel says who
$r = $h->request(GET => '/api/v1/who')->{json};
my ($user, $group) = ((getpwuid $>)[0], (getgrgid $))[0]);
is($r->{name}, "unix:$user", 'the peer by name');
is_deeply([@{$r->{claims}}{qw(uid user)}], [$>, $user], 'uid and name');
is($r->{claims}{gid}, (split ' ', $))[0], 'gid');
ok((grep { $_ eq $group } @{$r->{claims}{groups}}), 'and groups');

$r = $t->http($h->api, GET => '/api/v1/who', undef,
    headers => { Authorization => 'Bearer two.now.eve' });
is($r->{json}{name}, 'two:eve', 'a token wins over the socket');
is($t->http($h->api, GET => '/api/v1/who', undef,
    headers => { Authorization => 'Bearer bad' })->{status}, 401,
    'also one that is no good');

is($h->stop, 0, 'stops');

# without rules: the socket as ever, nobody else
$h = Access::host($t, '', name => 'bare');
is($h->request(GET => '/api/v1/pools')->{status}, 200, 'unix as before');
is($h->request(POST => '/api/v1/who/admin')->{json}{name}, "unix:$user",
    'for everything');
$r = $t->http($tcp, GET => '/api/v1/pools');
is($r->{status}, 401, 'TCP: 401');
like($r->{json}{hint}, qr/section access/, 'that says what to configure');
$r = Access::as($t, Access::token('now'), POST => '/api/v1/who/admin');
is($r->{status}, 403, 'and somebody known: 403');
like($r->{json}{error}, qr/^who:ann may not admin: there are no access rules/,
    'and why');

done_testing;
