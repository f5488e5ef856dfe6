# A connection that has ended counts as use for a while: between two builds of
# a script nobody is connected, and the worker with the cache must not go.
# What nginx would report is in a file made here; worker w2, which nobody was
# connected to, stops at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Allocator;
use Report;
use Test::Buildkit;
use Time::HiRes qw(time);
use Time::Piece;

my $LINGER = 5;
plan tests => 5;

my $t = Test::Buildkit->new;
my $host = $t->host(conf([fake_pool($t, options => { workers => 2,
    idle => '500ms', linger => "${LINGER}s" }), '{name: allocator}']));
my $dir = $t->dir . '/reports';

sub worker {
    my %w = map { $_->{name} => $_ }
        @{$host->request(GET => '/api/v1/workers')->{json}};
    return $w{$_[0]};
}
sub connected {
    my $n = @_;
    report_make($dir, words => [1], sessions => [@_]);
    $t->wait_for(sub { worker('w1')->{connections} == $n }, 10,
        'the report to be read');
}

my @tokens = map {
    $host->request(POST => '/api/v1/workers/allocate',
        { poolName => 'demo' })->{json}{token}
} 1 .. 2;
my $began = time;
connected({ worker => 'w1', phase => 'live', kind => 'build' });

# its end is the last thing that happens: whoever is late only sees it later
$host->request(POST => '/api/v1/workers/release', { token => $_ })
    for @tokens;
$t->wait_for(sub { worker('w2')->{state} eq 'stopped' }, 30, 'w2 to be idle');
connected();
# there is a look each second, or later: it was used until the last that saw it
my $used = seconds(worker('w1')->{lastUsedAt});
cmp_ok($used, '>', $began, 'when it was used last is known');

$t->wait_for(sub { worker('w1')->{state} eq 'stopped' }, 30, 'w1 to be idle');
cmp_ok(time - $used, '>=', $LINGER, 'a connection that has ended lingers');
is(join(' ', $host->log =~ m{worker default/demo/(w\d): stopped: idle}g),
    'w2 w1', '... which stops later than the one that had none');
is(worker('w1')->{message}, 'stopped: idle', 'and then the worker is idle');

my ($default) = $t->run($t->build . '/buildkit-plugin-host', '--list-plugins')
    ->{out} =~ /linger: duration, default "(60s)"/;
ok($default, 'by default for a minute');


sub seconds {
    my ($text) = @_;

    return Time::Piece->strptime(substr($text, 0, 19), '%Y-%m-%dT%H:%M:%S')
        ->epoch + substr $text, 19, 4;
}
