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
my $nginx = $t->nginx($t->gateway_conf(stream => 'log_format bk'
    . ' "$buildkit_outcome|"; buildkit_report %%DIR%%/reports;'
    . "buildkit_retry 1s;\n", server => "access_log %%DIR%%/access.log bk;\n"));

sub client {
    my $h2 = bless $t->grpc($cert, streams => [], keep => 1),
        'Test::Buildkit::Live::End';
    $h2->request(1);

    return $h2;
}

# closes what comes until the client has been told
my $h2 = client();
$live->accept->finish while !$h2->until(sub { $h2->{streams}{1} }, 0)
    && $live->knocked(5);
is(($h2->said(1))[0], 9, 'told');
$h2->finish;

# the client leaves while it is held for the next try
$h2 = client();
$live->accept->finish;
$h2->until(sub { $h2->{settings} });
$h2->finish;

my $log = $t->wait_for(sub {
    my $text = $t->read('access.log') // '';
    return $text =~ /\|\n.*\|\n/ && $text;
}, 10, 'the access log');
is($log, "refused:worker|\ngone|\n", 'the log');

# and the same in the counters
my $p = report_read((report_files($t))[0])->{pools}{'default/demo'};
is($p->{accepted}, 2, 'accepted');
is($p->{refused}{worker}, 1, 'refused');
is($p->{gone}, 1, 'gone');
is($p->{routed}, 0, 'routed');

# one that answers
my ($client, $worker) = $live->connect($cert);
is(report_read((report_files($t))[0])->{pools}{'default/demo'}{routed}, 1,
    'one that was answered is');
$_->finish for $client, $worker;
