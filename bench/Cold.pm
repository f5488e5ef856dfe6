# The part `cold` of `tools/bench kubernetes`: a node with our own images, and
# a build that waits for a worker's Pod.  Nothing is a stand-in: the clock runs
# from when a watch tells that the Pod is ready, as the controller and the
# gateway's companion are told in the same moment.

package Cold;

use strict;
use warnings;

use IO::Select ();
use JSON ();
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(time);

my $NS   = 'buildkit-system';
my $JSON = JSON->new;


# {step => [seconds], run => [seconds]}
sub measure
{
    my ($t, $rounds) = @_;

    my $images = $t->images;
    my $kube = $t->kube(level => 'node', name => 'cold');
    my $self = bless { t => $t, kube => $kube }, __PACKAGE__;
    my %times;

    $kube->archive("lab.local/$_:1", $images->{$_}) for qw(controller gateway);
    $self->install($kube->buildkitd_image);

    my $pods = $t->start_pipe('pods', $kube->inside('kubectl', '-n', $NS,
        'get', 'pods', '-l', 'buildkit.smrt-devops.net/purpose=worker', '-w',
        '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}{"\n"}'));

    for my $round (0 .. $rounds) {
        my ($step, $run) = $self->round($pods, $round);

        # the first one of a node pulls and unpacks
        next if $round == 0;
        push @{ $times{step} }, $step;
        push @{ $times{run} }, $run;
    }

    $t->stop($pods);
    $kube->stop;

    return \%times;
}


# As docs/kubernetes.md does, with a pool that comes and goes.
sub install
{
    my ($self, $buildkitd) = @_;

    my ($t, $kube) = @$self{qw(t kube)};
    my $dir = 'cold-conf';
    my $conf = $t->read($t->root . '/k8s/base/controller/config/controller.yaml');

    $conf =~ s/^#access:.*?^# *maxTtl:[^\n]*\n/$& =~ s{^#}{}gmr/ems;
    $conf =~ s/^  #- \{name: oidc,/  - {name: oidc,/m;
    $conf =~ s/privileged: \[\]/privileged: [$NS]/;
    $t->write("$dir/controller.yaml", $conf);
    $t->write("$dir/oidc.yaml", <<'END');
tokenReview:
  name: cluster
  server: https://10.123.2.1
  caFile: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
  tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
  audiences: [buildkit]
END
    $t->write("$dir/kustomization.yaml", <<"END");
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [k8s/base]
images:
  - {name: buildkit-gateway/controller, newName: lab.local/controller, newTag: "1"}
  - {name: buildkit-gateway/gateway, newName: lab.local/gateway, newTag: "1"}
replicas:
  - {name: buildkit-controller, count: 1}
configMapGenerator:
  - name: buildkit-controller-config
    namespace: $NS
    behavior: merge
    files: [controller.yaml, oidc.yaml]
END
    # kustomize takes no absolute path
    system 'cp', '-r', $t->root . '/k8s', $t->dir . "/$dir/k8s";

    $kube->must('apply', '-k', $t->root . '/k8s/base/crds');
    $kube->wait('condition=Established', 'crd', '--all');
    $kube->must('apply', '-k', $t->dir . "/$dir");
    $kube->must({ timeout => 130 }, '-n', $NS, 'rollout', 'status',
        'deployment/buildkit-controller', '--timeout=120s');
    $kube->apply(<<"END");
apiVersion: v1
kind: Namespace
metadata: {name: ci}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner, namespace: ci}
---
apiVersion: buildkit.smrt-devops.net/v1alpha1
kind: BuildKitPool
metadata: {name: demo, namespace: $NS}
spec:
  scaling: {min: 0, max: 1, scaleDownDelay: 1s}
  security: {mode: privileged}
  buildkitImage: "$buildkitd"
END
    $t->wait_for(sub { $kube->get('-n', $NS, 'deployment', 'demo-gateway') },
        60, 'a gateway');
    $kube->wait('condition=Available', '-n', $NS, 'deployment/demo-gateway');

    my $address = sub {
        $kube->get('-n', $NS, 'service', $_[0])->{spec}{clusterIP};
    };

    $self->{api} = $address->('buildkit-controller-api');
    $self->{gateway} = $address->('demo');
    $self->{bearer} = $kube->account_token('ci', 'runner', 'buildkit');

    return;
}


# From zero to zero.
sub round
{
    my ($self, $pods, $round) = @_;

    my ($t, $kube) = @$self{qw(t kube)};
    my $a = $self->ask('allocate', { poolName => 'demo', namespace => $NS,
        wait => '0' });
    my $dir = "round-$round";
    my ($name) = $a->{gatewayEndpoint} =~ m{^tcp://([^:]+)};

    for (['ca', 'caCert'], ['cert', 'clientCert'], ['key', 'clientKey']) {
        $t->write("$dir/$_->[0].pem", decode_base64($a->{$_->[1]}));
    }

    # what is there now is from before
    1 while IO::Select->new($pods->{out})->can_read(0)
        && sysread $pods->{out}, my $old, 65536;
    delete $pods->{rest};

    my @certs = map { ("--tls$_->[0]", $t->dir . "/$dir/$_->[1].pem") }
        ['cacert', 'ca'], ['cert', 'cert'], ['key', 'key'];
    my $build = $t->start_pipe("build-$round", $kube->inside('sh', '-c',
        'exec "$@" 2>&1', 'sh', $t->lab('buildctl'), '--addr',
        "tcp://$self->{gateway}:1235", '--tlsservername', $name, @certs,
        $t->dockerfile_args($t->context("context-$round"), '--progress',
            'rawjson', '--no-cache')));
    my %at = $self->times($pods, $build);

    $t->wait_for(sub { !$t->alive($build) }, 60, 'the end of the build');
    die "the build failed: " . $t->read($build->{log}) . "\n"
        if $build->{status} != 0;
    $self->ask('release', { token => $a->{token} });
    # nothing at all is printed where there is none
    $t->wait_for(sub { !$kube->get('-n', $NS, 'pods', '-l',
        'buildkit.smrt-devops.net/purpose=worker') }, 90, 'no worker');

    return map { $_ - $at{ready} } @at{qw(step run)};
}


sub ask
{
    my ($self, $what, $body) = @_;

    my $r = $self->{kube}->run({ stdin => $JSON->encode($body) }, 'curl',
        '-sS', '--noproxy', '*', '-H', "Authorization: Bearer $self->{bearer}",
        '-H', 'Content-Type: application/json', '--data-binary', '@-',
        "http://$self->{api}:8082/api/v1/workers/$what");
    my $answer = eval { $JSON->decode($r->{out}) };

    die "$what: $r->{out}$r->{err}\n" if !$answer
        || ($what eq 'allocate' && !$answer->{token});

    return $answer;
}


# When was the Pod ready, when did the first step begin, when the first RUN?
sub times
{
    my ($self, $pods, $build) = @_;

    my $select = IO::Select->new($pods->{out}, $build->{out});
    my ($end, %text, %at) = (time + 120);

    while (!defined $at{run}) {
        my @ready = $select->can_read($end - time > 0 ? $end - time : 0);

        die "no build began: " . ($text{ $build->{out} } // '') . "\n"
            if !@ready;

        for my $handle (@ready) {
            sysread $handle, $text{$handle}, 65536,
                length($text{$handle} //= '')
                or die "it ended: $text{$handle}\n";
            my $now = time;

            while ($text{$handle} =~ s/^(.*)\n//) {
                my $line = $1;

                if ($handle == $pods->{out}) {
                    $at{ready} //= $now if $line =~ /True/;
                    next;
                }

                for my $v (@{ (eval { $JSON->decode($line) } // {})
                    ->{vertexes} // [] })
                {
                    next if !$v->{started};
                    $at{step} //= $now;
                    $at{run} //= $now if $v->{name} =~ /RUN/;
                }
            }
        }
    }

    die "it was built before its Pod was ready\n" if !$at{ready};

    return %at;
}

1;
