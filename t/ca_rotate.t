# Both authorities are rotated while a build runs: it goes on, whoever knows
# only the old authority still gets through, whoever got the new one does too,
# and a worker that was started before is reached.  Retired, the old is gone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 29;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 1, shared => 1, reload => 1);
my $state = $t->dir . '/state';
my $first = ($nginx->worker_pids)[0];

my $old = $t->allocate('old');
is($old->{run}{rc}, 0, 'allocate') or diag $old->{run}{err};
is(certs("$old->{cert}"), 1, 'its certificate is alone');
is(certs("$old->{ca}"), 1, 'of the only authority');
for my $who (qw(gateway worker)) {
    $t->write("only-old-$who.pem", $t->read("$state/ca/$who-ca.pem"));
}

# it goes on until its "sleep", which nobody else has, is killed
my $nap = 2_000_000_000 - $$;
my $context = $t->context('slow', <<"END");
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox sleep $nap & i=0; while kill -0 \$! 2>/dev/null; do i=\$((i+1)); echo line \$i; /bin/busybox sleep 0.1; done"]
END
my $build = $t->start('build', {}, $t->lab('buildctl'), '--addr',
    'tcp://localhost:' . $t->port('gw'), '--tlscacert', $old->{ca},
    '--tlscert', $old->{cert}, '--tlskey', $old->{key},
    $t->dockerfile_args($context));
$t->wait_for(sub { ($t->read('build.log') // '') =~ /line 2\b/ }, 180,
    'the build to run');

my $r = $host->request('POST', '/api/v1/ca/rotate');
is($r->{status}, 200, 'rotated') or diag $r->{body};
is(join(' ', map { my $a = $_; map { "$a->{name}=$_->{state}" }
    @{$a->{certificates}} } @{$r->{json}{authorities}}),
    'gateway=current gateway=old worker=current worker=old', 'both of them');
isnt($t->read("$state/ca/gateway-ca.pem"), $t->read('only-old-gateway.pem'),
    'a new authority');
is((stat "$state/ca/gateway-ca-key.pem")[2] & 07777, 0600, 'its key: 0600');
is(certs("$state/tls/gateway-ca.pem"), 2, 'nginx trusts both');
is(certs("$state/tls/gateway.pem"), 2, 'and shows a chain');

# at once: whatever nginx has read
my $new = $t->allocate('new');
is($t->whose($new), 'w1', 'a new one gets through at once');
$t->wait_for(sub { $host->log =~ /nginx was reloaded/ }, 30, 'the reload');
$t->wait_for(sub { $nginx->log =~ / $first#\d+: gracefully shutting down/ }, 9,
    'the old process to leave its port');
ok($t->wait_for(sub { !-e "$state/ca/nginx-reload-pending" }, 30, 'the mark'),
    'nginx has read all of it');

is($t->whose($old), 'w1', 'the old one gets through');
is($t->whose($new), 'w1', 'the new one gets through');
is(certs($new->{cert}), 2, 'its certificate leads to the old authority too');
is(certs($new->{ca}), 2, 'it trusts both');
is($t->whose({ %$new, ca => $old->{ca} }), 'w1', 'who trusts the old alone');
$t->write('only-new.pem', $t->read("$state/ca/gateway-ca.pem"));
is($t->whose({ %$old, ca => $t->dir . '/only-new.pem' }), 'w1',
    'who trusts the new alone');
is(s_client($_), 0, "openssl, with $_ alone")
    for $old->{ca}, $t->dir . '/only-new.pem';
is($t->run(qw(openssl verify -x509_strict -purpose sslclient -CAfile),
    $t->dir . '/only-old-worker.pem', '-untrusted',
    "$state/tls/upstream.pem", "$state/tls/upstream.pem")->{rc}, 0,
    'a worker that knows the old alone verifies nginx');

is($t->alive($build), 1, 'the build runs still');
kill TERM => $t->wait_for(\&sleeper, 30, 'its sleep');
$t->wait_for(sub { !$t->alive($build) }, 120, 'the build to end');
is($build->{status}, 0, 'and ends well') or diag $t->read('build.log');
unlike($t->read('build.log'), qr/reconnect|transport/i, 'and saw nothing');

# by hand: what the old authority issued is refused
$r = $host->request('POST', '/api/v1/ca/retire', { authority => 'gateway' });
is($r->{status}, 409, 'one that is needed is not retired');
like($r->{body}, qr/clients that were allocated .* would be refused/,
    'which says who is cut off');
$r = $host->request('POST', '/api/v1/ca/retire', { authority => 'gateway',
    force => JSON::true });
is($r->{status}, 200, 'retired') or diag $r->{body};
$t->wait_for(sub { () = $host->log =~ /nginx was reloaded/g; 2 <=
    (() = $host->log =~ /nginx was reloaded/g) }, 30, 'the reload');
ok($t->wait_for(sub { $t->whose($old) eq '' }, 120, 'the old one refused'),
    'the old one is refused');
is($t->whose($t->allocate('newer')), 'w1', 'a newer one gets through');
unlike($host->log, qr/PRIVATE|BEGIN/, 'no key in the log');


sub certs {
    my $n = () = ($t->read($_[0]) // '') =~ /BEGIN CERTIFICATE/g;
    return $n;
}

# the process of the build's RUN step, when it is that
sub sleeper {
    for my $file (glob '/proc/[0-9]*/cmdline') {
        my $line = ($t->read($file) // '') =~ tr/\0/ /r;
        return ($file =~ /(\d+)/)[0] if $line =~ /^\S+ sleep $nap $/;
    }

    return 0;
}

sub s_client {
    my ($ca) = @_;

    my $s = $t->run(qw(openssl s_client -verify_return_error -connect),
        'localhost:' . $t->port('gw'), '-CAfile', $ca);
    return $s->{out} =~ /Verify return code: (\d+)/ ? $1 : $s->{err};
}
