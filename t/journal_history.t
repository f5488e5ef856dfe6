#!/usr/bin/perl

# Ended allocations and what they did stay in the journal for the time of the
# allocator's option "history", 30 days unless it is given; live ones stay.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

plan tests => 7;

my $t = Test::Buildkit->new;
my $file = $t->dir . '/state/journal.db';
my $host = $t->host(conf([static_pool($t, 8),
    '{name: allocator, options: {}}']));
my %id = map { $_ => $host->request(POST => '/api/v1/workers/allocate',
    { poolName => 'demo', wait => '0', jobId => $_ })->{json}{id} }
    qw(live fresh hours month);
$host->stop;

# when they ended; the live one is older than all of them
my $now = int(time) * 1000;
my %hours = (fresh => 0.5, hours => 2, month => 721);
my $sql = "UPDATE allocations SET created_ms = 1, changed_ms = 1;\n"
    . join '', map { sprintf "UPDATE allocations SET state = 'released', "
        . "changed_ms = %d WHERE job_id = '%s';\n",
        $now - $hours{$_} * 3600_000, $_ } sort keys %hours;
is $t->run('sqlite3', $file, $sql . 'INSERT INTO history (token_hash, at_ms, '
    . "what) SELECT token_hash, 5, 'seen' FROM allocations")->{rc}, 0, 'aged';
is kept('allocations'), 'fresh hours live month', 'all are there';

$host->restart;
$t->wait_for(sub { kept('allocations') !~ /month/ }, 10, 'the oldest to go');
is kept('allocations'), 'fresh hours live', 'no option: 30 days';
is kept('history'), 'fresh hours live', '... also of what they did';
$host->stop;

$t->write('host.yaml', $t->read('host.yaml')
    =~ s/options: \{\}/options: {history: 1h}/r);
$host->restart;
$t->wait_for(sub { kept('allocations') !~ /hours/ }, 10, 'one more to go');
is kept('allocations'), 'fresh live', 'history: 1h';
is kept('history'), 'fresh live', '... also of what they did';
is((grep { $_->{id} eq $id{live} }
    @{$host->request(GET => '/api/v1/allocations')->{json}})[0]{state},
    'ready', 'the live one lives');
$host->stop;


# whose rows a table has
sub kept {
    my ($table) = @_;
    my %name = reverse %id;

    return join ' ', sort map { $name{lc substr $_->{hash}, 0, 12} // '?' }
        journal($t, "SELECT DISTINCT hex(token_hash) AS hash FROM $table");
}
