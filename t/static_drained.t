# An allocation of static.yaml that is said to be "starting", as one that waits
# for its worker is, and whose worker is drained: the file is read again, and
# plugin-host starts again, and its builds go on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report;
use Test::Buildkit;

plan tests => 7;

my $t = Test::Buildkit->new;
my ($token, $late) = ($t->token, $t->token);
sub line {
    my ($token, $state) = @_;
    return "token: \"$token\", worker: w1, state: $state,"
        . ' expires: "2099-01-01T00:00:00Z"';
}
my @lines = (line($token, 'starting'));
my $host = $t->host(reports_conf($t, { w1 => 1 }, @lines)
    =~ s/^plugins:\n/plugins:\n  - {name: allocator}\n/mr);

sub one {
    my ($token) = @_;
    my $r = $host->request(GET => '/api/v1/allocations/' . $t->id($token));
    return 'none' if $r->{status} == 404;
    return join ' ', $r->{json}{state} // '?', $r->{json}{reason} // '';
}
sub drain {
    return $host->request(POST => '/api/v1/workers/w1/drain', {@_})->{status};
}

is(one($token), 'ready ', 'its worker is ready');
is(drain(reason => 'x'), 200, 'and is drained');
is(one($token), 'draining worker w1 is drained: x', 'it drains');

# read again; one that is new there could never get in
reports_conf($t, { w1 => 1, w2 => 2 }, @lines, line($late, 'starting'));
$t->wait_for(sub {
    2 == @{$host->request(GET => '/api/v1/workers')->{json}}
}, 10, 'the file to be read again');
is(one($token), 'draining worker w1 is drained: x', 'the file, read again');
is(one($late), 'none', 'a new one is refused');

$host->kill('KILL');
$host->stop;
$host->restart;
is(one($token), 'draining worker w1 is drained: x', 'plugin-host, restarted');

drain(undo => JSON::true);
is(one($token), 'ready ', 'taken back');
