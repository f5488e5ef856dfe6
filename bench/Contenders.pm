# The gateways that `make bench` compares, each with the configuration that a
# careful operator would give it: the same certificates, TLS versions, buffers
# (16 KiB, everyone's default), one process, no access log, clients and workers
# verified.  What differs is what is measured.  Used by bench.pl only.

package Contenders;

use strict;
use warnings;

use IO::Socket::INET ();
use IO::Socket::UNIX ();
use POSIX ();
use Time::HiRes qw(sleep time);

# name, label and the method that starts it; the order is that of the tables
our @ALL = (
    ['ours',     'buildkit gateway',                    \&ours],
    ['map',      'nginx map + proxy_pass $variable',    \&nginx_map],
    ['upstream', 'nginx upstream{}, sessions reused',   \&nginx_upstream],
    ['haproxy',  'HAProxy map_str on the CN',           \&haproxy],
    ['floor',    'nginx, TLS to the client alone',      \&nginx_floor],
);

# new(dir, build, ports => ..., ...): see bench.pl
sub new
{
    my ($class, %self) = @_;

    return bless { children => {}, %self }, $class;
}


# A command that makes the load, on the CPUs that the gateway does not have.
sub pinned
{
    my ($self, @command) = @_;

    return defined $self->{load_cpus}
        ? ('taskset', '-c', $self->{load_cpus}, @command) : @command;
}


# Starts a program on the CPUs of its kind; it dies when we do.
sub spawn
{
    my ($self, $cpus, $log, @command) = @_;

    unshift @command, 'taskset', '-c', $cpus if defined $cpus;
    unshift @command, 'setpriv', '--pdeathsig', 'TERM';

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    $self->{children}{$pid} = 1;
    return $pid;
}


sub stop
{
    my ($self, $pid) = @_;

    return if !delete $self->{children}{$pid};

    kill 'TERM', $pid;

    my $until = time + 5;

    while (waitpid($pid, POSIX::WNOHANG()) == 0) {
        kill 'KILL', $pid if time > $until;
        sleep 0.01;
    }
}


sub stop_all
{
    my ($self) = @_;

    $self->stop($_) for keys %{ $self->{children} };
}


sub write_file
{
    my ($path, $text) = @_;

    open my $fh, '>', $path or die "$path: $!\n";
    print $fh $text;
    close $fh or die "$path: $!\n";

    return $path;
}


sub log_tail
{
    my ($log) = @_;

    open my $fh, '<', $log or return '';
    my @lines = <$fh>;

    return join '', @lines > 20 ? @lines[-20 .. -1] : @lines;
}


sub wait_port
{
    my ($pid, $port, $log) = @_;

    my $until = time + 10;

    while (time < $until) {
        my $s = IO::Socket::INET->new("127.0.0.1:$port");
        return if $s;

        if (waitpid($pid, POSIX::WNOHANG()) != 0) {
            last;
        }

        sleep 0.02;
    }

    die "a gateway does not start:\n", log_tail($log), "\n";
}


# The one child of a master process: nginx's worker.  The port is open before
# there is one.
sub worker_of
{
    my ($master) = @_;

    my $until = time + 5;

    while (time < $until) {
        open my $fh, '<', "/proc/$master/task/$master/children"
            or die "/proc/$master: $!\n";
        my ($pid) = split ' ', <$fh> // '';

        return $pid if defined $pid;

        sleep 0.01;
    }

    die "nginx has no worker process\n";
}


# A gateway is { name, pid, worker, port }.
sub nginx
{
    my ($self, $name, $stream, $modules) = @_;

    my $dir  = "$self->{dir}/$name";
    my $port = $self->{port}{$name};
    my $user = $> == 0 ? 'user root;' : '';

    mkdir $dir;

    my $conf = write_file("$dir/nginx.conf", <<"END");
load_module $self->{nginx_modules}/ngx_stream_module.so;
@{[ join "\n", map { "load_module $_;" } @{ $modules // [] } ]}
$user
daemon off;
pid $dir/pid;
error_log $dir/error.log error;
worker_processes 1;
worker_rlimit_nofile $self->{nofile};
events { worker_connections 16384; }

stream {
    access_log off;
    map_hash_bucket_size 256;
    map_hash_max_size 4096;
$stream
}
END

    my $log = "$dir/error.log";
    my $pid = $self->spawn($self->{gateway_cpus}, $log, $self->{nginx},
        '-p', $dir, '-c', $conf);

    wait_port($pid, $port, $log);

    return {
        name => $name, pid => $pid, worker => worker_of($pid),
        port => $port, log => $log,
    };
}


sub tls_client_side
{
    my ($self, $name) = @_;

    return <<"END";
        listen 127.0.0.1:$self->{port}{$name} ssl backlog=4096;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate $self->{pki}/gateway.pem;
        ssl_certificate_key $self->{pki}/gateway-key.pem;
END
}


sub tls_verify_client
{
    my ($self) = @_;

    return <<"END";
        ssl_client_certificate $self->{pki}/gateway-ca.pem;
        ssl_verify_client on;
END
}


sub tls_worker_side
{
    my ($self, $tls_name) = @_;

    return <<"END";
        proxy_timeout 1h;
        proxy_ssl on;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
        proxy_ssl_certificate $self->{pki}/upstream.pem;
        proxy_ssl_certificate_key $self->{pki}/upstream-key.pem;
        proxy_ssl_trusted_certificate $self->{pki}/worker-ca.pem;
        proxy_ssl_verify on;
        proxy_ssl_name $tls_name;
END
}


# The shipped configuration, as contracts.md has it, with reports.
sub ours
{
    my ($self) = @_;

    return $self->gateway('ours', $self->{table},
        "$self->{pki}/gateway-ca.pem");
}


# The same without reports.
sub silent
{
    my ($self) = @_;

    return $self->gateway('silent', $self->{table},
        "$self->{pki}/gateway-ca.pem", 1);
}


# The same for another table and another authority.  All our clients come from
# one address, so the limits for an address are off.
sub gateway
{
    my ($self, $name, $table, $ca, $silent) = @_;

    my $client  = $self->tls_client_side($name);
    my $worker  = $self->tls_worker_side('$buildkit_worker_tls_name');
    my $reports = "$self->{dir}/$name-reports";
    my $report  = $silent ? '' : "buildkit_report $reports;";

    mkdir $reports;

    return $self->nginx($name, <<"END", [$self->{module}]);
    buildkit_table $table;
    $report
    upstream workers { buildkit; }
    server {
$client
        ssl_trusted_certificate $ca;
        ssl_verify_client optional_no_ca;
        buildkit on;
        buildkit_wait 10m;
        buildkit_max_held 0;
        buildkit_max_handshakes 0;
        proxy_pass workers;
$worker
    }
END
}


# plugin-host with static workers, that are always ready, and an allocator.
sub plugin_host
{
    my ($self) = @_;

    my $dir  = "$self->{dir}/host";
    my $pool = "pools:\n  - name: bench/warm\n    workers:\n";

    mkdir $dir;

    for my $w (@{ $self->{workers} }) {
        $pool .= "      - {name: $w->{name}, endpoint: \"127.0.0.1:$w->{port}\","
            . " tlsName: $w->{tls_name}}\n";
    }

    write_file("$dir/static.yaml", $pool);
    write_file("$dir/host.yaml", <<"END");
state: $dir/state
table: {path: $dir/table, allocations: 100000, workers: 64, pools: 16}
api: {listen: ["unix:$dir/api.sock"]}
gateway: {endpoint: "tcp://localhost:$self->{port}{allocated}"}
plugins:
  - {name: static, options: {file: $dir/static.yaml}}
  - {name: allocator}
END

    my $log = "$dir/log";
    my $pid = $self->spawn(undef, $log, "$self->{build}/buildkit-plugin-host",
        '-c', "$dir/host.yaml");

    my $until = time + 10;

    while (time < $until && waitpid($pid, POSIX::WNOHANG()) == 0) {
        my $s = IO::Socket::UNIX->new("$dir/api.sock");

        if ($s) {
            print $s "GET /readyz HTTP/1.0\r\n\r\n";
            my $status = <$s> // '';
            return { pid => $pid, dir => $dir, log => $log }
                if $status =~ / 200 /;
        }

        sleep 0.02;
    }

    die "plugin-host does not get ready:\n", log_tail($log), "\n";
}


# What people do without us; everything that is not named at its default.
sub nginx_map
{
    my ($self) = @_;

    my ($address, $tls_name) = ('', '');

    for my $c (@{ $self->{clients} }) {
        $address .= "\"CN=alloc:$c->{token}\" 127.0.0.1:$c->{worker_port};\n";
        $tls_name .= "\"CN=alloc:$c->{token}\" $c->{tls_name};\n";
    }

    my $client = $self->tls_client_side('map') . $self->tls_verify_client;
    my $worker = $self->tls_worker_side('$worker_tls_name');

    return $self->nginx('map', <<"END");
    map \$ssl_client_s_dn \$worker_address {
$address
    }
    map \$ssl_client_s_dn \$worker_tls_name {
$tls_name
    }
    server {
$client
        proxy_pass \$worker_address;
$worker
    }
END
}


# The same TLS work as ours, to one worker for all: no routing.
sub nginx_upstream
{
    my ($self) = @_;

    my $one    = $self->{clients}[0];
    my $client = $self->tls_client_side('upstream')
        . $self->tls_verify_client;
    my $worker = $self->tls_worker_side($one->{tls_name});

    return $self->nginx('upstream', <<"END");
    upstream workers { server 127.0.0.1:$one->{worker_port}; }
    server {
$client
        ssl_session_tickets off;
        proxy_pass workers;
$worker
    }
END
}


# No TLS to the worker.
sub nginx_floor
{
    my ($self) = @_;

    my $client = $self->tls_client_side('floor') . $self->tls_verify_client;

    return $self->nginx('floor', <<"END");
    server {
$client
        ssl_session_tickets off;
        proxy_timeout 1h;
        proxy_pass 127.0.0.1:$self->{plain_port};
    }
END
}


sub haproxy
{
    my ($self) = @_;

    my $dir  = "$self->{dir}/haproxy";
    my $port = $self->{port}{haproxy};
    my $pki  = $self->{pki};

    mkdir $dir;

    my ($map, $backends) = ('', '');

    for my $c (@{ $self->{clients} }) {
        $map .= "alloc:$c->{token} $c->{worker}\n";
    }

    for my $w (@{ $self->{workers} }) {
        $backends .= <<"END";
backend $w->{name}
    server s 127.0.0.1:$w->{port} ssl crt $pki/upstream-both.pem ca-file $pki/worker-ca.pem verify required verifyhost $w->{tls_name} alpn h2
END
    }

    my $map_file = write_file("$dir/workers.map", $map);

    my $conf = write_file("$dir/haproxy.cfg", <<"END");
global
    nbthread 1
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-server-options ssl-min-ver TLSv1.2

defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h

frontend gateway
    bind 127.0.0.1:$port backlog 4096 ssl crt $pki/gateway-both.pem ca-file $pki/gateway-ca.pem verify required alpn h2 no-tls-tickets
    use_backend %[ssl_c_s_dn(CN),map_str($map_file)]

$backends
END

    my $log = "$dir/log";
    my $pid = $self->spawn($self->{gateway_cpus}, $log, $self->{haproxy},
        '-db', '-f', $conf);

    wait_port($pid, $port, $log);

    return {
        name => 'haproxy', pid => $pid, worker => $pid, port => $port,
        log => $log,
    };
}


1;
