#!/usr/bin/perl

# Bad requests: each is one sentence that names what is wrong, and changes
# nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use IO::Socket::UNIX;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 1),
    '{name: allocator, options: {maxTtl: 2h}}']));

my ($allocate, $lookup, $release, $renew) = map { "/api/v1/workers/$_" }
    qw(allocate lookup release renew);
my $deep = '{"poolName":"demo","x":' . '[' x 20 . ']' x 20 . '}';
my $pool = '"poolName":"demo"';

# path, body, status, reason, what the text says
my @cases = (
    [$allocate, '', 400, 'BadJson', qr/not valid JSON/],
    [$allocate, '{', 400, 'BadJson', qr/line 1.*ends too early/],
    [$allocate, '[]', 400, 'BadJson', qr/a list, not an object/],
    [$allocate, '"x"', 400, 'BadJson', qr/not/],
    [$allocate, "{$pool,$pool}", 400, 'BadJson', qr/given twice/],
    [$allocate, "{$pool} x", 400, 'BadJson', qr/not valid JSON/],
    [$allocate, "{\"poolName\":\"\xff\xfe\"}", 400, 'BadJson', qr/UTF-8/],
    [$allocate, '{"poolName":"a\u0000b"}', 400, 'BadJson', qr/NUL/],
    [$allocate, $deep, 400, 'BadJson', qr/nested deeper than/],
    [$allocate, '[' x 60000, 400, 'BadJson', qr/nested deeper than/],
    [$allocate, '{}', 400, 'MissingField', qr/"poolName" is missing/],
    [$allocate, '{"poolName":""}', 400, 'MissingField', qr/poolName/],
    [$allocate, '{"poolName":7}', 400, 'WrongType',
        qr/"poolName" is a number, not a string/],
    [$allocate, "{$pool,\"ttl\":60}", 400, 'WrongType',
        qr/"ttl" is a number, not a string/],
    [$allocate, "{$pool,\"ttl\":true}", 400, 'WrongType', qr/a boolean/],
    [$allocate, "{$pool,\"metadata\":\"x\"}", 400, 'WrongType',
        qr/"metadata" is a string, not an object/],
    [$allocate, "{$pool,\"metadata\":{\"a\":1}}", 400, 'WrongType',
        qr/a value in "metadata" is a number/],
    [$allocate, "{$pool,\"csr\":{}}", 400, 'WrongType', qr/"csr"/],
    [$allocate, "{$pool,\"ttl\":\"soon\"}", 400, 'BadDuration', qr/"ttl"/],
    [$allocate, "{$pool,\"ttl\":\"-1s\"}", 400, 'BadDuration', qr/"ttl"/],
    [$allocate, "{$pool,\"ttl\":\"1e9h\"}", 400, 'BadDuration', qr/"ttl"/],
    [$allocate, "{$pool,\"ttl\":\"3h\"}", 400, 'BadTtl', qr/7200s/],
    [$allocate, "{$pool,\"ttl\":\"10ms\"}", 400, 'BadTtl', qr/between 1s/],
    [$allocate, "{$pool,\"wait\":\"x\"}", 400, 'BadDuration', qr/"wait"/],
    [$allocate, "{$pool,\"jobId\":\"" . 'j' x 129 . '"}', 400, 'TooLong',
        qr/"jobId" has 129 bytes, and 128/],
    [$allocate, "{$pool,\"jobId\":\"a\\nb\"}", 400, 'BadValue',
        qr/control characters/],
    [$allocate, '{"poolName":"' . 'p' x 400 . '"}', 400, 'TooLong', qr/./],
    [$allocate, '{"poolName":"nope"}', 404, 'PoolNotFound',
        qr{there is no pool default/nope}],
    [$allocate, "{$pool,\"namespace\":\"x\"}", 404, 'PoolNotFound',
        qr{x/demo}],
    [$allocate, "{$pool,\"csr\":\"-----BEGIN\"}", 400, undef, qr/./],
    [$allocate, "{$pool,\"csr\":\"" . 'c' x 20000 . '"}', 400, 'TooLong',
        qr/"csr"/],
    [$lookup, '{}', 400, 'MissingField', qr/"token" is missing/],
    [$lookup, '{"token":["x"]}', 400, 'WrongType', qr/"token" is a list/],
    [$lookup, '{"token":"a b"}', 400, 'BadToken', qr/not a token/],
    [$lookup, '{"token":"' . 'x' x 257 . '"}', 400, 'TooLong', qr/"token"/],
    [$release, '{"token":"../../x"}', 400, 'BadToken', qr/not a token/],
    [$release, '{"token":"' . 'x' x 86 . '"}', 404, 'AllocationNotFound',
        qr/no such allocation/],
    [$renew, '{"token":"xxxx","ttl":5}', 400, 'WrongType', qr/"ttl"/],
    ['/api/v1/pools/nope/wake', '{}', 404, 'PoolNotFound', qr/nope/],
);

plan tests => @cases * 3 + 11;

for my $case (@cases) {
    my ($path, $body, $status, $reason, $text) = @$case;
    my $name = $path =~ s{.*/}{}r . ' ' . substr($body, 0, 40) =~
        s/[^\x20-\x7e]/?/gr;
    my $r = $host->request(POST => $path, $body,
        headers => { 'Content-Type' => 'application/json' });
    is $r->{status}, $status, $name;
    is $r->{json}{reason} // '', $reason // $r->{json}{reason},
        "$name: reason";
    like $r->{json}{error}, $text, "$name: text";
}

# what the server itself refuses
is $host->request(POST => $allocate, "{$pool}")->{status}, 415, 'no type';
my $r = $host->request(POST => $allocate, "{$pool,\"x\":\"" . 'x' x 70000
    . '"}', headers => { 'Content-Type' => 'application/json' });
is $r->{status}, 413, 'too large';
is $r->{json}{reason}, 'TooLarge', 'too large: reason';
is $host->request(GET => $allocate)->{status}, 405, 'wrong method';

for my $id ('zz', '0123', 'ABCDEF012345', '0' x 65) {
    is $host->request(DELETE => "/api/v1/allocations/$id")->{status}, 400,
        "revoke $id";
}
is $host->request(DELETE => '/api/v1/allocations/0123456789ab')->{status},
    404, 'revoke of an unknown id';

is_deeply [journal($t, 'SELECT * FROM allocations')], [],
    'nothing was written';
is $host->request(POST => $allocate, { poolName => 'demo' })->{status}, 200,
    'and all is well';
