#!/usr/bin/perl

# Who gets which worker, through the API: the default cache key is repository,
# target and architecture, and finds its worker again, after a restart too; a
# pool with "shared: N" is filled with N each; with any number, one hot key
# loads no worker over the bound of loadLimit.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Allocator qw(journal);
use List::Util qw(max uniq);
use Queue;
use Test::Buildkit;

plan tests => 23;

my $t = Test::Buildkit->new;
my $line = '      - {name: %s, endpoint: "127.0.0.1:%d", tlsName: %1$s.test, '
    . "arch: amd64}\n";
my $host = start($t, rules(), workers => 6, options => 'loadLimit: 125',
    pool => { more => "  - name: default/pair\n    shared: 2\n    workers:\n"
    . join('', map { sprintf $line, "t$_", 7100 + $_ } 1, 2)
    . "  - name: default/hot\n    shared: true\n    workers:\n"
    . join('', map { sprintf $line, "h$_", 7200 + $_ } 1 .. 4) });

# the default cache key
my %app = (repository => 'octo/app');
for (['GitHub', { arch => 'amd64', metadata => { target => 'prod' } }, \%app,
        'octo/app prod amd64'],
    ['GitLab', { arch => 'amd64', metadata => { target => 'prod' } },
        { project_path => 'octo/app' }, 'octo/app prod amd64'],
    ['neither target nor arch', {}, \%app, 'octo/app  '],
    ['no repository', { metadata => { target => 'prod' } }, { ref => 'x' },
        ''],
    ['a repository that is no text', {}, { repository => ['octo/app'] }, ''],
    ['its own key', { cacheKey => 'mine', arch => 'amd64' }, \%app, 'mine'])
{
    my ($name, $body, $claims, $key) = @$_;
    my $r = allocate_as($t, 'ann', $body, $claims)->{json};
    my ($row) = journal($t, 'SELECT cache_key FROM allocations WHERE '
        . "hex(token_hash) LIKE '$r->{id}%'");
    is $row->{cache_key}, $key, "$name: the key";
    release_as($t, $r->{token});
}

# the same repository, target and architecture: the same worker
my @repositories = map { "octo/app-$_" } 1 .. 8;
my %home = map { $_ => once('ann', $_) } @repositories;
cmp_ok scalar(uniq values %home), '>=', 3, 'repositories have their workers';
is_deeply again('bob'), [], 'and find them again';
my $busy = allocate_as($t, 'eve', { arch => 'amd64' },
    { repository => $repositories[0] });
isnt once('ann', $repositories[0]), $home{$repositories[0]},
    'its worker has one: another worker';
release_as($t, $busy->{json}{token});
$host->kill('KILL');
$host->restart;
is_deeply again('zoe'), [], 'after a restart too';

# two each
my @two = map { allocate_as($t, 'ann', { poolName => 'pair' })->{json} } 1 .. 5;
is_deeply [map { $_->{state} } @two], [('ready') x 4, 'queued'],
    'two workers for two each: the fifth waits';
is_deeply count(@two[0 .. 3]), { t1 => 2, t2 => 2 }, '... and each has two';
is $two[4]{waitsFor}, 'a worker: 2 of 2 allocated', 'what for';
release_as($t, $two[1]{token});
$t->wait_for(sub {
    lookup_as($t, $two[4]{token})->{json}{state} eq 'ready'
}, 10, 'the fifth to get it');
is lookup_as($t, $two[4]{token})->{json}{workerName}, $two[1]{workerName},
    'a place that is given back is taken';

# one hot key on four: ceil(1.25 * 40 / 4), and its home has as many
my @hot = hot(40);
my $count = count(@hot);
is max(values %$count), 13, 'a hot key: as many as loadLimit allows';
is $count->{$hot[0]{workerName}}, 13, '... on its home';
is scalar(keys %$count), 4, '... and all have some';
release_as($t, $_->{token}) for @hot;
$host->stop;
$t->write('host.yaml', $t->read('host.yaml')
    =~ s/loadLimit: 125/loadLimit: 200/r);
$host->restart;
my @more = hot(40);
$count = count(@more);
is max(values %$count), 20, 'with another loadLimit: more of them';
is $more[0]{workerName}, $hot[0]{workerName}, '... on the same home';
is $count->{$more[0]{workerName}}, 20, '... which has them';
release_as($t, $_->{token}) for @more;

# those that say nothing are spread
@more = map { allocate_as($t, 'ann', { poolName => 'hot' })->{json} } 1 .. 8;
is_deeply count(@more), { map { ("h$_" => 2) } 1 .. 4 },
    'no key: the least loaded one';
is scalar(grep { $_->{state} eq 'ready' } @more), 8, 'at once';
is $host->alive, 1, 'plugin-host lives';
$host->stop;


# the worker that one gets, who gives it back at once
sub once {
    my ($who, $repository) = @_;

    my $r = allocate_as($t, $who, { arch => 'amd64' },
        { repository => $repository })->{json};
    release_as($t, $r->{token});

    return $r->{workerName};
}

sub again {
    my ($who) = @_;

    return [grep { once($who, $_) ne $home{$_} } reverse @repositories];
}

sub hot {
    my ($n) = @_;

    return map { allocate_as($t, 'ann', { poolName => 'hot' }, \%app)->{json} }
        1 .. $n;
}

sub count {
    my %n;
    $n{$_->{workerName}}++ for @_;

    return \%n;
}
