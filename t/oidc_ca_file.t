#!/usr/bin/perl

# The authority that is named is the only one: neither the plugin nor bkctl
# goes on to trust what is in the system's folder of certificates.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oidc;
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
my $folder = '/etc/ssl/certs';

plan skip_all => 'no mount namespaces here' if !-d $folder
    || $t->run('unshare', '-m', 'true')->{rc} != 0;
plan tests => 6;

my $issuer = Oidc->new($t, 'main');
$issuer->key('k', 'ES256');
$issuer->publish;
$issuer->set('/api/v1/pools', '[]');

# a system that trusts the issuer's authority by its folder alone
my $other = $t->pki . '/other-ca.pem';
mkdir "$dir/certs" or die $!;
my $hash = $t->run(qw(openssl x509 -noout -hash -in), $issuer->ca)->{out};
chomp $hash;
$t->write("certs/$hash.0", $t->read($issuer->ca));
$t->write('certs/ca-certificates.crt', $t->read($other));
my @there = (qw(unshare -m sh -c),
    qq(mount --bind '$dir/certs' $folder && exec "\$0" "\$@"));

sub verdict {
    my ($ca) = @_;
    my $p = Oidc::identify($t, <<"E", { run => \@there });
issuers:
  - {name: main, issuer: "@{[$issuer->url]}", audience: [builds]$ca}
E
    # a busy machine may take longer than a caller waits
    my ($said, $token) = (undef, $issuer->token('k', {}));
    $t->wait_for(sub { $said = Oidc::ask($p, $token);
        $said->{ok} || $said->{line} =~ /certificate/ }, 60, 'the keys');
    Oidc::quit($p);
    return $said;
}

SKIP: {
    skip 'libcurl looks into no such folder here', 1
        if !verdict('')->{ok};
    pass('the system trusts it');
}
ok(verdict(qq(, caFile: "@{[$issuer->ca]}"))->{ok}, 'and so does its own file');
like(verdict(qq(, caFile: "$other"))->{line},
    qr/^503 IssuerUnreachable .*certificate/, 'but not that of somebody else');

sub bkctl {
    return $t->run({ env => { BKCTL_ENDPOINT => $issuer->url,
        BKCTL_TLS_CA_CERT => $_[0] } }, @there, $t->build . '/bkctl', 'pools');
}

SKIP: {
    skip 'libcurl looks into no such folder here', 1
        if bkctl(undef)->{rc} != 0;
    pass('bkctl: the system trusts it');
}
is(bkctl($issuer->ca)->{rc}, 0, 'and so does its own file');
my $r = bkctl($other);
like("$r->{rc} $r->{err}", qr/^5 .*is not trusted/,
    'but not that of somebody else');
