package Test::Buildkit;

# The project's test library: a folder of its own, free ports, files with
# places filled in, programs run with a deadline, conditions waited for.
#
#   my $t = Test::Buildkit->new;
#
# At the end of every file, without being asked: what was started is stopped,
# no log may hold [alert], [emerg] or a sanitizer's report, no process may be
# left.  A breach makes the file fail, whatever its plan.  The rest of the
# library: Buildkit/PKI.pm (certificates), Buildkit/Nginx.pm, Buildkit/Host.pm
# (plugin-host, table, stand-in workers), Buildkit/Lab.pm (real BuildKit),
# Buildkit/Kube.pm (a real Kubernetes), Buildkit/Gateway.pm (all of it),
# Buildkit/Images.pm (our images), Buildkit/H2.pm (what a client is told).

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(sha256 sha256_hex);
use Errno qw(EINTR);
use Exporter qw(import);
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp ();
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64url);
use POSIX qw(WNOHANG setpgid);
use Test::More ();
use Time::HiRes qw(time sleep);

use parent -norequire, qw(Test::Buildkit::PKI Test::Buildkit::Nginx
    Test::Buildkit::Host Test::Buildkit::Lab Test::Buildkit::H2
    Test::Buildkit::Gateway Test::Buildkit::Images);

use Test::Buildkit::Gateway;
use Test::Buildkit::H2;
use Test::Buildkit::Host;
use Test::Buildkit::Images;
use Test::Buildkit::Lab;
use Test::Buildkit::Nginx;
use Test::Buildkit::PKI;

our @EXPORT = @Test::More::EXPORT;
Test::More->import;

# The least that is waited for what should happen: a busy machine may stand
# still for seconds, and when all is well nothing is waited for.
our $PATIENCE = 30;

our $ROOT = abs_path(dirname(__FILE__) . '/../../..');

# Up to gcc 13 the sanitizers take a thread's variables for those of an old
# glibc where they happen to be so in their page, and the search for leaks dies
# of it: "LeakSanitizer has encountered a fatal error", google/sanitizers#1322.
$ENV{ASAN_OPTIONS} = join ':', $ENV{ASAN_OPTIONS} // (),
    'intercept_tls_get_addr=0' if $ENV{BK_SAN};

my @all;            # every object, for the end
my $owner = $$;


sub new {
    my ($class) = @_;

    my $tmp = File::Temp->newdir('bkt-XXXXXX', DIR => $ENV{TMPDIR} // '/tmp',
        CLEANUP => 0);

    my $self = bless {
        dir => "$tmp", ports => {}, locks => [], procs => [], allow => [],
        expected => [],
    }, $class;

    push @all, $self;
    $SIG{$_} //= sub { exit 1 } for qw(INT TERM HUP);
    $SIG{PIPE} = 'IGNORE';
    $ENV{BK_TEST_DIR} = $self->{dir};

    return $self;
}


sub dir   { $_[0]{dir} }
sub root  { $ROOT }
sub build { abs_path($ENV{BK_BUILD} // "$ROOT/build") }


# A loopback port, the same for a name.  A bound UDP socket of the same number
# keeps it ours among tests that run at the same time.
sub port {
    my ($self, $name) = @_;

    return $self->{ports}{$name} //= do {
        my $port;
        for (1 .. 1000) {
            my $try = 10000 + int rand 22000;
            my $lock = IO::Socket::INET->new(Proto => 'udp',
                LocalAddr => '127.0.0.1', LocalPort => $try) or next;
            my $free = IO::Socket::INET->new(Proto => 'tcp', Listen => 1,
                LocalAddr => '127.0.0.1', LocalPort => $try) or next;
            push @{$self->{locks}}, $lock;
            $port = $try;
            last;
        }
        $port // die "no free port";
    };
}


sub fill {
    my ($self, $text) = @_;

    $text =~ s/%%DIR%%/$self->dir/ge;
    $text =~ s/%%PKI%%/$self->pki/ge;
    $text =~ s/%%BUILD%%/$self->build/ge;
    $text =~ s/%%ROOT%%/$ROOT/g;
    $text =~ s/%%PORT:([\w.-]+)%%/$self->port($1)/ge;

    return $text;
}


# Renamed into place: a watched file is never seen half-written.
sub write {
    my ($self, $name, $text) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{dir}/$name";
    make_path(dirname($path));

    open my $fh, '>:raw', "$path.new" or die "$path.new: $!";
    print $fh $self->fill($text);
    close $fh or die "$path.new: $!";
    rename "$path.new", $path or die "$path: $!";

    return $path;
}


sub read {
    my ($self, $name) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{dir}/$name";
    open my $fh, '<:raw', $path or return undef;
    local $/;

    return scalar <$fh>;
}


# --- tokens ---------------------------------------------------------------

sub token {
    open my $fh, '<:raw', '/dev/urandom' or die "/dev/urandom: $!";
    CORE::read $fh, my $bytes, 32;

    return encode_base64url($bytes);
}

sub hash { sha256_hex($_[1]) }
sub id   { substr sha256_hex($_[1]), 0, 12 }


# --- programs -------------------------------------------------------------

# A C program of t/lib (or any other target of plugin-host/Makefile), made
# when it is missing or older than its source or the headers next to it.
sub tool {
    my ($self, $name) = @_;

    my $program = $self->build . "/t/lib/$name";
    my $source = "$ROOT/t/lib/$name.c";

    my @sources = sources($source);
    my $is_old = sub {
        return !-x $program || grep { -e && -M _ < -M $program } @sources;
    };

    if ($is_old->()) {
        open my $lock, '>', $self->build . '/.tools.lock' or die "lock: $!";
        flock $lock, LOCK_EX;
        # somebody else has made it meanwhile, and runs it
        return $program if !$is_old->();
        if (!grep { !-e } @sources) {
            make_path(dirname($program));
            my $out = `cc -O2 -g -std=gnu11 -D_GNU_SOURCE -o '$program' \\
                '$source' -lssl -lcrypto -lpthread 2>&1`;
            die "cc $source:\n$out" if $?;
            return $program;
        }
        my $out = `make --no-print-directory -C '$ROOT/plugin-host' \\
            BUILD='@{[$self->build]}' '$program' 2>&1`;
        die "make $program:\n$out" if $?;
    }

    return $program;
}


# The file and what it includes of its own folder.  When all of it is there it
# uses nothing else of ours, so it can be had while the rest does not compile.
sub sources {
    my ($file) = @_;

    open my $fh, '<', $file or return $file;
    my @included = map { /^#include "(.*)"/ ? $1 : () } <$fh>;

    return ($file, map { m{/} ? '' : sources(dirname($file) . "/$_") }
        @included);
}


# run([\%opts,] @cmd): {rc, out, err, time}.  env, stdin, timeout (60 s), dir.
# rc is the exit status, 128 + N after a signal, -1 after the time-out.
sub run {
    my ($self, @cmd) = @_;
    my $opts = ref $cmd[0] eq 'HASH' ? shift @cmd : {};

    my ($out, $err) = map { File::Temp->new(DIR => $self->{dir}) } 1 .. 2;
    my $in = File::Temp->new(DIR => $self->{dir});
    print $in $opts->{stdin} // '';
    seek $in, 0, 0;

    my $began = time;
    my $pid = $self->_fork(\@cmd, $in, $out, $err, $opts);
    my $rc = $self->_wait_pid($pid, $opts->{timeout} // 60);

    if (!defined $rc) {
        kill KILL => -$pid, $pid;
        waitpid $pid, 0;
        $rc = -1;
    }

    my %result = (rc => $rc, time => time - $began);
    for (['out', $out], ['err', $err]) {
        open my $fh, '<:raw', $_->[1]->filename or die "output: $!";
        local $/;
        $result{$_->[0]} = <$fh> // '';
    }

    return \%result;
}


# Starts a program that stays; it is stopped at the end.  Its output goes to
# DIR/NAME.log.  Returns {pid, name, log}.
sub start {
    my ($self, $name, $opts, @cmd) = @_;

    my $log = "$self->{dir}/$name.log";
    open my $out, '>>:raw', $log or die "$log: $!";
    my $in = $opts->{stdin};
    if (!$in) {
        open $in, '<', '/dev/null' or die;
    }

    my $stdout = $opts->{stdout} // $out;
    my $proc = { name => $name, log => $log, test => $self,
        signal => $opts->{signal} // 'TERM' };
    $proc->{pid} = $self->_fork(\@cmd, $in, $stdout, $out, $opts);
    push @{$self->{procs}}, $proc;

    return $proc;
}


sub alive {
    my ($self, $proc) = @_;

    return 0 if defined $proc->{status};
    my $pid = waitpid $proc->{pid}, WNOHANG;
    return 1 if $pid == 0;
    $proc->{status} = _status($?);

    return 0;
}


# Sends a signal (default: the one that stops it) and waits; KILL after 30 s
# counts as a failure of the test.  Returns the exit status.
sub stop {
    my ($self, $proc, $signal) = @_;

    return $proc->{status} if !$self->alive($proc);

    kill 'CONT', $proc->{pid};
    kill $signal // $proc->{signal}, $proc->{pid};
    $proc->{status} = $self->_wait_pid($proc->{pid}, $PATIENCE);

    if (!defined $proc->{status}) {
        $self->_breach("$proc->{name} did not stop in $PATIENCE s");
        kill KILL => $proc->{pid};
        waitpid $proc->{pid}, 0;
        $proc->{status} = -1;
    }

    return $proc->{status};
}


sub _fork {
    my ($self, $cmd, $in, $out, $err, $opts) = @_;

    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        # exec would forget one that Perl has noted and not handled
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        setpgid(0, 0);
        %ENV = (%ENV, %{$opts->{env} // {}});
        delete @ENV{grep { !defined $ENV{$_} } keys %ENV};
        $SIG{PIPE} = 'DEFAULT';
        if (defined $opts->{dir}) {
            chdir $opts->{dir} or POSIX::_exit(126);
        }
        POSIX::dup2(fileno $in, 0);
        POSIX::dup2(fileno $out, 1);
        POSIX::dup2(fileno $err, 2);
        no warnings 'exec';
        exec { $cmd->[0] } @$cmd or do {
            print STDERR "exec $cmd->[0]: $!\n";
            POSIX::_exit(127);
        };
    }

    return $pid;
}


sub _status { $_[0] & 127 ? 128 + ($_[0] & 127) : $_[0] >> 8 }


sub _wait_pid {
    my ($self, $pid, $seconds) = @_;

    my $deadline = time + $seconds;
    for (my $nap = 0.002; ; $nap = $nap < 0.05 ? $nap * 1.5 : 0.05) {
        my $last = time > $deadline;
        my $got = waitpid $pid, WNOHANG;
        return _status($?) if $got == $pid;
        return undef if $last;
        sleep $nap;
    }
}


# --- conditions -----------------------------------------------------------

# Polls until the code returns something true, which is returned.  Not for
# what shall not happen: it waits for PATIENCE at least.
sub wait_for {
    my ($self, $code, $seconds, $what) = @_;

    $seconds = $PATIENCE if ($seconds // 0) < $PATIENCE;
    my $deadline = time + $seconds;
    for (my $nap = 0.002; ; $nap = $nap < 0.1 ? $nap * 1.5 : 0.1) {
        # what it looks at may have changed while it stood still
        my $last = time > $deadline;
        my $got = $code->();
        return $got if $got;
        last if $last;
        sleep $nap;
    }

    $what //= 'a condition';
    $self->_show_logs;
    die "waited $seconds s in vain for $what\n";
}


sub wait_port {
    my ($self, $port, $seconds, $proc) = @_;

    return $self->wait_for(sub {
        die "$proc->{name} ended with status $proc->{status}:\n"
            . ($self->read($proc->{log}) // '')
            if $proc && !$self->alive($proc);
        IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 1);
    }, $seconds, "port $port");
}


# --- the end of every file ------------------------------------------------

# A pattern of log lines that are expected although they look bad.
sub allow_log { push @{$_[0]{allow}}, $_[1]; return }


sub _breach {
    my ($self, $what) = @_;

    Test::More::diag("breach: $what");
    $self->{breach}++;

    return;
}


sub _show_logs {
    my ($self) = @_;

    for my $log (glob "$self->{dir}/*.log") {
        my @lines = split /\n/, $self->read($log) // '';
        splice @lines, 0, @lines - 15 if @lines > 15;
        @lines = map { substr $_, 0, 300 } @lines;
        Test::More::diag("--- $log\n" . join "\n", @lines);
    }

    return;
}


sub _check_logs {
    my ($self) = @_;

    for my $log (glob "$self->{dir}/*.log $self->{dir}/*/*.log") {
        open my $fh, '<:raw', $log or next;
        while (my $line = <$fh>) {
            next if $line !~ /\[alert\]|\[emerg\]|Sanitizer|runtime\ error:
                              |^panic:|Assertion/x;
            next if grep { $line =~ $_ } @{$self->{allow}};
            chomp $line;
            $self->_breach("$log: $line");
            last;
        }
    }

    return;
}


# Whatever has BK_TEST_DIR of this test in its environment is ours.
sub leftovers {
    my ($self) = @_;

    my @found;
    for my $file (glob '/proc/[0-9]*/environ') {
        my ($pid) = $file =~ /(\d+)/;
        next if $pid == $$;
        open my $fh, '<:raw', $file or next;
        local $/;
        my $environ = <$fh> // '';
        next if $environ !~ /(?:^|\0)BK_TEST_DIR=\Q$self->{dir}\E(?:\0|$)/;
        open my $stat, '<', "/proc/$pid/stat" or next;
        next if (<$stat> // '') =~ /\)\s+[ZX]\s/;
        push @found, $pid;
    }

    return @found;
}


# For tests that leave processes behind on purpose.
sub kill_leftovers {
    my ($self) = @_;

    my @pids = $self->leftovers or return 0;
    kill KILL => @pids;
    my $deadline = time + $PATIENCE;
    while ($self->leftovers && time < $deadline) {
        while (waitpid(-1, WNOHANG) > 0) { }
        sleep 0.02;
    }

    return scalar @pids;
}


sub _command_line {
    my ($pid) = @_;

    open my $fh, '<:raw', "/proc/$pid/cmdline" or return 'gone';
    local $/;
    my $line = <$fh> // '';
    $line =~ tr/\0/ /;

    return substr $line, 0, 100;
}


sub _umount {
    my ($self) = @_;

    open my $fh, '<', '/proc/self/mounts' or return;
    my @mounts = grep { index($_, "$self->{dir}/") == 0 }
        map { (split ' ')[1] } <$fh>;
    system 'umount', '-l', $_ for reverse @mounts;

    return;
}


# What runc keeps of a container whose buildkitd was killed: its state, and,
# when it was made but not begun yet, "runc init", which waits for ever.
sub _forget_containers {
    my ($self) = @_;

    for my $file (glob '/run/runc/*/state.json') {
        open my $fh, '<', $file or next;    # another test's, gone by now
        local $/;
        my $state = <$fh> // '';
        next if index($state, "\"$self->{dir}/") < 0;
        my ($pid) = $state =~ /"init_process_pid":(\d+)/;
        my ($start) = $state =~ /"init_process_start":(\d+)/;
        kill KILL => $pid if $pid && $start && $start == _started($pid);
        system 'rm', '-rf', $file =~ s{/state\.json$}{}r;
    }

    return;
}


# When a process was started, in ticks since boot (proc(5)); 0: there is none.
sub _started {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my (undef, $rest) = split /\) /, <$fh> // '', 2;

    return (split ' ', $rest // '')[19] // 0;
}


sub finish {
    my ($self) = @_;

    return if $self->{finished}++;

    $self->stop($_) for reverse @{$self->{procs}};
    for my $kube (@{$self->{kubes} // []}) {
        eval { $kube->stop; 1 } or $self->_breach($@);
    }

    # children of what was just stopped may need a moment to go
    my $deadline = time + $PATIENCE;
    sleep 0.02 while $self->leftovers && time < $deadline;

    for my $pid ($self->leftovers) {
        $self->_breach("process $pid was left: " . _command_line($pid));
    }

    $self->kill_leftovers;
    $self->_check_logs;
    $self->_umount;
    $self->_forget_containers;

    my $failed = $self->{breach} || !Test::More->builder->is_passing;
    $self->_show_logs if $failed;

    if ($failed && $ENV{BK_TEST_LEAVE}) {
        Test::More::diag("left: $self->{dir}");

    } else {
        system 'rm', '-rf', $self->{dir};
    }

    return !$self->{breach};
}


END {
    if ($$ == $owner) {
        my $status = $?;
        my $good = 1;
        for my $self (@all) {
            $good = 0 if !eval { $self->finish // 1 };
            print STDERR $@ if $@;
        }
        $? = $status || ($good ? 0 : 1);
    }
}

1;
