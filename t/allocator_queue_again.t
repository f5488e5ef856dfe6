#!/usr/bin/perl

# idempotencyKey: the same caller gets the same allocation and token again,
# with a certificate for another key; also while it waits, after its answer,
# and after plugin-host was killed; and nobody else does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal pem gone);
use Digest::SHA qw(sha256);
use Queue;
use Test::Buildkit;

plan tests => 31;

my $t = Test::Buildkit->new;
my $host = start($t, rules(), workers => 2);
my %key = (idempotencyKey => 'job-7');

# answered, and asked for again
my $a = allocate_as($t, 'ann', { %key })->{json};
is $a->{state}, 'ready', 'the first answer';
my $again = allocate_as($t, 'ann', { %key })->{json};
is $again->{$_}, $a->{$_}, "the same $_"
    for qw(id token workerName expiresAt state);
isnt $again->{clientKey}, $a->{clientKey}, 'another key';
isnt index($t->read('buildkit.table'), sha256(spki($again))), -1,
    'the table knows the new key';
is index($t->read('buildkit.table'), sha256(spki($a))), -1,
    '... and the old one no more';
my $csr = csr();
$again = allocate_as($t, 'ann', { %key, csr => $csr })->{json};
is $again->{token}, $a->{token}, 'with a request for a certificate: the same';
is $again->{clientKey}, undef, '... and no key';
is live(), 1, 'there is one allocation';

# somebody else's, another pool's, another key
isnt allocate_as($t, 'bob', { %key })->{json}{token}, $a->{token},
    'the key of another caller is another';
$again = allocate_as($t, 'ann', { idempotencyKey => 'job-8' });
is $again->{json}{state}, 'queued', 'so is another key';
is allocate_as($t, 'ann', { idempotencyKey => 'job-8' })->{json}{token},
    $again->{json}{token}, 'a queued one: the same';
release_as($t, $again->{json}{token});

# killed and restarted, with and without the table
for my $lost (0, 1) {
    $host->kill('KILL');
    $host->stop;
    unlink $t->dir . '/buildkit.table' if $lost;
    $host->restart;
    my $r = allocate_as($t, 'ann', { %key })->{json};
    is $r->{token}, $a->{token}, 'after a restart: the same token';
    is $r->{workerName}, $a->{workerName}, '... and worker';
    $t->wait_for(sub { index($t->read('buildkit.table'),
        sha256(spki($r))) != -1 }, 5, 'the key in the table');
}

# while the first call waits: the later one takes over
%key = (idempotencyKey => 'job-9');
my $first = ask_as($t, 'ann', { %key });
$t->wait_for(sub { queued($host) == 1 }, 10, 'it to wait');
my $second = ask_as($t, 'ann', { %key });
answers(60, $first);
is $first->{status}, 409, 'the earlier call ends';
is $first->{json}{reason}, 'Superseded', '... and is told why';
is queued($host), 1, 'there is one in the queue';

# killed while it waits, and before anybody was told of it
my ($nonce) = @{$t->wait_for(sub {
    my @rows = journal($t, q{SELECT hex(token_hash) AS h, answered
        FROM allocations WHERE worker = '' AND state = 'live'});
    return @rows && \@rows;
}, 30, 'it to be written down')};
is $nonce->{answered}, 0, 'nobody has its token';
$host->kill('KILL');
answers(60, $second);
is $second->{status}, 0, 'the call breaks';
$host->restart;
ok $t->wait_for(sub { queued($host) == 1 }, 30, 'it'), 'its place is kept';
my $third = allocate_as($t, 'ann', { %key })->{json};
is substr($nonce->{h}, 0, 12), uc $third->{id}, 'and it is the same one';
release_as($t, $a->{token});
$t->wait_for(sub { lookup_as($t, $third->{token})->{json}{state} eq 'ready' },
    10, 'it to get the worker');
$third = allocate_as($t, 'ann', { %key })->{json};
is $third->{state}, 'ready', 'placed meanwhile: ready when asked again';

# over is over
release_as($t, $third->{token});
my $new = allocate_as($t, 'ann', { %key })->{json};
isnt $new->{token}, $third->{token}, 'after its end it is a new one';

# the secret: private, and needed
$host->stop;
my $secret = $t->dir . '/state/allocator.secret';
is sprintf('%o %d', (stat $secret)[2] & 0777, -s $secret), '600 32',
    'the secret of the state folder';
unlink $secret;
$host->restart;
my $r = allocate_as($t, 'ann', { %key });
is "$r->{status} $r->{json}{reason}", '409 Duplicate',
    'without it no token can be made again';
like $r->{json}{error}, qr/allocation $new->{id} .* cannot be made again/,
    '... which is said';
$host->stop;


sub live {
    my ($n) = journal($t, "SELECT count(*) AS n FROM allocations "
        . "WHERE state = 'live'");
    return $n->{n};
}

sub spki {
    my ($answer) = @_;
    $t->write('key.pem', pem($answer->{clientKey}));
    return $t->run('openssl', 'pkey', '-in', $t->dir . '/key.pem', '-pubout',
        '-outform', 'DER')->{out};
}

sub csr {
    my $dir = $t->dir;
    $t->run(qw(openssl req -new -newkey ec -pkeyopt
        ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout),
        "$dir/csr.key", '-out', "$dir/csr.pem");
    return $t->read('csr.pem');
}
