package Test::Buildkit::PKI;

# Certificates for tests, made by t/lib/mkcert.c: DIR/pki holds the two
# authorities (gateway-ca, worker-ca), the gateway's server certificate
# (gateway) and its client certificate towards workers (upstream).

use strict;
use warnings;

use File::Path qw(make_path);

my $DAY = 86400;


sub pki {
    my ($self) = @_;

    return $self->{pki} if $self->{pki};

    my $pki = "$self->{dir}/pki";
    make_path($pki);

    for (['gateway-ca', 'gateway authority'], ['worker-ca', 'worker authority'],
        ['other-ca', 'somebody else'])
    {
        $self->mkcert('--out', "$pki/$_->[0]", '--is-ca', '--cn', $_->[1],
            '--not-after', 30 * $DAY);
    }

    $self->mkcert('--out', "$pki/gateway", '--ca', "$pki/gateway-ca",
        '--cn', 'gateway', '--eku', 'server', '--san', 'DNS:localhost',
        '--san', 'IP:127.0.0.1');
    $self->mkcert('--out', "$pki/upstream", '--ca', "$pki/worker-ca",
        '--cn', 'gateway', '--eku', 'client');

    return $self->{pki} = $pki;
}


# Returns what mkcert prints: the SHA-256 of the public key.
sub mkcert {
    my ($self, @args) = @_;

    my $r = $self->run($self->tool('mkcert'), @args);
    die "mkcert @args: $r->{err}" if $r->{rc} != 0;
    chomp $r->{out};

    return $r->{out};
}


# client_cert(NAME, cn => ..., or cns => [...]; san_uri => ... or [...];
#   ca => gateway | other | worker | self; days; expired; not_yet;
#   purpose => client | server | both | none; rsa; key => FILE)
# Returns {cert, key, ca, spki_hash}.
sub client_cert {
    my ($self, $name, %opts) = @_;

    my $pki = $self->pki;
    my $out = "$self->{dir}/certs/$name";
    make_path("$self->{dir}/certs");

    my @args = ('--out', $out);
    my $ca = $opts{ca} // 'gateway';
    push @args, '--ca', "$pki/$ca-ca" if $ca ne 'self';

    my @cns = $opts{cns} ? @{$opts{cns}} : defined $opts{cn} ? $opts{cn} : ();
    push @args, '--cn', _escape($_) for @cns;

    my $uri = $opts{san_uri} // [];
    push @args, '--uri', _escape($_) for ref $uri ? @$uri : $uri;

    push @args, '--eku', $opts{purpose} if $opts{purpose};
    push @args, '--rsa' if $opts{rsa};
    push @args, '--key', $opts{key} if $opts{key};
    push @args, '--not-before', $DAY if $opts{not_yet};
    push @args, '--not-before', -2 * $DAY, '--not-after', -60 if $opts{expired};
    push @args, '--not-after', ($opts{days} // ($opts{not_yet} ? 2 : 1)) * $DAY
        if !$opts{expired};

    my $spki = $self->mkcert(@args);

    return { cert => "$out.pem", key => "$out-key.pem",
        ca => "$pki/gateway-ca.pem", spki_hash => $spki };
}


sub worker_cert {
    my ($self, $name, $tls_name, %opts) = @_;

    my $pki = $self->pki;
    my $out = "$self->{dir}/certs/worker-$name";
    make_path("$self->{dir}/certs");

    my $ca = $opts{ca} // 'worker';
    my $spki = $self->mkcert('--out', $out, '--ca', "$pki/$ca-ca",
        '--cn', $name, '--eku', 'server', '--san', "DNS:$tls_name");

    return { cert => "$out.pem", key => "$out-key.pem",
        ca => "$pki/worker-ca.pem", spki_hash => $spki };
}


# A revocation list of an authority (default: gateway); returns its path.
sub crl {
    my ($self, $name, $certs, %opts) = @_;

    my $path = "$self->{dir}/certs/$name.crl";
    make_path("$self->{dir}/certs");
    $self->mkcert('--crl', $path, '--ca',
        $self->pki . '/' . ($opts{ca} // 'gateway') . '-ca',
        map { ('--revoke', $_->{cert}) } @$certs);

    return $path;
}


sub _escape {
    my ($text) = @_;

    $text =~ s/([^\x20-\x5b\x5d-\x7e])/sprintf '\\x%02x', ord $1/ge;

    return $text;
}

1;
