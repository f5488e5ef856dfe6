# Keeping up with a collection of a real kube-apiserver: pages, events, the
# API server killed, a version that etcd has forgotten, both amid pages.  The
# program that watches says what it is told (t/lib/k8sctl.c).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use K8s;
use Test::Buildkit;

plan tests => 32;

my $N = 1100;       # more than two pages
my $t = Test::Buildkit->new;

# straight from etcd, so that what etcd has forgotten is forgotten
my $kube = $t->kube(level => 'api', apiserver =>
    ['--watch-cache-sizes=configmaps#0']);
$kube->must('create', 'namespace', $_) for qw(team other);
my $p = K8s->new($t, $kube->kubeconfig);

sub make {
    my ($ns, $name, %labels) = @_;
    return $p->begin(create => kind => 'configmap', ns => $ns, body => {
        metadata => { name => $name, labels => \%labels } });
}

# a connection that was cut may be found out by the first who uses it
sub remove {
    my ($name) = @_;
    return $t->wait_for(sub { $p->do(delete => kind => 'configmap',
        ns => 'team', name => $name)->{status} == 200 }, 60, "no $name");
}

sub made {
    my ($name) = @_;
    return $t->wait_for(sub { $p->answer(make(team => $name, all => 'yes'))
        ->{status} =~ /^(?:201|409)$/ }, 60, $name);
}

sub label {
    my ($name, $value) = @_;
    return $p->do(patch => kind => 'configmap', ns => 'team', name => $name,
        body => { metadata => { labels => { all => $value } } });
}

sub watch {
    my ($name, @args) = @_;
    return $t->start_pipe($name, $t->tool('k8sctl'), $kube->kubeconfig,
        'watch', '', 'v1', 'configmaps', @args);
}

# all lines up to the first one like this
sub up_to {
    my ($w, $pattern) = @_;
    my (@lines, $ups);
    while (!@lines || $lines[-1] !~ $pattern) {
        push @lines, $w->line(40);
        die "it does not come to rest: @lines\n"
            if $lines[-1] =~ /^up/ && ++$ups > 20;
    }
    return @lines;
}

# its exit status: leaks are found at the end
sub quit {
    my ($w) = @_;
    syswrite $w->{in}, "quit\n";
    $t->wait_for(sub { !$t->alive($w) }, 20, 'its end');
    return $w->{status};
}

sub named { map { m{^\w+ (\S+)} } @_ }

sub said { join ' ', map { s{ \d+$}{}r } @_ }

# a hundred at a time: each has ten seconds
my $made = 0;
for my $first (map { 100 * $_ + 1 } 0 .. $N / 100 - 1) {
    my @ids = map { make(team => sprintf('c%04d', $_), all => 'yes') }
        $first .. $first + 99;
    $made += grep { $p->answer($_)->{status} == 201 } @ids;
}
$made += grep { $p->answer($_)->{status} == 201 }
    make(other => 'c0001', all => 'yes'), make(team => 'no');
is($made, $N + 2, 'objects');

# --- pages and events ------------------------------------------------------

my $w = watch(w => 'team', 'all in (yes)');
my @lines = up_to($w, qr/^up/);
is(said(@lines[-2, -1]), 'synced first up', 'a list is complete');
my @names = grep { $_ } named(grep { /^again/ } @lines);
is_deeply([sort @names], [map { sprintf 'team/c%04d', $_ } 1 .. $N],
    'all of it, each once, and nothing else');
my $stats = $w->stats;
is("$stats->{lists} $stats->{pages} $stats->{objects}", "1 3 $N",
    'in pages');

made('new');
is(said($w->line), 'put team/new', 'a new one');
label('new', 'no');
is($w->line, 'gone team/new seen', 'one that is not selected any more');
label('c0002', 'yes');
remove('c0003');
is($w->line, 'gone team/c0003 seen', 'one that is deleted; '
    . 'and no event for what did not change');
my $others = watch(others => '');
@lines = up_to($others, qr/^up/);
is((grep { m{^again (team|other)/} } @lines), $N + 2, 'all namespaces');

# --- the API server is killed ----------------------------------------------

# what changes while nobody is told must be told when they are back
sub cut_off {
    kill STOP => $_->pid for @_;
    $kube->restart('kube-apiserver');
    $p->do(get => kind => 'namespace', name => 'team');     # by a dead one
}

cut_off($w);
remove('c0004');
made('late');
kill CONT => $w->pid;
@lines = up_to($w, qr{^put team/late});
is((grep { $_ eq 'gone team/c0004 seen' } @lines), 1,
    'killed: what went meanwhile is told') or diag(explain(\@lines));
@lines = up_to($w, qr/^up/) if !grep { $_ eq 'up' } @lines;
$stats = $w->stats;
is("$stats->{lists} $stats->{gones} $stats->{connected}", '1 0 1',
    'without a new list');
is($stats->{objects}, $N - 1, 'nothing else is gone');

# --- and etcd has forgotten ------------------------------------------------

cut_off($w, $others);
remove('c0005');
remove('c0006');
made('c0006');
made('later');
$kube->compact;
kill CONT => $_->pid for $w, $others;
@lines = up_to($w, qr/^synced/);
is(said($lines[-1]), 'synced again', 'forgotten: a new list');
is((grep { /^gone/ } @lines), 2, 'two are gone') or diag(explain(\@lines));
is((grep { $_ eq 'gone team/c0005 missed' } @lines), 1, 'one is');
my ($gone, $again) = map { my $want = $_;
    (grep { $lines[$_] =~ m{^\Q$want\E} } 0 .. $#lines)[0] }
    'gone team/c0006 missed', 'again team/c0006';
ok(defined $gone && defined $again && $gone < $again,
    'one is another one of its name');
is((grep { m{^again team/later } } @lines), 1, 'one is new');
ok((grep { /^down .*compacted|^down .*too old/i } @lines), 'and why')
    or diag(explain([grep { /^down/ } @lines]));
$stats = $w->stats if up_to($w, qr/^up/);
is("$stats->{lists} $stats->{gones} $stats->{objects}", '2 1 ' . ($N - 1),
    'all is known');
@lines = grep { /^gone/ } up_to($others, qr/^synced/);
is((grep { m{^gone team/c0005 } } @lines), 1, 'so it is for all namespaces');
up_to($others, qr/^up/);

# --- amid pages ------------------------------------------------------------

# it stops itself in the first page
my $amid = watch(amid => 'team', 'all=yes', 100);
up_to($amid, qr{^again team/c0103});
remove('c0001');        # in the first page, and told of already
remove('c1100');        # in the last one
made('z');
$kube->compact;
kill CONT => $amid->pid;
@lines = up_to($amid, qr/^synced/);
my @again = grep { /^again/ } @lines;
is(said($lines[-1]), 'synced first', 'forgotten amid pages: still a list');
is((grep { $_ eq 'gone team/c0001 missed' } @lines), 1,
    'what is not in it is gone') or diag(explain([grep { /^gone/ } @lines]));
is((grep { /^gone/ } @lines), 1, 'and nothing else');
is((grep { m{ team/c1100 } } @again), 0, 'nor is there what never came');
is((grep { m{ team/z } } @again), 1, 'what is new is there');
up_to($amid, qr/^up/);
$stats = $amid->stats;
is("$stats->{lists} $stats->{gones} $stats->{objects}", '2 1 ' . ($N - 2),
    'the second time all at once');
ok($stats->{pages} <= 3, 'in one page');
is((up_to($w, qr{^put team/z}))[0], 'gone team/c0001 seen',
    'who was watching has it all');

# --- a list for who doubts -------------------------------------------------

syswrite $amid->{in}, "list\n";
@lines = up_to($amid, qr/^synced/);
is((grep { /^again/ } @lines), $N - 2, 'a list when asked for');
is((grep { /^(?:gone|down)/ } @lines), 0, 'which takes nothing away');
made('last');
is(said($amid->line(20)), 'put team/last', 'and goes on');

is(join(' ', map { quit($_) } $w, $others, $amid), '0 0 0', 'the end');
is($p->quit, 0, 'of all');
