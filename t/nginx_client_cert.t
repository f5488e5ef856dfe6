# Certificates that prove nothing: the exact reason for the client where nginx
# lets it through, a line in the log where it does not; never a worker.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;

my $token = $t->token;
my %make = (
    good    => {},
    other   => { ca => 'other' },
    self    => { ca => 'self' },
    worker  => { ca => 'worker' },
    expired => { expired => 1 },
    not_yet => { not_yet => 1 },
    purpose => { purpose => 'server' },
    revoked => {},
    anyone  => { cn => 'anyone' },
);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token",
    %{$make{$_}}) } keys %make;

my @rows = (
    [undef,   qr/no client certificate was sent; run bkctl allocate/, 'none'],
    ['other', qr/not from an authority that this gateway trusts/],
    ['self',  qr/not from an authority that .*self-signed/],
    ['worker', qr/not from an authority/, 'of the workers\' authority'],
    ['expired',
        qr/certificate expired at \d{4}-\S+Z \(\d+[sm] ago\); run bkctl/],
    ['not_yet', qr/is not valid before \d{4}-\S+Z; compare the clocks/],
    ['purpose', qr/was not issued for clients/],
    ['revoked', qr/was revoked by its authority; run bkctl/],
);

plan tests => 4 * @rows + 9;

my $crl = $t->crl('gateway', [$cert{revoked}]);
my $port = $t->worker('w1');
my $table = $t->table('pool default/demo',
    "worker default/demo w1 127.0.0.1:$port w1.workers.buildkit.internal ready",
    "alloc token:$token default/demo w1 ready 0");

# the second server as stock nginx does it, for both kinds of "verify"
my $conf = $t->gateway_conf(stream => "buildkit_grace 0;\n",
    server => "ssl_crl $crl;\n");
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
for (['on', 'on'], ['optional', 'optional']) {
    my ($name, $verify) = @$_;
    (my $more = $server) =~ s/%%PORT:gw%%/%%PORT:$name%%/;
    $more =~ s/ssl_verify_client .*/ssl_verify_client $verify;/;
    $more =~ s/ssl_trusted_certificate/ssl_client_certificate/;
    $conf =~ s/\n\}\n\z/\n$more\n}\n/;
}
my $nginx = $t->nginx($conf);

for (@rows) {
    my ($name, $text, $what) = @$_;
    my $got = $t->grpc($name && $cert{$name})->{streams}{1};
    is($got->{grpc_status}, 16, ($what // $name) . ': code');
    like($got->{message}, $text, ($what // $name) . ': text');
}

for my $verify ('on', 'optional') {
    for (@rows) {
        my ($name) = @$_;
        next if !$name && $verify eq 'optional';
        my $h2 = $t->grpc($name && $cert{$name}, port => $verify, seconds => 3);
        ok(!$h2->{streams}{1}{end}, "$verify, " . ($name // 'none')
            . ': closed without a word');
    }
}
like($t->grpc(undef, port => 'optional')->{streams}{1}{message},
    qr/no client certificate/, 'optional, none: refused by us');

for my $port ('gw', 'on', 'optional') {
    like($t->say_hello($cert{good}, port => $port), qr/worker w1/,
        "$port: the good one passes");
    is($t->grpc($cert{anyone}, port => $port)->{streams}{1}{message},
        'buildkit gateway: this certificate carries no allocation; '
        . 'run bkctl allocate', "$port: a CN that is no token");
}
is($t->worker_object('w1')->stats->{accepted}, 3, 'none of them got through');

$nginx->stop;
my $log = $nginx->log;
for (['10', 'certificate has expired'], ['23', 'certificate revoked']) {
    like($log, qr/verify error: \($_->[0]:$_->[1]\).*client: 127\.0\.0\.1/,
        "dropped by nginx: logged with reason and address, $_->[1]");
}
