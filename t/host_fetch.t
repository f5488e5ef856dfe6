# HTTP requests of plugins (src/fetch.c) with servers that misbehave, and what
# is refused before anything is sent.  What a good server answers is in
# k8s_client.t and in oidc_*.t.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use K8s;
use Oidc;
use Test::Buildkit;

plan tests => 43;

my $t = Test::Buildkit->new;
my $server = Oidc->new($t, 'server');
my $url = $server->url;
my $pki = $t->pki;
my $p = K8s->new($t);
is($p->{first}, 'ready - -', 'the program');

my @ca = (ca_file => $server->ca);
my $big = 'b' x 1000;

sub fetch { $p->do(fetch => @_) }

# --- what is sent ----------------------------------------------------------

$server->set('/a', 'hello');
my $a = fetch(url => "$url/a", @ca);
is("$a->{status} $a->{body} $a->{text}", '200 hello ', 'GET');
like($server->heads, qr{^GET /a HTTP/1\.1\r}, 'is one');
like($server->heads, qr{^User-Agent: buildkit-plugin-host/}m, 'and says whose');
$a = fetch(url => "$url/a", @ca, body => '{"x":1}');
like($server->heads, qr{^POST /a .*^Content-Type: application/json\r}ms,
    'POST');
unlike($server->heads, qr/^Expect/mi, 'which does not ask first');
fetch(url => "$url/a", @ca, body => '{"x":2}', method => 'PATCH',
    type => 'application/merge-patch+json', bearer => 'abc');
like($server->heads, qr{^PATCH /a .*^Content-Type: application/merge-patch}ms,
    'another method and type');
like($server->heads, qr/^Authorization: Bearer abc\r$/m, 'a bearer token');
is_deeply([$server->bodies], [{ x => 1 }, { x => 2 }], 'the bodies');
fetch(url => "$url/a", @ca, method => 'DELETE');
like($server->heads, qr{^DELETE /a }, 'a method without a body');
unlike($server->heads, qr/^Content-Type/mi, 'has no type');
$t->write('token', "\n abc-file \r\n");
fetch(url => "$url/a", @ca, bearer_file => $t->dir . '/token');
like($server->heads, qr/^Authorization: Bearer abc-file\r$/m, 'of a file');

# --- what is refused -------------------------------------------------------

my $n = $server->requests('/a');
$t->write('empty', '');
$t->write('two', "abc\nX-Other: def\n");
my $cert = $t->read("$pki/upstream.pem");
for my $case (
    ['a token of two lines', qr/^the bearer token has a byte that no token/,
        bearer => "abc\r\nX-Other: def"],
    ['such a file', qr/^the bearer token has a byte/,
        bearer_file => $t->dir . '/two'],
    ['no token', qr/empty: no token is in it$/,
        bearer_file => $t->dir . '/empty'],
    ['no file', qr{/nothing: No such file}, bearer_file => '/nothing'],
    ['no regular file', qr{/tmp: Invalid argument}, bearer_file => '/tmp'],
    ['an empty authority', qr/empty: is empty$/, ca_file =>
        $t->dir . '/empty'],
    ['an authority that is none', qr/CA|cert/i, ca_file => $t->dir . '/two'],
    ['another one', qr/certificate|issuer/, ca_file => "$pki/other-ca.pem"],
    ['another one as text', qr/certificate|issuer/, ca_file => undef,
        ca => $t->read("$pki/other-ca.pem")],
    ['the system\'s', qr/certificate|issuer/, ca_file => undef],
    ['another name', qr/no alternative certificate subject name/,
        server_name => 'elsewhere.example'],
    ['a certificate without its key', qr/needs its key/, cert => $cert],
    ['with another\'s', qr/key/, cert => $cert,
        key => $t->read("$pki/gateway-key.pem")],
    ['http', qr/protocol "?http"? (?:is )?(?:not supported|disabled)/i,
        url => $url =~ s/^https/http/r . '/a'],
    ['a file', qr/protocol "?file"? (?:is )?(?:not supported|disabled)/i,
        url => 'file:///etc/passwd'],
    ['no URL', qr/url|resolve/i, url => '']) {
    my ($what, $want, @args) = @$case;
    $a = fetch(url => "$url/a", @ca, @args);
    like("$a->{status} $a->{text}", qr/^0 /, $what) && $a->{text} =~ $want
        or fail("$what: $a->{text}");
}
is($server->requests('/a'), $n, 'and nothing was sent');
$a = fetch(url => "$url/a", ca => $t->read($server->ca));
is($a->{status}, 200, 'the authority as text');

# --- servers that misbehave ------------------------------------------------

$server->set('/to', '', status => 302, headers => ["Location: $url/a"]);
is(fetch(url => "$url/to", @ca)->{status}, 302, 'redirects are not followed');
$server->set('/later', '{}', status => 429, headers => ['Retry-After: 7']);
$a = fetch(url => "$url/later", @ca);
is("$a->{status} $a->{retry} $a->{body}", '429 7 {}', 'Retry-After');
is(fetch(url => "$url/a", @ca)->{retry}, 0, 'is not of the next one');
$server->big('/big', 3 << 20);
$a = fetch(url => "$url/big", @ca);
is("$a->{status} $a->{text}", '0 its answer has more than 1048576 bytes',
    'too much');
$server->set('/some', $big);
is(length fetch(url => "$url/some", @ca, limit => 1000)->{body}, 1000,
    'as much as is allowed');
is(fetch(url => "$url/some", @ca, limit => 999)->{status}, 0, 'one more');
$server->hang('/hang');
like(fetch(url => "$url/hang", @ca, timeout => 300)->{text}, qr/timed out/i,
    'a server that hangs');
is(fetch(url => "$url/hang", @ca, timeout => 300, stream => JSON::true)->{text},
    'it did not answer in time', 'with a stream');
$a = fetch(url => "$url/later", @ca, stream => JSON::true);
is("$a->{status} $a->{retry} $a->{body}", '429 7 {}',
    'a stream that is refused');
my $id = $p->begin(fetch => url => "$url/big", @ca, stream => JSON::true);
my $seen = 0;
while (defined(my $part = $p->part($id))) {
    $seen += length $part;
}
is($seen, 3 << 20, 'of a stream there is no end');

# --- a connection that is closed before an answer ---------------------------

# Answers the first request of a connection, reads the second and is gone.
my $port = $t->port('closes');
my $closes = $t->start('closes', {}, $^X, '-MIO::Socket::INET', '-e', <<'E',
    my ($port, $file) = @ARGV;
    my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port",
        Listen => 5, ReuseAddr => 1) or die;
    while (my $s = $l->accept) {
        for my $n (1, 2) {
            my ($text, $body) = '';
            while (!defined $body) {
                sysread $s, $text, 65536, length $text or last;
                $body = $2 if $text =~
                    /^content-length: *(\d+).*?\r\n\r\n(.*)/ims
                    && length $2 == $1;
            }
            last if !defined $body;
            open my $fh, '>>', $file or die;
            print $fh "$body\n";
            close $fh;
            syswrite $s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                if $n == 1;
        }
        close $s;
    }
E
    $port, $t->dir . '/closes.said');
$t->wait_port($port, 15, $closes);

sub twice {
    my (@once) = @_;
    unlink $t->dir . '/closes.said';
    my @args = (url => "http://127.0.0.1:$port/", insecure => JSON::true,
        @once);
    my @answers = map { fetch(body => $_, @args)->{status} } qw(a b);
    return "@answers: " . join ' ', split /\n/, $t->read('closes.said');
}

is(twice(once => JSON::true), '200 0: a b', 'what must be sent once is');
is(twice(), '200 200: a b b', 'other requests are sent again');
is($p->quit, 0, 'the end');
