# A worker that takes connections and closes each without a word (it does not
# want the gateway's certificate, say): who is refused for that was not
# routed, whatever TLS looked like for a moment; nor was who left before.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 7;

my $t = Test::Buildkit->new;
mkdir $t->dir . '/reports' or die;
my $live = Test::Buildkit::Live->new($t, 'w1');
my $token = $t->token;
my $cert = $t->client_cert('c', cn => "alloc:$token");
my $table = $t->table('pool default/demo', $live->row,
    "alloc token:$token default/demo w1 ready 0");
my $conf = $t->gateway_conf(stream => 'log_format bk'
    . ' "$buildkit_outcome|"; buildkit_report %%DIR%%/reports;', server =>
    "access_log %%DIR%%/access.log bk;\n        buildkit_retry 1s;\n");
# a worker that takes its time here is no trouble
$conf =~ s/(proxy_connect_timeout\s+)5s/${1}30s/;
# and a server that tries for longer
my ($server) = $conf =~ /(    server \{.*\n    \})/s;
$server =~ s/%%PORT:gw%%/%%PORT:patient%%/;
$server =~ s/buildkit_retry 1s;/buildkit_retry 60s;/;
$conf =~ s/\n\}\n\z/\n$server\n}\n/;
my $nginx = $t->nginx($conf);

sub client {
    my $h2 = bless $t->grpc($cert, streams => [], keep => 1, @_),
        'Test::Buildkit::Live::End';
    $h2->request(1);

    return $h2;
}

# how often nginx has seen that, and held who was there
sub closed { scalar(() = $nginx->log =~ / w1 did not answer: /g) }

# closes what comes until the client has been told
my $h2 = client();
$t->wait_for(sub {
    $live->accept->finish if $live->knocked;
    return $h2->until(sub { $h2->{streams}{1} }, 0.1);
}, 60, 'the client to be told');
is(($h2->said(1))[0], 9, 'told');
$h2->finish;

# the client leaves while it is held for the next try, which after some of them
# is for more than a second; while it is dialled for nobody would notice
my $silent = closed();
$h2 = client(port => 'patient');
$live->accept->finish for 1 .. 5;
$t->wait_for(sub { closed() == $silent + 5 }, 30, 'it to be held again');
$h2->until(sub { $h2->{settings} });
$h2->finish;

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return $text =~ /\|\n.*\|\n/ && $text;
}, 10, 'the access log');
is($log, "refused:worker|\ngone|\n", 'the log');

# and the same in the counters
sub counters { report_read((report_files($t))[0])->{pools}{'default/demo'} }
$t->wait_for(sub { counters()->{gone} }, 30, 'the last of them');
my $p = counters();
is($p->{accepted}, 2, 'accepted');
is($p->{refused}{worker}, 1, 'refused');
is($p->{gone}, 1, 'gone');
is($p->{routed}, 0, 'routed');

# one that answers; what was dialled for who had left is nobody's any more
while ($live->knocked) { eval { $live->accept->finish } }
my ($client, $worker) = $live->connect($cert);
$t->wait_for(sub { counters()->{routed} }, 30, 'it to be counted');
is(counters()->{routed}, 1, 'one that was answered is');
$_->finish for $client, $worker;
