#!/usr/bin/perl

# `tools/bench kubernetes`: what plugin-host does in a real Kubernetes
# (t/lib/kube-lab: etcd, kube-apiserver; for the cold start a node too).
#
#   companion   10,000 BuildKitWorkers, each with a Pod and an allocation: the
#               first list, memory, and a list again after etcd has forgotten
#   routable    from the change of an object to its route in two companions
#   allocate    on warm workers, journal in BuildKitWorkers: from the request
#               to the answer, and to the route in two companions
#   cold        from "the Pod is ready" to the first step of a build that was
#               waiting for it: kubelet, controller, companion, nginx and
#               buildkitd are real
#
# The API server, etcd and what is measured share the machine's CPUs; etcd does
# not wait for the disk (the lab's doing).  BENCH_QUICK=1: 1,000 workers and
# fewer rounds.

use strict;
use warnings;

use FindBin ();
use lib $FindBin::Bin, "$FindBin::Bin/../t/lib";

BEGIN { $ENV{BK_BUILD} //= $ENV{BUILD} if $ENV{BUILD} }

use Cold;
use Figures;
use JSON ();
use Kubernetes;
use Machine;
use POSIX ();
use Test::Buildkit;
use Time::HiRes qw(clock_gettime sleep time CLOCK_MONOTONIC);

my $QUICK   = $ENV{BENCH_QUICK} ? 1 : 0;
my $OBJECTS = $ENV{BENCH_OBJECTS} // ($QUICK ? 1000 : 10_000);
my $CHANGES = $QUICK ? 100 : 500;
my $CALLS   = $QUICK ? 100 : 500;
my $WARM    = 20;
my %only    = map { $_ => 1 } split /,/, $ENV{BENCH_ONLY} // '';

STDOUT->autoflush(1);
$SIG{ALRM} = sub { die "gave up\n" };
alarm 1500;

my $t = Test::Buildkit->new;
my %r;

sub wanted { return !%only || $only{ $_[0] } }

sub figures
{
    my ($name, $values) = @_;

    my @v = sort { $a <=> $b } @$values;

    return map { ("${name}_$_->[0]" => 1000 * $v[$_->[1] * $#v]) }
        ['p50', 0.5], ['p99', 0.99], ['max', 1];
}


# --- parts ------------------------------------------------------------------

# As the companion of a gateway is configured, but for its paths.
sub companion
{
    my ($kube, $name) = @_;

    my $conf = $t->read($t->root . '/k8s/base/gateway-config/gateway.yaml');
    my $config = $kube->kubeconfig;

    $conf =~ s{/var/lib/buildkit-gateway}{%%DIR%%/$name}g;
    $conf =~ s{/run/buildkit-gateway}{%%DIR%%/$name}g;
    $conf =~ s{127\.0\.0\.1:9091}{127.0.0.1:%%PORT:$name%%};
    $conf =~ s{role: gateway}{role: gateway
      kubeconfig: "$config"
      namespaces: [team, warm]};
    mkdir $t->dir . "/$name";

    my $began = time;
    my $host = $t->host($conf, name => $name, timeout => 120);

    $t->wait_for(sub { $host->log =~ /namespace team: .* known in all/ }, 120,
        'all to be known');
    return ($host, time - $began);
}


sub metrics
{
    my ($name) = @_;

    return $t->http('127.0.0.1:' . $t->port($name), GET => '/metrics')
        ->{body};
}


sub measure_companions
{
    my ($kube, $objects) = @_;

    my ($one, $first) = companion($kube, 'one');

    $t->wait_for(sub { ready_of($one) == $objects->{allocated} }, 60,
        'all allocations to be routable');
    $r{live} = $first;
    @r{qw(own programs table)} = memory($one->pid);

    my ($two) = companion($kube, 'two');

    $t->wait_for(sub { ready_of($two) == $objects->{allocated} }, 60,
        'all allocations to be routable');

    return ($one, $two);
}


# allocations that are ready
sub ready_of
{
    my ($host) = @_;

    my ($n, $text) = (0, metrics($host->{proc}{name}));

    $n += $1 while $text
        =~ /^buildkit_gateway_allocations\{[^}]*state="ready"[^}]*\} (\d+)/mg;

    return $n;
}


# MiB: of its own, programs and libraries, the route table
sub memory
{
    my ($pid) = @_;

    my ($status, $maps) = map { $t->read("/proc/$pid/$_") } qw(status smaps);
    my ($all, $own) = map { $status =~ /^$_:\s*(\d+) kB/m } qw(VmRSS RssAnon);
    my $table = 0;

    $table += $1 while $maps
        =~ m{/buildkit\.table\n(?:\w+:.*\n)*?Rss:\s*(\d+) kB}g;

    return map { $_ / 1024 } $own, $all - $own - $table, $table;
}


# etcd forgets, so that all is listed again.
sub measure_relist
{
    my ($kube, $objects, $one, $two) = @_;

    my ($name, $ready) = ($one->{proc}{name}, ready_of($one));
    my %before = lists($name);

    # the other one would want the same in the same moment
    $_->kill('STOP') for $one, $two;
    # its memory begins behind what they know, and so does etcd's
    $objects->touch;
    $kube->restart('kube-apiserver');
    $objects->touch;
    $kube->compact;
    $one->kill('CONT');

    my $began = time;
    my $least = $ready;
    my %after;

    $t->wait_for(sub {
        my $now = ready_of($one);
        $least = $now if $now < $least;
        %after = lists($name);
        return !grep { $after{$_}{n} <= $before{$_}{n} || !$after{$_}{up} }
            qw(pods buildkitworkers buildkitpools);
    }, 120, 'lists');

    $r{again} = time - $began;
    $r{"list_$_"} = $after{$_}{seconds} for keys %after;
    $r{lost} = $ready - $least;
    ($r{own_after}) = memory($one->pid);
    $two->kill('CONT');
    $t->wait_for(sub { !grep { !$_->{up} } values %{{ lists('two') }} }, 120,
        'the other one');

    return;
}


sub lists
{
    my ($name) = @_;

    my $text = metrics($name);
    my %is;

    for (['n', 'lists_total'], ['up', 'watches_up'],
        ['seconds', 'list_seconds'])
    {
        my ($key, $metric) = @$_;

        $is{$1}{$key} = $2 while $text
            =~ /^buildkit_gateway_kubernetes_$metric\{kind="(\w+)"\} (\S+)/mg;
    }

    # both namespaces
    $_->{up} = $_->{up} == 2 for values %is;

    return %is;
}


sub measure_routable
{
    my ($objects, $routed) = @_;

    my (@sent, @answered);

    for my $n (1 .. $CHANGES) {
        my ($hash, $change) = $objects->change($n);

        syswrite $routed->{in}, "$hash\n";
        my $began = clock_gettime(CLOCK_MONOTONIC);
        $change->();
        my $answer = clock_gettime(CLOCK_MONOTONIC);
        my $last = last_of($routed);

        push @sent, $last - $began;
        push @answered, $last > $answer ? $last - $answer : 0;
        # as in life: not always in the same moment of anything
        sleep 0.02 + rand 0.03;
    }

    %r = (%r, figures('routable', \@sent), figures('after', \@answered));

    return;
}


sub last_of
{
    my ($routed) = @_;

    my @at = split ' ', $routed->line(70);

    die "a change was not routed by all\n" if grep { $_ == 0 } @at;

    return (sort { $a <=> $b } @at)[-1] / 1e9;
}


sub measure_allocate
{
    my ($kube, $objects, $routed) = @_;

    my $host = $objects->controller($WARM);
    my (@answer, @route, @release);

    for my $n (1 .. $CALLS + 10) {
        my $began = clock_gettime(CLOCK_MONOTONIC);
        my $a = $host->request(POST => '/api/v1/workers/allocate',
            { poolName => 'demo', namespace => 'warm' });
        my $answer = clock_gettime(CLOCK_MONOTONIC);

        $a->{status} == 200 && $a->{json}{state} eq 'ready'
            or die "allocate: $a->{status} $a->{body}\n";
        syswrite $routed->{in}, $t->hash($a->{json}{token}) . "\n";
        my $last = last_of($routed);

        my $end = clock_gettime(CLOCK_MONOTONIC);
        my $b = $host->request(POST => '/api/v1/workers/release',
            { token => $a->{json}{token} });
        my $over = clock_gettime(CLOCK_MONOTONIC);

        $b->{status} == 200 or die "release: $b->{status} $b->{body}\n";
        next if $n <= 10;
        push @answer, $answer - $began;
        push @route, $last > $answer ? $last - $answer : 0;
        push @release, $over - $end;
    }

    %r = (%r, figures('allocate', \@answer), figures('release', \@release),
        figures('allocated', \@route));

    return;
}


# --- printing ---------------------------------------------------------------

sub print_times
{
    my (@rows) = @_;

    printf "  %-45s %9s %9s %9s\n", '', 'p50', 'p99', 'slowest';

    for my $row (grep { defined $r{"$_->[0]_p50"} } @rows) {
        my ($key, $label) = @$row;

        printf "  %-45s %9.1f %9.1f %9.1f\n", $label,
            map { $r{"${key}_$_"} } qw(p50 p99 max);
    }
}


sub report
{
    progress('');
    if (wanted('companion')) {
        printf "\nCompanion, %d BuildKitWorkers with Pods, %d allocated\n",
            $OBJECTS, $r{allocated};
        printf "  %-45s %9.2f s\n", @$_
            for ['from its start to all of them known', $r{live}],
            ['all lists again, the slowest kind', $r{relist}],
            ['... from when the API server was back', $r{again}];
        printf "  %-45s %9.1f MiB\n", @$_
            for ['memory of its own', $r{own}],
            ['... after all lists again', $r{own_after}],
            ['programs and libraries', $r{programs}],
            ['what is used of the route table', $r{table}];
    }

    print "\nTimes, ms\n";
    print_times(['routable', 'an object is changed: request to route'],
        ['after', '... its answer to route'],
        ['allocate', 'allocate on a warm worker, with etcd'],
        ['allocated', '... its answer to route'],
        ['release', 'release'],
        ['cold', 'Pod ready to the first step of a build'],
        ['run', '... to the first RUN']);

    print "\nGoals\n";
    if (wanted('companion')) {
        goal('companion, memory with the table, MiB',
            $r{own} + $r{programs} + $r{table}, '%.1f', 64);
        goal('all lists again, s', $r{relist}, '%.2f', 2);
        goal('... allocations not routed meanwhile', $r{lost}, '%d', 0);
    }

    goal('change to route in two companions, p99, ms', $r{routable_p99},
        '%.1f', 250) if defined $r{routable_p99};
    goal('allocate on a warm worker, p99, ms', $r{allocate_p99}, '%.1f', 150)
        if defined $r{allocate_p99};
    goal('Pod ready to the first step, slowest, ms', $r{cold_max}, '%.0f',
        500) if defined $r{cold_max};
}


# --- all of it --------------------------------------------------------------

sub main
{
    if (grep { wanted($_) } qw(companion routable allocate)) {
        progress('a lab');
        my $kube = $t->kube(level => 'api');
        my $objects = Kubernetes->new($t, $kube);

        progress("$OBJECTS objects, and as many Pods");
        $objects->make($OBJECTS, $CHANGES);
        $r{allocated} = $objects->{allocated};

        progress('two companions');
        my ($one, $two) = measure_companions($kube, $objects);

        if (wanted('companion')) {
            progress('all lists again');
            measure_relist($kube, $objects, $one, $two);
            $r{relist} = (sort { $a <=> $b } map { $r{"list_$_"} }
                qw(pods buildkitworkers buildkitpools))[-1];
        }

        my $routed = $t->start_pipe('routed', $t->build . '/bench/routed',
            map { $t->dir . "/$_/buildkit.table" } qw(one two));
        $routed->line(10);

        progress("$CHANGES changes");
        measure_routable($objects, $routed) if wanted('routable');
        progress("$CALLS allocations");
        measure_allocate($kube, $objects, $routed) if wanted('allocate');
        $routed->quit;
        $_->stop for $one, $two;
        $objects->end;
        $kube->stop;
    }

    if (wanted('cold')) {
        progress('cold starts');
        my $cold = Cold::measure($t, $QUICK ? 3 : 10);
        %r = (%r, figures('cold', $cold->{step}), figures('run', $cold->{run}));
    }

    report();
}

main();
