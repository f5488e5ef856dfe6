# The directives of holding, cutting, limits and reports with good and bad
# values, and stock ones that would get in their way.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

my $t = Test::Buildkit->new;
$t->allow_log(qr/./);

# name, lines for stream / server / upstream; undef (good) or the message
my @rows = (
    # times and numbers that are merged into a server
    (map { my $name = $_;
        (["$name in stream", { stream => "buildkit_$name 30s;" }],
        ["$name in server", { server => "buildkit_$name 30s;" }],
        ["$name, negative", { server => "buildkit_$name -1s;" },
            qr/"buildkit_$name" directive invalid value/],
        ["$name twice", { server => "buildkit_$name 30s; buildkit_$name 1m;" },
            qr/"buildkit_$name" directive is duplicate/],
        ["$name in upstream", { upstream => "buildkit_$name 30s;" },
            qr/"buildkit_$name" directive is not allowed here/])
    } qw(wait grace retry silence header_timeout peer_timeout)),
    (map { my $name = "max_$_";
        (["$name in stream", { stream => "buildkit_$name 5;" }],
        ["$name 0", { server => "buildkit_$name 0;" }],
        ["$name, negative", { server => "buildkit_$name -1;" },
            qr/"buildkit_$name" directive invalid number/],
        ["$name, no number", { server => "buildkit_$name many;" },
            qr/"buildkit_$name" directive invalid number/],
        ["$name twice", { server => "buildkit_$name 1; buildkit_$name 2;" },
            qr/"buildkit_$name" directive is duplicate/])
    } qw(connections held handshakes)),

    ['silence 0', { server => 'buildkit_silence 0;' }],
    ['silence, short', { server => 'buildkit_silence 9s;' },
        qr/\[warn\].*"buildkit_silence" is below 10s: builds that/, 'loads'],
    ['header_timeout 0', { server => 'buildkit_header_timeout 0;' },
        qr/"buildkit_header_timeout" must not be 0/],
    ['peer_timeout 0', { server => 'buildkit_peer_timeout 0;' }],
    ['peer_timeout, short', { server => 'buildkit_peer_timeout 1s;' },
        qr/"buildkit_peer_timeout" must be 0 or between 2s and 1h, server in/],
    ['peer_timeout, long', { stream => 'buildkit_peer_timeout 2h;' },
        qr/"buildkit_peer_timeout" must be 0 or between 2s and 1h, server in/],
    ['handshake, slow', { server => 'ssl_handshake_timeout 2m;' },
        qr/\[warn\].*"ssl_handshake_timeout" is over 60s/, 'loads'],
    ['next upstream off', { server => 'proxy_next_upstream off;' },
        qr/"proxy_next_upstream off" cannot be used with "buildkit on"/],
    ['tries', { server => 'proxy_next_upstream_tries 3;' },
        qr/"proxy_next_upstream_tries" cannot be used with .*buildkit_retry/],
    ['tries, time', { server => 'proxy_next_upstream_timeout 3s;' },
        qr/"proxy_next_upstream_timeout" cannot be used with .*buildkit_retry/],
    ['one try', { server => 'buildkit_retry 4s;' },
        qr/\[warn\].*"proxy_connect_timeout" is longer than .*tried once/,
        'loads'],
    ['no retry', { server => 'buildkit_retry 0;' }],

    ['report', { stream => 'buildkit_report reports;' }],
    ['report, no folder', { stream => 'buildkit_report /nowhere/at/all;' }],
    ['report, empty', { stream => 'buildkit_report "";' },
        qr/"buildkit_report" directive needs a path/],
    ['report twice', { stream => "buildkit_report /x;\nbuildkit_report /y;" },
        qr/"buildkit_report" directive is duplicate/],
    ['report in server', { server => 'buildkit_report /x;' },
        qr/"buildkit_report" directive is not allowed here/],
);

plan tests => 2 * @rows;

for (@rows) {
    my ($name, $change, $message, $loads) = @$_;

    my $conf = $t->gateway_conf(map { $_ => ($change->{$_} // '') . "\n" }
        qw(stream server));
    $conf =~ s/buildkit;/buildkit; $change->{upstream}/ if $change->{upstream};

    my ($rc, $text) = $t->nginx_conf_fails($conf);

    if ($message) {
        is(!!$rc, !$loads, "$name: " . ($loads ? 'loads' : 'does not load'));
        like($text, $message, "$name: message");

    } else {
        is($rc, 0, "$name: loads") or diag $text;
        unlike($text, qr/\[(warn|error|emerg)\]/, "$name: without a word");
    }
}
