#!/usr/bin/perl

# Draining a worker over the API: who is on it may finish and nobody comes
# any more, until it is taken back; and what cannot be drained.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use JSON ();
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $more = <<'END';
  - name: team/other
    workers:
      - {name: w2, endpoint: "127.0.0.1:7102", tlsName: x.test}
END
my $host = $t->host(conf([static_pool($t, 2, more => $more),
    '{name: allocator}']));

# worker's name, body, status, reason, what the text says
my @bad = (
    ['w1', '', 400, 'BadJson', qr/not valid JSON/],
    ['w1', '[]', 400, 'BadJson', qr/not an object/],
    ['w1', '{"undo": "yes"}', 400, 'WrongType', qr/"undo" must be a boolean/],
    ['w1', '{"undo": 1}', 400, 'WrongType', qr/"undo"/],
    ['w1', '{"reason": 7}', 400, 'WrongType', qr/"reason" is a number/],
    ['w1', '{"reason": "a\nb"}' =~ s/\n/\\n/r, 400, 'BadValue', qr/control/],
    ['w1', '{"reason": "' . 'r' x 184 . '"}', 400, 'TooLong', qr/183/],
    ['w1', '{"poolName": {}}', 400, 'WrongType', qr/"poolName"/],
    ['w1', '{"poolName": "nope"}', 404, 'PoolNotFound', qr{default/nope}],
    ['w1', '{"poolName": "other", "namespace": "team"}', 404,
        'WorkerNotFound', qr{no worker w1 in pool team/other}],
    ['w7', '{}', 404, 'WorkerNotFound', qr/there is no worker w7$/],
    ['w7', '{"undo": true}', 404, 'WorkerNotFound', qr/no worker w7/],
    ['w1%01', '{}', 400, 'BadRequest', qr/path/],
    ['w' x 300, '{}', 404, 'WorkerNotFound', qr/no worker w{253}$/],
    ['w2', '{}', 409, 'Ambiguous', qr/several pools have a worker w2/],
);

plan tests => 2 * @bad + 38;

for (@bad) {
    my ($name, $body, $status, $reason, $text) = @$_;
    my $r = $host->request(POST => "/api/v1/workers/$name/drain", $body,
        headers => { 'Content-Type' => 'application/json' });
    is "$r->{status} " . ($r->{json}{reason} // ''), "$status $reason",
        substr "$name $body", 0, 50;
    like $r->{json}{error}, $text, '... text';
}
is scalar(grep { $_->{drained} } workers()), 0, 'nothing was drained';
is $host->request(GET => '/api/v1/workers/w7/drain')->{status}, 404,
    'nor is there anything to see';

# one that is in use
my $a = allocate()->{json};
is $a->{workerName}, 'w1', 'an allocation';
my $r = drain('w1', reason => 'new kernel');
is $r->{status}, 200, 'its worker is drained';
is_deeply $r->{json}, { worker => 'w1', pool => 'default/demo',
    state => 'draining', drained => JSON::true, reason => 'new kernel',
    allocations => 1, connections => 0, builds => 0 }, 'the answer';
my $seen = one($a);
is $seen->{state}, 'draining', 'the allocation drains';
is $seen->{reason}, 'worker w1 is drained: new kernel', '... and says why';
like $seen->{changedAt}, qr/^\d{4}-.*Z$/, '... since when';
my ($w) = workers();
is $w->{state} . ' ' . $w->{message}, 'draining drained: new kernel',
    'so does the worker';
ok $w->{drained}, '... and is marked';
is route($a)->{state}, 'draining', 'nginx sees it in the table';
is route($a)->{reason}, 'worker w1 is drained: new kernel', '... with why';

$r = $host->request(GET => '/api/v1/workers/w1/drain');
is "$r->{status} $r->{json}{allocations}", '200 1', 'how far it is';

# nobody else gets it
my $b = allocate()->{json};
is $b->{workerName}, 'w2', 'the next one gets another worker';
$r = allocate(wait => '0');
is "$r->{status} $r->{json}{state}", '200 queued', 'and then there is none';
is release($r), 200, '... for now';

drain('w2', poolName => 'demo');
is +(grep { $_->{name} eq 'default/demo' }
    @{$host->request(GET => '/api/v1/pools')->{json}})[0]{status}, 'draining',
    'a pool whose workers all drain';
drain('w2', poolName => 'demo', undo => JSON::true);

# renewed, it still drains; and does not when it is taken back
$r = $host->request(POST => '/api/v1/workers/renew',
    { token => $a->{token}, ttl => '2h' });
is "$r->{status} " . one($a)->{state}, '200 draining', 'renewed: it drains';

$r = drain('w1', reason => 'another');
is one($a)->{reason}, 'worker w1 is drained: another', 'another reason';

my $waits = ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
$host->request(POST => '/api/v1/workers/release', { token => $a->{token} });
is $host->request(GET => '/api/v1/workers/w1/drain')->{json}{allocations}, 0,
    'it is empty';
$r = allocate(wait => '0');
is $r->{json}{state}, 'queued', 'nobody gets an empty one either';
release($r);
$r = drain('w1', undo => JSON::true);
is_deeply $r->{json}, { worker => 'w1', pool => 'default/demo',
    state => 'ready', drained => JSON::false, reason => '',
    allocations => 0, connections => 0, builds => 0 }, 'taken back';
answers(60, $waits);
is $waits->{json}{workerName}, 'w1', 'and given to who waits';
is drain('w1', undo => JSON::true)->{status}, 200, 'twice is once';

# one of two that have the name
$r = drain('w2', poolName => 'team/other');
is $r->{json}{pool}, 'team/other', 'in the pool that was named';
is one($b)->{state}, 'ready', '... and no other';
$r = $host->request(GET => '/api/v1/workers/w2/drain?pool=team/other');
ok $r->{json}{drained}, '... to be seen';
is $host->request(GET => '/api/v1/workers/w2/drain')->{status}, 409,
    '... when it is said which';
is $host->request(GET => '/api/v1/workers/w2/drain?pool=x/y')->{status}, 404,
    '... and that is there';

# undone while its allocations live: as if nothing had been
drain('w2', poolName => 'demo', reason => 'x');
is one($b)->{state}, 'draining', 'drained';
drain('w2', poolName => 'demo', undo => JSON::true);
is one($b)->{state} . one($b)->{reason}, 'ready', 'taken back in time';
is route($b)->{state} . route($b)->{reason}, 'ready', '... in the table too';

# a worker that goes away and comes back is drained still
my $file = $t->read('static.yaml');
drain('w2', poolName => 'demo', reason => 'disk');
$t->write('static.yaml', $file =~ s/^.*name: w2, endpoint: "127.0.0.1:7002.*\n//mr);
$t->wait_for(sub { 2 == workers() }, 10, 'w2 to go');
is $host->request(GET => '/api/v1/workers/w2/drain?pool=default/demo')
    ->{json}{state}, 'gone', 'it is gone, and known as drained';
$t->write('static.yaml', $file);
$t->wait_for(sub { 3 == workers() }, 10, 'w2 to be back');
$t->wait_for(sub { (grep { $_->{name} eq 'w2' && $_->{pool} eq 'default/demo' }
    workers())[0]{drained} }, 10, 'it to be drained again');
pass 'drained again when it is back';
$r = allocate(wait => '0');
is $r->{json}{state}, 'queued', '... for everybody';
release($r);

# one whose whole pool is gone, while another one of that name is drained
$t->write('static.yaml', $file =~ s/\Q$more\E//r);
$t->wait_for(sub { !grep { $_->{name} eq 'team/other' }
    @{$host->request(GET => '/api/v1/pools')->{json}} }, 10, 'a pool to go');
is drain('w2', undo => JSON::true)->{status}, 409, 'its worker is ambiguous';
$r = drain('w2', poolName => 'team/other', undo => JSON::true);
is "$r->{status} $r->{json}{pool}", '200 team/other', '... taken back by name';
is drain('w2', poolName => 'team/other', undo => JSON::true)->{status}, 404,
    '... and then it is unknown';


sub drain {
    my ($name, %body) = @_;
    return $host->request(POST => "/api/v1/workers/$name/drain", \%body);
}

sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', @_ });
}

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{json}{token} })->{status};
}

sub workers { return @{$host->request(GET => '/api/v1/workers')->{json}} }

sub one {
    return $host->request(GET => "/api/v1/allocations/$_[0]{id}")->{json};
}

sub route {
    my $r = $t->run($t->build . '/bkctl', 'routes', '--json', '--table',
        $t->dir . '/buildkit.table');
    my ($route) = grep { $_->{id} eq $_[0]{id} }
        @{JSON::decode_json($r->{out})->{routes}};
    return $route // {};
}
