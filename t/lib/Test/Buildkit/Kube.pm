package Test::Buildkit::Kube;

# A real Kubernetes of one node (t/lib/kube-lab), stopped with the test.
#
#   my $kube = $t->kube(level => 'node');   # or control, api
#   $kube->apply($yaml);
#   my $pod = $kube->get('pod', 'worker-0', '-n', 'team');
#
# A node is in a network of its own: what is to reach it, runs there too, by
# ->run, ->start or ->inside.  Of the other levels everything listens on a
# loopback address of the lab's own.

use strict;
use warnings;

use Exporter qw(import);
use File::Path qw(make_path);
use JSON ();
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(good);


# name: of the folder in the test's (kube); apiserver: more options of
# kube-apiserver.  Dies when it cannot be had.
sub new {
    my ($class, $t, %opts) = @_;

    my $self = bless { t => $t, level => $opts{level} // 'node',
        dir => $t->dir . '/' . ($opts{name} // 'kube') }, $class;
    push @{$t->{kubes}}, $self;     # before: a test may end meanwhile
    # built here, if at all: it takes its time
    $ENV{KUBE_LAB_KUBECTL} = $t->lab('kubectl');

    my $r = $self->_lab({ timeout => 200,
        env => { KUBE_LAB_APISERVER => "@{$opts{apiserver} // []}" } },
        'up', $self->{level});
    die "no Kubernetes:\n$r->{err}" if $r->{rc} != 0;

    chomp($self->{kubeconfig} = $r->{out});
    ($self->{url}) = $t->read($self->{kubeconfig}) =~ /server: "(.*)"/;

    # whatever proxy this machine has
    my ($address) = $self->{url} =~ m{//([^:]+)};
    $ENV{$_} = join ',', $ENV{$_} // (), $address for qw(no_proxy NO_PROXY);

    return $self;
}


sub dir        { $_[0]{dir} }
sub url        { $_[0]{url} }               # https://ADDRESS:PORT
sub ca         { "$_[0]{dir}/pki/ca.crt" }
sub kubeconfig { $_[0]{kubeconfig} }        # may do everything


# Removes all of it but ->dir/logs.  The library calls it at the end of the
# test.
sub stop {
    my ($self) = @_;

    return if $self->{stopped}++;
    $self->{t}->stop($self->{registry}) if $self->{registry};
    my $r = $self->_lab('down');
    die "kube-lab down: $r->{err}" if $r->{rc} != 0;

    return;
}


sub _lab {
    my ($self, @args) = @_;
    my $opts = ref $args[0] eq 'HASH' ? shift @args : {};
    my $command = shift @args;

    return $self->{t}->run({ timeout => 120, %$opts },
        $self->{t}->root . '/t/lib/kube-lab', $command, $self->{dir}, @args);
}


# --- programs in the lab's network ----------------------------------------

# The command that runs this one there, with KUBECONFIG set.
sub inside {
    my ($self, @cmd) = @_;

    return ($self->{t}->root . '/t/lib/kube-lab', 'exec', $self->{dir}, @cmd);
}


# as the library's run and start
sub run {
    my ($self, @cmd) = @_;
    my $opts = ref $cmd[0] eq 'HASH' ? shift @cmd : {};

    return $self->{t}->run($opts, $self->inside(@cmd));
}


sub start {
    my ($self, $name, $opts, @cmd) = @_;

    return $self->{t}->start($name, $opts, $self->inside(@cmd));
}


# --- objects ---------------------------------------------------------------

# kubectl([{stdin, timeout},] ARGS): {rc, out, err}
sub kubectl {
    my ($self, @args) = @_;
    my $opts = ref $args[0] eq 'HASH' ? shift @args : {};

    # delete waits until it is gone
    return $self->run({ timeout => 180, %$opts }, 'kubectl', @args);
}


# What it prints; dies when it fails.
sub must {
    my ($self, @args) = @_;

    my $r = $self->kubectl(@args);
    shift @args if ref $args[0] eq 'HASH';
    die "kubectl @args: $r->{err}" if $r->{rc} != 0;

    return $r->{out};
}


# Objects as YAML, with places filled in (%%DIR%% ...).
sub apply {
    my ($self, $yaml, @args) = @_;

    return $self->must({ stdin => $self->{t}->fill($yaml) }, 'apply', '-f',
        '-', @args);
}


# An object or a list, decoded; undef when there is none of this name.
sub get {
    my ($self, @args) = @_;

    my $out = $self->must('get', '--ignore-not-found', '-o', 'json', @args);

    return $out eq '' ? undef : JSON->new->decode($out);
}


# api(METHOD, PATH[, BODY[, TYPE]]): one request as the administrator, its
# answer decoded (or as it is, when it is no JSON).
sub api {
    my ($self, $method, $path, $body, $type) = @_;

    my $pki = "$self->{dir}/pki";
    my $r = $self->run({ stdin => $body ? JSON->new->encode($body) : '' },
        'curl', '-sS', '--noproxy', '*', '--cacert', $self->ca, '--cert',
        "$pki/admin.crt", '--key', "$pki/admin.key", '-X', $method, '-H',
        'Content-Type: ' . ($type // 'application/json'),
        $body ? ('--data-binary', '@-') : (), $self->{url} . $path);
    die "$method $path: $r->{err}" if $r->{rc} != 0;

    return eval { JSON->new->decode($r->{out}) } // $r->{out};
}


# good(WHAT, sub { api ... }): what the API server answers; dies when it did not
# do it.  What it cannot do just now - its etcd is slow, somebody else wrote the
# object meanwhile - is asked for again.
sub good {
    my ($what, $ask) = @_;

    my $deadline = time + $Test::Buildkit::PATIENCE;
    while (1) {
        my $answer = $ask->();
        die "$what: $answer\n" if !ref $answer;
        return $answer if $answer->{kind} ne 'Status'
            || $answer->{status} eq 'Success';
        my ($code, $reason) = ($answer->{code} // 0, $answer->{reason} // '');
        die "$what: $answer->{message}\n" if time > $deadline
            || ($code !~ /^(?:429|50[034])$/ && $reason ne 'Conflict');
        sleep 0.2;
    }
}


# Until kubectl's wait is content, e.g. wait('condition=Ready', 'pod/a').
sub wait {
    my ($self, $for, @args) = @_;

    my $out = eval { $self->must({ timeout => 250 }, 'wait', "--for=$for",
        '--timeout=240s', @args) };
    if (defined $out) {
        $self->_served if $for eq 'condition=Established';
        return $out;
    }

    # why it is not
    my $error = $@;
    $error .= $self->kubectl('get', 'events', '-A')->{out};
    die $error;
}


# Kinds are served, and found by kubectl, a moment after they are established.
sub _served {
    my ($self) = @_;

    my @kinds = map { s{.*/}{}r } split ' ', $self->must('get', 'crd', '-o',
        'name');
    $self->{t}->wait_for(sub { $self->kubectl('get', join(',', @kinds), '-A')
        ->{rc} == 0 }, 60, "@kinds");

    return;
}


# --- service accounts ------------------------------------------------------

# A token of a service account, for one hour.
sub account_token {
    my ($self, $namespace, $name, @audiences) = @_;

    my $answer = $self->api(POST =>
        "/api/v1/namespaces/$namespace/serviceaccounts/$name/token", { spec => {
            expirationSeconds => 3600,
            @audiences ? (audiences => \@audiences) : () } });

    return $answer->{status}{token} // die "no token: $answer->{message}\n";
}


# A kubeconfig with which a program is this service account.
sub account_kubeconfig {
    my ($self, $namespace, $name) = @_;

    my $token = $self->account_token($namespace, $name);

    return $self->{t}->write("$namespace-$name.kubeconfig", <<"END");
apiVersion: v1
kind: Config
current-context: lab
contexts:
- {name: lab, context: {cluster: lab, user: me, namespace: "$namespace"}}
clusters:
- {name: lab, cluster: {server: "$self->{url}",
   certificate-authority: "${\ $self->ca}"}}
users:
- {name: me, user: {token: "$token"}}
END
}


# --- the lab's own programs ------------------------------------------------

# The pid of a daemon, e.g. etcd, kube-apiserver or kubelet; undef while there
# is none.
sub pid {
    my ($self, $name) = @_;

    $name = substr $name, 0, 15;        # all that the kernel keeps
    my $r = $self->_lab('ps');

    return $r->{out} =~ /^\s*(\d+)\s+\S+\s+\Q$name\E$/m ? $1 : undef;
}


# The pids of a Pod's processes whose name (15 characters at most) is like
# this: whoever kills one does what the kernel would.
sub pod_pids {
    my ($self, $uid, $name) = @_;

    my $t = $self->{t};

    return grep { ($t->read("/proc/$_/cgroup") // '') =~ /\Q$uid\E/
        && ($t->read("/proc/$_/comm") // '') =~ $name }
        map { m{/(\d+)\z} } glob '/proc/[0-9]*';
}


# Kills a daemon; it is started again half a second later.  Returns when it
# and the API server are there.
sub restart {
    my ($self, $name) = @_;

    my $pid = $self->pid($name) // die "no $name";
    kill KILL => $pid;
    $self->{t}->wait_for(sub { ($self->pid($name) // $pid) != $pid }, 30,
        "$name again");
    $self->wait_api;

    return;
}


sub wait_api {
    my ($self) = @_;

    # ready it is before it knows that etcd was away
    my $read = '/api/v1/namespaces/default';

    return $self->{t}->wait_for(sub { eval {
        $self->api(GET => '/readyz') eq 'ok'
            && $self->api(GET => $read)->{kind} eq 'Namespace';
    } }, 90, 'the API server');
}


# Makes etcd forget what was before now.  Returns its answer: an error when
# nothing has changed since the last time.
sub compact {
    my ($self) = @_;

    my $now = $self->api(GET => '/api/v1/namespaces?limit=1')
        ->{metadata}{resourceVersion};
    my $pki = "$self->{dir}/pki";
    my $r = $self->run({ stdin => qq({"revision": "$now", "physical": true}) },
        'curl', '-sS', '--noproxy', '*', '--cacert', "$pki/etcd-ca.crt",
        '--cert', "$pki/etcd.crt", '--key', "$pki/etcd.key", '--data-binary',
        '@-', $self->{url} =~ s/\d+\z/2379/r . '/v3/kv/compaction');
    die "compaction: $r->{err}" if $r->{rc} != 0;

    return JSON->new->decode($r->{out});
}


# --- registry and images ---------------------------------------------------

# A registry in the lab's network, of which the node and its Pods pull over
# plain HTTP; returns its address.
sub registry {
    my ($self) = @_;

    my $t = $self->{t};
    my $address = '10.123.0.1:5000';
    return $address if $self->{registry};

    my $name = ($self->{dir} =~ s{.*/}{}r) . '-registry';
    my $conf = $t->write("$name.yml", <<"END");
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %%DIR%%/$name}}
http: {addr: "$address"}
END
    $self->{registry} = $self->start($name,
        { env => { OTEL_TRACES_EXPORTER => 'none' } }, 'docker-registry',
        'serve', $conf);
    $t->wait_for(sub { $self->run('curl', '-sf', '--noproxy', '*',
        "http://$address/v2/")->{rc} == 0 }, 15, 'the registry');

    return $address;
}


# Loads a folder as an image; config: Entrypoint and so on.
sub image {
    my ($self, $name, $root, $config) = @_;

    my $t = $self->{t};
    my $tar = "$root.tar";
    my $r = $t->run($t->root . '/t/lib/kube-lab', 'pack', $root, $name, $tar,
        JSON->new->encode($config // {}));
    die "kube-lab pack: $r->{err}" if $r->{rc} != 0;
    $self->archive($name, $tar);
    unlink $tar;

    return $name;
}


# Loads an archive, docker's or OCI's.
sub archive {
    my ($self, $name, $tar) = @_;

    my $r = $self->_lab('image', $name, $tar);
    die "kube-lab image: $r->{err}" if $r->{rc} != 0;

    return $name;
}


# push_image(NAME[, AS]): an image of the node goes into ->registry as well.
sub push_image {
    my ($self, $name, $as) = @_;

    my @ctr = ('ctr', '-a', "$self->{dir}/node/run/containerd/containerd.sock",
        '-n', 'k8s.io', 'images');
    $as //= $name;
    for ($as ne $name ? ['tag', $name, $as] : (), ['push', '--plain-http',
        $as])
    {
        my $r = $self->run(@ctr, @$_);
        die "ctr @$_: $r->{err}" if $r->{rc} != 0;
    }

    return $as;
}


# The image of a worker: the lab's buildkitd and buildctl with Debian's runc,
# where moby/buildkit has them.
sub buildkitd_image {
    my ($self) = @_;

    return $self->{buildkitd_image} //= $self->_buildkitd('buildkitd', {},
        { Entrypoint => ['buildkitd'], Env => ['PATH=/usr/bin:/bin'] }, undef);
}


# The same for user 1000, with Debian's rootlesskit, as moby/buildkit's
# rootless image is made; under another name, if one is given.
sub rootless_image {
    my ($self, $name) = @_;

    return $self->{rootless_image} //= $self->_buildkitd('rootless',
        { newuidmap => 'cap_setuid', newgidmap => 'cap_setgid' }, {
        Entrypoint => ['rootlesskit', 'buildkitd'], User => '1000:1000',
        Env => ['PATH=/usr/bin:/bin', 'HOME=/home/user', 'USER=user',
        'XDG_RUNTIME_DIR=/run/user/1000', 'TMPDIR=/tmp'] }, $name,
        'rootlesskit');
}


# caps: programs that have a capability.  As setuid programs they would have
# to own the user namespace as root, and it is user 1000's.
sub _buildkitd {
    my ($self, $name, $caps, $config, $as, @programs) = @_;

    my $t = $self->{t};
    my $root = "$self->{dir}-$name";
    make_path(map { "$root/$_" } qw(etc tmp run/user/1000 home/user));
    chmod 01777, map { "$root/$_" } qw(tmp run/user/1000 home/user);
    my %found = map { my $program = $_; ($program => (grep { -x } map {
        "$_/$program" } split(/:/, $ENV{PATH}), qw(/usr/sbin /sbin))[0]
        // die "no $program") } 'runc', @programs, keys %$caps;
    $self->_programs($root, 'usr/bin/buildkitd' => $t->lab('buildkitd'),
        'usr/bin/buildctl' => $t->lab('buildctl'),
        'usr/bin/buildkit-runc' => delete $found{runc},
        map { ("usr/bin/$_" => $found{$_}) } keys %found);
    for (sort keys %$caps) {
        chmod 0755, "$root/usr/bin/$_";
        my $r = $t->run('env', "PATH=$ENV{PATH}:/usr/sbin:/sbin", 'setcap',
            "$caps->{$_}+ep", "$root/usr/bin/$_");
        die "setcap: $r->{err}" if $r->{rc} != 0;
    }
    if (%$caps) {
        $t->write("$root/etc/passwd", "root:x:0:0::/:/bin/sh\n"
            . "user:x:1000:1000::/home/user:/bin/sh\n");
        $t->write("$root/etc/$_", "user:100000:65536\n") for qw(subuid subgid);
    }
    $as //= "lab.local/$name:1";
    $self->image($as, $root, $config);
    system 'rm', '-rf', $root;

    return $as;
}


# The image of a stand-in (t/lib/worker) for a pool's buildkitImage: it says
# the name of its Pod, and echoes what it is sent.
sub worker_image {
    my ($self) = @_;

    return $self->{worker_image} //= $self->_worker("$self->{dir}-worker");
}


sub _worker {
    my ($self, $root) = @_;

    my $t = $self->{t};
    $self->_programs($root, 'bin/worker' => $t->tool('worker'));

    # it ends when its input does; and the first process of a container gets
    # no signal that it does not ask for
    $t->write("$root/bin/buildkitd", <<'END');
#!/bin/sh
trap exit TERM
sleep 2147483647 | worker --name "$HOSTNAME" --listen 0.0.0.0:1234 \
    --cert /certs/tls.crt --key /certs/tls.key --ca /certs/ca.crt &
wait $!
END
    # what asks whether it has started: somebody listens on port 1234
    $t->write("$root/bin/buildctl", <<'END');
#!/bin/sh
grep -q ':04D2 00000000:0000 0A ' /proc/net/tcp
END
    chmod 0755, map { "$root/bin/$_" } qw(buildkitd buildctl);
    $self->image('lab.local/worker:1', $root, { Entrypoint => ['buildkitd'],
        Env => ['PATH=/bin'] });
    system 'rm', '-rf', $root;

    return 'lab.local/worker:1';
}


# Copies programs into an image's root, with their libraries, and a shell.
sub _programs {
    my ($self, $root, %files) = @_;

    my $t = $self->{t};
    my @libraries = map { _libraries($t, $_) } values %files;
    @files{@libraries} = @libraries;
    $files{'bin/busybox'} = '/bin/busybox';
    for my $to (sort keys %files) {
        make_path("$root/$to" =~ s{/[^/]*\z}{}r);
        my $r = $t->run('cp', '-L', $files{$to}, "$root/$to");
        die $r->{err} if $r->{rc} != 0;
    }
    symlink 'busybox', "$root/bin/$_"
        for qw(sh cat ls sleep mkdir chmod grep);

    return;
}


# a static program has none
sub _libraries {
    my ($t, $program) = @_;

    return $t->run('ldd', $program)->{out} =~ m{(?:^|\s)(/\S+) \(0x}g;
}

1;
