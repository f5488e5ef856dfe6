package Soak;

# The soak test: real nginx and plugin-host, stand-in workers that name
# themselves (h2worker), a crowd of clients (swarm), and everything that
# happens to a gateway in its life, at random.  Used by t/soak_short.t and so
# by tools/soak.
#
#   my $soak = Soak->new($t, seconds => 20, rate => 100);
#   $soak->run;         first half: everything; second half: no new processes,
#                       so that what they hold can be compared
#   $soak->faults       what was wrong, as texts
#
# What the table may have said of an allocation, and when, is in
# {history}{SERIAL}: [kind, worker, from, to], from before the change was
# asked for until after the next one was seen to be in force (SoakTable.pm).
# What a client saw is judged against it (SoakJudge.pm).

use strict;
use warnings;

use List::Util qw(max min sum0);
use SoakJudge;
use SoakTable;
use Time::HiRes qw(sleep time);

use parent -norequire, qw(SoakJudge SoakTable);

my $WORKERS = 4;
my $NGINX   = 2;
my $SLOTS   = 64;
my $PARALLEL = 400;

# How often, in seconds: in between it is random, twice as long at most.
my %EVERY = (reload => 3, kill_host => 4, kill_nginx => 5, kill_worker => 4,
    stop_host => 7);

# What a process may grow by in the second half, in KB, and for a connection.
my $GROWTH = 4096;
my $GROWTH_EACH = 0.01;


sub new {
    my ($class, $t, %opts) = @_;

    my $self = bless { t => $t, rate => 100, seconds => 20, %opts,
        slots => [], history => {}, nginx_deaths => [], worker_deaths => {},
        faults => [], seen => {}, texts => {}, events => {}, due => {},
        nworkers => $WORKERS, nslots => $SLOTS }, $class;

    $t->pki;
    $self->_worker($_) for 1 .. $WORKERS;
    $self->write_table;
    $self->{host} = $t->host($self->_host_conf);
    $self->{nginx} = $t->nginx($t->gateway_conf(
        stream => "    buildkit_report %%DIR%%/reports;\n",
        server => <<'END'), workers => $NGINX, log_level => 'notice');
        buildkit_wait           3s;
        buildkit_grace          500ms;
        buildkit_retry          6s;
        buildkit_header_timeout 2s;
END
    $self->_swarm;

    # the master says so when it is told to; the rest is a fault
    $t->allow_log(qr/worker process \d+ exited on signal 9/);

    return $self;
}


sub _host_conf {
    return <<'END';
state: %%DIR%%/state
table:
  {path: %%DIR%%/buildkit.table, allocations: 4000, workers: 16, pools: 4,
   keepEnded: 1m}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: warn}
plugins:
  - {name: static, options: {file: %%DIR%%/static/static.yaml}}
END
}


sub _worker {
    my ($self, $n) = @_;

    my $t = $self->{t};
    my $cert = $self->{certs}[$n] //= $t->worker_cert("w$n",
        "w$n.workers.buildkit.internal");
    my $pipe = $t->start_pipe("worker-w$n", $t->tool('h2worker'), '--name',
        "w$n", '--listen', '127.0.0.1:' . $t->port("w$n"), '--cert',
        $cert->{cert}, '--key', $cert->{key}, '--ca', $cert->{ca});
    $pipe->line(10);
    $self->{workers}[$n] = $pipe;

    return;
}


sub _swarm {
    my ($self) = @_;

    my $t = $self->{t};
    $t->write('results', '');
    $self->{swarm} = $t->start_pipe('swarm', $t->tool('swarm'),
        '--addr', '127.0.0.1:' . $t->port('gw'),
        '--ca', $t->pki . '/gateway-ca.pem',
        '--ca-key', $t->pki . '/gateway-ca-key.pem', '--slots', $SLOTS,
        '--parallel', $PARALLEL, '--results', $t->dir . '/results');
    open $self->{results}, '<', $t->dir . '/results' or die "results: $!";

    return;
}


# --- the run ----------------------------------------------------------------

sub run {
    my ($self) = @_;

    my $half = $self->{seconds} / 2;

    $self->say("all kinds of trouble for $half s");
    $self->_spell($half, keys %EVERY);
    $self->quiet;

    $self->{nginx}->reload;
    $self->_settled_nginx;
    $self->_base;
    $self->base_reports;

    $self->say("the same processes for $half s");
    $self->_spell($half * 0.3, 'kill_worker');
    my %before = $self->_memory;
    my $seen = $self->count;
    $self->_spell($half * 0.7, 'kill_worker');
    $self->_grown(\%before, $self->count - $seen);
    $self->quiet;

    $self->_descriptors;
    $self->judge_reports;

    return;
}


# Connections and changes, and of the trouble what is named.
sub _spell {
    my ($self, $seconds, @trouble) = @_;

    my $until = time + $seconds;
    my $said = time;

    $self->{swarm}->cmd("rate $self->{rate}");
    $self->_plan($_) for @trouble;

    while (time < $until) {
        $self->change_table;
        $self->judge;
        $self->_restart_due;

        for my $what (@trouble) {
            next if time < $self->{due}{$what};
            $self->{events}{$what}++;
            $self->can($what)->($self);
            $self->_plan($what);
        }

        if (time - $said > 15) {
            $said = time;
            $self->say($self->summary);
        }

        sleep 0.01;
    }

    return;
}


sub _plan {
    my ($self, $what) = @_;

    my $mean = min($EVERY{$what}, $self->{seconds} / 12);
    $self->{due}{$what} = time + $mean * (0.5 + rand 1.5);

    return;
}


# No connection is left, and all that died is there again.
sub quiet {
    my ($self) = @_;

    $self->{again} = { map { $_ => 0 } keys %{$self->{again}} };
    $self->_restart_due;

    # held ones end by themselves in 3 s, all others before
    my $answer = $self->{swarm}->ask('stop', 60);
    die "swarm: $answer\n" if $answer ne 'ok';
    $self->judge;

    return;
}


sub say {
    my ($self, $text) = @_;

    main::diag(sprintf '%4d s: %s', time - $^T, $text);

    return;
}


# --- trouble ----------------------------------------------------------------

sub reload { $_[0]{nginx}->kill('HUP') }


sub kill_host {
    my ($self) = @_;

    return if defined $self->{again}{host};

    $self->{host}->kill('KILL');
    $self->{host}->stop;
    $self->{again}{host} = time + (rand() < 0.5 ? 0 : rand 2);

    return;
}


# Alive, but of no use: nothing may wait for it.
sub stop_host {
    my ($self) = @_;

    return if defined $self->{again}{host} || $self->{again}{cont};

    $self->{host}->kill('STOP');
    $self->{again}{cont} = time + rand 1.5;

    return;
}


# Any of them, also one that only finishes what it has.
sub kill_nginx {
    my ($self) = @_;

    my @pids = $self->{nginx}->worker_pids or return;
    my $began = time;

    kill KILL => $pids[rand @pids];
    push @{$self->{nginx_deaths}}, [$began - 0.05, time + 1];

    return;
}


sub kill_worker {
    my ($self) = @_;

    my $n = 1 + int rand $WORKERS;
    return if defined $self->{again}{"w$n"};

    my $began = time;
    kill KILL => $self->{workers}[$n]{pid};
    $self->{t}->stop($self->{workers}[$n]);
    push @{$self->{worker_deaths}{"w$n"}}, [$began - 0.05, undef];
    $self->{again}{"w$n"} = time + rand 1.5;

    return;
}


# What was killed or stopped, and is to be there again by now.
sub _restart_due {
    my ($self) = @_;

    for my $what (keys %{$self->{again}}) {
        my $when = $self->{again}{$what};
        next if !defined $when || time < $when;

        delete $self->{again}{$what};

        if ($what eq 'host') {
            $self->{host}->restart;
        } elsif ($what eq 'cont') {
            $self->{host}->kill('CONT') if !defined $self->{again}{host};
        } else {
            $self->_worker($what =~ s/^w//r);
            # until a connection that failed just now was tried again
            $self->{worker_deaths}{$what}[-1][1] = time + 2;
        }
    }

    return;
}


# --- what is left behind ----------------------------------------------------

# Only new worker processes, as many as there should be.
sub _settled_nginx {
    my ($self) = @_;

    $self->{t}->wait_for(sub { $NGINX == (() = $self->{nginx}->worker_pids) },
        30, 'old nginx processes to end');

    return;
}


sub _processes {
    my ($self) = @_;

    my @workers = $self->{nginx}->worker_pids;

    return ('plugin-host', $self->{host}->pid, 'nginx master',
        $self->{nginx}->pid,
        map { ("nginx worker $workers[$_]", $workers[$_]) } 0 .. $#workers);
}


sub _fds {
    my ($pid) = @_;

    return scalar(() = glob "/proc/$pid/fd/*");
}


sub _base {
    my ($self) = @_;

    my %pids = $self->_processes;
    $self->{base} = { map { $_ => _fds($pids{$_}) } keys %pids };

    return;
}


sub _descriptors {
    my ($self) = @_;

    my %pids = $self->_processes;
    for my $name (sort keys %pids) {
        my $base = $self->{base}{$name};

        if (!defined $base) {
            $self->fault("$name was not there before");
            next;
        }

        # connections that linger end by themselves
        eval { $self->{t}->wait_for(sub { _fds($pids{$name}) <= $base }, 15,
            'descriptors') };
        my $is = _fds($pids{$name});
        $self->fault("$name has $is descriptors, $base before")
            if $is > $base;
    }

    return;
}


sub _memory {
    my ($self) = @_;

    my %pids = $self->_processes;

    return map { $_ => _rss($pids{$_}) } keys %pids;
}


sub _rss {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/status" or return 0;
    my ($kb) = map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$fh>;

    return $kb // 0;
}


sub _grown {
    my ($self, $before, $connections) = @_;

    my %after = $self->_memory;
    my $limit = $GROWTH + $GROWTH_EACH * $connections;

    for my $name (sort keys %after) {
        my $was = $before->{$name} // next;
        $self->say(sprintf '%s: %d KB, %d KB after %d more connections',
            $name, $was, $after{$name}, $connections);
        $self->fault("$name grew from $was to $after{$name} KB")
            if !$ENV{BK_SAN} && $after{$name} - $was > $limit;
    }

    return;
}


sub fault {
    my ($self, $text) = @_;

    push @{$self->{faults}}, $text;
    main::diag("FAULT: $text") if @{$self->{faults}} <= 20;

    return;
}

sub faults { @{$_[0]{faults}} }
sub count  { sum0 values %{$_[0]{seen}} }

sub summary {
    my ($self) = @_;

    return $self->count . ' connections (' . join(', ', map {
        "$_ $self->{seen}{$_}" } sort keys %{$self->{seen}}) . '), '
        . join(', ', map { "$_ $self->{events}{$_}" }
        sort keys %{$self->{events}}) . ', ' . @{$self->{faults}} . ' faults';
}

1;
