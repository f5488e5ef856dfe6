package Oidc;

# An issuer of OpenID Connect for tests: keys, tokens, and a server that
# behaves as it is told; and the plugin oidc in a host of its own
# (identify.c).
#
#   my $issuer = Oidc->new($t, 'main');         # serves already
#   $issuer->key('a', 'ES256');
#   $issuer->publish;                           # openid-configuration, JWKS
#   my $token = $issuer->token('a', {sub => ...});
#   my $asked = Oidc::identify($t, $yaml);      # a Test::Buildkit::Pipe
#   Oidc::warm($asked, $token);              # the keys are there
#   Oidc::ask($asked, $token);
#
# What a path is answered with is a file, so it can be changed at any time:
# set(PATH, BODY, status => 200, headers => [...]), hang(PATH), big(PATH, N).
# requests(PATH) counts, bodies() and heads() show.  The server is this Perl,
# a process per connection.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Fcntl qw(:flock);
use File::Path qw(make_path);
use File::Temp ();
use IO::Socket::INET;
use IO::Socket::SSL;
use IPC::Open3 qw(open3);
use JSON ();
use MIME::Base64 qw(encode_base64url);
use Time::HiRes qw(time);

my $JSON = JSON->new->canonical;

# whatever proxy this machine has
$ENV{no_proxy} = $ENV{NO_PROXY} = '127.0.0.1';


# new(T, NAME, [tls => 0]): https with the test's gateway authority
sub new {
    my ($class, $t, $name, %opts) = @_;

    my $port = $t->port("issuer-$name");
    my $tls = $opts{tls} // 1;
    my $self = bless { t => $t, name => $name, keys => {}, order => [],
        dir => $t->dir . "/issuer-$name",
        url => ($tls ? 'https' : 'http') . "://127.0.0.1:$port",
        ca => $t->pki . '/gateway-ca.pem', port => $port, tls => $tls,
    }, $class;
    make_path($self->{dir});

    if ($tls) {
        $t->mkcert('--out', "$self->{dir}/tls", '--ca',
            $t->pki . '/gateway-ca', '--cn', $name, '--eku', 'server',
            '--san', 'IP:127.0.0.1');
    }
    $self->start if $opts{start} // 1;

    return $self;
}


sub url { $_[0]{url} }
sub ca  { $_[0]{ca} }


# --- keys and tokens ------------------------------------------------------

my %MAKE = (
    RS256 => [qw(RSA -pkeyopt rsa_keygen_bits:2048)],
    PS256 => [qw(RSA -pkeyopt rsa_keygen_bits:2048)],
    ES256 => [qw(EC -pkeyopt ec_paramgen_curve:P-256)],
    ES384 => [qw(EC -pkeyopt ec_paramgen_curve:P-384)],
);

sub key {
    my ($self, $kid, $alg) = @_;

    my $file = "$self->{dir}/key-" . substr(sha256_hex($kid), 0, 12) . '.pem';
    _openssl('', 'genpkey', '-algorithm', @{$MAKE{$alg}}, '-out', $file);
    my $der = _openssl('', 'pkey', '-in', $file, '-pubout', '-outform',
        'DER');
    my %jwk = (kid => $kid, use => 'sig', alg => $alg);

    if ($alg =~ /^ES(\d+)/) {
        my $n = $1 / 8;
        my $point = substr $der, -2 * $n;
        @jwk{qw(kty crv x y)} = ('EC', "P-$1", map { encode_base64url($_) }
            substr($point, 0, $n), substr($point, $n));

    } else {
        # the modulus of 2048 bits, then INTEGER 65537
        @jwk{qw(kty n e)} = ('RSA', encode_base64url(substr $der, -261, 256),
            encode_base64url(substr $der, -3));
    }

    push @{$self->{order}}, $kid if !$self->{keys}{$kid};
    $self->{keys}{$kid} = { file => $file, alg => $alg, jwk => \%jwk };

    return \%jwk;
}


sub forget {
    my ($self, @kids) = @_;

    delete @{$self->{keys}}{@kids};
    $self->{order} = [grep { $self->{keys}{$_} } @{$self->{order}}];

    return;
}


sub jwks {
    my ($self) = @_;

    return { keys => [map { $self->{keys}{$_}{jwk} } @{$self->{order}}] };
}


sub publish {
    my ($self, %doc) = @_;

    $self->set('/.well-known/openid-configuration', $JSON->encode({
        issuer => $self->url, jwks_uri => $self->url . '/jwks', %doc }));
    $self->set('/jwks', $JSON->encode($self->jwks));

    return $self;
}


# token(KID, \%claims, \%header): claims that are undef are left out.  A
# string in place of either is taken as it is.
sub token {
    my ($self, $kid, $claims, $header) = @_;

    my $key = $self->{keys}{$kid};
    my $text = ref $claims ? $JSON->encode(_given({ iss => $self->url,
        sub => 'somebody', aud => 'builds', iat => int time,
        exp => int(time) + 300, %$claims })) : $claims;
    my $head = !defined $header || ref $header ? $JSON->encode(_given({
        typ => 'JWT', alg => $key->{alg}, kid => $kid, %{$header // {}} }))
        : $header;
    my $signed = join '.', map { encode_base64url($_) } $head, $text;

    return "$signed." . encode_base64url(sign($key, $signed));
}


sub sign {
    my ($key, $text) = @_;

    my ($kind, $bits) = $key->{alg} =~ /^(..)(\d+)/;
    my @pss = $kind eq 'PS' ? qw(-sigopt rsa_padding_mode:pss -sigopt
        rsa_pss_saltlen:digest) : ();
    my $sig = _openssl($text, 'dgst', "-sha$bits", '-sign', $key->{file},
        @pss);
    return $sig if $kind ne 'ES';

    # SEQUENCE of two INTEGERs: R and S
    my $at = 2;
    return join '', map {
        my $n = ord substr $sig, $at + 1, 1;
        my $int = substr $sig, $at + 2, $n;
        $at += 2 + $n;
        $int =~ s/^\0+//;
        ("\0" x ($bits / 8 - length $int)) . $int;
    } 1, 2;
}


sub _given { +{ map { defined $_[0]{$_} ? ($_ => $_[0]{$_}) : () }
    keys %{$_[0]} } }


sub _openssl {
    my ($stdin, @args) = @_;

    my ($in, $out) = map { File::Temp->new } 1 .. 2;
    print $in $stdin;
    seek $in, 0, 0;
    my $pid = open3('<&' . fileno $in, '>&' . fileno $out,
        my $err = File::Temp->new, 'openssl', @args);
    waitpid $pid, 0;
    die "openssl @args: $?" if $?;
    local $/;
    seek $out, 0, 0;
    binmode $out;

    return scalar <$out>;
}


# --- the server -----------------------------------------------------------

sub _file { "$_[0]{dir}/" . substr(sha256_hex($_[1]), 0, 16) . '.answer' }

sub set {
    my ($self, $path, $body, %opts) = @_;

    my $file = $self->_file($path);
    open my $fh, '>:raw', "$file.new" or die "$file: $!";
    print $fh join("\r\n", 'HTTP/1.1 ' . ($opts{status} // 200) . ' Said',
        'Content-Type: application/json', 'Content-Length: '
        . length($body), 'Connection: close', @{$opts{headers} // []}, '',
        $body);
    close $fh or die;
    rename "$file.new", $file or die;

    return;
}

# accepts, reads, and says nothing until it is told otherwise
sub hang { my ($self, $path) = @_; $self->_special($path, 'hang') }
# that many bytes, as fast as they are read
sub big  { my ($self, $path, $n) = @_; $self->_special($path, "big $n") }
sub _special {
    my ($self, $path, $text) = @_;

    my $file = $self->_file($path);
    open my $fh, '>:raw', "$file.new" or die "$file: $!";
    print $fh $text;
    close $fh or die;
    rename "$file.new", $file or die;

    return;
}

sub requests {
    my ($self, $path) = @_;

    open my $fh, '<', "$self->{dir}/requests" or return 0;

    return scalar grep { (split ' ')[1] eq $path } <$fh>;
}

sub bodies {
    my ($self) = @_;

    open my $fh, '<', "$self->{dir}/bodies" or return ();

    return map { $JSON->decode($_) } <$fh>;
}


# the last request, without its body
sub heads { my ($self) = @_; $self->{t}->read("$self->{dir}/head") }


sub start {
    my ($self) = @_;

    $self->{proc} = $self->{t}->start("issuer-$self->{name}", {}, $^X, '-e',
        'require shift; Oidc::serve(@ARGV)', __FILE__,
        @{$self}{qw(dir port tls)});
    $self->{t}->wait_port($self->{port}, 15, $self->{proc});

    return;
}

sub stop { $_[0]{t}->stop($_[0]{proc}) }


sub serve {
    my ($dir, $port, $tls) = @_;

    local $SIG{CHLD} = 'IGNORE';
    my $listen = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port",
        Listen => 100, ReuseAddr => 1) or die "port $port: $!";

    while (1) {
        my $s = $listen->accept or next;
        my $parent = $$;
        if (fork // die) {
            close $s;
            next;
        }
        close $listen;
        alarm 60;
        _serve_one($dir, $s, $tls, $parent);
        exit 0;
    }
}


sub _serve_one {
    my ($dir, $s, $tls, $parent) = @_;

    if ($tls) {
        $s = IO::Socket::SSL->start_SSL($s, SSL_server => 1,
            SSL_cert_file => "$dir/tls.pem", SSL_key_file =>
            "$dir/tls-key.pem") or return;
    }

    my $text = '';
    $s->sysread($text, 65536, length $text) or return
        while $text !~ /\r\n\r\n/;
    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my ($method, $path) = split ' ', $head;
    my ($length) = $head =~ /^content-length: *(\d+)/im;
    $s->sysread($body, 65536, length $body) or return
        while length $body < ($length // 0);

    _append("$dir/bodies", "$body\n") if length $body;
    unlink "$dir/head";
    _append("$dir/head", "$head\r\n");
    _append("$dir/requests", "$method $path\n");

    my $self = { dir => $dir };
    open my $fh, '<:raw', _file($self, $path);
    local $/;
    my $answer = $fh ? <$fh> : "HTTP/1.1 404 No\r\nContent-Length: 0\r\n"
        . "Connection: close\r\n\r\n";

    while ($answer eq 'hang') {
        select undef, undef, undef, 0.05;
        return if getppid != $parent;
        open $fh, '<:raw', _file($self, $path) or next;
        $answer = <$fh>;
    }

    if ($answer =~ /^big (\d+)/) {
        $answer = "HTTP/1.1 200 OK\r\n\r\n" . '[' x $1;
    }

    while (length $answer) {
        my $n = $s->syswrite($answer, 16384) or return;
        substr $answer, 0, $n, '';
    }

    $s->close;

    return;
}


sub _append {
    my ($file, $text) = @_;

    open my $fh, '>>', $file or die "$file: $!";
    flock $fh, LOCK_EX;
    syswrite $fh, $text;

    return;
}


# --- the plugin -----------------------------------------------------------

my $asked = 0;

# The plugin with this oidc.yaml; {first} is 'ready', or why it does not
# start.  { run => [...] } before the options: a command around it.
sub identify {
    my ($t, $yaml, @options) = @_;
    my $opts = ref $options[0] ? shift @options : {};

    my $file = $t->write('oidc.yaml', $yaml);
    my $p = $t->start_pipe('identify' . ++$t->{nidentify},
        @{$opts->{run} // []}, $t->tool('identify'),
        $t->build . '/plugins/oidc.so', "file=$file",
        @options);
    $p->{first} = $p->line(15);

    return $p;
}

# asks without waiting; answer(P, ID) waits
sub begin {
    my ($p, $token) = @_;

    my $id = 'q' . ++$asked;
    my $line = "ask $id $token\n";
    while (length $line) {
        my $n = syswrite($p->{in}, $line) // die "$p->{name}: $!";
        substr $line, 0, $n, '';
    }

    return $id;
}

# {ok, name, source, until, claims} or {code, reason, text} or {none}
sub answer {
    my ($p, $id) = @_;

    while (!$p->{answers}{$id}) {
        my ($of, $what) = split / /, $p->line(20), 2;
        $p->{answers}{$of} = $what;
        push @{$p->{order}}, $of;
    }

    my $text = $p->{answers}{$id};
    return { none => 1, line => $text } if $text eq 'none';

    if ($text =~ /^ok (.*) (\S+) (\d+) (\{.*)$/) {
        return { ok => 1, name => $1, source => $2, until => $3,
            claims => $JSON->decode($4), line => $text };
    }

    my ($code, $reason, $rest) = split / /, $text, 3;

    return { code => $code, reason => $reason, text => $rest,
        line => $text };
}

sub ask { answer($_[0], begin(@_)) }

# until this one is good: a busy machine may take longer than a caller waits
sub warm {
    my ($p, $token) = @_;

    return $p->{test}->wait_for(sub { ask($p, $token)->{ok} }, 180,
        'the keys of an issuer');
}

# so much later; 'stop': time goes by only so, whatever the machine does;
# 'still': the time of day as well, by which tokens expire and reviews are
# believed; 'go': by itself again
sub clock { my ($p, $ms) = @_; _said($p, "clock $ms", qr/^ok/) }
sub ping  { _said($_[0], 'ping', qr/^pong/) }

# {NAME{LABELS} => VALUE}
sub stats {
    my $line = _said($_[0], 'stats', qr/^stats /);

    return { map { /^(.*)=(.*)$/ } grep { /=/ } split ' ', $line };
}

# Answers that come meanwhile are kept.
sub _said {
    my ($p, $command, $want) = @_;

    syswrite $p->{in}, "$command\n";
    while (1) {
        my $line = $p->line(20);
        return $line if $line =~ $want;
        my ($of, $what) = split / /, $line, 2;
        $p->{answers}{$of} = $what;
        push @{$p->{order}}, $of;
    }
}

# the exit status: leaks are found at the end
sub quit {
    my ($p) = @_;

    syswrite $p->{in}, "quit\n";
    $p->{test}->wait_for(sub { !$p->{test}->alive($p) }, 20,
        'the end of identify');

    return $p->{status};
}

1;
