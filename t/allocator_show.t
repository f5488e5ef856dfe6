#!/usr/bin/perl

# One allocation by its id: all that is known and its history; for its owner
# and whom a rule lets see it.  For anybody else it is not there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Queue;
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my %ops = (ops => 'yes');
my $host = start($t, rules(<<'END'), workers => 1);
    - name: ops
      match: [{claim: ops, values: ["yes"]}]
      verbs: [list, revoke, release]
END

my $holder = allocate_as($t, 'zoe', { jobId => 'job-z' })->{json};
my $ahead = allocate_as($t, 'bob', {})->{json};
my $a = allocate_as($t, 'ann', { jobId => 'job-a' })->{json};
is $a->{position}, 2, 'the second in the queue';

# for whom it is there
my $one = "/api/v1/allocations/$a->{id}";
my $r = as($t, 'ann', GET => $one);
is $r->{status}, 200, 'its owner sees it';
is_deeply { map { $_ => $r->{json}{$_} } qw(id state position pool worker
    owner rule jobId untrusted connections) }, { id => $a->{id},
    state => 'queued', position => 2, pool => 'default/demo', worker => '',
    owner => 'who:ann', rule => 'all', jobId => 'job-a',
    untrusted => JSON::false, connections => 0 }, '... with all of it';
like $r->{json}{waitsFor}, qr/1 of 1 allocated/, '... what it waits for';
is_deeply [map { "$_->{what} $_->{who}" } @{$r->{json}{history}}],
    ['made who:ann'], '... and its history';
is as($t, 'ops', GET => $one, undef, \%ops)->{status}, 200,
    'who may list sees it';
$r = as($t, 'bob', GET => $one);
my $none = as($t, 'bob', GET => '/api/v1/allocations/0123456789ab');
is "$r->{status} $r->{body}", "404 $none->{body}", 'nobody else does';
is as($t, 'bob', GET => "$one?watch=1")->{status}, 404, '... nor watches it';
is as($t, 'bob', DELETE => $one)->{status}, 404, '... nor revokes it';
is as($t, 'bob', POST => "$one/release", {})->{status}, 404,
    '... nor releases it';
is lookup_as($t, $a->{token})->{json}{state}, 'queued', 'it is as it was';
is_deeply [map { $_->{id} } @{as($t, 'ann',
    GET => '/api/v1/allocations?pool=default/demo')->{json}}], [$a->{id}],
    'the list of ann has hers';

# it gets a worker, is renewed and revoked
release_as($t, $ahead->{token});
release_as($t, $holder->{token});
$t->wait_for(sub { as($t, 'ann', GET => $one)->{json}{state} eq 'ready' }, 10,
    'its worker');
as($t, 'ann', POST => '/api/v1/workers/renew',
    { token => $a->{token}, ttl => '3h' });
$r = as($t, 'ops', DELETE => "$one?reason=enough", undef, \%ops);
is "$r->{status} $r->{json}{state}", '200 revoked', 'revoked by a rule';

# afterwards
$r = as($t, 'ann', GET => $one);
is "$r->{json}{state} $r->{json}{reason}", 'revoked enough', 'it is known';
is_deeply [map { "$_->{what} $_->{who}" } @{$r->{json}{history}}],
    ['made who:ann', 'placed ', 'renewed ', 'revoke who:ops', 'revoked '],
    'with all that happened';
$t->run('sqlite3', '-cmd', '.timeout 60000', $t->dir . '/state/journal.db',
    'WITH RECURSIVE n(i) AS ('
    . 'SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO '
    . "history (token_hash, at_ms, what, text) SELECT token_hash, created_ms, "
    . "'renewed', i FROM n, allocations WHERE hex(token_hash) "
    . "LIKE '$a->{id}%'");
my @lines = @{as($t, 'ann', GET => $one)->{json}{history}};
is join(' ', map { $_->{what} . $_->{text} } @lines[0, 1, -2, -1]) . @lines,
    'madein the queue of default/demo, by rule all renewed4801 renewed5000 '
    . 'revokedenough202', 'one that was renewed each second: the last lines';
is scalar(grep { $_->{at} !~ /^\d{4}-.*Z$/ } @{$r->{json}{history}}), 0,
    '... and when';
is as($t, 'bob', GET => $one)->{status}, 404, 'for bob it never was there';
is as($t, 'ann', DELETE => $one)->{json}{state}, 'revoked', 'twice is once';
is as($t, 'ann', POST => "$one/release", {})->{status}, 410,
    'but not two ways';

# a rule lets somebody release others'; who may only see, may not
my $b = allocate_as($t, 'bob', {})->{json};
$r = as($t, 'ops', POST => "/api/v1/allocations/$b->{id}/release",
    { reason => 'tidy' }, \%ops);
is_deeply $r->{json}, { id => $b->{id}, state => 'released',
    reason => 'tidy', connectionsCut => 0, connectionsLeft => 0 },
    'somebody else\'s, by a rule';
like lookup_as($t, $b->{token})->{json}{error}, qr/was released at .*: tidy/,
    '... with his reason';
unlike $host->log, qr/\Q$b->{token}\E/, 'no token is in the log';
$host->stop;
