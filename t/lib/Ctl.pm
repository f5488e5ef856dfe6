package Ctl;

# What the tests of bkctl against a stand-in API (t/lib/fake_api) share: the
# API, bkctl with a clean environment, what was asked for and what was said.

use strict;
use warnings;

use Exporter qw(import);
use IO::Socket::UNIX;
use JSON qw(decode_json encode_json);
use Socket qw(SOCK_STREAM);
use Test::Buildkit;

our @EXPORT = qw(ctl run start said ended fake requests bodies printed);

my ($t, $printed, %env);


# ctl($t, VARIABLE => value, ...): before anything else.  The API is at
# DIR/api.sock unless BKCTL_ENDPOINT says another place.
sub ctl {
    ($t, my %more) = @_;

    %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_TLS_DIR
        BKCTL_TOKEN_FILE BKCTL_OIDC BKCTL_AUDIENCE BKCTL_POOL BUILDKIT_HOST
        ACTIONS_ID_TOKEN_REQUEST_URL ACTIONS_ID_TOKEN_REQUEST_TOKEN
        GITHUB_ACTIONS GITLAB_CI http_proxy XDG_RUNTIME_DIR)),
        BKCTL_ENDPOINT => 'unix:' . $t->dir . '/api.sock',
        TMPDIR => $t->dir, NO_COLOR => 1, %more);

    return;
}


# bkctl to its end; a hash first is more environment.
sub run {
    my $more = ref $_[0] ? shift : {};

    my $got = $t->run({ env => { %env, %$more } }, $t->build . '/bkctl', @_);
    $printed .= $got->{out} . $got->{err};

    return $got;
}


# All that bkctl has said so far.
sub printed {
    return join '', $printed // '',
        map { $t->read($_) // '' } glob $t->dir . '/*.log';
}


# bkctl that goes on, with its output in DIR/NAME.log.
sub start {
    my ($name, @args) = @_;

    return $t->start($name, { env => \%env }, $t->build . '/bkctl', @args);
}


# A test: it says this sooner or later.
sub said {
    my ($name, $what, $label) = @_;

    ok($t->wait_for(sub { ($t->read("$name.log") // '') =~ $what }, 20,
        $label), "$name: $label");

    return;
}


# A test: it ends with this status.
sub ended {
    my ($proc, $rc, $label) = @_;

    $t->wait_for(sub { !$t->alive($proc) }, 20, 'the end');
    is($proc->{status}, $rc, $label);

    return;
}


# A stand-in API where bkctl looks for it.
sub fake {
    my ($name, @rules) = @_;

    my ($sock) = $env{BKCTL_ENDPOINT} =~ /^unix:(.*)/;
    my ($port) = $env{BKCTL_ENDPOINT} =~ /:(\d+)/;
    unlink $sock if $sock;
    $t->write("$name.rules", encode_json(\@rules));
    my $proc = $t->start($name, {}, $t->root . '/t/lib/fake_api',
        $sock // $port, $t->dir . "/$name.rules", $t->dir . "/$name.req");

    if ($sock) {
        $t->wait_for(sub { IO::Socket::UNIX->new(Type => SOCK_STREAM,
            Peer => $sock) }, 10, "the fake $name");
    } else {
        $t->wait_port($port, 10, $proc);
    }

    return $proc;
}


# What it was asked, those that fit a pattern: {method, path, headers, body}.
sub requests {
    my ($name, $what) = @_;

    # the last one may be under way
    return map { decode_json($_) } grep { !$what || /$what/ }
        ($t->read("$name.req") // '') =~ /^(.+)\n/mg;
}


# The JSON of their bodies.
sub bodies { return map { decode_json($_->{body}) } requests(@_) }

1;
