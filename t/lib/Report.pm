package Report;

# Report files (plugin-host/doc/report.md), read and made; the metrics; and a
# plugin-host with static allocations that reads reports.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(report_files report_read report_make report_ticks reports_conf
    metrics sum_of);

my @REFUSED = qw(none certificate no_token unknown key pool expired released
    revoked failed draining queued starting worker table connections held
    shutdown cut timeout);
my @CUT = qw(none expired released revoked failed worker silence shutdown gone
    moved timeout);
my @HANDSHAKE = qw(none closed timeout tls certificate limit);
my @PHASE = qw(free held connecting live refused cut);
my @KIND = qw(unknown look other build);

my $POOL = 1088;
my $SESSION = 448;
my $ROWS = 512 + 257 * $POOL;


# nginx's files in the test's folder of reports
sub report_files {
    my ($t, $dir) = @_;

    my @files = sort glob(($dir // $t->dir . '/reports') . '/nginx-*.report');

    return @files;
}


sub report_read {
    my ($path) = @_;

    open my $fh, '<:raw', $path or return undef;
    local $/;
    my $file = <$fh> // '';
    return undef if length $file < $ROWS;

    my %h;
    @h{qw(magic header_size total_size nsessions pid ticks boot)}
        = unpack 'a8 L x4 Q x12 L x16 Q Q Z40', $file;
    @h{qw(generation start_ms heartbeat_ms exiting held live lost)}
        = unpack 'Q x16 Q6', substr $file, 176;
    my @shake = unpack 'Q6', substr $file, 248;
    @{$h{handshake}}{@HANDSHAKE} = @shake;
    @h{qw(dead_clients dead_workers nused)}
        = unpack 'Q3', substr $file, 312;

    for my $i (0 .. 256) {
        my $row = substr $file, 512 + $i * $POOL, $POOL;
        my ($used, $name) = unpack 'Q Z320', $row;
        next if !$used;
        my %p;
        @p{qw(accepted held routed gone looks retries up down)}
            = unpack 'x328 Q8', $row;
        @{$p{refused}}{@REFUSED} = unpack 'x392 Q20', $row;
        @{$p{cut}}{@CUT} = unpack 'x584 Q11', $row;
        @p{qw(hold hold_ms)} = hist(substr $row, 712);
        @p{qw(connect connect_ms)} = hist(substr $row, 848);
        $h{pools}{$name} = \%p;
    }

    for my $i (0 .. $h{nused} - 1) {
        my $record = substr $file, $ROWS + $i * $SESSION, $SESSION;
        last if length $record < $SESSION;
        my %s;
        @s{qw(seq start_ms phase_ms expires_ms pool phase kind flags reason
            allocation client worker)}
            = unpack 'Q4 L C4 Z16 Z64 Z256', $record;
        @s{qw(up down last_ms hold_ms)} = unpack 'x376 Q4', $record;
        next if $s{phase} == 0;
        $s{phase} = $PHASE[$s{phase}];
        $s{kind} = $KIND[$s{kind}];
        push @{$h{sessions}}, \%s;
    }

    return \%h;
}


sub hist {
    my @n = unpack 'Q17', $_[0];
    my $n = 0;
    $n += $_ for @n[0 .. 15];

    return ($n, $n[16]);
}


# report_make(DIR, words => [counters of the pool's row in their order],
# sessions => [{phase, kind, worker}, ...], pid, ...): a file of a process that
# lives (this one) or not; returns its path.
sub report_make {
    my ($dir, %o) = @_;

    my $pid = $o{pid} // $$;
    my $ticks = $o{ticks} // report_ticks($pid);
    my $generation = $o{generation} // 1;
    my @sessions = @{$o{sessions} // []};
    my ($boot) = do {
        open my $fh, '<', '/proc/sys/kernel/random/boot_id' or die $!;
        <$fh> =~ /(\S+)/;
    };

    my $head = pack 'a8 L L Q L4 Q Q Q Q a40 Q Q a40 Q Q Q x8', 'BKREPRT1',
        512, 0x01020304, $ROWS + 8 * $SESSION, $POOL, $SESSION, 257, 8, 512,
        $ROWS, $pid, $ticks, $boot, 0, 0, '', (stat '/proc/self/ns/pid')[1],
        $generation, 0;
    my @shake = @{$o{handshake} // []};
    $head .= pack 'Q6 Q8 Q3', 1, 1, $o{exiting} // 0, $o{held} // 0,
        $o{live} // 0, $o{lost} // 0, @shake, (0) x (8 - @shake),
        $o{dead_clients} // 0, $o{dead_workers} // 0, scalar @sessions;
    $head .= "\0" x (512 - length $head);

    my $rows = '';
    for (['', []], [$o{pool} // 'default/demo', $o{words} // []]) {
        my ($name, $words) = @$_;
        my $row = pack 'Q a320 Q*', 1, $name, @$words;
        $rows .= $row . "\0" x ($POOL - length $row);
    }
    $rows .= "\0" x ($ROWS - 512 - length $rows);

    my %phase = map { $PHASE[$_] => $_ } 0 .. $#PHASE;
    my %kind = map { $KIND[$_] => $_ } 0 .. $#KIND;
    for (@sessions) {
        my $record = pack 'Q4 L C4 Z16 Z64 Z256', 2, 1, 1, 0, 1,
            $phase{$_->{phase}}, $kind{$_->{kind}}, 0, 0,
            $_->{allocation} // '0123456789ab', '192.0.2.1:1', $_->{worker};
        $rows .= $record . "\0" x ($SESSION - length $record);
    }

    my $path = "$dir/nginx-$pid-$ticks-$generation.report";
    open my $fh, '>:raw', "$path.new" or die "$path: $!";
    print $fh $head, $rows, "\0" x ($SESSION * (8 - @sessions));
    close $fh or die "$path: $!";
    rename "$path.new", $path or die "$path: $!";

    return $path;
}


sub report_ticks {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/stat" or return 0;

    return (split ' ', <$fh> =~ s/.*\)//r)[19];
}


# plugin-host's configuration; allocations: lines of static.yaml
sub reports_conf {
    my ($t, $workers, @allocations) = @_;

    chmod 0600, $t->write('static.yaml', join '', <<"END",
pools:
  - name: default/demo
    shared: true
    workers:
END
        (map { "      - {name: $_, endpoint: \"127.0.0.1:$workers->{$_}\","
            . " tlsName: $_.workers.buildkit.internal}\n" }
            sort keys %$workers),
        "allocations:\n", map { "  - {pool: default/demo, $_}\n" }
            @allocations);

    return <<'END';
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 1000, workers: 64, pools: 16}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
plugins:
  - {name: metrics}
  - {name: static, options: {file: %%DIR%%/static.yaml}}
END
}


# {'name{labels}' => value}, without the prefix
sub metrics {
    my ($t) = @_;

    my $text = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')
        ->{body};

    return { $text =~ /^buildkit_gateway_(\S+) (\S+)$/mg };
}


# Of all files: a counter of a pool, by its path of names.
sub sum_of {
    my ($t, $pool, @path) = @_;

    my $sum = 0;
    for (report_files($t)) {
        my $n = report_read($_) or next;
        $n = $n->{pools}{$pool};
        $n = $n->{$_} for @path;
        $sum += $n // 0;
    }

    return $sum;
}

1;
