#!/usr/bin/perl

# Pools that have gateways of their own: clients are sent there, trust what it
# shows, and wait as long as it cannot be used.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Access;
use Allocator qw(ask answers);
use MIME::Base64 qw(decode_base64);
use Test::Buildkit;

plan tests => 42;

my $t = Test::Buildkit->new;
my $host = $t->host(<<'END', program => Access::program($t, 'prepare'));
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://all.example:1235"}
plugins:
  - {name: prepare, options: {worker: w1}}
  - {name: allocator}
END
my ($path, %pool) = ('/api/v1/workers', poolName => 'test/prepared');
my $ca = $t->read('state/ca/gateway-ca.pem');

# without one of its own
my $r = allocate(wait => '0');
is $r->{gatewayEndpoint}, 'tcp://all.example:1235', 'that of all pools';
is $r->{tlsServerName}, 'all.example', '... and its name';
is decode_base64($r->{caCert}), $ca, '... and our authority';
release($r);

# with one
gateway('endpoint=tcp://[fd00::7]:443&ca=theirs');
$r = allocate(wait => '0');
is $r->{gatewayEndpoint}, 'tcp://[fd00::7]:443', 'its own';
is $r->{tlsServerName}, 'fd00::7', '... and the name';
is decode_base64($r->{caCert}), 'theirs', '... and whom to trust';
is $r->{state}, 'ready', '... and a worker';
my $new = post("$path/renew", token => $r->{token})->{json};
is decode_base64($new->{caCert}), 'theirs', 'the same when it is renewed';
is post('/api/v1/pools/prepared/wake?namespace=test')->{json}{endpoint},
    'tcp://[fd00::7]:443', '... and when the pool is woken';
my ($shown) = grep { $_->{name} eq 'test/prepared' }
    @{$host->request(GET => '/api/v1/pools')->{json}};
is $shown->{endpoint}, 'tcp://[fd00::7]:443', '... and in the list';
ok !exists $shown->{waitsFor}, '... which says that nothing is missing';
release($r);
my $old = post('/api/v1/allocate', %pool)->{json};
is $old->{endpoint}, 'tcp://[fd00::7]:443', 'older callers: allocate';
is decode_base64($old->{caCert}), 'theirs', '... with whom to trust';
release({ token => $old->{allocationToken} });
$old = post('/api/v1/certs/request', pools => ['test/prepared'])->{json};
is $old->{endpoints}{'test/prepared'}, 'tcp://[fd00::7]:443', 'and certs';
is decode_base64($old->{caCert}), 'theirs', '... with whom to trust';
release($old);

# chosen by labels, or by a name that only one has; and looked at
is selected({ tier => 'big' }), '404 PoolNotFound', 'no labels: not chosen';
$host->request(POST => '/api/v1/prepare/labels?json={"tier":"big","a":"b"}');
is selected({ tier => 'big' }), '200 test/prepared', 'a label: chosen';
is selected({ tier => 'big', a => 'b' }), '200 test/prepared', '... or two';
is selected({ tier => 'big', a => 'c' }), '404 PoolNotFound', '... all of them';
is selected({ tier => 'big', c => '' }), '404 PoolNotFound', '... it must have';
is selected({ tier => 'big' }, namespace => 'default'), '404 PoolNotFound',
    'not in another namespace';
is selected({ tier => 'small' }, poolName => 'prepared'), '200 test/prepared',
    'the name goes before';
my $alone = post('/api/v1/certs/request', pools => ['prepared']);
is "$alone->{status} $alone->{json}{reason}", '409 Ambiguous',
    'a name alone, by one who may use any: not guessed';
is $host->request(GET => "/api/v1/pools/$_")->{json}{name}, 'test/prepared',
    "pool $_" for 'prepared?namespace=test', 'test%2Fprepared';
is $host->request(GET => '/api/v1/pools/prepared')->{json}{reason},
    'PoolNotFound', 'none such';

# it is not known where it will be
gateway('why=no%20load%20balancer');
my $refused = post("$path/allocate", %pool, wait => '0');
is "$refused->{status} $refused->{json}{reason}", '503 GatewayNotReady',
    'nowhere to go: refused';
like $refused->{json}{error}, qr{gateway\ of\ pool\ test/prepared\ cannot
    \ be\ used\ yet:\ no\ load\ balancer}x, '... and why';
ok $refused->{headers}{'retry-after'}, '... for now';
is worker()->{allocations}, 0, 'no worker is taken';
($shown) = grep { $_->{name} eq 'test/prepared' }
    @{$host->request(GET => '/api/v1/pools')->{json}};
is "$shown->{endpoint}:$shown->{waitsFor}", ':no load balancer',
    'the list says it';
my $asked = ask($host, POST => "$path/allocate", { %pool, wait => '5m' });
$t->wait_for(sub { queue() == 1 }, 10, 'one that waits for it');
gateway('endpoint=tcp://lb.example:1235');
($r) = answers(60, $asked);
is "$r->{json}{state} $r->{json}{gatewayEndpoint}",
    'ready tcp://lb.example:1235', 'who waits is told when it is there';
release($r->{json});

# it is known, and not ready
gateway('endpoint=tcp://lb.example:1235&why=no%20Pod%20is%20ready');
$r = allocate(wait => '0');
is "$r->{state} $r->{gatewayEndpoint}", 'queued tcp://lb.example:1235',
    'somewhere to go: queued';
is $r->{waitsFor}, 'the pool\'s gateway: no Pod is ready', '... and why';
is worker()->{allocations}, 0, 'no worker is taken';
gateway('endpoint=tcp://lb.example:1235');
$t->wait_for(sub { post("$path/lookup", token => $r->{token})->{json}{state}
    eq 'ready' }, 10, 'its turn');
is worker()->{allocations}, 1, 'then it has one';

# one that is there stays when the gateway goes
gateway('why=gone');
is post("$path/lookup", token => $r->{token})->{json}{state}, 'ready',
    'who has one keeps it';
is post("$path/renew", token => $r->{token})->{status}, 200, '... and renews it';
release($r);
is queue(), 0, 'nothing is left';
is $host->request(GET => '/readyz')->{status}, 200, 'the host is well';
is $host->stop, 0, 'stops';
unlike $host->log, qr/Sanitizer/, 'quietly';


sub post {
    my ($where, %body) = @_;

    return $host->request(POST => $where, \%body);
}

sub allocate {
    my $got = post("$path/allocate", %pool, @_);
    diag $got->{body} if $got->{status} != 200;
    return $got->{json};
}

sub selected {
    my ($selector, @more) = @_;

    my $got = post('/api/v1/allocate', poolSelector => $selector,
        namespace => 'test', wait => '0', @more);
    my $is = $got->{json};
    release({ token => $is->{allocationToken} }) if $is->{allocationToken};
    return join ' ', $got->{status}, $is->{poolName} // $is->{reason};
}

sub release { post("$path/release", token => $_[0]{token}) }
sub gateway { $host->request(POST => "/api/v1/prepare/gateway?$_[0]") }
sub worker { $host->request(GET => '/api/v1/workers')->{json}[0] }

sub queue {
    my ($pool) = grep { $_->{name} eq 'test/prepared' }
        @{$host->request(GET => '/api/v1/pools')->{json}};
    return $pool->{queue};
}
