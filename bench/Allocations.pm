# The parts of `make bench` about plugin-host as the control plane: pairs (500
# allocations a second, made and released), live (100,000 of them, and 10,000
# that wait), restart (a journal of a million rows).  Used by bench.pl only.

package Allocations;

use strict;
use warnings;

use Exporter 'import';
use Figures;
use FindBin ();
use IO::Socket::UNIX ();
use Machine;
use POSIX ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw(measure_pairs measure_live measure_restart
    allocation_goals);

my $QUICK = $ENV{BENCH_QUICK} ? 1 : 0;

# the goals say these
my $RATE   = $ENV{BENCH_RATE} // 500;
my $LIVE   = $QUICK ? 10_000 : 100_000;
my $QUEUED = $QUICK ? 1000 : 10_000;
my $ROWS   = $QUICK ? 100_000 : 1_000_000;

my $SECONDS = $QUICK ? 5 : 20;
my $CALLS   = 200;          # of a kind
my $LISTS   = 5;
my $KEEP    = 7 * 86_400_000;   # ms

# kinds of calls: command, label
my @KINDS = (
    ['allocate', 'allocate'], ['lookup', 'lookup'], ['renew', 'renew'],
    ['get', 'one allocation'], ['release', 'release'],
    ['queue', 'allocate, no worker is free'],
    ['handover', 'release, the next one gets it'],
    ['revoke', 'revoke'], ['wake', 'wake'],
    ['drain', 'drain a worker, and take it back'],
    ['pools', 'list of pools'], ['workers', 'list of workers'],
    ['list', 'list of all allocations'],
    ['sessions', 'list of sessions'], ['explain', 'explain'],
    ['metrics', 'metrics'],
);


# --- plugin-host ------------------------------------------------------------

# Workers that are always ready, with nobody behind them.
sub pools
{
    my (%pools) = @_;

    my $text = "pools:\n";

    for my $name (sort keys %pools) {
        my ($n, $shared) = @{ $pools{$name} };

        $text .= "  - name: $name\n";
        $text .= "    shared: true\n" if $shared;
        $text .= "    workers:\n";
        $text .= "      - {name: w$_, endpoint: \"127.0.0.1:9\", tlsName:"
            . " w$_.workers.bench, arch: amd64}\n" for 1 .. $n;
    }

    return $text;
}


# What the allocator of this build takes of these options.
sub options
{
    my ($bench, $plugin, %options) = @_;

    my ($text) = output_of("$bench->{build}/buildkit-plugin-host",
        '--list-plugins');
    my ($own) = $text =~ /^$plugin\b(.*?)(?=^\S|\z)/ms;

    return join ', ', map { "$_: $options{$_}" }
        grep { ($own // '') =~ /^\s+$_\b/m } sort keys %options;
}


sub configure
{
    my ($bench, $name, $pools, $issuer) = @_;

    my $dir  = "$bench->{dir}/$name";
    my $own  = options($bench, 'allocator', queueLease => '1h',
        defaultTtl => '12h');
    my ($access, $oidc) = ('', '');

    mkdir $dir;
    mkdir "$dir/reports";

    if ($issuer) {
        Contenders::write_file("$dir/oidc.yaml", "issuers:\n"
            . "  - {name: bench, issuer: \"$issuer\", audience: [bench]}\n");
        $oidc = "  - {name: oidc, options: {file: $dir/oidc.yaml,"
            . " insecureLoopback: true}}\n";
        $access = <<'END';
access:
  rules:
    - name: builds
      sources: [bench]
      match: [{claim: ref, pattern: "refs/heads/.*"}]
      pools: ["bench/*"]
END
    }

    Contenders::write_file("$dir/static.yaml", pools(%$pools));
    Contenders::write_file("$dir/host.yaml", <<"END");
state: $dir/state
table: {path: $dir/table, allocations: 200000, workers: 2048, pools: 16}
reports: $dir/reports
api: {listen: ["unix:$dir/api.sock"]}
metrics: {listen: ["unix:$dir/metrics.sock"]}
gateway: {endpoint: "tcp://localhost:1235"}
log: {level: warn}
${access}plugins:
  - {name: metrics}
  - {name: static, options: {file: $dir/static.yaml}}
$oidc  - {name: allocator, options: {$own}}
END

    return { dir => $dir, conf => "$dir/host.yaml", log => "$dir/log",
        table => "$dir/table" };
}


sub start
{
    my ($bench, $host) = @_;

    $host->{pid} = $bench->spawn(undef, $host->{log},
        "$bench->{build}/buildkit-plugin-host", '-c', $host->{conf});

    my $until = time + 30;

    while (time < $until
        && waitpid($host->{pid}, POSIX::WNOHANG()) == 0)
    {
        my $s = IO::Socket::UNIX->new("$host->{dir}/api.sock");

        if ($s) {
            print $s "GET /readyz HTTP/1.0\r\n\r\n";
            return $host if (<$s> // '') =~ / 200 /;
        }

        sleep 0.02;
    }

    die "plugin-host does not get ready:\n",
        Contenders::log_tail($host->{log}), "\n";
}


# Gives a command to calls.c; its figures.
sub say_to
{
    my ($calls, $line) = @_;

    print { $calls->{in} } "$line\n";
    my $text = readline($calls->{out}) // die "calls: \"$line\" failed\n";
    return { $text =~ /(\w+)=(\S+)/g };
}


# --- pairs ------------------------------------------------------------------

sub measure_pairs
{
    my ($bench) = @_;

    my $oidc = -e "$bench->{build}/plugins/oidc.so";
    my ($port, $socket) = free_port();
    my $url = "http://127.0.0.1:$port";
    my $dir = "$bench->{dir}/pairs";

    close $socket;
    progress("pairs: $RATE a second for $SECONDS s");

    my $calls = start_helper('', "$bench->{build}/bench/calls",
        "$dir/api.sock", $oidc ? $url : ());

    if ($oidc) {
        my $issuer = start_helper('', $^X, "$FindBin::Bin/issuer.pl", $port);
        print { $issuer->{in} } scalar readline $calls->{out};
        readline($issuer->{out}) eq "ready\n" or die "no issuer\n";
    }

    my $host = start($bench, configure($bench, 'pairs',
        { 'bench/warm' => [256] }, $oidc ? $url : undef));

    # the issuer's keys are known then
    say_to($calls, "pairs bench/warm 50 1");

    my $cpu = cpu_ns($host->{pid});
    my $r = say_to($calls, "pairs bench/warm $RATE $SECONDS");

    $r->{cpu} = (cpu_ns($host->{pid}) - $cpu) / 1e7 / $r->{seconds};
    $r->{who} = $oidc ? 'ES256 bearer token' : 'peer of the unix socket';

    stop_helper($calls);
    $bench->stop($host->{pid});

    print "\nAllocations: $RATE pairs a second, identity: $r->{who}, "
        . "journal on, ms\n";
    times_table($r, ['allocate', 'allocate'], ['release', 'release']);
    print "  $r->{bad} of them were refused\n" if $r->{bad};
    printf "  %-35s %9.0f %%, %.0f us a pair\n", 'CPU of plugin-host',
        $r->{cpu}, $r->{cpu} * 1e4 * $r->{seconds} / $r->{allocate};

    return $r;
}


# --- live -------------------------------------------------------------------

sub measure_live
{
    my ($bench) = @_;

    my $host = start($bench, configure($bench, 'live', {
        'bench/full' => [$CALLS], 'bench/shared' => [100, 1],
        'bench/warm' => [2 * $CALLS],
    }));

    my $calls = start_helper('', "$bench->{build}/bench/calls",
        "$host->{dir}/api.sock");
    my $metrics = start_helper('', "$bench->{build}/bench/calls",
        "$host->{dir}/metrics.sock");
    my $wait = $QUEUED - $CALLS;
    my $bad = 0;
    my %r;

    # those that have a worker come first
    say_to($calls, "fill bench/full $CALLS 1");

    progress("live: $LIVE allocations");
    my $fill = say_to($calls, "fill bench/shared $LIVE 64");
    $r{missing} = $LIVE - $fill->{made};
    $r{rss} = rss_kb($host->{pid}) / 1024;

    progress("live: $wait that wait");
    my $queue = say_to($calls, "fill bench/full $wait 64");

    $r{missing} += $wait - $queue->{queued};

    $r{rss_queued} = rss_kb($host->{pid}) / 1024;

    for my $kind (@KINDS) {
        my ($name) = @$kind;
        my $n = $name =~ /^(?:list|metrics)$/ ? $LISTS
            : $name eq 'drain' ? 2 * $LISTS : $CALLS;
        my $pool = $name eq 'queue' ? 'bench/full'
            : $name eq 'drain' ? 'bench/shared' : 'bench/warm';

        progress("live: $name");
        %r = (%r, %{ say_to($name eq 'metrics' ? $metrics : $calls,
            "call $name $pool $n") });
        $bad += $r{bad};
    }

    $r{refused} = $bad;

    progress('live: 100 pairs a second');
    my $pairs = say_to($calls, 'pairs bench/warm 100 5');
    $r{"pairs_$_"} = $pairs->{$_} for keys %$pairs;

    stop_helper($_) for $calls, $metrics;
    $bench->stop($host->{pid});

    printf "\n%d live allocations (made in %.0f s), %d queued: calls one by"
        . " one, ms\n", $LIVE, $fill->{seconds}, $QUEUED;
    times_table(\%r, @KINDS, ['pairs_allocate', 'allocate, 100 a second'],
        ['pairs_release', 'release, the same']);
    printf "  %-35s %9.1f MiB, with those queued %.1f\n",
        'resident memory of plugin-host', $r{rss}, $r{rss_queued};
    print "  $bad calls were refused\n" if $bad;
    print "  $r{missing} allocations are missing\n" if $r{missing};

    return \%r;
}


# --- restart ----------------------------------------------------------------

# A tenth of the rows is live, the others have ended in the course of the week
# that they are kept; the host itself has made the schema.
sub fill_journal
{
    my ($host, $hash) = @_;

    my $live = $ROWS / 10;
    my $columns = 'token_hash, spki, pool, worker, created_ms, expires_ms,'
        . ' state, changed_ms, answered, job_id, requested_by';
    my $now = int(time * 1000);
    my $age = int($KEEP / $ROWS);
    my $sql = "BEGIN;\n";

    # number, how many, state, first hash
    for my $part ([1, 1, 'live', "x'$hash'"],
        [2, $live, 'live', 'randomblob(32)'],
        [$live + 1, $ROWS, 'released', 'randomblob(32)'])
    {
        my ($from, $to, $state, $blob) = @$part;

        $sql .= "INSERT INTO allocations ($columns)"
            . " WITH RECURSIVE n(i) AS (SELECT $from UNION ALL SELECT i + 1"
            . " FROM n WHERE i < $to) SELECT $blob, randomblob(91),"
            . " 'bench/shared', 'w' || (1 + i % 100), $now - 3600000 - i * $age,"
            . " $now + 36000000 + i, '$state', $now - i * $age, 1,"
            . " 'job-' || i, '10.0.0.1:1234' FROM n;\n";
    }

    my $file = Contenders::write_file("$host->{dir}/fill.sql",
        "$sql COMMIT;\nPRAGMA wal_checkpoint(TRUNCATE);\n");
    my (undef, $status) = output_of('sqlite3', '-bail',
        "$host->{dir}/state/journal.db", ".read $file");

    $status == 0 or die "the journal could not be filled\n";
}


sub measure_restart
{
    my ($bench) = @_;

    my $hash = unpack 'H*', pack 'N8', map { rand 2**32 } 1 .. 8;
    my $host = configure($bench, 'restart', { 'bench/shared' => [100, 1] });

    if (!defined program('sqlite3')) {
        print "\nNote: no sqlite3 here: restart was not measured\n";
        return {};
    }

    start($bench, $host);
    $bench->stop($host->{pid});

    progress("restart: a journal of $ROWS rows is made");
    fill_journal($host, $hash);
    unlink $host->{table};

    progress("restart: $ROWS rows");

    my %r;

    for my $how ('new', 'same') {
        my ($text, $status) = output_of("$bench->{build}/bench/first_route",
            $host->{table}, $hash, $host->{log},
            "$bench->{build}/buildkit-plugin-host", '-c', $host->{conf});

        $status == 0 or die "restart:\n",
            Contenders::log_tail($host->{log}), "\n";
        my %one = $text =~ /(\w+)=(\S+)/g;
        $r{"${how}_$_"} = $one{$_} for keys %one;
    }

    printf "\nStart with a journal of %d rows, of which %d are live, s\n",
        $ROWS, $ROWS / 10;
    printf "  %-35s %9s %9s\n", '', 'a route', 'all';
    printf "  %-35s %9.2f %9.2f\n", $_->[1],
        $r{"$_->[0]_route_ms"} / 1000, $r{"$_->[0]_live_ms"} / 1000
        for ['new', 'no route table'], ['same', 'the table is there'];
    printf "  %-35s %9.1f MiB\n", 'resident memory', $r{new_rss_kb} / 1024;

    return \%r;
}


# --- printing ---------------------------------------------------------------

sub times_table
{
    my ($r, @rows) = @_;

    printf "  %-35s %9s %9s %9s\n", '', 'p50', 'p99', 'slowest';

    for my $row (@rows) {
        my ($key, $label) = @$row;

        printf "  %-35s %9s %9s %9s\n", $label,
            map { $_ // '-' } @$r{map { "${key}_${_}_ms" } qw(p50 p99 max)};
    }
}


# name => what was measured of it; only these are printed
sub allocation_goals
{
    my (%parts) = @_;

    if (my $r = $parts{pairs}) {
        # what is refused is not fast
        goal("$_, $RATE pairs a second, p99, ms",
            $r->{bad} ? 1e6 : $r->{"${_}_p99_ms"}, '%.1f', 20)
            for 'allocate', 'release';
    }

    if (my $r = $parts{live}) {
        my ($worst) = sort { $b->[0] <=> $a->[0] }
            map { [$r->{"$_->[0]_max_ms"} // 1e9, $_->[1]] } @KINDS;

        # what is refused is not fast, and what is not there takes no memory
        $worst = [1e6, "$r->{refused} refused, $r->{missing} missing"]
            if $r->{refused} || $r->{missing};

        goal("slowest call, $LIVE live, ms",
            $worst->[0] < 1e9 ? $worst->[0] : undef, '%.1f', 50);
        printf "    (%s)\n", $worst->[1] if $worst->[0] < 1e9;
        goal("plugin-host with $LIVE live, MiB",
            $r->{missing} ? 1e6 : $r->{rss}, '%.1f', 128);
    }

    if (my $r = $parts{restart}) {
        goal("start to a route, $ROWS rows, s", defined $r->{new_route_ms}
            ? $r->{new_route_ms} / 1000 : undef, '%.2f', 5);
    }
}


1;
