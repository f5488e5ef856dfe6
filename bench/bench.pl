#!/usr/bin/perl

# The driver of `make bench`: called by tools/bench (which says what the
# environment means) once everything is built.
#
# All contenders run at once, one of them under load at a time, round robin;
# medians of the rounds are printed, and the median of ours divided by theirs in
# the same round.  CPU is what the kernel counted for the gateway's one working
# process.  With two cores or more the gateway has one for itself.  Everything
# is on loopback and in a temporary folder, and nothing is left running.

use strict;
use warnings;

use FindBin ();
use lib $FindBin::Bin;

use Allocations;
use Contenders ();
use Figures;
use File::Temp ();
use Machine;
use Sessions;
use POSIX ();
use Time::HiRes qw(sleep time);

my $BUILD = $ENV{BUILD} // "$FindBin::Bin/../build";
my $QUICK = $ENV{BENCH_QUICK} ? 1 : 0;

my $ROUNDS  = $ENV{BENCH_ROUNDS} // ($QUICK ? 3 : 7);
my $TOKENS  = 64;
my $WORKERS = 4;

my $CONNECTIONS = $QUICK ? 400 : 1000;      # a round
my $ALONE       = $QUICK ? 100 : 300;       # one after the other
my $BULK        = ($QUICK ? 128 : 384) << 20;
my $FRAME       = 16384;            # BuildKit's largest, and half of them
my $HELD        = 1000;
my $ALLOCATIONS = $QUICK ? 300 : 2000;
my $DEADLINE    = 1200;

my %only = map { $_ => 1 } split /,/, $ENV{BENCH_ONLY} // '';
my ($bench, @notes);

STDOUT->autoflush(1);

sub wanted { return !%only || $only{ $_[0] } }


# --- load -------------------------------------------------------------------

sub load_args
{
    my ($mode, $g, @rest) = @_;

    # upstream{} and the floor have one worker for all
    my $workers = $g->{name} =~ /^(?:upstream|floor)$/ ? 0 : $WORKERS;

    return $bench->pinned("$BUILD/bench/load", $mode, $g->{port}, $bench->{pki},
        $TOKENS, $workers, @rest);
}


# Runs the load generator; returns its figures and the gateway's CPU, ns.
sub load
{
    my ($mode, $g, @rest) = @_;

    my $before = cpu_at_rest($g->{worker});
    my ($text, $status) = output_of(load_args($mode, $g, @rest));
    my $cpu = cpu_at_rest($g->{worker}) - $before;

    if ($status != 0) {
        die "the load on $g->{name} failed: $text",
            Contenders::log_tail($g->{log}), "\n";
    }

    return { cpu => $cpu, $text =~ /(\w+)=(\S+)/g };
}


# --- the parts --------------------------------------------------------------

sub measure_connect
{
    my ($gateways, $rounds) = @_;

    for my $round (0 .. $rounds) {
        for my $g (@$gateways) {
            progress("connections: round $round of $rounds, $g->{name}");

            # round 0 warms caches and fills the session stores
            if ($round == 0) {
                load('connect', $g, 2 * $TOKENS, 8, 'h2');
                next;
            }

            my $many = load('connect', $g, $CONNECTIONS, 8, 'h2');
            my $one  = load('connect', $g, $ALONE, 1, 'h2');

            record($g->{name},
                cpu_us    => $many->{cpu} / $CONNECTIONS / 1e3,
                alone_us  => $one->{cpu} / $ALONE / 1e3,
                rate      => $CONNECTIONS / $many->{seconds},
                p50       => $one->{p50_ms},
                p99       => $one->{p99_ms},
                busy_p50  => $many->{p50_ms},
                busy_p99  => $many->{p99_ms},
                resumed   => 100 * $many->{resumed} / $CONNECTIONS);
        }
    }
}


sub measure_bulk
{
    my ($gateways, $rounds) = @_;

    for my $round (1 .. $rounds) {
        for my $g (@$gateways) {
            for my $way ('up', 'down') {
                progress("bulk: round $round of $rounds, $g->{name} $way");

                my $r = load($way, $g, 2, $BULK / 2, $FRAME);

                record($g->{name},
                    "${way}_ns"   => $r->{cpu} / $BULK,
                    "${way}_rate" => $BULK / $r->{seconds} / 1e6);
            }
        }
    }
}


# A fresh process each time: memory that was used before is not counted twice.
sub measure_memory
{
    my ($contenders, $rounds) = @_;

    for my $round (1 .. $rounds) {
        for my $c (@$contenders) {
            my ($name, undef, $start) = @$c;

            progress("memory: round $round of $rounds, $name");

            my $g = $start->($bench);

            load('connect', $g, $TOKENS, 8, 'h2');

            my $before = rss_kb($g->{worker});
            my $held   = start_helper('held', load_args('idle', $g, $HELD, 'h2'));
            my $cpu    = cpu_at_rest($g->{worker});
            my $kb     = rss_kb($g->{worker}) - $before;

            stop_helper($held);
            $bench->stop($g->{pid});

            record($name, idle_kb => $kb / $HELD);
        }
    }
}


# Printed as it comes: it has one contender.
sub measure_table
{
    my $program = "$BUILD/bench/table_lookup";

    if (!-x $program) {
        push @notes, 'table_lookup is not built';
        return;
    }

    progress('the route table with a million entries');

    my ($text, $status) = output_of($program,
        '-r', $QUICK ? 3 : 9);

    $status == 0 or die "table_lookup failed\n";

    # "table hit-churn 120 ns"
    return { $text =~ /^table (\S+) ([\d.]+)/mg };
}


sub measure_allocate
{
    for my $file ('buildkit-plugin-host', 'plugins/allocator.so',
        'plugins/static.so', 'ngx_stream_buildkit_module.so')
    {
        if (!-e "$BUILD/$file") {
            push @notes, "$file is not built: allocate was not measured";
            return;
        }
    }

    progress('allocate');

    my $host = $bench->plugin_host;
    my $g    = $bench->gateway('allocated', "$host->{dir}/table",
        "$host->{dir}/state/ca/gateway-ca.pem");

    my ($text, $status) = output_of("$BUILD/bench/allocate",
        "$host->{dir}/api.sock", "$host->{dir}/table", 'bench/warm',
        $ALLOCATIONS, $bench->{pki}, $g->{port});

    $status == 0 or die "allocate failed:\n", Contenders::log_tail($g->{log}),
        Contenders::log_tail($host->{log}), "\n";

    $bench->stop($g->{pid});
    $bench->stop($host->{pid});

    return { $text =~ /(\w+)=(\S+)/g };
}


# --- printing ---------------------------------------------------------------

sub machine
{
    open my $fh, '<', '/proc/cpuinfo' or die "/proc/cpuinfo: $!\n";
    my ($model) = map { /^model name\s*:\s*(.*)/ ? $1 : () } <$fh>;

    my ($nginx)   = `$bench->{nginx} -v 2>&1` =~ /: (.*)/;
    my ($haproxy) = defined $bench->{haproxy}
        ? `$bench->{haproxy} -v` =~ /^(HAProxy version \S+)/ : 'no HAProxy';
    my $where = defined $bench->{gateway_cpus}
        ? "the gateway alone on CPU $bench->{gateway_cpus}"
        : 'everything on one CPU';

    printf "%s, %d cores, Linux %s\n", $model // 'unknown CPU',
        $bench->{cores}, (POSIX::uname())[2];
    print "$nginx, $haproxy, ", $bench->{openssl}, "\n";
    print "P-256, mutual TLS, one gateway process; $where; $TOKENS tokens, ",
        "$WORKERS workers\n";
}


sub report
{
    my ($contenders, $lookup, $allocate, $sessions, $control) = @_;

    progress('');

    table("New connections: $CONNECTIONS a round, 8 at once; ratio: ours to it",
        $contenders,
        ['CPU us', 'cpu_us', '%.0f'], ['ratio', 'cpu_us', 'ratio'],
        ['conn/s', 'rate', '%.0f'], ['p50 ms', 'busy_p50', '%.2f'],
        ['p99 ms', 'busy_p99', '%.2f'], ['resumed %', 'resumed', '%.1f'])
        if wanted('connect');

    table('New connections one by one, connect to the worker\'s first byte',
        $contenders,
        ['CPU us', 'alone_us', '%.0f'], ['ratio', 'alone_us', 'ratio'],
        ['p50 ms', 'p50', '%.2f'], ['p99 ms', 'p99', '%.2f'])
        if wanted('connect');

    table('Bulk: gateway CPU for a byte', $contenders,
        ['up ns/B', 'up_ns', '%.3f'], ['ratio', 'up_ns', 'ratio'],
        ['up MB/s', 'up_rate', '%.0f'], ['down ns/B', 'down_ns', '%.3f'],
        ['ratio', 'down_ns', 'ratio'], ['down MB/s', 'down_rate', '%.0f'])
        if wanted('bulk');

    table("Memory of the process for an idle connection ($HELD held)",
        $contenders,
        ['KB', 'idle_kb', '%.1f'], ['ratio', 'idle_kb', 'ratio'])
        if wanted('memory');

    if ($lookup) {
        printf "\nRoute table, %d entries: look-up, ns\n", $lookup->{entries};
        printf "  %-35s %9s %9s\n", '', 'hit', 'miss';
        printf "  %-35s %9s %9s\n", 'nobody writes', @$lookup{qw(hit miss)};
        printf "  %-35s %9s %9s\n", "$lookup->{churn} changes a second",
            @$lookup{qw(hit-churn miss-churn)};
    }

    if ($allocate) {
        print "\nAllocations: $allocate->{count}, one by one, ms\n";
        printf "  %-35s %9s %9s\n", '', 'p50', 'p99';
        printf "  %-35s %9s %9s\n", $_->[1],
            @$allocate{"$_->[0]_p50_ms", "$_->[0]_p99_ms"}
            for ['allocate', 'request to answer, warm worker'],
                ['routable', 'answer to route table'],
                ['reached', 'answer to worker\'s first byte'];
    }

    goals($lookup, $allocate, $sessions);
    allocation_goals(%$control);

    print "\nNote: $_\n" for @notes;
}


sub goals
{
    my ($lookup, $allocate, $sessions) = @_;

    print "\nGoals\n";

    if (wanted('connect')) {
        ratio_goal('CPU of a connection, to nginx map', 'map', 'cpu_us', 0.65);
        ratio_goal('CPU of a connection, to nginx upstream{}', 'upstream',
            'cpu_us', 0.95);
    }

    if (wanted('bulk')) {
        ratio_goal('bulk up, to nginx upstream{}', 'upstream', 'up_ns', 1);
        ratio_goal('bulk down, to nginx upstream{}', 'upstream', 'down_ns', 1);
    }

    if (wanted('memory')) {
        ratio_goal('idle connection, to nginx map', 'map', 'idle_kb', 1);
        ratio_goal('idle connection, to nginx upstream{}', 'upstream',
            'idle_kb', 1);
    }

    if (wanted('table')) {
        goal('look-up under churn, hit, ns', $lookup->{'hit-churn'}, '%.0f',
            150);
        goal('look-up under churn, miss, ns', $lookup->{'miss-churn'}, '%.0f',
            150);
        goal('table of a million entries, MiB', $lookup->{memory}, '%.0f',
            256);
    }

    if (wanted('allocate')) {
        goal('allocate on a warm worker, p99, ms',
            $allocate->{allocate_p99_ms}, '%.2f', 25);
        goal('answered to routable, p99, ms', $allocate->{routable_p99_ms},
            '%.3f', 5);
    }

    session_goals($sessions);
}


# --- setting up -------------------------------------------------------------

sub clients
{
    my ($pki, @workers) = @_;

    open my $fh, '<', "$pki/clients.txt" or die "$pki/clients.txt: $!\n";
    my @lines = <$fh>;

    return map {
        my ($n, $token, $key) = split;
        my $w = $workers[$n % @workers];
        {
            token => $token, key => $key, worker => $w->{name},
            worker_port => $w->{port}, tls_name => $w->{tls_name},
        }
    } @lines[0 .. $TOKENS - 1];
}


sub fill_table
{
    my $tool = "$BUILD/t/lib/tablectl";
    my $h    = start_helper('', $tool, $bench->{table}, 1000, 64, 16);
    my $till = int((time + 86400) * 1000);

    ask($h, 'pool bench/bench shared');

    ask($h, "worker bench/bench $_->{name} 127.0.0.1:$_->{port}"
        . " $_->{tls_name} ready") for @{ $bench->{workers} };

    ask($h, "alloc token:$_->{token} bench/bench $_->{worker} ready $till"
        . " key=$_->{key}") for @{ $bench->{clients} };
}


sub set_up
{
    my ($dir) = @_;

    my @cpus  = cpus();
    my ($nofile) = POSIX::sysconf(POSIX::_SC_OPEN_MAX());
    my $nginx   = $ENV{NGINX} // program('nginx', '/usr/sbin')
        // die "no nginx: run 'make deps'\n";
    my ($modules) = `$nginx -V 2>&1` =~ /--modules-path=(\S+)/;

    # the last CPU for the gateway, the rest for both ends
    my ($gateway, $load) = @cpus > 1
        ? ($cpus[-1], join ',', @cpus[0 .. $#cpus - 1]) : ();

    my (%port, @ports, @taken);

    my @names = (qw(allocated silent hold cut held),
        map { $_->[0] } @Contenders::ALL);

    for (1 .. 1 + $WORKERS + @names) {
        my ($port, $socket) = free_port();
        push @ports, $port;
        push @taken, $socket;
    }

    $port{$_} = shift @ports for @names;

    my @workers = map {
        { name => "w$_", tls_name => "w$_.workers.bench",
          port => shift @ports }
    } 1 .. $WORKERS;

    close $_ for @taken;
    mkdir "$dir/pki";

    my ($openssl, $status) = output_of("$BUILD/bench/pki", "$dir/pki",
        (grep { wanted($_) } qw(hold cut held)) ? $Sessions::LIVE : $TOKENS,
        $WORKERS);
    $status == 0 or die "no certificates\n";

    $bench = Contenders->new(
        dir => $dir, build => $BUILD, pki => "$dir/pki", port => \%port,
        cores => scalar @cpus, openssl => $openssl =~ s/\n//r,
        nginx => $nginx, haproxy => program('haproxy', '/usr/sbin'),
        nginx_modules => $modules // '/usr/lib/nginx/modules',
        nofile => $nofile < 40000 ? $nofile : 40000,
        module => "$BUILD/ngx_stream_buildkit_module.so",
        table => "$dir/table", workers => \@workers,
        clients => [clients("$dir/pki", @workers)],
        plain_port => shift @ports,
        gateway_cpus => $gateway, load_cpus => $load,
    );

    start_helper('ready', $bench->pinned("$BUILD/bench/worker", "$dir/pki",
        $bench->{plain_port}, map { $_->{port} } @workers));
}


sub contenders
{
    my @list = @Contenders::ALL;

    if (!-e $bench->{module} || !-x "$BUILD/t/lib/tablectl") {
        push @notes, 'the module is not built: ours was not measured';
        @list = grep { $_->[0] ne 'ours' } @list;

    } else {
        fill_table();
    }

    if (!defined $bench->{haproxy}) {
        push @notes, 'no HAProxy here: it was not measured';
        @list = grep { $_->[0] ne 'haproxy' } @list;
    }

    return @list;
}


sub main
{
    my $dir = File::Temp::tempdir('buildkit-bench-XXXXXX', TMPDIR => 1,
        CLEANUP => !$ENV{BENCH_KEEP});

    $SIG{$_} = sub { die "interrupted\n" } for qw(INT TERM HUP);
    $SIG{ALRM} = sub { die "gave up after $DEADLINE s\n" };
    $SIG{PIPE} = 'IGNORE';
    alarm $DEADLINE;

    set_up($dir);

    my @list = contenders();

    machine();

    measure_memory(\@list, $QUICK ? 1 : 3) if wanted('memory');

    my @gateways = wanted('connect') || wanted('bulk')
        ? map { $_->[2]->($bench) } @list : ();

    measure_connect(\@gateways, $ROUNDS) if wanted('connect');
    measure_bulk(\@gateways, $ROUNDS)    if wanted('bulk');

    my $ours = $list[0][0] eq 'ours';
    my $sessions = $ours ? measure_sessions(@gateways) : {};
    my $lookup   = wanted('table')    ? measure_table()    : undef;
    my $allocate = wanted('allocate') ? measure_allocate() : undef;

    my %control = map { $_->[0] => $_->[1]->($bench) }
        grep { wanted($_->[0]) } ['pairs', \&measure_pairs],
        ['live', \&measure_live], ['restart', \&measure_restart];

    report(\@list, $lookup, $allocate, $sessions, \%control);
}


# What only ours has.
sub measure_sessions
{
    my ($g) = @_;

    my %r;

    if (wanted('frames') || wanted('reports')) {
        $g //= $bench->ours;
        load('connect', $g, 2 * $TOKENS, 8, 'h2');
    }

    measure_frames(\&load, $g, $ROUNDS, $CONNECTIONS, $BULK)
        if wanted('frames');

    if (wanted('reports')) {
        my $silent = $bench->silent;

        load('connect', $silent, 2 * $TOKENS, 8, 'h2');
        $r{reports} = measure_reports(\&load, $g, $silent, 4 * $ROUNDS + 1,
            $CONNECTIONS / 2);
        $bench->stop($silent->{pid});
    }

    $r{hold} = measure_hold($bench) if wanted('hold');
    $r{cut}  = measure_cut($bench)  if wanted('cut');
    $r{held} = measure_held($bench) if wanted('held');

    return \%r;
}


my $ok = eval { main(); 1 };
my $error = $@;

alarm 0;
progress('');
$bench->stop_all if $bench;
stop_helpers();

if (!$ok) {
    print STDERR "bench: $error";
    exit 1;
}
