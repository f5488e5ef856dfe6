# Where a token may be, and what it may look like: exactly one source.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

my ($a, $b) = map { $t->token } 1 .. 2;
my $uri = 'buildkit://allocation/';
my ($t256, $t257) = ('x' x 256, 'x' x 257);

# name, certificate, what comes: "w1" or the text of a refusal
my @rows = (
    ['CN', { cn => "alloc:$a" }, 'w1'],
    ['SAN', { san_uri => "$uri$a" }, 'w1'],
    ['SAN beside a name', { cn => 'ci', san_uri => ['spiffe://x/y', "$uri$a"] },
        'w1'],
    ['92 characters of CN', { cn => 'alloc:' . 'A' x 86 }, 'w1'],
    ['256 characters of token', { cn => "alloc:$t256" }, 'w1'],
    ['257 characters', { cn => "alloc:$t257" }, qr/longer than 256/],
    ['300 characters of CN', { cn => 'alloc:' . 'A' x 294 },
        qr/longer than 256/],
    ['257 characters of SAN', { san_uri => "$uri$t257" }, qr/longer than 256/],
    ['one character', { cn => 'alloc:A' }, qr/is not known here/],
    ['empty', { cn => 'alloc:' }, qr/is empty or longer/],
    ['empty SAN', { san_uri => $uri }, qr/is empty or longer/],
    ['no prefix', { cn => $a }, qr/carries no allocation/],
    ['another prefix', { cn => "Alloc:$a" }, qr/carries no allocation/],
    ['another URI', { san_uri => "buildkit://worker/$a" },
        qr/carries no allocation/],
    ['nothing', {}, qr/carries no allocation/],
    ['two CNs', { cns => ["alloc:$a", "alloc:$b"] },
        qr/more than one common name/],
    ['token first of two CNs', { cns => ["alloc:$a", 'ci'] },
        qr/more than one common name/],
    ['token last of two CNs', { cns => ['ci', "alloc:$a"] },
        qr/more than one common name/],
    ['CN and SAN', { cn => "alloc:$a", san_uri => "$uri$a" },
        qr/more than one allocation/],
    ['two SANs', { san_uri => ["$uri$a", "$uri$b"] },
        qr/more than one allocation/],
    ['NUL after', { cn => "alloc:$a\0" }, qr/characters that no token has/],
    ['NUL amid', { cn => "alloc:$a\0.example" },
        qr/characters that no token has/],
    ['NUL before', { cn => "\0alloc:$a" }, qr/carries no allocation/],
    ['NUL in the prefix', { cn => "al\0loc:$a" }, qr/carries no allocation/],
    ['NUL in SAN', { san_uri => "$uri$a\0" }, qr/characters that no token has/],
    ['newline', { cn => "alloc:$a\n" }, qr/characters that no token has/],
    ['space', { cn => "alloc: $a" }, qr/characters that no token has/],
    ['slash', { cn => "alloc:$a/x" }, qr/characters that no token has/],
    ['plus', { cn => "alloc:+$a" }, qr/characters that no token has/],
    ['padding', { cn => "alloc:$a=" }, qr/characters that no token has/],
    ['UTF-8', { cn => "alloc:\xc3\xa4" }, qr/characters that no token has/],
);

plan tests => @rows + 1;

my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->worker('w1')
        . ' w1.workers.buildkit.internal ready',
    map { "alloc token:$_ default/demo w1 ready 0" } $a, $b, 'A' x 86, $t256);

$t->nginx($t->gateway_conf(stream => "buildkit_grace 0;\n"));

my $n = 0;
for (@rows) {
    my ($name, $opts, $want) = @$_;
    my $cert = $t->client_cert('c' . $n++, %$opts);

    if (!ref $want) {
        like($t->say_hello($cert), qr/worker \Q$want\E/, $name);

    } else {
        like($t->grpc($cert)->{streams}{1}{message}, $want, $name);
    }
}

my $passed = grep { !ref $_->[2] } @rows;
is($t->worker_object('w1')->stats->{accepted}, $passed,
    'what was refused did not reach the worker');
