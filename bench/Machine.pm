# Starting helpers of `make bench` and reading what the kernel counted for a
# process.  Used by bench.pl only.

package Machine;

use strict;
use warnings;

use Exporter 'import';
use IO::Handle ();
use IO::Socket::INET ();
use POSIX ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw(output_of start_helper stop_helper stop_helpers ask free_port
    program cpus cpu_ns cpu_at_rest rss_kb pss_kb progress);

my (@helpers, $running, $output);


# A program's output and status.  Its handle outlives an interrupt: closing it
# would wait for the program.
sub output_of
{
    my (@command) = @_;

    $running = open $output, '-|', @command or die "$command[0]: $!\n";
    my $text = do { local $/; <$output> };
    close $output;
    undef $running;

    return ($text // '', $?);
}


# A helper that ends when its standard input does; returns once it answers.
sub start_helper
{
    my ($ready, @command) = @_;

    pipe my $in_read,  my $in_write  or die "pipe: $!\n";
    pipe my $out_read, my $out_write or die "pipe: $!\n";

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open STDIN,  '<&', $in_read;
        open STDOUT, '>&', $out_write;
        close $_ for $in_read, $in_write, $out_read, $out_write;
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    close $_ for $in_read, $out_write;
    $in_write->autoflush(1);

    my $helper = { pid => $pid, in => $in_write, out => $out_read };
    push @helpers, $helper;

    if ($ready) {
        my $line = <$out_read> // '';
        $line =~ /^\Q$ready/ or die "$command[0] does not start: $line\n";
    }

    return $helper;
}


sub stop_helper
{
    my ($h) = @_;

    close $h->{in};
    my @rest = readline $h->{out};
    close $h->{out};
    waitpid $h->{pid}, 0;
    @helpers = grep { $_ != $h } @helpers;

    return @rest;
}


sub ask
{
    my ($h, $line) = @_;

    print { $h->{in} } "$line\n";
    my $answer = readline($h->{out}) // 'no answer';
    $answer =~ /^ok/ or die "table: \"$line\": $answer\n";
}


sub stop_helpers
{
    if ($running) {
        kill 'TERM', $running;
        close $output;
    }

    stop_helper($_) for my @all = @helpers;
}


# Not one of those that the kernel gives to clients: ours are used later.
sub free_port
{
    for (1 .. 1000) {
        my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
            LocalPort => 10000 + int rand 20000) or next;

        return ($s->sockport, $s);
    }

    die "no free port\n";
}


sub program
{
    my ($name, @more) = @_;

    for my $path (map { "$_/$name" } split(/:/, $ENV{PATH}), @more) {
        return $path if -x $path && -f _;
    }

    return;
}


# The CPUs that we may use.
sub cpus
{
    open my $fh, '<', '/proc/self/status' or die "/proc/self/status: $!\n";
    my ($list) = map { /^Cpus_allowed_list:\s*(\S+)/ ? $1 : () } <$fh>;

    return map { /(\d+)-(\d+)/ ? ($1 .. $2) : $_ } split /,/, $list;
}


# Nanoseconds on a CPU, all threads.
sub cpu_ns
{
    my ($pid) = @_;

    my $sum = 0;

    for my $file (glob "/proc/$pid/task/*/schedstat") {
        open my $fh, '<', $file or next;
        $sum += (split ' ', <$fh>)[0];
    }

    return $sum if $sum;

    # a kernel without schedstat: ticks will do
    open my $fh, '<', "/proc/$pid/stat" or die "process $pid is gone\n";
    my ($utime, $stime) = (split ' ', (<$fh> =~ s/.*\) //r))[11, 12];

    return ($utime + $stime) * 1e9 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}


# The same once the process has nothing left to do.
sub cpu_at_rest
{
    my ($pid) = @_;

    my $was   = cpu_ns($pid);
    my $until = time + 2;

    while (time < $until) {
        sleep 0.02;
        my $is = cpu_ns($pid);
        return $is if $is - $was < 50_000;
        $was = $is;
    }

    return $was;
}


sub rss_kb
{
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/status" or die "process $pid is gone\n";
    my ($kb) = map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$fh>;

    return $kb;
}


# Pages that are shared, such as the table's, by their share.
sub pss_kb
{
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/smaps_rollup" or return 0;
    my ($kb) = map { /^Pss:\s+(\d+)/ ? $1 : () } <$fh>;

    return $kb;
}


sub progress
{
    my ($text) = @_;

    print STDERR "\r\e[K$text" if -t STDERR;
}


1;
