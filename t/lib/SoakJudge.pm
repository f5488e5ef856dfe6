package SoakJudge;

# What the clients of the soak test saw, against what may have been.  A part of
# Soak.pm.

use strict;
use warnings;

use List::Util qw(any max);
use Time::HiRes qw(time);

# Every result and who may have it; see swarm.c for the words.
my %JUDGE = (
    served  => \&_served,
    refused => \&_refused,
    cut     => \&_cut,
    closed  => \&_closed,
    failed  => \&_killed,
    left    => sub { '' },
    late    => sub { 'had no answer in 30 s' },
    wrong   => sub { 'saw bytes that nobody may send' },
);


# Looks at the results since the last time.
sub judge {
    my ($self) = @_;

    my $fh = $self->{results};
    seek $fh, 0, 1;

    while (defined(my $line = <$fh>)) {
        if ($line !~ /\n\z/) {
            # only a part of it is there yet
            seek $fh, -length $line, 1;
            last;
        }

        my ($serial, $began, $named, $ended, $kind, $what, $which, $text) =
            split ' ', $line;
        my %r = (serial => $serial, began => $began / 1e6,
            named => $named / 1e6, ended => $ended / 1e6, kind => $kind,
            what => $what, which => $which,
            text => $text // '', history => $self->{history}{$serial});

        $self->{seen}{$what}++;
        $self->{texts}{"$what $which"
            . _gist($text)}++ if $what =~ /refused|cut/;
        $self->{looks}++ if $what eq 'refused'
            && $r{text} =~ /this_was_only_a_look/;
        $self->{last_end} = $r{ended};

        my $wrong = $JUDGE{$what}->($self, \%r);
        $self->fault("$wrong: $line" . $self->_story(\%r)) if $wrong;
    }

    return;
}


sub _gist {
    my ($text) = @_;

    $text =~ s/_/ /g;
    $text =~ s/\b[0-9a-f]{12}\b/ID/g;

    return ' ' . substr $text, 0, 40;
}


# The kinds of state that it may have met between two times.
sub _met {
    my ($r, $from, $to) = @_;

    return grep { $_->[2] <= $to && (!defined $_->[3] || $_->[3] >= $from) }
        @{$r->{history}};
}


sub _during {
    my ($r, @spells) = @_;

    return any { $_->[0] <= $r->{ended}
        && (!defined $_->[1] || $_->[1] >= $r->{began}) } @spells;
}


sub _served {
    my ($self, $r) = @_;

    # a client that came and went unasked has seen nobody
    return '' if !$r->{named};

    my ($worker) = $r->{which} =~ /(w\d+)$/;

    return '' if any { $_->[0] eq 'ready' && $_->[1] eq $worker }
        _met($r, $r->{began}, $r->{named});

    return 'WRONG WORKER';
}


sub _refused {
    my ($self, $r) = @_;

    my @met = _met($r, $r->{began}, $r->{ended});
    my %met = map { $_->[0] => 1 } @met;
    my %workers = map { $_->[1] => 1 } grep { $_->[1] ne '' } @met;
    my %codes = (
        8  => [qw(queued)],
        9  => [qw(queued draining ended absent)],
        16 => [qw(ended absent)],
    );

    return '' if any { exists $met{$_} } @{$codes{$r->{which}} // []};
    return '' if $r->{which} == 9
        && ($self->_worker_died($r) || keys %workers > 1);

    # it may not come back for a minute, wherever its worker is by now
    return '' if $r->{text} =~ /were_cut_a_moment_ago/
        && $self->_worker_died({ %$r, began => $r->{began} - 61 });

    return 'refused for nothing';
}


sub _worker_died {
    my ($self, $r) = @_;

    return any { _during($r, @{$self->{worker_deaths}{$_->[1]} // []}) }
        grep { $_->[1] ne '' } _met($r, $r->{began}, $r->{ended});
}


sub _cut {
    my ($self, $r) = @_;

    my $wrong = $self->_served($r);
    return $wrong if $wrong;

    my ($code, $worker) = split /\@/, $r->{which};
    my @met = _met($r, $r->{named} - 1, $r->{ended});

    return '' if any { $_->[0] =~ /^(?:ended|absent)$/ } @met;
    return '' if any { $_->[1] ne '' && $_->[1] ne $worker } @met;
    return '' if $code == 9 && $self->_worker_died($r);

    return 'cut for nothing';
}


# Without a word: only one that has asked nothing, and around a death.
sub _closed {
    my ($self, $r) = @_;

    return '' if $r->{kind} eq 'mute';

    return $self->_killed($r);
}


sub _killed {
    my ($self, $r) = @_;

    return _during($r, @{$self->{nginx_deaths}}) ? ''
        : 'closed without a word';
}


sub _story {
    my ($self, $r) = @_;

    return join '', map { sprintf "    %s %s from %+.3f to %s\n", $_->[0],
        $_->[1], $_->[2] - $r->{began}, defined $_->[3]
        ? sprintf '%+.3f', $_->[3] - $r->{began} : 'now' }
        grep { $_->[2] > 0 } @{$r->{history}};
}


# What the judge does not find of made-up breaches.
sub self_test {
    my ($self) = @_;

    my $now = time;
    my %r = (began => $now - 3, named => $now - 2, ended => $now - 1,
        kind => 'ask', which => 'w1', text => '', history => [
            ['ready', 'w1', $now - 10, $now - 5],
            ['ready', 'w2', $now - 5, undef]]);
    my %breach = (
        'a wrong worker' => [served => {}],
        'a refusal for nothing' => [refused => { which => 16 }],
        'a wrong code' => [refused => { which => 14 }],
        'a cut for nothing' => [cut => { which => '16@w2' }],
        'an end without a word' => [closed => {}],
        'a failed handshake' => [failed => {}],
        'no answer' => [late => {}],
        'garbage' => [wrong => {}],
    );

    local @$self{qw(nginx_deaths worker_deaths)} = ([], {});

    return grep {
        my ($what, $more) = @{$breach{$_}};
        !$JUDGE{$what}->($self, { %r, %$more });
    } sort keys %breach;
}


# --- reports ----------------------------------------------------------------

# Offsets of bk_report.h, whose sizes its asserts fix.
my %AT = (row => 1088, accepted => 328, routed => 344, gone => 352,
    refused => 392, cut => 584, phase => 36);


my @CUT = qw(none expired released revoked failed worker silence shutdown gone
    moved timeout);

# All counters of all files, once they have nothing live any more.
sub judge_reports {
    my ($self) = @_;

    my $r = $self->_settled_reports;
    $self->{cuts} = $r->{cut};
    my %seen = map { $_ => $self->{seen}{$_} // 0 } qw(served refused cut
        closed failed left);
    my $unsure = $seen{left} + $seen{closed} + $seen{failed};

    # what was neither when its process was killed stays open for ever
    my $open = _open($r);
    $self->fault("reports: $open of $r->{accepted} connections have no end,"
        . " $self->{base_open} before") if $open != $self->{base_open};

    $self->_between('accepted', $r->{accepted},
        $seen{served} + $seen{refused} + $seen{cut}, $unsure);
    $self->_between('routed', $r->{routed}, $seen{cut} + $seen{served},
        $unsure + $seen{refused});

    # One that is cut before its worker named itself takes it for a refusal.
    # What a look is told is none either: it came and went.
    my $nameless = max(0, $r->{cut} - $seen{cut});
    my $refused = $seen{refused} - ($self->{looks} // 0);
    $self->_between('refused', $r->{refused}, $refused - $nameless,
        $unsure + $nameless);
    $self->_between('cut', $r->{cut}, $seen{cut},
        $unsure + $seen{refused} + $seen{served});
    $self->say('reports: cut: ' . join ', ', map { "$_ $r->{why}{$_}" }
        sort keys %{$r->{why}});

    return;
}


sub _between {
    my ($self, $what, $is, $low, $more) = @_;

    $self->say("reports: $what $is, clients: $low to " . ($low + $more));
    $self->fault("reports: $is $what, clients saw $low to "
        . ($low + $more)) if $is < $low || $is > $low + $more;

    return;
}


# Accepted, but neither routed nor refused nor gone.
sub _open {
    my ($r) = @_;

    return $r->{accepted} - $r->{routed} - $r->{refused} - $r->{gone};
}


# No process is going to be killed from now on.
sub base_reports {
    my ($self) = @_;

    # of each process that was killed: what came within a second or so
    my $most = $self->{rate} * @{$self->{nginx_deaths}};
    $self->{base_open} = _open($self->_settled_reports);
    $self->fault("reports: $self->{base_open} have no end, at most $most may")
        if $self->{base_open} < 0 || $self->{base_open} > $most;

    return;
}


# Once nothing is live in them, and those of the dead were added up.
sub _settled_reports {
    my ($self) = @_;

    my $r;
    my $want = () = $self->{nginx}->worker_pids;
    eval { $self->{t}->wait_for(sub {
        $r = $self->_reports;
        !$r->{live} && !$r->{held} && !$r->{slots} && $r->{files} == $want
    }, 15, 'sessions to end') };

    for my $what (qw(live held slots)) {
        $self->fault("reports: $what $r->{$what} at the end") if $r->{$what};
    }
    $self->fault("reports: $r->{files} files for $want processes")
        if $r->{files} != $want;

    return $r;
}


sub _reports {
    my ($self) = @_;

    my %sum = map { $_ => 0 } qw(accepted routed gone refused cut held live
        slots files);

    for my $file (glob $self->{t}->dir . '/reports/*.report') {
        my $data = $self->{t}->read($file) // next;
        next if length $data < 512;

        my ($each, $npools, $slots, $offset, $first) =
            unpack 'x28 L< L< L< Q< Q<', $data;

        if ($file !~ /totals/) {
            my ($held, $live) = unpack 'x224 Q< Q<', $data;
            $sum{held} += $held;
            $sum{live} += $live;
            $sum{files}++;

            # a record's phase: 0 when it is free
            for my $n (0 .. $slots - 1) {
                $sum{slots}++ if unpack "x$AT{phase} C",
                    substr $data, $first + $n * $each, $each;
            }
        }

        for my $row (0 .. $npools - 1) {
            my $pool = substr $data, $offset + $row * $AT{row}, $AT{row};
            my @words = unpack 'Q<*', $pool;
            next if !$words[0] && $row;
            $sum{accepted} += $words[$AT{accepted} / 8];
            $sum{routed} += $words[$AT{routed} / 8];
            $sum{gone} += $words[$AT{gone} / 8];
            $sum{refused} += $_ for @words[$AT{refused} / 8 .. $AT{refused} / 8
                + 23];
            for my $why (0 .. 15) {
                my $n = $words[$AT{cut} / 8 + $why] or next;
                $sum{cut} += $n;
                $sum{why}{$CUT[$why] // $why} += $n;
            }
        }
    }

    return \%sum;
}

1;
