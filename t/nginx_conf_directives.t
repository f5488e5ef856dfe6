# Every directive with good and bad values, in the right and the wrong place.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->allow_log(qr/./);

# name, lines for stream / server / upstream; undef (good) or the message
my @rows = (
    ['check', { stream => 'buildkit_check 50ms;' }],
    ['check, bounds', { stream => 'buildkit_check 10s;' }],
    ['check, lower bound', { stream => 'buildkit_check 10ms;' }],
    ['check 0', { stream => 'buildkit_check 0;' },
        qr/"buildkit_check" must be between 10ms and 10s/],
    ['check too long', { stream => 'buildkit_check 11s;' },
        qr/"buildkit_check" must be between 10ms and 10s/],
    ['check, no time', { stream => 'buildkit_check often;' },
        qr/"buildkit_check" directive invalid value/],
    ['check twice', { stream => "buildkit_check 1s;\nbuildkit_check 1s;" },
        qr/"buildkit_check" directive is duplicate/],
    ['check in server', { server => 'buildkit_check 1s;' },
        qr/"buildkit_check" directive is not allowed here/],

    ['lookup', { stream => 'buildkit_lookup /run/x; buildkit_report /run/y;' }],
    ['lookup without a report', { stream => 'buildkit_lookup /run/x;' },
        qr/\[warn\].*"buildkit_lookup" without "buildkit_report"/, 'loads'],
    ['lookup twice', { stream => 'buildkit_lookup /x; buildkit_lookup /x;' },
        qr/"buildkit_lookup" directive is duplicate/],
    ['lookup, too long', { stream => 'buildkit_lookup /' . 'x' x 107 . ';' },
        qr/the path of a socket has at most 107 characters/],
    ['lookup in server', { server => 'buildkit_lookup /x;' },
        qr/"buildkit_lookup" directive is not allowed here/],
    ['lookup_wait', { server => 'buildkit_lookup_wait 0;' }],
    ['lookup_wait, no time', { stream => 'buildkit_lookup_wait long;' },
        qr/"buildkit_lookup_wait" directive invalid value/],

    ['names', { server => 'buildkit_names /run/x/;' }],
    ['names, relative', { server => 'buildkit_names names;' }],
    ['names twice', { server => 'buildkit_names /x; buildkit_names /y;' },
        qr/"buildkit_names" directive is duplicate/],
    ['names, empty', { server => 'buildkit_names "";' },
        qr/"buildkit_names" directive needs a path/],
    ['names in stream', { stream => 'buildkit_names /x;' },
        qr/"buildkit_names" directive is not allowed here/],
    ['names, two values', { server => 'buildkit_names /x /y;' },
        qr/invalid number of arguments in "buildkit_names" directive/],
    ['names and a variable', { server => "buildkit_names /x;\n"
            . 'ssl_certificate $ssl_server_name;'
            . 'ssl_certificate_key $ssl_server_name;' },
        qr/"buildkit_names" cannot be used with variables in "ssl_certificate"/],

    ['table twice', { stream => 'buildkit_table /x;' },
        qr/"buildkit_table" directive is duplicate/],
    ['table in server', { server => 'buildkit_table /x;' },
        qr/"buildkit_table" directive is not allowed here/],
    ['table, relative', { table => 'run/table' }],
    ['table, empty', { table => '""' },
        qr/"buildkit_table" directive needs a path/],

    ['buildkit twice', { server => 'buildkit off;' },
        qr/"buildkit" directive is duplicate/],
    ['buildkit in stream', { stream => 'buildkit on;' },
        qr/"buildkit" directive is not allowed here/],
    ['buildkit maybe', { switch => 'maybe' },
        qr/invalid value "maybe" in "buildkit" directive/],
    ['buildkit without a value', { switch => '' },
        qr/invalid number of arguments in "buildkit" directive/],
    ['balancer twice', { upstream => 'buildkit;' },
        qr/"buildkit" directive is duplicate/],
    ['balancer with a value', { upstream => 'buildkit on;' },
        qr/invalid number of arguments in "buildkit" directive/],
    ['balancer and server', { upstream => 'server 127.0.0.1:1;' },
        qr/upstream "workers" has "buildkit;" and "server"/],
    ['balancer and zone', { upstream => 'zone workers 64k;' },
        qr/upstream "workers" has "buildkit;" and "zone"/],
    ['balancer after zone', { before => 'zone workers 64k;' },
        qr/upstream "workers" has "buildkit;" and "zone"/],
    ['balancer and then hash', { upstream => 'hash $remote_addr;' },
        qr/no servers in upstream|"buildkit;" and another load balancing/],
    ['balancer after hash', { before => 'hash $remote_addr;' },
        qr/\[warn\].*load balancing method redefined/, 'loads'],

    ['pool', { server => 'buildkit_pool default/demo;' }],
    ['pools', { server => 'buildkit_pool a/b c/d; buildkit_pool e/f;' }],
    ['pool by variable', { server => 'buildkit_pool $ssl_server_name;' }],
    ['pool, half a variable', { server => 'buildkit_pool default/$pid;' }],
    ['pool, no namespace', { server => 'buildkit_pool demo;' },
        qr{invalid pool "demo": pools are named namespace/name}],
    ['pool, empty namespace', { server => 'buildkit_pool /demo;' },
        qr/invalid pool/],
    ['pool, empty name', { server => 'buildkit_pool demo/;' },
        qr/invalid pool/],
    ['pool, too long', { server => 'buildkit_pool a/' . 'x' x 400 . ';' },
        qr/invalid pool/],
    ['pool, no name', { server => 'buildkit_pool;' },
        qr/invalid number of arguments in "buildkit_pool"/],
    ['pool, unknown variable', { server => 'buildkit_pool $nothing;' },
        qr/unknown "nothing" variable/],
    ['pool in stream', { stream => 'buildkit_pool a/b;' },
        qr/"buildkit_pool" directive is not allowed here/],

    ['variables', { stream => 'log_format x "$buildkit_allocation'
        . ' $buildkit_pool $buildkit_worker $buildkit_worker_tls_name'
        . ' $buildkit_state $buildkit_reason $buildkit_expires";' }],
    ['no such variable', { stream => 'log_format x "$buildkit_token";',
        server => 'access_log %%DIR%%/x x;' },
        qr/unknown "buildkit_token" variable/],
);

plan tests => 2 * @rows;

for (@rows) {
    my ($name, $change, $message, $loads) = @$_;

    my $conf = $t->gateway_conf(
        stream => ($change->{stream} // '') . "\n",
        server => ($change->{server} // '') . "\n",
        exists $change->{table} ? (table => $change->{table}) : ());
    $conf =~ s/buildkit on;/buildkit $change->{switch};/
        if exists $change->{switch};
    $conf =~ s/buildkit;/buildkit; $change->{upstream}/ if $change->{upstream};

    $conf =~ s/buildkit;/$change->{before} buildkit;/ if $change->{before};

    my ($rc, $text) = $t->nginx_conf_fails($conf);

    if ($message) {
        is(!!$rc, !$loads, "$name: " . ($loads ? 'loads' : 'does not load'));
        like($text, $message, "$name: message");

    } else {
        is($rc, 0, "$name: loads") or diag $text;
        unlike($text, qr/\[(warn|error|emerg)\]/, "$name: without a word");
    }
}
