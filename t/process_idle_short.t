# A connection that came and went between two looks at the reports, and was seen
# by somebody who asked meanwhile: its worker is idle afterwards as any other.
# (Where a look does come in between, this proves nothing, and passes; so a few
# rounds of it.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Report;
use Test::Buildkit;

my $ROUNDS = 3;
plan tests => 2 * $ROUNDS;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { idle => '300ms',
    linger => '0s' }), '{name: allocator}']));
my $dir = $t->dir . '/reports';

# plugin-host removes a file that was never finished with each look
sub look {
    my $new = "$dir/nginx-2-2-2.report.new";
    open my $fh, '>', $new or die "$new: $!";
    close $fh;
    utime 1, 1, $new;
    $t->wait_for(sub { !-e $new }, 10, 'a look at the reports');
}
sub sessions { scalar @{$host->request(GET => '/api/v1/sessions')->{json}} }

for my $round (1 .. $ROUNDS) {
    my $a = $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo' })->{json};
    is($a->{workerName}, 'w1', 'allocated');

    report_make($dir, words => [1]);
    look();
    report_make($dir, words => [1], sessions => [
        { worker => 'w1', phase => 'live', kind => 'build' }]);
    $t->wait_for(sub { sessions() }, 10, 'somebody to see it');
    $host->request(POST => '/api/v1/workers/release',
        { token => $a->{token} });
    report_make($dir, words => [1]);

    $t->wait_for(sub {
        $host->request(GET => '/api/v1/workers')->{json}[0]{state} eq 'stopped'
    }, 20, 'the worker to be idle');
    pass('it was seen, is gone, and the worker is idle');
}
