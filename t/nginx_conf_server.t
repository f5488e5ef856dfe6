# Configuration that could let an unverified client through, or a client past
# the workers of the table, does not load, and the message says what to do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->allow_log(qr/./);

my $good = $t->gateway_conf;
my $where = qr/, server in \S+check\.conf:\d+/;

# what is changed, by what; the message
my @bad = (
    ['no table', sub { s/buildkit_table .*//r },
        qr/"buildkit on" needs "buildkit_table"/],
    ['no upstream of ours', sub { s/buildkit;/server 127.0.0.1:1;/r },
        qr/needs "proxy_pass" to an upstream with "buildkit;" inside/],
    ['no TLS', sub { s/ ssl;/;/r }, qr/needs "ssl" in each "listen"/],
    ['one listen without TLS', sub {
        s/(listen .*)/$1\n listen 127.0.0.1:%%PORT:plain%%;/r },
        qr/needs "ssl" in each "listen" .*"listen 127.0.0.1:\d+" has none/],
    ['clients not verified',
        sub { s/ssl_verify_client .*/ssl_verify_client off;/r },
        qr/needs "ssl_verify_client" optional_no_ca/],
    ['default of ssl_verify_client', sub { s/ssl_verify_client .*//r },
        qr/needs "ssl_verify_client" optional_no_ca/],
    ['no CA', sub { s/ssl_trusted_certificate .*\n.*ssl_ver/ssl_ver/r },
        qr/needs a CA to verify clients with/],
    ['no sessions to workers', sub {
        s/buildkit on;/buildkit on; proxy_ssl_session_reuse off;/r },
        qr/"proxy_ssl_session_reuse off" cannot be used/],
    ['no next upstream', sub {
        s/buildkit on;/buildkit on; proxy_next_upstream off;/r },
        qr/"proxy_next_upstream off" cannot be used/],
);

my @warn = (
    ['workers in the clear', sub { s/proxy_ssl +on;/proxy_ssl off;/r },
        qr/\[warn\].*"proxy_ssl" is off/],
    ['workers not verified',
        sub { s/proxy_ssl_verify +on;/proxy_ssl_verify off;/r },
        qr/\[warn\].*"proxy_ssl_verify" is off/],
);

plan tests => 3 * @bad + 3 * @warn + 7;

sub check {
    my ($change) = @_;

    local $_ = $good;

    return $t->nginx_conf_fails($change->());
}

my ($rc, $text) = check(sub { $_ });
is($rc, 0, 'the shipped configuration loads') or diag $text;
unlike($text, qr/warn/, 'without a warning');
ok(!-e $t->dir . '/buildkit.table', 'nginx -t makes no table');

for (@bad) {
    my ($name, $change, $message) = @$_;
    ($rc, $text) = check($change);
    isnt($rc, 0, "$name: does not load");
    like($text, qr/\[emerg\].*$message/, "$name: message");
    like($text, $where, "$name: place");
}

for (@warn) {
    my ($name, $change, $message) = @$_;
    ($rc, $text) = check($change);
    is($rc, 0, "$name: loads");
    like($text, $message, "$name: warning");
    like($text, $where, "$name: place");
}

# the same is nobody's business where the module is off
($rc, $text) = check(sub {
    s/buildkit on;/buildkit off;/r =~ s/ssl_verify_client .*//r });
is($rc, 0, 'buildkit off: no demands') or diag $text;

($rc, $text) = check(sub { s/proxy_pass .*//r });
like($text, qr/\[emerg\].*(no handler for server|needs "proxy_pass")/,
    'no proxy_pass: nginx itself refuses before 1.25, then we do');

($rc, $text) = check(sub { s/ssl_verify_client .*/ssl_verify_client on;/r =~
    s/ssl_trusted_certificate/ssl_client_certificate/r });
is($rc, 0, 'ssl_verify_client on with ssl_client_certificate') or diag $text;

# a directory in place of the table is found out later, by connections
($rc, $text) = check(sub { s/buildkit_table .*/buildkit_table %%DIR%%;/r });
is($rc, 0, 'what is at the path of the table does not matter to nginx -t');
