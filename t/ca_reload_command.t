# gateway.reload: run without a shell when nginx' files change, one at a time,
# with a deadline; a failure is logged, shown and tried again, and nothing of
# it is lost when plugin-host is killed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 36;

my $t = Test::Buildkit->new;
my $dir = $t->dir;
$t->write('static.yaml', "pools: []\n");

# does what the file "do" says, and notes its beginning and end; while the file
# "hold" or, for its first call, "hold1" is there, "do" may wait
my $script = $t->write('reload.sh', <<'E');
#!/bin/sh
echo "begin $*" >> %%DIR%%/calls
n=$(grep -c begin %%DIR%%/calls)
read line && echo "stdin: $line" >> %%DIR%%/calls
. %%DIR%%/do
echo end >> %%DIR%%/calls
E
chmod 0755, $script;
$t->write('do', "echo all is well\n");

my $yaml = <<'E';
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 10, workers: 4, pools: 4}
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway:
  endpoint: "tcp://gw.example.com:1235"
  reload: ["%%DIR%%/reload.sh", "-s", "re load; $HOME"]
  reloadTimeout: 60s
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E
my $h = $t->host($yaml);

ok(!-e "$dir/calls", 'a first start reloads nothing');
is(reload()->{state}, 'ok', 'nothing to do');

is(rotate(), 200, 'rotated');
wait_state('ok', qr/^end\n/m);
like(calls(), qr/^(begin -s re load; \$HOME\nend\n)+$/,
    'run without a shell, with an empty stdin');
like($h->log, qr/reload: all is well/, 'its output is in the log');
like($h->log, qr/nginx was reloaded/, 'and that it is done');
ok(reload()->{reloadedAt}, 'it says when');

# it fails, and is tried again
$t->write('do', "echo 'no such file' >&2\nexit 3\n");
is(rotate('gateway'), 200, 'rotated');
my $r = wait_state('failed', qr/(begin.*\n){2}/, sub { $_[0]{retryAt} });
like($r->{error}, qr/^exit status 3: no such file$/, 'why');
ok($r->{retryAt}, 'and when it is tried again');

# while it is tried again, why the last one failed is still there
$t->write('hold', '');
$t->write('do', "echo another; while [ -e $dir/hold ]; do sleep 0.1; done\n"
    . "echo 'no such file' >&2\nexit 3\n");
$r = wait_state('failed', qr/./, sub {
    !$_[0]{retryAt} && $h->log =~ /reload: another\n/ });
like($r->{error}, qr/^exit status 3: no such file$/, 'why, still');
ok(!$r->{retryAt}, 'it is being tried');
$r = $h->request('GET', '/readyz');
is($r->{status}, 200, 'everything else goes on');
like($r->{json}{checks}{nginx}, qr/not reloaded: exit status 3: no such file/,
    'but it is said');
ok(-e "$dir/state/ca/nginx-reload-pending", 'not forgotten');
like($h->log, qr/not reloaded, and uses its old files: \S+: exit status 3/,
    'and logged');
like($r->{json}{checks}{nginx}, qr/no such file$/, 'and nothing else');
unlink "$dir/hold";
$r = wait_state('failed', qr/./, sub { $_[0]{retryAt} });
like($r->{error}, qr/^exit status 3: no such file$/, 'why it failed again');
$t->write('do', "echo all is well\n");
wait_state('ok', qr/end\n$/);
is($h->request('GET', '/readyz')->{json}{checks}{nginx}, 'ok', 'well again');
ok(!-e "$dir/state/ca/nginx-reload-pending", 'done');
like($h->log, qr/tried again in 1 s/, 'with a second between');

# one at a time: what changes while it runs is read by another one
$t->write('do', "while [ -e $dir/hold\$n ]; do sleep 0.1; done\n");
$t->write("hold$_", '') for 1, 2;
$t->write('calls', '');
is(rotate('gateway'), 200, 'rotated');
$t->wait_for(sub { calls() =~ /begin/ }, 10, 'the command');
is(rotate('worker'), 200, 'rotated while it runs');
my $done = done();
unlink "$dir/hold1";
$t->wait_for(sub { calls() =~ /end\nbegin/ }, 10, 'the next one');
is(done(), $done, 'run again before it is said to be done');
unlink "$dir/hold2";
wait_state('ok', qr/(begin.*\nend\n){2}/);
like(calls(), qr/^(begin.*\nend\n)+$/, 'one after the other');

# killed before it is done: the next start does it
$t->write('do', "exit 1\n");
is(rotate('worker'), 200, 'rotated');
wait_state('failed', qr/./);
is(rotate('worker'), 200, 'rotated once more');
is(reload()->{state}, 'failed', 'nginx has not read its files, as before');
like($h->request('GET', '/readyz')->{json}{checks}{nginx},
    qr/not reloaded: exit status 1$/, 'which is still said');
$h->kill('KILL');
$h->stop;
$t->wait_for(sub { !$t->leftovers }, 30, 'the end of a try that was under way');
$t->write('do', '');
$t->write('calls', '');
$h->restart;
wait_state('ok', qr/end\n/);
like(calls(), qr/^(begin.*\nend\n)+$/, 'a start does what was left');
$h->stop;

# it does not end
$h = $t->host($yaml =~ s/60s/2s/r, name => 'hangs');
$t->write('do', "exec sleep 60\n");
is(rotate('gateway'), 200, 'rotated');
$r = wait_state('failed', qr/./);
like($r->{error}, qr/it took too long/, 'one that hangs is ended');
$t->write('do', '');
wait_state('ok', qr/end\n$/);
$h->stop;

# one that is not there
$h = $t->host($yaml =~ s/reload\.sh/nothing/r, name => 'nothing');
is(rotate('gateway'), 200, 'rotated');
like(wait_state('failed', qr/./)->{error},
    qr/nothing cannot be started: No such file/, 'a missing program');
$h->stop;

for ([qr/"%%DIR%%\/reload.sh"/, 'nginx', qr/absolute path of a program/],
    [qr/60s/, '100ms', qr/duration from 1s to 10m/])
{
    my ($from, $to, $want) = @$_;
    my $bad = $t->write('bad.yaml', $yaml =~ s/$from/$to/r);
    $r = $t->run($t->build . '/buildkit-plugin-host', '-t', '-c', $bad);
    ok($r->{rc} == 1 && $r->{err} =~ $want, "refused: $to") or diag $r->{err};
}


sub rotate {
    my ($name) = @_;
    return $h->request('POST', '/api/v1/ca/rotate',
        $name ? { authority => $name } : undef)->{status};
}

sub done { scalar(() = $h->log =~ /nginx was reloaded/g) }
sub calls { $t->read('calls') // '' }
sub reload { $h->request('GET', '/api/v1/ca')->{json}{reload} }

sub wait_state {
    my ($state, $want, $check) = @_;
    return $t->wait_for(sub {
        my $r = reload();
        return undef if $r->{state} ne $state || calls() !~ $want;
        return !$check || $check->($r) ? $r : undef;
    }, 30, "the reload to be $state");
}
