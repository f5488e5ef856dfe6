#!/usr/bin/perl

# A backup of the journal while plugin-host runs: asked for over the API, in
# the state folder, under a name that leads nowhere else; put in the place of
# a journal that was lost it brings the allocations back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator;
use Test::Buildkit;

my @names = ('.', '..', '.hidden', '../x', 'a/b', "a\nb", 'a b', 'x' x 65,
    "\x{e4}");

plan tests => 2 * @names + 24;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([static_pool($t, 5), '{name: allocator}']));
my $state = $t->dir . '/state';
my $url = '/api/v1/journal/backup';

my ($one, $two) = map { allocate()->{json} } 1 .. 2;
release($two);

my $r = $host->request(POST => $url, { name => 'before-upgrade.1' });
is $r->{status}, 200, 'a backup';
is $r->{json}{path}, "$state/backups/before-upgrade.1.db", 'where it is';
is $r->{json}{bytes}, -s $r->{json}{path}, 'how large';
is sprintf('%o', (stat $r->{json}{path})[2] & 0777), '600', 'private';
is sprintf('%o', (stat "$state/backups")[2] & 0777), '700', 'its folder too';
is $t->run('sqlite3', $r->{json}{path}, 'PRAGMA integrity_check')->{out},
    "ok\n", 'it is whole';
is $t->run('sqlite3', '-readonly', $r->{json}{path},
    'SELECT count(*) FROM allocations')->{out}, "2\n", 'and has all';
my $dump = $t->run('sqlite3', $r->{json}{path}, '.dump')->{out};
unlike $dump, qr/\Q$_->{token}\E/, 'no token is in it' for $one, $two;

my $again = $host->request(POST => $url, { name => 'before-upgrade.1' });
is $again->{status}, 409, 'the same name again';
is $again->{json}{reason}, 'BackupExists', 'nothing is replaced';

for my $name (@names) {
    my $bad = $host->request(POST => $url, { name => $name });
    is $bad->{status}, 400, 'a name that is none';
    unlike $bad->{json}{error}, qr/\n/, 'one line';
}
is_deeply [glob "$state/backups/* $state/backups/.??* $state/x*"],
    [$r->{json}{path}], 'none of them made a file';

$r = $host->request(POST => $url, { name => ['x'] });
is $r->{status}, 400, 'a name is a string';
$r = $host->request(POST => $url);
is $r->{status}, 200, 'without a name';
like $r->{json}{path}, qr{/journal-\d{8}T\d{6}Z\.db$}, 'it has that of now';
is $host->request(GET => $url)->{status}, 405, 'only POST';

# a folder that cannot be one
rename "$state/backups", "$state/kept" or die;
$t->write('state/backups', 'x');
$r = $host->request(POST => $url, { name => 'y' });
is $r->{status}, 500, 'no folder';
is $r->{json}{reason}, 'BackupFailed', 'says so';
unlink "$state/backups";

# made later than the backup: not in it
my $three = allocate()->{json};
$host->stop;
unlink glob("$state/journal.db*"), $t->dir . '/buildkit.table';
$t->run('cp', "$state/kept/before-upgrade.1.db", "$state/journal.db");
$host->restart;
is lookup($one)->{json}{state}, 'ready', 'put back: the first one lives';
is lookup($one)->{json}{workerName}, $one->{workerName}, 'on its worker';
is lookup($two)->{status}, 410, 'the second one is over';
is lookup($three)->{status}, 404, 'the third one is not known';
is allocate()->{status}, 200, 'and it can be written';
$host->stop;
is -e "$state/backups" ? 1 : 0, 0, 'nothing is made without being asked';


sub allocate {
    return $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo', wait => '0' });
}

sub release {
    return $host->request(POST => '/api/v1/workers/release',
        { token => $_[0]{token} });
}

sub lookup {
    return $host->request(POST => '/api/v1/workers/lookup',
        { token => $_[0]{token} });
}
