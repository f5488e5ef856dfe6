#!/usr/bin/perl

# The real buildkitd as the process plugin runs it by default: found in PATH,
# started on demand, probed, a build on it; an allocation's certificate opens
# the gateway and never a worker; kill -9 of plugin-host does not touch a
# build; two of them do not get in each other's way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use File::Basename qw(dirname);
use Test::Buildkit;

plan tests => 20;

my $t = Test::Buildkit->new;
my $path = dirname($t->lab('buildkitd')) . ":$ENV{PATH}";
my $host = $t->host(conf(['{name: process, options: {pool: default/demo, '
    . 'workers: 2, onStop: stop, idle: 2s, args: ["--debug"]}}',
    '{name: allocator}']), env => { PATH => $path });
my $dir = $t->dir;

my @a = answers(120, map { ask($host, POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '110s' }) } 1 .. 2);
is_deeply [map { $_->{json}{state} } @a], ['ready', 'ready'],
    'two workers at once';
my %w = map { $_->{name} => $_ }
    @{$host->request(GET => '/api/v1/workers')->{json}};
isnt $w{w1}{endpoint}, $w{w2}{endpoint}, 'each at its port';

# as the gateway does it
my $up = { cert => "$dir/state/tls/upstream.pem",
    key => "$dir/state/tls/upstream-key.pem",
    ca => "$dir/state/tls/worker-ca.pem" };
for my $name ('w1', 'w2') {
    my $r = direct($name, $up, [], 'debug', 'workers');
    is $r->{rc}, 0, "$name: answers";
    like $r->{out}, qr{linux/}, "$name: has a platform";
}
my $r = $t->buildctl($up, { addr => "tcp://$w{w1}{endpoint}", timeout => 120 },
    '--tlsservername', $w{w2}{tlsServerName}, 'debug', 'workers');
isnt $r->{rc}, 0, 'w1 is not w2: their names differ';

# an allocation's certificate is for the gateway
my $j = $a[0]{json};
$t->write('a.pem', pem($j->{clientCert}));
$t->write('a-key.pem', pem($j->{clientKey}));
$r = direct($j->{workerName}, { %$up, cert => "$dir/a.pem",
    key => "$dir/a-key.pem" }, [], 'debug', 'workers');
isnt $r->{rc}, 0, 'no way around the gateway';
unlike $r->{out}, qr{linux/}, 'and not a word from the worker';

# a build, and kill -9 in its middle: it goes on until its sleep is ended
my $sleep = '/bin/busybox sleep 1' . sprintf '%09d', $$;
my $context = $t->context('context', <<"END");
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo began; $sleep; echo done"]
END
my $build = $t->start('build', {}, $t->lab('buildctl'), '--addr',
    "tcp://$w{w1}{endpoint}", '--tlscacert', $up->{ca}, '--tlscert',
    $up->{cert}, '--tlskey', $up->{key}, '--tlsservername',
    $w{w1}{tlsServerName}, $t->dockerfile_args($context));
$t->wait_for(sub {
    die "the build ended:\n" . $t->read('build.log') if !$t->alive($build);
    ($t->read('build.log') // '') =~ /\d began$/m;
}, 60, 'the build to run');
$host->stop('KILL');
$ENV{PATH} = $path;
$host->restart;
my %now = map { $_->{name} => $_ }
    @{$host->request(GET => '/api/v1/workers')->{json}};
is_deeply [map { "$now{$_}{state} $now{$_}{endpoint}" } 'w1', 'w2'],
    [map { "ready $w{$_}{endpoint}" } 'w1', 'w2'], 'found running';
is $t->alive($build), 1, 'the build goes on';
kill TERM => $t->wait_for(\&sleeper, 60, 'its sleep');
$t->wait_for(sub { !$t->alive($build) }, 60, 'the build to end');
is $build->{status}, 0, 'and ends well';
like $t->read('build.log'), qr/\d done$/m, 'to its last line';
is $host->request(POST => '/api/v1/workers/lookup',
    { token => $_->{json}{token} })->{json}{state}, 'ready',
    'an allocation is still there' for @a;

# their own root folders, and nothing of theirs elsewhere
ok -e "$dir/state/workers/default_demo_w1/root/runc-overlayfs"
    || -e "$dir/state/workers/default_demo_w1/root/runc-native",
    'its own root';

# idle: buildkitd ends in order
$host->request(POST => '/api/v1/workers/release',
    { token => $_->{json}{token} }) for @a;
$t->wait_for(sub {
    2 == grep { $_->{state} eq 'stopped' }
        @{$host->request(GET => '/api/v1/workers')->{json}};
}, 40, 'both to be idle');
pass 'stopped when idle';

# and the cache is there when it runs again
my $again = $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '60s' });
is $again->{json}{state}, 'ready', 'runs again';
%w = map { $_->{name} => $_ }
    @{$host->request(GET => '/api/v1/workers')->{json}};
$r = direct($again->{json}{workerName}, $up, [], $t->dockerfile_args($context));
is $r->{rc}, 0, 'builds again';
like $r->{err}, $again->{json}{workerName} eq 'w1' ? qr/CACHED/ : qr/./,
    'from its cache';


# as we see it: it is another process in its container
sub sleeper {
    for my $file (glob '/proc/[0-9]*/cmdline') {
        my ($pid) = $file =~ /(\d+)/;
        return $pid if ($t->read($file) // '') eq join '', map { "$_\0" }
            split ' ', $sleep;
    }

    return 0;
}

sub direct {
    my ($name, $cert, $more, @args) = @_;

    return $t->buildctl($cert, { addr => "tcp://$w{$name}{endpoint}",
        timeout => 300 }, '--tlsservername', $w{$name}{tlsServerName}, @args);
}
