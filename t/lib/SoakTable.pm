package SoakTable;

# The allocations of the soak test: plugin-host's static.yaml, changed a little
# again and again, and the history of what was in force.  A part of Soak.pm.

use strict;
use warnings;

use POSIX qw(strftime);
use Time::HiRes qw(time);

# An allocation that nobody uses; its expiry says which writing is in force.
my $MARK_TOKEN = 'a' x 43;
my $MARK_TIME  = 2_000_000_000;

my $CHANGES = 5;        # at a time
my $DWELL   = 0.4;      # the least time in a state
my $DONE    = 1.5;      # how long an ended one is still used


# One step: sees whether the last writing is in force; if so, makes the next.
sub change_table {
    my ($self) = @_;

    return if $self->{pending} && !$self->_in_force;

    my $now = time;
    my @changed;

    for my $i (map { int rand $self->{nslots} } 1 .. $CHANGES) {
        my $slot = $self->{slots}[$i];

        if (!$slot) {
            push @changed, $self->_new_slot($i);
        } elsif ($now - $slot->{since} > $DWELL) {
            push @changed, $self->_advance($i, $slot);
        }
    }

    if (@changed) {
        $self->{pending} = \@changed;
        $self->write_table;
    }

    return;
}


sub _new_slot {
    my ($self, $i) = @_;

    my (undef, $serial, $hash, $spki) = split ' ',
        $self->{swarm}->cmd("new $i");
    my $slot = $self->{slots}[$i] = { index => $i, serial => $serial,
        hash => $hash, spki => rand() < 0.5 ? $spki : undef };

    $self->{history}{$serial} = [['absent', '', 0, undef]];
    $self->_enter($slot, rand() < 0.5 ? 'queued' : 'ready');

    return $slot;
}


sub _advance {
    my ($self, $i, $slot) = @_;

    my $is = $slot->{state};
    my %next = (
        queued   => [qw(ready ready ready ready revoked failed)],
        ready    => [qw(revoked failed released unlisted expires draining
            moved moved)],
        draining => [qw(revoked released unlisted)],
        expires  => [],
    );

    if (!$next{$is}) {
        # it has ended
        return if time - $slot->{since} < $DONE;
        return $self->_new_slot($i);
    }

    # most of the time most of them work
    return if $is eq 'ready' && rand() < 0.6;

    my @to = @{$next{$is}};
    if ($is eq 'expires') {
        return if time < $slot->{expires} + $DONE;
        return $self->_new_slot($i);
    }

    $self->_enter($slot, $to[rand @to]);

    return $slot;
}


# What the slot is to be; the history knows it from now on.
sub _enter {
    my ($self, $slot, $to) = @_;

    my $now = time;
    my $n = $self->{nworkers};
    $slot->{worker} //= 'w' . (1 + int rand $n) if $to ne 'queued';

    if ($to eq 'moved') {
        $slot->{worker} = (grep { $_ ne $slot->{worker} }
            map { "w$_" } 1 .. $n)[rand $n - 1];
        $to = 'ready';

    } elsif ($to eq 'expires') {
        $slot->{expires} = int($now) + 2;
    }

    @$slot{qw(state since)} = ($to, $now);

    my $kind = $to =~ /^(queued|ready|draining)$/ ? $to
        : $to eq 'expires' ? 'ready' : 'ended';
    my $history = $self->{history}{$slot->{serial}};
    push @$history, [$kind, $slot->{worker} // '', $now, undef];

    # nginx looks at the clock itself, whatever plugin-host does
    if ($to eq 'expires') {
        push @$history, ['ended', '', $slot->{expires} - 0.01, undef];
    }

    return;
}


# In a folder of its own, renamed into place: plugin-host watches it.
sub write_table {
    my ($self) = @_;

    my $t = $self->{t};
    my $n = ++$self->{generation};
    my $yaml = "pools:\n  - name: default/demo\n    shared: true\n"
        . "    workers:\n";

    for my $w (map { "w$_" } 1 .. $self->{nworkers}) {
        $yaml .= "      - {name: $w, endpoint: \"127.0.0.1:" . $t->port($w)
            . "\", tlsName: $w.workers.buildkit.internal}\n";
    }

    $yaml .= "allocations:\n  - {token: $MARK_TOKEN, pool: default/demo,"
        . ' worker: w1, expires: "' . _time($MARK_TIME + $n) . "\"}\n";

    for my $slot (grep { $_ } @{$self->{slots}}) {
        next if $slot->{state} eq 'unlisted';
        $yaml .= _allocation($slot);
    }

    $t->write('static/static.yaml', $yaml);
    chmod 0600, $t->dir . '/static/static.yaml';
    $self->{written} = time;

    return;
}


sub _allocation {
    my ($slot) = @_;

    my $state = $slot->{state};
    my $expires = $slot->{expires} // $MARK_TIME;

    if ($state eq 'expires') {
        $state = time < $expires ? 'ready' : 'expired';
    }

    return "  - {tokenHash: $slot->{hash}, pool: default/demo, state: $state,"
        . ' expires: "' . _time($expires) . '"'
        . (defined $slot->{worker} ? ", worker: $slot->{worker}" : '')
        . (defined $slot->{spki} ? ", clientKeyHash: $slot->{spki}" : '')
        . ($state eq 'revoked' || $state eq 'failed'
            ? ", reason: \"$state by the soak test\"" : '') . "}\n";
}


sub _time { strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $_[0]) }


# Whether the last writing is in the table; then what was before is over.
sub _in_force {
    my ($self) = @_;

    return 0 if defined $self->{again}{host} || defined $self->{again}{cont};

    my $t = $self->{t};
    my $r = $t->http($self->{host}->api, 'GET', '/api/v1/allocations/'
        . $t->id($MARK_TOKEN), undef, timeout => 2);
    my $mark = _time($MARK_TIME + $self->{generation}) =~ s/Z$//r;
    return 0 if !$r->{json} || index($r->{json}{expiresAt} // '', $mark) != 0;

    my $now = time;
    for my $slot (@{$self->{pending}}) {
        my $history = $self->{history}{$slot->{serial}};
        my $last = $#$history;
        # that of an expiry is over when its time has come
        if ($slot->{state} eq 'expires') {
            $history->[$last - 1][3] = $slot->{expires} + 0.2 < $now
                ? $now : $slot->{expires} + 0.2;
            $last--;
        }
        $history->[$_][3] //= $now for 0 .. $last - 1;
    }

    delete $self->{pending};

    return 1;
}

1;
