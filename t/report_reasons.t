# Every reason for which a connection is refused or cut, where real ones are: in
# the access log one line with it, in the counters one more and nothing else.
# (Those that report_outcomes.t and report_cut.t have not.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;
use Test::Buildkit::Live;

# state in the table => reason
my %row = (expired => 'expired', released => 'released', failed => 'failed',
    draining => 'draining', queued => 'queued', starting => 'starting',
    foreign => 'pool');
plan tests => 2 * (keys(%row) + 9) + 5;

my $t = Test::Buildkit->new;
mkdir $t->dir . '/reports' or die;

my %token = map { $_ => $t->token } keys %row, qw(ready hung closed wait);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $table = $t->table('pool default/demo shared', 'pool other/pool shared',
    $live->row, 'worker default/demo w3 - - starting',
    'worker other/pool w9 127.0.0.1:1 w9.workers.buildkit.internal ready',
    (map { "alloc token:$token{$_} default/demo "
        . ($_ eq 'queued' ? '-' : $_ eq 'starting' ? 'w3' : 'w1') . " $_ 0" }
        grep { $_ ne 'foreign' } keys %row),
    "alloc token:$token{foreign} other/pool w9 ready 0",
    "alloc token:$token{wait} default/demo w3 starting 0",
    map { "alloc token:$token{$_} default/demo w1 ready 0" }
        qw(ready hung closed));

my $conf = $t->gateway_conf(
    stream => "buildkit_report %%DIR%%/reports;\n"
        . 'log_format o "$buildkit_outcome";',
    server => <<'END');
        access_log %%DIR%%/access.log o;
        buildkit_pool default/demo;
        buildkit_wait 2s;
        buildkit_silence 2s;
        buildkit_max_held 1;
        buildkit_max_connections 1;
END

# a server that waits for no request, and one that holds for as long as we need
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
for (['hasty', 'buildkit_wait 60s; buildkit_header_timeout 4s;'],
    ['patient', 'buildkit_wait 60s;'])
{
    my ($name, $own) = @$_;
    my $more = $server =~ s/%%PORT:gw%%/%%PORT:$name%%/r;
    $more =~ s/buildkit_wait 2s;/$own/;
    $conf =~ s/\n\}\n\z/\n$more\n}\n/;
}
my $nginx = $t->nginx($conf);
my $file = $t->wait_for(sub { (report_files($t))[0] }, 10, 'the report');

# all that was counted, as "pool what reason" => n
my %seen;
sub counted {
    my %n;
    my $pools = report_read($file)->{pools};
    for my $pool (keys %$pools) {
        for my $what (qw(refused cut)) {
            $n{"$pool $what:$_"} = $pools->{$pool}{$what}{$_}
                for keys %{$pools->{$pool}{$what}};
        }
    }
    return \%n;
}

# one connection has ended so, and no other number has changed; one that is no
# refusal and no cut changes none
my $lines = 0;
sub ended {
    my ($outcome, $pool) = @_;
    $lines++;
    my $line = $t->wait_for(sub {
        my @l = split /\n/, $t->read('access.log') // '';
        @l >= $lines && $l[$lines - 1];
    }, 15, "line $lines of the access log");
    is($line, $outcome, "$outcome: the log");
    my $n = counted();
    is_deeply({ map { $n->{$_} == ($seen{$_} // 0) ? ()
        : ($_ => $n->{$_} - ($seen{$_} // 0)) } keys %$n },
        { $outcome =~ /:/ ? (($pool // 'default/demo') . " $outcome" => 1)
            : () }, '... counted');
    %seen = %$n;
}

# a session is over when it is in no gauge, which is later than its line
sub gauge {
    my ($what, $n) = @_;
    $t->wait_for(sub { report_read($file)->{$what} == $n }, 30, "$n $what");
}

for my $state (sort grep { $row{$_} !~ /queued|starting/ } keys %row) {
    $t->grpc($cert{$state});
    ended("refused:$row{$state}",
        $state eq 'foreign' ? 'other/pool' : undef);
}
for my $state (qw(queued starting)) {
    $t->grpc($cert{$state});
    ended("refused:$state");
}

# the limits
my $held = $t->tls($cert{wait}, port => 'patient') or die;
gauge(held => 1);
$t->grpc($cert{starting});
ended('refused:held');
close $held;
ended('gone');
gauge(held => 0);
$held = $t->tls($cert{wait}, port => 'hasty') or die;
ended('refused:timeout');
close $held;

my ($client, $worker) = $live->connect($cert{ready});
$t->grpc($cert{ready});
ended('refused:connections');
$_->finish for $client, $worker;
ended('routed');
gauge(live => 0);

# the cuts that the table knows nothing of
($client, $worker) = $live->connect($cert{ready}, port => 'hasty');
ended('cut:timeout');
$_->finish for $client, $worker;
($client, $worker) = $live->connect($cert{hung});
$client->frame(1, 4, 1, $Test::Buildkit::Live::SESSION);
$client->said(1);
$client->finish;
ended('cut:silence');
$t->grpc($cert{hung});
ended('refused:cut');

($client, $worker) = $live->connect($cert{closed});
$client->request(1);
$worker->until(sub { $worker->seen(1, 1) });
$worker->{socket}->close(SSL_fast_shutdown => 1);
$client->said(1);
$client->finish;
ended('cut:worker');

# and all of them add up
gauge($_ => 0) for 'held', 'live';
my $r = report_read($file);
for my $pool ('', 'default/demo', 'other/pool') {
    my $p = $r->{pools}{$pool};
    my $ends = $p->{routed} + $p->{gone};
    $ends += $_ for values %{$p->{refused}};
    is($p->{accepted} // 0, $ends, "pool \"$pool\": all that is accepted ends");
}
is("$r->{held} $r->{live}", '0 0', 'nobody is left');
is($r->{lost}, 0, 'and everybody had a record');
