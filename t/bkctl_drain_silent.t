#!/usr/bin/perl

# bkctl drain --wait TIME, and an API that stops answering when nothing ran any
# more, but had not been seen to do so twice: the time is kept.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON;
use Test::Buildkit;

plan tests => 3;

my $t = Test::Buildkit->new;
my $dir = $t->dir;

$t->write('rules', encode_json([
    { on => 'POST', json => { worker => 'w1', pool => 'a/b', builds => 0,
        state => 'draining', drained => JSON::true, allocations => 1,
        connections => 0 } },
    { on => '.', status => 503, json => { error => 'busy' } }]));
$t->start('fake', {}, "$FindBin::Bin/lib/fake_api", "$dir/api.sock",
    "$dir/rules", "$dir/req");
$t->wait_for(sub { IO::Socket::UNIX->new("$dir/api.sock") }, 10, 'the API');

my $proc = $t->start('wait', { env => { NO_COLOR => 1,
    BKCTL_ENDPOINT => "unix:$dir/api.sock",
    map { $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_POOL) } },
    $t->build . '/bkctl', 'drain', 'w1', '--wait', '2s');
$t->wait_for(sub { !$t->alive($proc) }, 20, 'its end');

is($proc->{status}, 1, 'not in time: exit 1');
my $said = $t->read('wait.log');
like($said, qr/^bkctl: busy; trying again$/m, 'no answer: said');
like($said, qr/^bkctl: worker w1 after 2s: nothing runs on it, when the API/m,
    'and what was known');
