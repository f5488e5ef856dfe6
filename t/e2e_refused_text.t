# What a person reads in the terminal: every refusal that needs no waiting,
# with a real buildctl, and a few with buildx.  The whole line is compared.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

# s; a client that believes in another try waits for 20
my $ONCE = 15;
my $t = Test::Buildkit->new;

my $iso = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
my $when = qr/$iso \(\d+[smhd] ago\)/;
my $auth = 'Unauthenticated';
my $pre = 'FailedPrecondition';
my $deep = 'run bkctl allocate';

# name => [certificate's options, state in the table (undef: none), the word
# for the code, text].  {cn} is filled in where it is not given; ID stands
# for the allocation's id.
my @rows = (
    stranger => [{ ca => 'other' }, 'ready 0', $auth,
        qr/the client certificate is not from an authority that this gateway trusts \(.+\); use the certificate that bkctl allocate wrote for this gateway/],
    selfsigned => [{ ca => 'self' }, 'ready 0', $auth,
        qr/the client certificate is not from an authority that this gateway trusts \(self.signed certificate\); use the certificate that bkctl allocate wrote for this gateway/],
    worker_ca => [{ ca => 'worker' }, 'ready 0', $auth,
        qr/the client certificate is not from an authority that this gateway trusts \(.+\); .*/],
    old_cert => [{ expired => 1 }, 'ready 0', $auth,
        qr/the client certificate expired at $when; run bkctl allocate to get a new one/],
    early => [{ not_yet => 1 }, 'ready 0', $auth,
        qr/the client certificate is not valid before $iso; compare the clocks of its issuer and of the gateway/],
    server => [{ purpose => 'server' }, 'ready 0', $auth,
        qr/the certificate was not issued for clients \(.+\); use the client certificate that bkctl allocate wrote/],
    no_alloc => [{ cn => 'Jane Doe' }, undef, $auth,
        qr/this certificate carries no allocation; $deep/],
    two_cns => [{ cns => ['alloc:' . 'a' x 43, 'alloc:' . 'b' x 43] }, undef,
        $auth, qr/this certificate has more than one common name, which is ambiguous; run bkctl allocate to get a plain one/],
    nul => [{ cn => 'alloc:' . 'a' x 20 . "\0" . 'b' x 22 }, undef, $auth,
        qr/the allocation token in this certificate has characters that no token has; $deep/],
    long => [{ cn => 'alloc:' . 'a' x 294 }, undef, $auth,
        qr/the allocation token in this certificate is empty or longer than 256 characters; $deep/],
    unknown => [{}, undef, $auth,
        qr/allocation ID is not known here \(waited \d+s\); it ended long ago, or is of another gateway: $deep/],
    expired => [{}, 'expired 0', $auth,
        qr/allocation ID expired at $when; $deep/],
    released => [{}, 'released 0', $auth,
        qr/allocation ID was released at $when; $deep/],
    revoked => [{}, "revoked 0 key leaked, \xc2\xabsee\xc2\xbb #7 100%", $auth,
        qr/allocation ID was revoked at $when: key leaked, \xc2\xabsee\xc2\xbb #7 100%; $deep/],
    failed => [{}, 'failed 0 its worker w1 was lost', $pre,
        qr/allocation ID failed at $when: its worker w1 was lost; $deep/],
    foreign => [{}, 'other ready 0', 'PermissionDenied',
        qr{allocation ID is of pool default/other, which is not served at this address; connect to the address that bkctl allocate printed}],
    thief => [{}, 'ready 0 key=' . '0' x 64, $auth,
        qr/this certificate's key is not the one that allocation ID was issued for; use the certificate and key that bkctl allocate wrote/],
);

plan tests => 3 * @rows / 2 + 13;

my $w1 = $t->worker('w1');
my @table = ('pool default/demo', 'pool default/other',
    "worker default/demo w1 127.0.0.1:$w1 w1.workers.buildkit.internal ready",
    "worker default/other w9 127.0.0.1:$w1 w9.workers.buildkit.internal ready");

my (%cert, %token);
my @names;
for (my $i = 0; $i < @rows; $i += 2) {
    my ($name, $row) = @rows[$i, $i + 1];
    my ($opts, $state) = @$row;

    push @names, $name;
    $token{$name} = $t->token;
    $cert{$name} = $t->client_cert($name, cn => "alloc:$token{$name}", %$opts);
    next if !defined $state;

    my $pool = $state =~ s/^other // ? 'default/other w9' : 'default/demo w1';
    push @table, "alloc token:$token{$name} $pool $state";
}

$t->table(@table);
my $nginx = $t->nginx($t->gateway_conf(
    server => "buildkit_pool default/demo;\n"));

my %row = @rows;
for my $name (@names) {
    my (undef, undef, $code, $text) = @{$row{$name}};
    my $r = $t->buildctl($cert{$name}, 'debug', 'workers');

    my $id = $t->id($token{$name});
    my $said = $r->{err} =~ s/$id/ID/gr;
    is($r->{rc}, 1, "$name: exit status");
    like($said, qr/\Aerror: failed to list workers: $code: buildkit gateway: $text\n\z/,
        "$name: text");
    cmp_ok($r->{time}, '<', $ONCE, "$name: at once");
}

my $r = $t->buildctl(undef, 'debug', 'workers');
is($r->{err}, "error: failed to list workers: Unauthenticated: buildkit"
    . " gateway: no client certificate was sent; run bkctl allocate and pass"
    . " its certificate and key to the client\n", 'no certificate');

# a build, and the other client
my $context = $t->context('app');
my $id = $t->id($token{revoked});
$r = $t->buildctl($cert{revoked}, $t->dockerfile_args($context));
is($r->{rc}, 1, 'buildctl build');
like($r->{err}, qr/error: listing workers for Build: failed to list workers: Unauthenticated: buildkit gateway: allocation $id was revoked at $when: key leaked/,
    'buildctl build: text');
cmp_ok($r->{time}, '<', $ONCE, 'buildctl build: at once');

for my $name (qw(revoked unknown)) {
    $id = $t->id($token{$name});
    is($t->buildx_create("b-$name", $cert{$name})->{rc}, 0, 'buildx create');
    $r = $t->buildx("b-$name", 'build', '--builder', "b-$name", '--progress',
        'plain', $context);
    is($r->{rc}, 1, "buildx build, $name");
    like($r->{err}, qr/ERROR: failed to build: Unauthenticated: buildkit gateway: allocation $id /,
        "buildx build, $name: text");
    cmp_ok($r->{time}, '<', $ONCE, "buildx build, $name: at once");
}

is($t->worker_object('w1')->stats->{accepted}, 0, 'the worker saw nobody');
