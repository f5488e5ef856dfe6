#!/usr/bin/perl

# bkctl and an API behind https: whose certificate it takes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Ctl;
use Oidc;
use Test::Buildkit;

plan tests => 10;

my $t = Test::Buildkit->new;
my $api = Oidc->new($t, 'api');     # an https server that says what it is told
$api->set('/api/v1/pools', '[{"name":"team/one","status":{}}]');
ctl($t, BKCTL_ENDPOINT => $api->url, no_proxy => '127.0.0.1',
    BKCTL_TLS_CA_CERT => undef, BKCTL_TLS_SKIP_VERIFY => undef);

refused({}, 'a stranger');
taken({ BKCTL_TLS_CA_CERT => $api->ca }, 'BKCTL_TLS_CA_CERT');
refused({ BKCTL_TLS_CA_CERT => $t->pki . '/worker-ca.pem' }, 'another CA');
for (1, 'true') {
    taken({ BKCTL_TLS_SKIP_VERIFY => $_ }, "BKCTL_TLS_SKIP_VERIFY=$_");
}
for ('', 0, 'false') {
    refused({ BKCTL_TLS_SKIP_VERIFY => $_ }, "BKCTL_TLS_SKIP_VERIFY=$_");
}
refused({ BKCTL_ENDPOINT => $api->url =~ s/127\.0\.0\.1/localhost/r,
    BKCTL_TLS_CA_CERT => $api->ca, no_proxy => 'localhost' }, 'another name');


sub taken {
    my ($env, $what) = @_;

    like(run($env, 'pools')->{out}, qr{team/one}, "$what: taken");
}

sub refused {
    my ($env, $what) = @_;

    my $got = run($env, 'pools');
    like($got->{err}, qr/certificate|CA cert/i, "$what: refused");
    is($got->{out}, q(), "$what: nothing is read") if !%$env;
}
