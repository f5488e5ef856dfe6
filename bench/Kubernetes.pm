# The objects of `tools/bench kubernetes`: two namespaces in a lab that has no
# kubelet.  team: workers that somebody has made, thousands of them; warm:
# those of a controller of ours, whose Pods we say are ready.

package Kubernetes;

use strict;
use warnings;

use IO::Socket::SSL ();
use JSON ();

my $GROUP = 'buildkit.smrt-devops.net';
my $MERGE = 'application/merge-patch+json';
my $JSON  = JSON->new->canonical;


sub new
{
    my ($class, $t, $kube) = @_;

    my $self = bless { t => $t, kube => $kube, next => 0 }, $class;

    $kube->must('apply', '-k', $t->root . '/k8s/base');

    for my $ns (qw(team warm)) {
        $kube->must('create', 'namespace', $ns);
        $kube->must('-n', $ns, 'create', 'serviceaccount', 'default');
    }

    $kube->must('-n', 'warm', 'create', 'rolebinding', 'pools',
        '--clusterrole=buildkit-controller-pools',
        '--serviceaccount=buildkit-system:buildkit-controller');
    $kube->wait('condition=Established', 'crd', '--all');

    return $self;
}


sub path
{
    my ($ns, $kind, @more) = @_;

    return join '/', $kind eq 'pods' ? '/api/v1' : "/apis/$GROUP/v1alpha1",
        'namespaces', $ns, $kind, @more;
}


# Requests [METHOD, PATH, BODY, TYPE], sixteen at a time.
sub many
{
    my ($self, @requests) = @_;

    my $kube = $self->{kube};
    my $pki = $kube->dir . '/pki';

    while (my @some = splice @requests, 0, 5000) {
        my $in = join "\nnext\n", map {
            my ($method, $path, $body, $type) = @$_;
            my $text = $JSON->encode($body) =~ s/(["\\])/\\$1/gr;

            join "\n", 'noproxy = "*"', 'silent', 'show-error', 'fail',
                'output = "/dev/null"', 'cacert = "' . $kube->ca . '"',
                qq(cert = "$pki/admin.crt"), qq(key = "$pki/admin.key"),
                qq(request = "$method"), qq(data-binary = "$text"),
                'header = "Content-Type: ' . ($type // 'application/json')
                . '"', 'url = "' . $kube->url . qq($path");
        } @some;
        my $r = $kube->run({ stdin => $in, timeout => 300 }, 'curl',
            '--parallel', '--parallel-max', '16', '-K', '-');

        die 'objects: ' . substr($r->{err}, 0, 500) if $r->{rc} != 0;
    }

    return;
}


# n workers of pool team/demo, each with a ready Pod, all but the first free
# ones with an allocation.
sub make
{
    my ($self, $n, $free) = @_;

    my $kube = $self->{kube};

    $self->{allocated} = $n - $free;
    $kube->api(POST => path('team', 'buildkitpools'),
        object('BuildKitPool', { name => 'demo' }, {}));
    $self->many(map { my $i = $_; ['POST', path('team', 'buildkitworkers'),
        object('BuildKitWorker', { name => "demo-$i" }, {
            poolRef => { name => 'demo' },
            $i < $free ? () : (allocation => $self->allocation("t$i")),
        })] } 0 .. $n - 1);

    my %uid = map { ($_->{metadata}{name} => $_->{metadata}{uid}) }
        @{ $kube->api(GET => path('team', 'buildkitworkers'))->{items} };

    $self->many(map { ['POST', path('team', 'pods'), pod("demo-$_",
        $uid{"demo-$_"})] } 0 .. $n - 1);
    $self->many(map { ready('team', "demo-$_",
        join '.', 10, int($_ / 62500), int($_ / 250) % 250, $_ % 250 + 1)
        } 0 .. $n - 1);

    return;
}


sub object
{
    my ($kind, $meta, $spec) = @_;

    return { apiVersion => "$GROUP/v1alpha1", kind => $kind,
        metadata => $meta, spec => $spec };
}


# as the allocator writes it
sub allocation
{
    my ($self, $token) = @_;

    my $hash = $self->{t}->hash($token);

    return { tokenHash => $hash, id => substr($hash, 0, 12),
        clientKeyHash => $hash, allocatedAt => '2026-01-01T00:00:00Z',
        expiresAt => '2036-01-01T00:00:00Z', requestedBy => 'github:octo/app',
        metadata => { repository => 'octo/app', job => $token } };
}


# What a kubelet's Pod looks like, more or less: the API server adds the rest.
sub pod
{
    my ($name, $uid) = @_;

    return { apiVersion => 'v1', kind => 'Pod', metadata => { name => $name,
        labels => { "$GROUP/worker" => $name, "$GROUP/purpose" => 'worker',
            "$GROUP/pool" => 'demo', 'app.kubernetes.io/name' => 'buildkitd' },
        ownerReferences => [{ apiVersion => "$GROUP/v1alpha1",
            kind => 'BuildKitWorker', name => $name, uid => $uid,
            controller => JSON::true }] },
        spec => { automountServiceAccountToken => JSON::false,
            volumes => [{ name => 'certs', secret => { secretName => 'x' } },
                { name => 'state', emptyDir => {} }],
            containers => [{ name => 'buildkitd', image => 'none',
                args => ['--addr', 'tcp://0.0.0.0:1234'],
                ports => [{ containerPort => 1234 }],
                readinessProbe => { tcpSocket => { port => 1234 } },
                resources => { requests => { cpu => '1', memory => '1Gi' } },
                volumeMounts => [{ name => 'certs', mountPath => '/certs' },
                    { name => 'state', mountPath => '/state' }] }] } };
}


sub ready
{
    my ($ns, $name, $ip) = @_;

    return ['PATCH', path($ns, 'pods', $name, 'status'), { status => {
        phase => 'Running', podIP => $ip, podIPs => [{ ip => $ip }],
        hostIP => '192.0.2.1', startTime => '2026-01-01T00:00:00Z',
        conditions => [map { { type => $_, status => 'True',
            lastTransitionTime => '2026-01-01T00:00:00Z' } } qw(Initialized
            Ready ContainersReady PodScheduled)],
        containerStatuses => [{ name => 'buildkitd', image => 'none',
            imageID => 'none', ready => JSON::true, started => JSON::true,
            restartCount => 0, state => { running => {
            startedAt => '2026-01-01T00:00:00Z' } } }] } }, $MERGE];
}


# Something that a relist finds.
sub touch
{
    my ($self) = @_;

    $self->{kube}->api(POST => path('team', 'buildkitpools'),
        object('BuildKitPool', { name => 'more-' . ++$self->{touched} }, {}));

    return;
}


# --- one at a time ----------------------------------------------------------

# The hash of an allocation, and what gives it to a worker that is ready.
sub change
{
    my ($self) = @_;

    my $n = $self->{next}++;
    my $a = $self->allocation("c$n");
    my $body = $JSON->encode({ spec => { allocation => $a } });

    return ($a->{tokenHash}, sub {
        $self->request('PATCH', path('team', 'buildkitworkers', "demo-$n"),
            $body);
    });
}


# On a connection that is kept, as controllers have it.
sub request
{
    my ($self, $method, $path, $body) = @_;

    my $kube = $self->{kube};
    my $pki = $kube->dir . '/pki';
    my ($host) = $kube->url =~ m{//(.*)};
    my $s = $self->{socket} //= IO::Socket::SSL->new(PeerAddr => $host,
        SSL_ca_file => $kube->ca, SSL_cert_file => "$pki/admin.crt",
        SSL_key_file => "$pki/admin.key", SSL_verifycn_scheme => 'none')
        // die "$host: $IO::Socket::SSL::SSL_ERROR\n";

    print $s join "\r\n", "$method $path HTTP/1.1", "Host: $host",
        "Content-Type: $MERGE", 'Content-Length: ' . length $body, '', $body;

    my $head = '';
    while (defined(my $line = <$s>)) {
        last if $line eq "\r\n";
        $head .= $line;
    }

    my ($length) = $head =~ /^content-length: (\d+)/mi
        or die "$path: $head\n";
    my $answer = '';

    while (length $answer < $length) {
        read $s, $answer, $length - length $answer, length $answer
            or die "$path: $answer\n";
    }

    $head =~ m{^HTTP/1.1 2} or die "$path: $answer\n";

    return;
}


# --- a controller -----------------------------------------------------------

# One that leads, with a pool of n workers that are all ready.
sub controller
{
    my ($self, $n) = @_;

    my ($t, $kube) = @$self{qw(t kube)};
    my $config = $kube->account_kubeconfig('buildkit-system',
        'buildkit-controller');

    $kube->api(POST => path('warm', 'buildkitpools'), object('BuildKitPool',
        { name => 'demo' }, { gateway => { enabled => JSON::false },
        scaling => { min => $n, max => $n } }));

    my $host = $t->host(<<"END", name => 'controller',
state: %%DIR%%/controller/state
table: {path: "%%DIR%%/controller/buildkit.table", allocations: 1000, workers: 64, pools: 16}
api: {listen: ["unix:%%DIR%%/controller/api.sock"]}
log: {level: info, format: text}
plugins:
  - name: kubernetes
    options:
      role: controller
      kubeconfig: "$config"
      namespaces: [warm]
  - {name: allocator, options: {journal: store}}
END
        env => { POD_NAME => 'bench' });

    my %up;

    $t->wait_for(sub {
        my $list = $kube->api(GET => path('warm', 'pods'))->{items};
        my @new = grep { !$up{$_}++ } map { $_->{metadata}{name} } @$list;

        my $address = keys(%up) - @new;
        $self->many(map { ready('warm', $_, '10.200.0.' . ++$address) } @new)
            if @new;
        return keys %up == $n;
    }, 60, 'Pods');
    $t->wait_for(sub { my $r = $host->request(GET => '/api/v1/workers');
        my $list = $r->{json} // {};

        $list = $list->{items} // $list->{workers} // [] if ref $list eq 'HASH';
        return grep({ ($_->{state} // '') eq 'ready' } @$list) == $n;
    }, 60, 'warm workers');

    return $host;
}


sub end
{
    my ($self) = @_;

    close $self->{socket} if $self->{socket};

    return;
}

1;
