#!/usr/bin/perl

# Time and room: allocations expire by themselves, ended ones are kept and
# then forgotten, the oldest makes room, a table full of live ones says so;
# signals; the log's two forms.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use POSIX qw(strftime);
use Test::Buildkit;
use Time::HiRes qw(time);

my $t = Test::Buildkit->new;
my @token = map { $t->token } 0 .. 40;

sub when {
    my ($seconds) = @_;
    my $at = time + $seconds;
    return sprintf '%s.%03dZ', strftime('%Y-%m-%dT%H:%M:%S', gmtime $at),
        ($at - int $at) * 1000;
}

sub static {
    my (@allocs) = @_;
    $t->write('static.yaml', "pools:\n  - name: default/demo\n    workers:\n"
        . "      - {name: w1, endpoint: \"127.0.0.1:7001\", tlsName: w1}\n"
        . "allocations:\n" . join('', map { "  - {token: $token[$_->[0]], "
            . "pool: default/demo, worker: w1"
            . ($_->[1] ? ", $_->[1]" : '') . "}\n" } @allocs));
    return;
}

my $yaml = <<'E';
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 32, workers: 4, pools: 4,
        keepEnded: 1500ms}
api: {listen: ["unix:%%DIR%%/api.sock"]}
log: {level: info, format: json, file: "%%DIR%%/own.txt"}
plugins:
  - {name: static, options: {file: "%%DIR%%/static.yaml"}}
E

sub state_of {
    my ($h, $i) = @_;
    my $r = $h->request(GET => '/api/v1/allocations/' . $t->id($token[$i]));
    return $r->{status} == 200 ? $r->{json}{state} : $r->{status};
}

# ended ones are kept for as long as we look
sub expires { ($_[0], 'expires: "' . when($_[1]) . '"') }

static([expires(0, 3600)], [1], [expires(2, -5)]);
my $h = $t->host($yaml =~ s/1500ms/1h/r, name => 'kept');
is(state_of($h, 0), 'ready', 'one that lives');
is(state_of($h, 2), 'expired', 'one whose time was over before');
static([expires(0, 1)], [1]);
$t->wait_for(sub { state_of($h, 0) eq 'expired' }, 60, 'expiry');
my $one = $h->request(GET => '/api/v1/allocations/' . $t->id($token[0]))
    ->{json};
cmp_ok($one->{changedAt}, 'ge', $one->{expiresAt}, 'expires, and not before');
$h->stop;
unlink $t->dir . '/bk.table';

# and here not
static([0], [1]);
$h = $t->host($yaml);
my $began = time;
static([expires(0, 1)], [1]);
$t->wait_for(sub { state_of($h, 0) eq 404 }, 60, 'forgetting');
cmp_ok(time - $began, '>', 2, 'and is forgotten after it was kept');
is(state_of($h, 1), 'ready', 'one without an end goes on');

# full of live ones
static(map { [$_] } 1 .. 40);
$t->wait_for(sub { $t->read('own.txt') =~ /TableFull|is full|no room/i }, 5,
    'word of a full table');
my $list = $h->request(GET => '/api/v1/allocations')->{json};
is(scalar(@$list), 32, 'as many as there is room for');
is(scalar(grep { $_->{state} ne 'ready' } @$list), 0, 'all alive');
is($h->request(GET => '/readyz')->{status}, 200, 'the host is well');

# ended ones make room before their time
$h->stop;
unlink $t->dir . '/bk.table';
static(map { [$_] } 1 .. 30);
$h = $t->host($yaml =~ s/1500ms/1h/r, name => 'long');
static(map { [$_] } 11 .. 40);
$t->wait_for(sub { state_of($h, 40) eq 'ready' }, 5, 'the last one');
is(scalar(grep { state_of($h, $_) ne 'ready' } 11 .. 40), 0,
    'ended ones made room for all');
is(scalar(@{$h->request(GET => '/api/v1/allocations')->{json}}), 32,
    'the table is full of them and of the youngest ended ones');

# signals and the log
my @lines = split /\n/, $t->read('own.txt');
my $bad = grep { my $j = eval { JSON::decode_json($_) };
    !($j && $j->{time} && $j->{level} && $j->{from} && $j->{msg}) } @lines;
is($bad, 0, 'every line of the log is JSON');

rename $t->dir . '/own.txt', $t->dir . '/old.txt';
$h->kill('USR1');
$t->wait_for(sub { -e $t->dir . '/own.txt' }, 5, 'a new log file');
is((stat $t->dir . '/own.txt')[2] & 07777, 0600, 'which is ours');

my $conf = $t->read($h->{conf});
$t->write($h->{conf}, $conf =~ s/level: info/level: warn/r);
$h->kill('HUP');
$t->wait_for(sub { $t->read('own.txt') =~ /level and format were reloaded/ },
    5, 'word of the reload');
static([1]);
$t->wait_for(sub { state_of($h, 39) eq 'released' }, 5, 'a change');
unlike($t->read('own.txt'), qr/"info".*allocations"/,
    'what is below the new level is not written');
$t->write($h->{conf}, "nonsense: 1\n");
$h->kill('HUP');
$t->wait_for(sub { ($t->read('own.txt') // '') =~ /nothing was reloaded/ }, 5,
    'a bad configuration is refused');
is($h->request(GET => '/readyz')->{status}, 200, 'and the old one stays');
$t->write($h->{conf}, $conf);
is($h->stop('INT'), 0, 'SIGINT stops');

# secrets
my @found;
for my $file (glob($t->dir . '/own.txt'), glob($t->dir . '/old.txt'),
    glob($t->dir . '/*.log'), $t->dir . '/bk.table',
    glob($t->dir . '/state/*/*'))
{
    my $text = $t->read($file) // next;
    push @found, $file if grep { index($text, $_) >= 0 } @token;
}
is("@found", '', 'no token in any log, the table or the state folder');

done_testing;
