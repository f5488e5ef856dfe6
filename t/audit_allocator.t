#!/usr/bin/perl

# The audit log says what became of a renewal, release, revocation, drain or
# backup, and not what was asked for: a journal that cannot be written is
# "failed", and who went away meanwhile is named all the same.  Calls by an
# allocation's own token have a line, also those that fail.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use IO::Socket::INET;
use JSON ();
use List::Util qw(sum0);
use Queue;
use Test::Buildkit;
use Time::HiRes qw(time);

plan tests => 36;

my $t = Test::Buildkit->new;
my $h = start($t, <<'E', workers => 6);
audit: {file: "%%DIR%%/audit.log"}
access:
  rules:
    - {name: sre, match: [{claim: sre, values: ["1"]}], verbs: [revoke, release, drain, list, admin]}
    - {name: ci, match: [{claim: ci, values: ["1"]}]}
E
my %ci = (ci => 1);
my %sre = (sre => 1);
my ($renew, $release) = map { "/api/v1/workers/$_" } qw(renew release);

# whole ones: the last may be half written yet
sub lines { map { JSON::decode_json($_) } $t->read('audit.log') =~ /^(.+)\n/mg }

# the only line since the last look
my $seen = 0;
sub fresh {
    my @new = lines();
    @new = @new[$seen .. $#new];
    $seen += @new;
    return @new == 1 ? $new[0] : { lines => \@new };
}

sub has {
    my ($want, $name) = @_;
    my $line = fresh();
    is_deeply({ map { $_ => $line->{$_} } keys %$want }, $want, $name)
        or diag(JSON->new->pretty->encode($line));
    return $line;
}

my @a = map { allocate_as($t, 'ann', {}, \%ci)->{json} } 1 .. 5;
is(scalar(grep { $_->{state} eq 'ready' } @a), 5, 'allocations');
$seen = lines();

# by a token of their own
my $r = as($t, 'ann', POST => $renew, { token => $a[0]{token}, ttl => '2h' });
is($r->{status}, 200, 'renew');
my $line = has({ what => 'renew', outcome => 'renewed', allocation => $a[0]{id},
    pool => 'default/demo', owner => 'who:ann', who => undef,
    expiresAt => $r->{json}{expiresAt} }, 'has a line');
like($line->{client}, qr/^127\.0\.0\.1:\d+$/, 'from where');
as($t, 'ann', POST => $release, { token => $a[0]{token} });
has({ what => 'release', outcome => 'released', allocation => $a[0]{id},
    pool => 'default/demo', owner => 'who:ann' }, 'and release');
as($t, 'ann', POST => $release, { token => $a[0]{token} });
is_deeply(fresh(), { lines => [] }, 'twice is once');
as($t, 'ann', POST => $renew, { token => $a[0]{token} });
has({ what => 'renew', outcome => 'failed', status => 410,
    reason => 'AllocationEnded', allocation => $a[0]{id} }, 'what has ended');
my $made_up = 'x' x 43;
as($t, 'ann', POST => $_, { token => $made_up }),
    has({ what => $_ =~ s{.*/}{}r, outcome => 'failed', status => 404,
        reason => 'AllocationNotFound', allocation => undef }, "$_: no such")
    for $renew, $release;
as($t, 'ann', POST => $release, { token => 'a b' });
has({ what => 'release', outcome => 'failed', status => 400 }, 'no token');
as($t, 'ann', POST => '/api/v1/workers/lookup', { token => $made_up });
is_deeply(fresh(), { lines => [] }, 'a look has none');

# what the journal cannot take
my $lock = $t->start_pipe('sqlite', 'sqlite3', '-cmd', '.timeout 30000',
    $t->dir . '/state/journal.db');
sub lock_journal {
    syswrite $lock->{in}, "BEGIN EXCLUSIVE;\nSELECT 'locked';\n";
    $lock->line(10) =~ /locked/ or die 'not locked';
    return;
}

my %failed = (outcome => 'failed', status => 503,
    reason => 'JournalUnwritable');
lock_journal();
for ([POST => $renew, { token => $a[1]{token} }, what => 'renew',
        allocation => $a[1]{id}, owner => 'who:ann'],
    [POST => '/api/v1/workers/w6/drain', { reason => 'old' }, what => 'drain',
        worker => 'w6', who => 'who:sre', rule => 'sre'],
    [POST => $release, { token => $a[2]{token} }, what => 'release',
        allocation => $a[2]{id}, ended => JSON::true],
    [DELETE => "/api/v1/allocations/$a[3]{id}?reason=leaked", undef,
        what => 'revoke', allocation => $a[3]{id}, who => 'who:sre',
        rule => 'sre', ended => JSON::true])
{
    my ($method, $path, $body, @want) = @$_;
    $r = as($t, 'sre', $method, $path, $body, \%sre);
    is("$r->{status} $r->{json}{reason}", '503 JournalUnwritable',
        "$method $path");
    like($r->{headers}{'retry-after'}, qr/^[1-9]\d*$/, 'come again');
    has({ @want, %failed }, 'failed, and nothing else');
}
is(lookup_as($t, $a[1]{token})->{json}{expiresAt}, $a[1]{expiresAt},
    'one was not renewed');
is(lookup_as($t, $a[$_]{token})->{status}, 410, 'the others have ended')
    for 2, 3;

# A request that is under way, and who it is.
sub under_way {
    my ($method, $path, $body) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1:' . $t->port('api')) or die $!;
    my $text = JSON::encode_json($body);
    syswrite $socket, "$method $path HTTP/1.1\r\nHost: x\r\n"
        . 'Authorization: Bearer ' . Access::token('now', 'sre', \%sre)
        . "\r\nContent-Type: application/json\r\nContent-Length: "
        . length($text) . "\r\n\r\n$text";
    return ($socket, '127.0.0.1:' . $socket->sockport);
}

# who goes away before the lock does; which the journal waits a second for, so
# what took longer failed, and is done again
my $from;
for (1 .. 20) {
    (my $socket, $from) = under_way(POST => '/api/v1/workers/w6/drain',
        { reason => 'old' });
    $t->wait_for(sub { $h->log
        =~ /worker default\/demo\/w6: drained by \Q$from\E/ }, 60,
        'the request to be there');
    close $socket;
    syswrite $lock->{in}, "ROLLBACK;\n";
    $t->wait_for(sub { lines() > $seen }, 60, 'its line');
    last if (lines())[$seen]{outcome} eq 'drained';

    as($t, 'sre', POST => '/api/v1/workers/w6/drain', { undo => JSON::true },
        \%sre);
    $seen = lines();
    lock_journal();
}
has({ what => 'drain', outcome => 'drained', who => 'who:sre', rule => 'sre',
    pool => 'default/demo', worker => 'w6', reason => 'old',
    client => $from, request => 'POST /api/v1/workers/*/drain' },
    'who went away is named');

# and what it can
as($t, 'sre', POST => '/api/v1/workers/w6/drain', { undo => JSON::true }, \%sre);
has({ what => 'drain', outcome => 'taken back', who => 'who:sre',
    worker => 'w6' }, 'taken back');
as($t, 'sre', POST => "/api/v1/allocations/$a[1]{id}/release", {}, \%sre);
has({ what => 'release', outcome => 'released', who => 'who:sre',
    rule => 'sre', allocation => $a[1]{id} }, 'another\'s is released');
as($t, 'sre', DELETE => "/api/v1/allocations/$a[4]{id}?reason=leaked", undef,
    \%sre);
has({ what => 'revoke', outcome => 'revoked', reason => 'leaked',
    who => 'who:sre', allocation => $a[4]{id} }, 'and revoked');
for (['done', undef], ['failed', 'BackupExists']) {
    as($t, 'sre', POST => '/api/v1/journal/backup', { name => 'b' }, \%sre);
    has({ outcome => $_->[0], who => 'who:sre', rule => 'sre',
        reason => $_->[1] }, "a backup: $_->[0]");
}

# tokens that are made up cannot fill the disk
my $flood = time;
as($t, 'eve', POST => $release, { token => $made_up }) for 1 .. 100;
$t->wait_for(sub { my @new = lines(); @new = @new[$seen .. $#new];
    sum0(map { $_->{leftOut} // 1 } @new) == 100 }, 10, 'each line, or its place');
# 10 in a second, wherever that begins
cmp_ok(lines() - $seen, '<', 40 + 10 * (time - $flood), 'but lines are few');

# what is being written when it stops
my @b = map { allocate_as($t, 'bob', {}, \%ci)->{json} } 1 .. 3;
lock_journal();
my $drained = () = $h->log =~ /w6: drained/g;
my %under_way = map { my ($s, $client) = under_way(@$_);
    ($client => $s) } [POST => $renew, { token => $b[0]{token} }],
    [POST => $release, { token => $b[1]{token} }],
    [DELETE => "/api/v1/allocations/$b[2]{id}", {}],
    [POST => '/api/v1/workers/w6/drain', {}];
$t->wait_for(sub { my $log = $h->log; 3 == grep { $log =~ $_ }
    qr/$b[1]{id}: released/, qr/$b[2]{id}: revoked/,
    qr/(?:w6: drained.*){@{[$drained + 1]}}/s }, 60, 'them');
is($h->stop, 0, 'stops in the middle');
is_deeply([sort map { "$_->{what} $_->{outcome} $_->{status}" }
    grep { $under_way{$_->{client} // ''} } lines()],
    [map { "$_ failed 503" } qw(drain release renew revoke)],
    'all of them have their lines');
$lock->quit;
unlike(join('', map { $t->read($_) } 'audit.log', $h->{proc}{log}),
    qr/\Q$made_up\E|\Q$a[1]{token}\E|\Q$b[1]{token}\E/, 'no token is anywhere');
