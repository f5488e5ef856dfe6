package Test::Buildkit::Nginx;

# A real nginx with our module, in the foreground, in the test's folder.
# BK_NGINX names another nginx (a sanitizer build, another version), BK_MODULE
# the module that fits it.

use strict;
use warnings;

use File::Path qw(make_path);


# nginx and a dynamic module both have ngx_module_names; what nginx keeps until
# the process ends is no leak
our $ASAN = 'detect_leaks=0:detect_odr_violation=0';

sub nginx_program { $ENV{BK_NGINX} // 'nginx' }

sub nginx_version {
    my ($self) = @_;

    return $self->{nginx_v} //= $self->run($self->nginx_program, '-V')->{err};
}


# The load_module lines for this nginx.
sub nginx_modules {
    my ($self) = @_;

    my $module = $ENV{BK_MODULE}
        // $self->build . '/ngx_stream_buildkit_module.so';
    my $lines = '';

    if ($self->nginx_version =~ /--with-stream=dynamic/) {
        my ($path) = $self->nginx_version =~ /--modules-path=(\S+)/;
        $path //= '/usr/lib/nginx/modules';
        $lines = "load_module $path/ngx_stream_module.so;\n";
    }

    return $lines . "load_module $module;\n";
}


# nginx_conf(STREAM_BLOCK, name => 'nginx', workers => 1, main => '...',
#   events => '...', modules => '...'): writes it, returns its path.
sub nginx_conf {
    my ($self, $block, %opts) = @_;

    my $name = $opts{name} // 'nginx';
    my $prefix = "$self->{dir}/$name";
    make_path("$prefix/logs");

    $block = "stream {\n$block\n}\n" if $block !~ /^\s*stream\s*\{/m;

    my $log = $name eq 'nginx' ? 'error.log' : "$name-error.log";
    my $user = $> == 0 && ($opts{main} // '') !~ /^\s*user\s/m
        ? "user root;\n" : '';

    return $self->write("$name.conf", join '',
        $opts{modules} // $self->nginx_modules, $user,
        "worker_processes ", $opts{workers} // 1, ";\n",
        "daemon off;\nmaster_process on;\n",
        "pid %%DIR%%/$name.pid;\n",
        "error_log %%DIR%%/$log ", $opts{log_level} // 'info', ";\n",
        $opts{main} // '', "\n",
        "events { worker_connections ", $opts{connections} // 4096, "; ",
        $opts{events} // '', "}\n", $block);
}


sub nginx {
    my ($self, $block, %opts) = @_;

    my $name = $opts{name} // 'nginx';
    my $conf = $self->nginx_conf($block, %opts);
    my $log = $name eq 'nginx' ? 'error.log' : "$name-error.log";

    my $proc = $self->start("$name-stderr", { signal => 'QUIT',
        env => { ASAN_OPTIONS => $ASAN } },
        $self->nginx_program, '-p', "$self->{dir}/$name", '-c', $conf);

    # written after the ports were opened
    $self->wait_for(sub {
        die "nginx does not start:\n" . $self->read("$name-stderr.log")
            . ($self->read($log) // '') if !$self->alive($proc);
        return ($self->read("$name.pid") // '') =~ /^$proc->{pid}\n/;
    }, 15, 'nginx');

    return bless { test => $self, proc => $proc, conf => $conf, name => $name,
        opts => \%opts, log => "$self->{dir}/$log", },
        'Test::Buildkit::Nginx::Server';
}


# What nginx -t says: (status, text).
sub nginx_conf_fails {
    my ($self, $block, %opts) = @_;

    my $conf = $self->nginx_conf($block, %opts, name => 'check');
    my $r = $self->run({ env => { ASAN_OPTIONS => $ASAN } },
        $self->nginx_program, '-t', '-p', "$self->{dir}/check", '-c', $conf);
    unlink "$self->{dir}/check-error.log";

    return ($r->{rc}, $r->{err});
}


# The stream block of the shipped configuration, on the test's own port 'gw',
# with the test's pki.  server, stream: lines to add.
sub gateway_conf {
    my ($self, %opts) = @_;

    my $port = $opts{port} // 'gw';
    my $table = $opts{table} // '%%DIR%%/buildkit.table';
    my $tls = $opts{tls} // '%%PKI%%';

    return join '', "stream {\n    buildkit_table $table;\n",
        $opts{stream} // '', <<"END", $opts{server} // '', "    }\n}\n";
    upstream workers {
        buildkit;
    }

    server {
        listen 127.0.0.1:%%PORT:$port%% ssl;

        ssl_protocols           TLSv1.2 TLSv1.3;
        ssl_certificate         $tls/gateway.pem;
        ssl_certificate_key     $tls/gateway-key.pem;
        ssl_trusted_certificate $tls/gateway-ca.pem;
        ssl_verify_client       optional_no_ca;

        buildkit on;

        proxy_pass                    workers;
        proxy_timeout                 1h;
        proxy_connect_timeout         5s;
        proxy_ssl                     on;
        proxy_ssl_protocols           TLSv1.2 TLSv1.3;
        proxy_ssl_verify              on;
        proxy_ssl_name                \$buildkit_worker_tls_name;
        proxy_ssl_certificate         $tls/upstream.pem;
        proxy_ssl_certificate_key     $tls/upstream-key.pem;
        proxy_ssl_trusted_certificate $tls/worker-ca.pem;
END
}


package Test::Buildkit::Nginx::Server;

sub pid { $_[0]{proc}{pid} }
sub log { $_[0]{test}->read($_[0]{log}) // '' }
sub stop { $_[0]{test}->stop($_[0]{proc}, $_[1]) }
sub kill { CORE::kill $_[1], $_[0]->pid }

sub worker_pids {
    my ($self) = @_;

    my $pid = $self->pid;
    my $children = $self->{test}->read("/proc/$pid/task/$pid/children") // '';

    return split ' ', $children;
}


# Reloads, with a new stream block where one is given; returns when the new
# workers run.
sub reload {
    my ($self, $block) = @_;

    my $t = $self->{test};
    $t->nginx_conf($block, %{$self->{opts}}) if defined $block;

    my %old = map { $_ => 1 } $self->worker_pids;
    my $want = $self->{opts}{workers} // 1;
    $self->kill('HUP');
    $t->wait_for(sub {
        $want <= grep { !$old{$_} } $self->worker_pids;
    }, 15, 'nginx to reload');

    return;
}

1;
