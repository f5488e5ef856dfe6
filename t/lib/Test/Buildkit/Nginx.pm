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


# The command that reloads the nginx of nginx(name => ...), as a list.
sub nginx_reload {
    my ($self, $name) = @_;

    $name //= 'nginx';
    my ($program) = grep { m{^/} && -x } $self->nginx_program,
        map { "$_/" . $self->nginx_program } split /:/, $ENV{PATH};

    return ('/usr/bin/env', "ASAN_OPTIONS=$ASAN", $program // die('no nginx'),
        '-p', "$self->{dir}/$name", '-c', "$self->{dir}/$name.conf", '-s',
        'reload');
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

    # the file is written after the ports were opened, before the processes
    # that serve are there
    my $workers = $opts{workers} // 1;
    $self->wait_for(sub {
        die "nginx does not start:\n" . $self->read("$name-stderr.log")
            . ($self->read($log) // '') if !$self->alive($proc);
        return ($self->read("$name.pid") // '') =~ /^$proc->{pid}\n/
            && $workers <= (() = $self->serving($proc->{pid}));
    }, 15, 'nginx');

    return bless { test => $self, proc => $proc, conf => $conf, name => $name,
        opts => \%opts, log => "$self->{dir}/$log", },
        'Test::Buildkit::Nginx::Server';
}


# The same in the background, as a service runs it: USR2 is ignored for as long
# as the parent that started nginx is there.  Returns the master's pid; the
# test stops it.
sub nginx_service {
    my ($self, $block, %opts) = @_;

    my $conf = $self->nginx_conf($block, %opts, main => join '',
        $opts{main} // '', map { "env $_;\n" } qw(BK_TEST_DIR ASAN_OPTIONS
        UBSAN_OPTIONS));
    $self->write($conf, $self->read($conf) =~ s/daemon off/daemon on/r);

    # by its whole path, which it runs again
    my $name = $self->nginx_program;
    my ($program) = grep { -x } $name =~ m{/} ? $name
        : map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin';
    my $r = $self->run({ env => { ASAN_OPTIONS => $ASAN } }, $program,
        '-p', "$self->{dir}/nginx", '-c', $conf);
    die "nginx does not start:\n$r->{err}" if $r->{rc};

    # it hears no signal before it has begun its processes
    return $self->wait_for(sub {
        my $pid = $self->nginx_pid;
        return $pid && $self->serving($pid) && $pid;
    }, 15, 'nginx');
}


# of the one that has written its file; "oldbin" during an upgrade
sub nginx_pid {
    my ($self, $suffix) = @_;

    my $text = $self->read('nginx.pid' . ($suffix ? ".$suffix" : '')) // '';

    return ($text =~ /^(\d+)\n/)[0] // 0;
}


# USR2 and then QUIT to the old one; returns the master's pid of the new one.
sub nginx_upgrade {
    my ($self, $old) = @_;

    kill USR2 => $old;
    my $new = $self->wait_for(sub {
        my $pid = $self->nginx_pid;
        return $self->nginx_pid('oldbin') == $old && $pid && $pid != $old
            && $pid;
    }, 15, 'the new nginx');
    $self->wait_for(sub { ($self->serving($new))[0] }, 5, 'its process');
    kill QUIT => $old;

    return $new;
}


sub children {
    my ($self, $pid) = @_;

    return split ' ', $self->read("/proc/$pid/task/$pid/children") // '';
}


# Of nginx's children those that have begun: before that one is a copy of it,
# with its descriptors and nothing of its own.
sub serving {
    my ($self, $pid) = @_;

    return grep { ($self->read("/proc/$_/cmdline") // '')
        =~ /^nginx: worker process/ } $self->children($pid);
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
        ssl_verify_depth        8;

        buildkit on;

        proxy_pass                    workers;
        proxy_timeout                 1h;
        proxy_connect_timeout         5s;
        proxy_ssl                     on;
        proxy_ssl_protocols           TLSv1.2 TLSv1.3;
        proxy_ssl_verify              on;
        proxy_ssl_verify_depth        8;
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

    return $self->{test}->children($self->pid);
}


# Reloads, with a new stream block where one is given; returns when the new
# workers run and the old ones accept nothing any more.
sub reload {
    my ($self, $block) = @_;

    my $t = $self->{test};
    $t->nginx_conf($block, %{$self->{opts}}) if defined $block;

    my %old = map { $_ => 1 } $self->worker_pids;
    my $want = $self->{opts}{workers} // 1;
    $self->kill('HUP');
    $t->wait_for(sub {
        $want <= grep { !$old{$_} } $t->serving($self->pid);
    }, 15, 'nginx to reload');
    $t->wait_for(sub { !grep { $self->_listens($_) } keys %old }, 15,
        'the old processes to stop listening');

    return;
}


# Whether a process has one of the TCP sockets open that nginx listens on.
sub _listens {
    my ($self, $pid) = @_;

    my %inode;
    for my $file (glob '/proc/' . $self->pid . '/net/tcp{,6}') {
        for my $line (split /\n/, $self->{test}->read($file) // '') {
            my @field = split ' ', $line;
            $inode{$field[9]} = 1 if $field[3] eq '0A';
        }
    }

    return grep { (readlink($_) // '') =~ /^socket:\[(\d+)\]$/ && $inode{$1} }
        glob "/proc/$pid/fd/*";
}

1;
