# plugin-host is killed again and again while it rotates: nginx could always
# start with what is left, plugin-host always starts again, and whoever got a
# certificate before or after gets through.  Each single point of a rotation is
# in t/unit/ca_kill.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Time::HiRes qw(time usleep);

my $ROUNDS = 12;
plan tests => 9;

my $t = Test::Buildkit->new;
my $state = $t->dir . '/state';
my ($host, $nginx) = $t->gateway(workers => 1, shared => 1, reload => 1,
    onStop => 'leave');
my @nginx_test = map { $_ eq '-s' ? '-t' : $_ eq 'reload' ? '-q' : $_ }
    $t->nginx_reload;

my $first = $t->allocate('first');
is($t->whose($first), 'w1', 'it works');

# how long one of them takes here
my $began = time;
$host->request('POST', '/api/v1/ca/rotate', { authority => 'gateway' });
my $most = 2e6 * (time - $began);
$most = 100_000 if $most < 100_000;
$t->wait_for(\&calm, 60, 'the first reload');

my (@bad_nginx, @bad_verify, @lost, %authorities);
my $killed = 0;
for my $round (1 .. $ROUNDS) {
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        # the worker is the same all the time: it stays trusted
        $host->request('POST', '/api/v1/ca/rotate',
            $round > 3 ? { authority => 'gateway' } : undef);
        POSIX::_exit(0);
    }
    # anywhere in the rotations: this is what is tried, not a wait
    usleep(int rand $most);
    $host->kill('KILL');
    $killed++ if $host->stop == 137;
    waitpid $pid, 0;

    my $r = $t->run(@nginx_test);
    push @bad_nginx, "$round: $r->{err}" if $r->{rc} != 0;

    $host->restart;
    my $ca = $host->request('GET', '/api/v1/ca')->{json};
    $authorities{$_->{sha256}}++ for map { @{$_->{certificates}} }
        @{$ca->{authorities}};
    for (['gateway', 'gateway', 'sslserver'], ['upstream', 'worker',
        'sslclient'])
    {
        my ($file, $who, $purpose) = @$_;
        $r = $t->run(qw(openssl verify -purpose), $purpose, '-CAfile',
            "$state/tls/$who-ca.pem", '-untrusted', "$state/tls/$file.pem",
            "$state/tls/$file.pem");
        push @bad_verify, "$round: $r->{err}" if $r->{rc} != 0;
    }
    next if $round % 3;

    my $name = "round$round";
    my $new = $t->allocate($name);
    push @lost, "$name: " . ($new->{run}{err} // '') if !$new->{cert}
        || $t->whose($new) ne 'w1';
    push @lost, "first in $name" if $t->whose($first) ne 'w1';

    # no more than four old ones are kept
    $host->request('POST', '/api/v1/ca/retire', { authority => 'gateway',
        force => JSON::true });
    $t->wait_for(sub { calm() && 1 == @{$host->request('GET', '/api/v1/ca')
        ->{json}{authorities}[0]{certificates}} }, 60, 'nothing old');
    $first = $t->allocate("first$round");
}

is($killed, $ROUNDS, 'it was killed in each round');
is_deeply(\@bad_nginx, [], 'nginx could start with what was left');
is_deeply(\@bad_verify, [], 'plugin-host starts again, with good files');
is_deeply(\@lost, [], 'each got through, the first one as well');
cmp_ok(scalar keys %authorities, '>', 4, 'there were several authorities');

$t->wait_for(\&calm, 60, 'the last reload');
is($t->whose($first), 'w1', 'and when all is quiet');
is(scalar(() = glob "$state/{ca,tls}/*{.tmp,-next.pem,-next-key.pem}"), 0,
    'nothing is left half done');

$host->stop;
ok($t->kill_leftovers >= 1, 'the worker outlived all of it');


sub calm {
    return $host->request('GET', '/api/v1/ca')->{json}{reload}{state} eq 'ok';
}
