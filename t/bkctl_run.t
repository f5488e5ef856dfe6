#!/usr/bin/perl

# bkctl run: the command's exit status, signals, renewal, and that whatever
# happens the allocation is released and the files are gone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON;
use Test::Buildkit;

plan tests => 36;

my $t = Test::Buildkit->new;
my $bkctl = $t->build . '/bkctl';
my $dir = $t->dir;
mkdir "$dir/run";
my %env = (map({ $_ => undef } qw(BKCTL_NAMESPACE BKCTL_TOKEN BKCTL_TLS_DIR
    BUILDKIT_HOST)), BKCTL_ENDPOINT => "unix:$dir/api.sock",
    BKCTL_POOL => 'demo', XDG_RUNTIME_DIR => "$dir/run", NO_COLOR => 1,
    DIR => $dir);

$t->write('static.yaml', <<'END');
pools:
  - name: default/demo
    workers:
      - {name: w1, endpoint: "127.0.0.1:7001", tlsName: w1.tls, arch: amd64}
END

my $yaml = <<'END';
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 100, workers: 16, pools: 8}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: info, format: text}
plugins:
  - {name: allocator}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
my $host = $t->host($yaml);

# what the command finds

my $got = run('--', 'sh', '-c', 'echo $BUILDKIT_HOST; cd $BKCTL_TLS_DIR && '
    . 'stat -c "%a %n" . *; sed -n "s/.*\"token\": \"\(.*\)\".*/\1/p" '
    . 'alloc.json >$DIR/tok; cat /proc/[0-9]*/cmdline | grep -acFf $DIR/tok; '
    . 'cat /proc/self/environ | grep -acF "BEGIN"; pwd');
is($got->{rc}, 0, 'exit 0');
my @lines = split /\n/, $got->{out};
is($lines[0], 'tcp://localhost:' . $t->port('gw'), 'BUILDKIT_HOST');
is(join(',', sort @lines[1 .. 5]), '600 alloc.json,600 ca.pem,600 cert.pem,'
    . '600 key.pem,700 .', 'files and modes');
is($lines[6], 0, 'the token is in no list of processes');
is($lines[7], 0, 'no key in the environment');
is(length $t->read('tok'), 44, '... which was looked for');
like($lines[8], qr{^\Q$dir\E/run/bkctl-\w{6}$}, 'in XDG_RUNTIME_DIR');
clean('after exit 0');

is(run('sh', '-c', 'exit 42')->{rc}, 42, 'the command\'s own status');
clean('after exit 42');
is(run('--', 'sh', '-c', 'kill -KILL $$')->{rc}, 137, '128 + signal');
clean('after a signal');
is(run('--', 'sh', '-c', 'echo "$@"', 'x', '--', '--json', '--pool')->{out},
    "-- --json --pool\n", 'what follows is the command\'s, flags too');

# never started

$got = run('--', '/nonexistent/program');
is($got->{rc}, 125, 'no such program: 125');
like($got->{err}, qr{cannot start /nonexistent/program: No such}, '... said');
clean('after a program that is not there');
is($t->run({ env => { %env, BKCTL_ENDPOINT => "unix:$dir/none" } }, $bkctl,
    'run', '--wait', '1s', '--', 'touch', "$dir/touched")->{rc}, 125,
    'no API: 125');
ok(!-e "$dir/touched", '... and the command was not run');

my $held = $t->run({ env => \%env }, $bkctl, 'allocate', '--out',
    "$dir/held");
$got = run('--wait', '1s', '--', 'true');
is($got->{rc}, 125, 'no capacity: 125');
like($got->{err}, qr/^bkctl: no worker of pool/m, '... says why');

# a signal while it waits for a worker: ends, and takes none

my $proc = $t->start('waiting', { env => \%env }, $bkctl, 'run', '--wait',
    '60s', '--', 'touch', "$dir/touched");
$t->wait_for(sub { ($t->read('waiting.log') // '') =~ /waiting for a worker/ },
    10, 'progress');
kill INT => $proc->{pid};
$t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
is($proc->{status}, 125, 'SIGINT while it waits: 125');
$t->run({ env => \%env }, $bkctl, 'release', "$dir/held/alloc.json");
ok(!-e "$dir/touched", '... nothing was run');
clean('after an interrupted wait');

# signals go to the command, and its end is waited for

$t->write('trap', <<'END');
#!/usr/bin/perl
use POSIX;
my ($n, $end) = (0, 0);
# at once, not when perl comes to it: two that come together are two
sigaction(SIGINT, POSIX::SigAction->new(sub { $n++ }, POSIX::SigSet->new,
    POSIX::SA_NODEFER));
$SIG{TERM} = sub { $end = 1 };
while (!$end) {
    open my $f, '>', "$ENV{DIR}/mark.$n";
    close $f;
    select undef, undef, undef, 0.2;
}
exit 40 + $n;
END
for my $how ('kill', 'terminal') {
    unlink glob "$dir/mark.*";
    my @cmd = ($bkctl, 'run', '--', $^X, "$dir/trap");
    my ($in, $out);
    pipe $in, $out or die;
    @cmd = ('script', '-qefc', "@cmd; exit \$?", '/dev/null')
        if $how eq 'terminal';
    # script takes the shell from there; dash would end with 130
    $proc = $t->start("trap-$how", { env => { %env, SHELL => '/bin/bash' },
        stdin => $in }, @cmd);
    $t->wait_for(sub { -e "$dir/mark.0" }, 10, 'the command');
    my ($pid) = $how eq 'kill' ? $proc->{pid}
        : grep { cmdline("/proc/$_/cmdline") =~ m{^\S*bkctl\0run} }
            $t->leftovers;
    if ($how eq 'kill') {
        kill INT => $pid;
    } else {
        # held, so that a second SIGINT could not melt into the first
        kill STOP => $pid;
        syswrite $out, "\x03";
    }
    $t->wait_for(sub { -e "$dir/mark.1" }, 10, 'SIGINT');
    kill TERM => $pid;
    kill CONT => $pid;
    $t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
    is($proc->{status}, 41, "SIGINT by $how reaches the command once");
    close $out;
    clean("after signals by $how");
}

# renewal, which is due after a third of the ttl: through plugin-host's death.
# The rest of it is for a machine that stands still.

system 'mkfifo', "$dir/fifo";
$proc = $t->start('long', { env => \%env }, $bkctl, 'run', '--ttl', '24s', '--',
    'sh', '-c', 'cp $BKCTL_TLS_DIR/cert.pem $DIR/first.pem; read x <$DIR/fifo;'
    . ' cp $BKCTL_TLS_DIR/cert.pem $DIR/last.pem');
my ($files) = @{$t->wait_for(sub {
    my @dirs = glob "$dir/run/*";
    -s "$dir/first.pem" && \@dirs }, 30, 'the command')};
$t->wait_for(sub { () = $host->log =~ /: renewed until/g }, 60, 'a renewal');
$host->kill('KILL');
$host->restart;
my $renewed = () = $host->log =~ /: renewed until/g;
$t->wait_for(sub { (() = $host->log =~ /: renewed until/g) > $renewed }, 60,
    'a renewal after the restart');
$t->wait_for(sub { $t->read("$files/cert.pem") ne $t->read('first.pem') }, 30,
    'another certificate');
my $list = decode_json($t->run({ env => \%env }, $bkctl, 'allocations',
    '--json')->{out});
is(scalar(grep { $_->{state} eq 'ready' } @$list), 1, 'still ready');
let_go();
$t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
is($proc->{status}, 0, 'the command ends well');
isnt($t->read('last.pem'), $t->read('first.pem'),
    'its certificate was renewed in place');
clean('after a renewed run');

# a revoked allocation is said once and the command's status still counts

$proc = $t->start('revoked', { env => \%env }, $bkctl, 'run', '--ttl', '24s',
    '--', 'sh', '-c', ': >$DIR/go; read x <$DIR/fifo; exit 9');
$t->wait_for(sub { -e "$dir/go" }, 10, 'the command');
my ($live) = grep { $_->{state} eq 'ready' } @{decode_json($t->run({
    env => \%env }, $bkctl, 'allocations', '--json')->{out})};
$t->run({ env => \%env }, $bkctl, 'revoke', $live->{id}, '--reason', 'test');
$t->wait_for(sub { $t->read('revoked.log') =~ /cannot renew/ }, 60,
    'the warning');
like($t->read('revoked.log'),
    qr/cannot renew the allocation $live->{id}: .*revoked/,
    'a renewal that is refused says why');
let_go();
$t->wait_for(sub { !$t->alive($proc) }, 10, 'the end');
is($proc->{status}, 9, '... and the command goes on');
unlike($t->read('revoked.log'), qr/not released/, 'no noise at the release');

# an API that is gone at the end

$got = $t->run({ env => \%env }, $bkctl, 'run', '--', 'sh', '-c',
    "kill " . $host->pid . "; exit 3");
is($got->{rc}, 3, 'an API that is gone at the end changes no status');
$t->wait_for(sub { !$host->alive }, 10, 'the end of plugin-host');
is_deeply([glob "$dir/run/*"], [], '... and the files are gone');


sub run { return $t->run({ env => \%env }, $bkctl, 'run', @_) }

# the command reads a line before it ends
sub let_go {
    open my $fh, '>', "$dir/fifo" or die "fifo: $!";
    print $fh "go\n";
    close $fh;
}

sub cmdline {
    open my $fh, '<', $_[0] or return '';
    local $/;
    return <$fh> // '';
}

# no files, no allocation alive
sub clean {
    my ($name) = @_;

    my $list = decode_json($t->run({ env => \%env }, $bkctl, 'allocations',
        '--json')->{out});
    my @live = grep { $_->{state} =~ /ready|starting|queued/ } @$list;
    my @files = glob "$dir/run/*";
    is(@live + @files, 0, "clean $name");
}
