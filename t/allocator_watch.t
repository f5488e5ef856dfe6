#!/usr/bin/perl

# ?watch=1: a line at each change of an allocation, its place in the queue
# included, until it ends; watchers who go away, and a host that stops.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(gone);
use Queue;
use Test::Buildkit;

plan tests => 18;

my $t = Test::Buildkit->new;
my %ops = (ops => 'yes');
my $host = start($t, rules(<<'END'), workers => 1);
    - name: ops
      match: [{claim: ops, values: ["yes"]}]
      verbs: [list, revoke, release]
END

my $holder = allocate_as($t, 'zoe', {})->{json};
my $ahead = allocate_as($t, 'bob', {})->{json};
my $a = allocate_as($t, 'ann', {})->{json};
my $one = "/api/v1/allocations/$a->{id}";
my $r;

# its changes, as they come
my $w = watch_as($t, 'ann', $a->{id});
my $line = line($w);
is "$line->{state} $line->{position}", 'queued 2', 'watch: how it is now';
is as($t, 'bob', POST => "/api/v1/allocations/$ahead->{id}/release", {})
    ->{json}{state}, 'released', 'bob releases his own by its id';
$line = line($w);
is "$line->{state} $line->{position}", 'queued 1', 'watch: its place';
release_as($t, $holder->{token});
$line = line($w);
# while that is written down it may be seen without a place
$line = line($w) while $line && $line->{state} eq 'queued';
is "$line->{state} $line->{worker}", 'ready w1', 'watch: its worker';
ok !exists $line->{position}, '... and no place';
$r = as($t, 'ann', POST => '/api/v1/workers/renew',
    { token => $a->{token}, ttl => '3h' });
is $r->{status}, 200, 'renewed';
$line = line($w);
is $line->{expiresAt}, $r->{json}{expiresAt}, 'watch: its time';
$r = as($t, 'ops', DELETE => "$one?reason=enough", undef, \%ops);
is "$r->{status} $r->{json}{state}", '200 revoked', 'revoked by a rule';
$line = line($w);
is "$line->{state} $line->{reason}", 'revoked enough', 'watch: its end';
is line($w), undef, '... and then the stream ends';
is $w->{head} =~ m{^Content-Type: application/x-ndjson}mi ? 1 : 0, 1,
    'a line of JSON each';

$w = watch_as($t, 'ann', $a->{id});
is line($w)->{state}, 'revoked', 'a watch of what has ended';
is line($w), undef, '... ends';

# watchers who go away, and one whose host stops
my $b = allocate_as($t, 'bob', {})->{json};
my @many = map { watch_as($t, 'bob', $b->{id}) } 1 .. 5;
is scalar(grep { line($_)->{state} eq 'ready' } @many), 5, 'five watch';
gone(@many[0 .. 2]);
release_as($t, $b->{token});
is scalar(grep { line($_)->{state} eq 'released' } @many[3, 4]), 2,
    'three go, two see the end';
$b = allocate_as($t, 'bob', {})->{json};
$w = watch_as($t, 'bob', $b->{id});
is line($w)->{state}, 'ready', 'a watch';
$host->stop;
is line($w), undef, 'it ends with plugin-host';
unlike $w->{all}, qr/\Q$b->{token}\E/, 'no token is in the stream';
