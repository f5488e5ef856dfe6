# The parts of `make bench` about connections that wait, are cut and are
# written down: hold, cut, held, frames, reports.  Used by bench.pl only.

package Sessions;

use strict;
use warnings;

use Exporter 'import';
use Figures;
use Machine;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(measure_hold measure_cut measure_held measure_frames
    measure_reports session_goals);

my $QUICK = $ENV{BENCH_QUICK} ? 1 : 0;

our $LIVE = 2000;               # the goal says so

my $HOLD_CLIENTS = $QUICK ? 200 : 500;
my $CUT_CLIENTS  = $QUICK ? 500 : $LIVE;
my $CUT_SINGLES  = $QUICK ? 50 : 200;
my $CUT_ROUNDS   = $QUICK ? 2 : 5;
my $HELD_CLIENTS = $QUICK ? 2000 : 10000;
my $HELD_TOKENS  = 100;
my $HELD_SECONDS = $QUICK ? 4 : 15;
my $HELD_RATE    = 1000;

my @FRAMES = (16384, 4096);


# A gateway of its own, with a table that sessions.c is going to write.
sub gateway
{
    my ($bench, $name) = @_;

    my $table = "$bench->{dir}/$name.table";

    return ($table, $bench->gateway($name, $table,
        "$bench->{pki}/gateway-ca.pem"));
}


sub command
{
    my ($bench, $mode, $g, $table, @rest) = @_;

    # the clock is in there: not to wait for the stand-in workers, which are
    # other machines in truth
    return $bench->pinned($> == 0 ? ('nice', '-n', '-10') : (),
        "$bench->{build}/bench/sessions", $mode,
        $g->{port}, $bench->{pki}, $table,
        join(',', map { $_->{port} } @{ $bench->{workers} }), @rest);
}


# Runs sessions.c beside a gateway; at its first line, if one is expected, it
# waits, and the gateway's CPU is counted from there on.
sub sessions
{
    my ($bench, $mode, $first, @rest) = @_;

    my ($table, $g) = gateway($bench, $mode);
    my $h    = start_helper($first, command($bench, $mode, $g, $table, @rest));
    my $cpu  = cpu_at_rest($g->{worker});
    my $text = join '', stop_helper($h);

    $cpu = cpu_at_rest($g->{worker}) - $cpu;
    $bench->stop($g->{pid});

    if ($text !~ /errors=0 misrouted=0$/) {
        die "$mode: $text", Contenders::log_tail($g->{log}), "\n";
    }

    unlink $table, "$table.lock";

    return { cpu => $cpu, $text =~ /(\w+)=(\S+)/g };
}


sub measure_hold
{
    my ($bench) = @_;

    progress("hold: $HOLD_CLIENTS clients");

    my $r = sessions($bench, 'hold', '', $HOLD_CLIENTS);

    print_times('Held, then ready: change in the table to the worker\'s'
        . ' first byte, ms', [$r, 'hold', "one at a time, $r->{hold} clients"]);

    return $r;
}


# Each round begins anew: whoever was cut does not come back.
sub measure_cut
{
    my ($bench) = @_;

    my (%worst, $r);

    for my $round (1 .. $CUT_ROUNDS) {
        progress("cut: round $round of $CUT_ROUNDS, $CUT_CLIENTS live");

        $r = sessions($bench, 'cut', 'live', $CUT_CLIENTS,
            $round == 1 ? $CUT_SINGLES : 0);

        $worst{one} //= $r;
        record('ours', cut_us => $r->{cpu} / $r->{all} / 1e3,
            map { ("cut_$_" => $r->{"all_${_}_ms"}) } qw(p50 p99 max));
    }

    my $all = { all => $r->{all}, map {
        ("all_${_}_ms" => figure('ours', "cut_$_")) } qw(p50 p99 max) };

    print_times("Revoked with $CUT_CLIENTS live: change in the table to the"
        . ' status at the client, ms',
        [$worst{one}, 'one', "one at a time, $worst{one}{one}"],
        [$all, 'all', "all at once, median of $CUT_ROUNDS rounds"]);
    printf "  %-35s %9.1f\n", 'CPU of a cut, us, until all is closed',
        figure('ours', 'cut_us');

    return { one => $worst{one}{one_p99_ms}, all => $all->{all_p99_ms} };
}


sub print_times
{
    my ($title, @rows) = @_;

    progress('');
    print "\n$title\n";
    printf "  %-35s %9s %9s %9s\n", '', 'p50', 'p99', 'max';

    for my $row (@rows) {
        my ($r, $key, $label) = @$row;

        printf "  %-35s %9.1f %9.1f %9.1f\n", $label,
            map { $r->{"${key}_${_}_ms"} } qw(p50 p99 max);
    }
}


# Percent of one core.
sub load_of
{
    my ($pid) = @_;

    my ($cpu, $began) = (cpu_ns($pid), time);

    sleep $HELD_SECONDS;

    return (cpu_ns($pid) - $cpu) / (time - $began) / 1e7;
}


sub measure_held
{
    my ($bench) = @_;

    my ($table, $g) = gateway($bench, 'held');

    # once before, so that what any connection needs is there
    my $warm = start_helper('held', command($bench, 'held', $g, $table,
        $HELD_TOKENS, $HELD_TOKENS));
    stop_helper($warm);
    sleep 0.5;

    progress('held: the process alone');

    my %r = (idle => load_of($g->{worker}));
    my ($rss, $pss) = (rss_kb($g->{worker}), pss_kb($g->{worker}));

    progress("held: $HELD_CLIENTS connections");

    my $held = start_helper('held', command($bench, 'held', $g, $table,
        $HELD_CLIENTS, $HELD_TOKENS));
    cpu_at_rest($g->{worker});

    $r{rss}   = (rss_kb($g->{worker}) - $rss) / $HELD_CLIENTS;
    $r{pss}   = (pss_kb($g->{worker}) - $pss) / $HELD_CLIENTS;
    $r{quiet} = load_of($g->{worker});

    progress("held: $HELD_CLIENTS connections, $HELD_RATE changes a second");
    ask($held, "churn $HELD_RATE");
    $r{churn} = load_of($g->{worker});
    ask($held, 'churn 0');

    my @said = stop_helper($held);
    $bench->stop($g->{pid});
    unlink $table, "$table.lock";

    "@said" =~ /errors=0\b/ or die "held: @said", Contenders::log_tail(
        $g->{log}), "\n";

    progress('');
    print "\nHeld: $HELD_CLIENTS connections of $HELD_TOKENS allocations,",
        " one process, $HELD_SECONDS s each\n";
    printf "  %-35s %9.2f\n", @$_ for
        ['no connection, % of a core', $r{idle}],
        ['held, nothing changes, % of a core', $r{quiet}],
        ["held, $HELD_RATE changes/s of others, %", $r{churn}],
        ['KiB a connection, RSS', $r{rss}], ['KiB a connection, PSS', $r{pss}];

    return \%r;
}


# The same bytes on the wire but for the frames' heads: a server that does
# not begin as HTTP/2 does is not followed.
sub measure_frames
{
    my ($load, $g, $rounds, $connections, $bulk) = @_;

    for my $round (1 .. $rounds) {
        progress("frames: round $round of $rounds");

        # each goes first in turn
        my @kinds = ('plain', 'h2');
        @kinds = reverse @kinds if $round % 2;

        for my $kind (@kinds) {
            my $r = $load->('connect', $g, $connections, 8,
                $kind eq 'h2' ? 'h2' : ());

            record($kind, conn_us => $r->{cpu} / $connections / 1e3);
        }

        my @sizes = (0, @FRAMES);
        @sizes = reverse @sizes if $round % 2;

        for my $size (@sizes) {
            for my $way ('up', 'down') {
                my $r = $load->($way, $g, 2, $bulk / 2, $size);

                record($size || 'plain', "${way}_ns" => $r->{cpu} / $bulk);
            }
        }
    }

    progress('');
    print "\nFrames followed, to plain bytes that are not: gateway CPU\n";
    printf "  %-35s %9s %9s %9s %9s\n", '', 'followed', 'plain', 'on/off',
        'half of the rounds';
    frames_row('connection, us', 'h2', 'conn_us', '%.0f');

    for my $size (@FRAMES) {
        frames_row("$_, DATA of $size bytes, ns/B", $size, "${_}_ns", '%.3f')
            for 'up', 'down';
    }
}


sub frames_row
{
    my ($label, $name, $key, $format) = @_;

    my ($middle, $low, $high) = spread($name, 'plain', $key);

    printf "  %-35s %9s %9s %9.3f   %.3f to %.3f\n", $label,
        map({ sprintf $format, figure($_, $key) } $name, 'plain'),
        $middle, $low, $high;
}


sub measure_reports
{
    my ($load, $with, $without, $rounds, $connections) = @_;

    for my $round (1 .. $rounds) {
        progress("reports: round $round of $rounds");

        my @both = ($with, $without);
        @both = reverse @both if $round % 2;

        for my $g (@both) {
            my $r = $load->('connect', $g, $connections, 8, 'h2');

            record($g->{name}, report_us => $r->{cpu} / $connections / 1e3);
        }
    }

    my ($middle, $low, $high) = spread($with->{name}, $without->{name},
        'report_us');

    progress('');
    print "\nReports: gateway CPU of a connection, us\n";
    printf "  %-35s %9.1f\n", $_->[0], figure($_->[1]{name}, 'report_us')
        for ['with buildkit_report', $with], ['without', $without];
    printf "  %-35s %9.3f   half of the rounds: %.3f to %.3f\n", 'ratio',
        $middle, $low, $high;

    return { ratio => $middle, low => $low };
}


sub session_goals
{
    my ($r) = @_;

    goal("hold to splice, p99, ms", $r->{hold}{hold_p99_ms}, '%.1f', 120)
        if $r->{hold};

    if (my $cut = $r->{cut}) {
        goal("revoked to status, one of $CUT_CLIENTS, p99, ms", $cut->{one},
            '%.1f', 150);
        goal("revoked to status, all $CUT_CLIENTS, p99, ms", $cut->{all},
            '%.1f', 150);
    }

    if (my $held = $r->{held}) {
        goal("$HELD_CLIENTS held, % of a core", $held->{quiet}, '%.2f', 2);
        goal("a held connection, KiB", $held->{rss}, '%.1f', 40);
    }

    ratio_goal('CPU of a connection, reports on/off', 'silent', 'report_us',
        1.01) if $r->{reports};
}


1;
