package K8s;

# The client of the Kubernetes API in a program of its own (t/lib/k8sask.c).
#
#   my $p = K8s->new($t, $kubeconfig, $context);    # {first}: how it began
#   my $a = $p->do(get => kind => $POD, ns => 'team', name => 'one');
#   my $id = $p->begin(stream => path => $path); $p->part($id); $p->answer($id)

use strict;
use warnings;

use JSON ();

our %KIND = (
    configmap => ['', 'v1', 'configmaps', 'ConfigMap'],
    namespace => ['', 'v1', 'namespaces', 'Namespace'],
    deployment => ['apps', 'v1', 'deployments', 'Deployment'],
    worker => ['buildkit.smrt-devops.net', 'v1alpha1', 'buildkitworkers',
        'BuildKitWorker'],
);

my $JSON = JSON->new->canonical;


# before the arguments: { run => [...] }, a command around it
sub new {
    my ($class, $t, @args) = @_;
    my $opts = ref $args[0] ? shift @args : {};

    my $pipe = $t->start_pipe('k8sask' . ++$t->{nk8sask},
        @{$opts->{run} // []}, $t->tool('k8sask'), @args);

    return bless { t => $t, pipe => $pipe, first => $pipe->line(20),
        answers => {}, parts => {} }, $class;
}


sub begin {
    my ($self, $what, %args) = @_;

    my $id = $args{id} // 'r' . ++$self->{n};
    $args{kind} = $KIND{$args{kind}} // die "kind $args{kind}"
        if defined $args{kind} && !ref $args{kind};
    syswrite $self->{pipe}{in},
        $JSON->encode({ %args, id => $id, do => $what }) . "\n"
        or die "k8sask: $!";

    return $id;
}


sub answer {
    my ($self, $id) = @_;

    $self->_line while !$self->{answers}{$id};

    return delete $self->{answers}{$id};
}


# the next one; undef: it has ended
sub part {
    my ($self, $id) = @_;

    $self->_line while !@{$self->{parts}{$id} // []}
        && !$self->{answers}{$id};

    return shift @{$self->{parts}{$id} // []};
}


sub do {
    my ($self, @args) = @_;

    return $self->answer($self->begin(@args));
}


# the exit status: leaks are found at the end
sub quit {
    my ($self) = @_;

    $self->begin('quit');
    $self->{t}->wait_for(sub { !$self->{t}->alive($self->{pipe}) }, 20,
        'the end of k8sask');

    return $self->{pipe}{status};
}


sub _line {
    my ($self) = @_;

    my $line = $self->{pipe}->line(30);
    my $a = $JSON->decode($line);

    if (exists $a->{part}) {
        push @{$self->{parts}{$a->{id}}}, $a->{part};

    } else {
        $self->{answers}{$a->{id}} = $a;
    }

    return;
}

1;
