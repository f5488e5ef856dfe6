package Test::Buildkit::Gateway;

# The whole of it: plugin-host with real buildkitd workers, nginx in front,
# bkctl, all from the test's folder.

use strict;
use warnings;

use File::Basename qw(dirname);
use JSON ();


# gateway(workers => 2, shared => 1, plugins => ['- {...}'], process => [
#   'option: value'], onStop => 'leave', nginx => {gateway_conf's options},
#   allocator => 'its options', reload => 1, top => "more of the configuration"):
# returns (plugin-host, nginx).  reload: nginx is reloaded by plugin-host.
sub gateway {
    my ($self, %opts) = @_;

    my $toml = $self->buildkitd_toml;
    my $process = join '', map { "      $_\n" }
        'pool: default/demo', 'workers: ' . ($opts{workers} // 2),
        'shared: ' . ($opts{shared} ? 'true' : 'false'),
        'onStop: ' . ($opts{onStop} // 'stop'),
        "args: [\"--config\", \"$toml\"]", @{$opts{process} // []};
    my $allocator = $opts{allocator} // '';
    my $plugins = join '', map { "  $_\n" }
        "- {name: allocator, options: {$allocator}}", '- {name: metrics}', @{$opts{plugins} // []};

    my $reload = $opts{reload} ? ', reload: [' . join(', ', map { "\"$_\"" }
        $self->nginx_reload) . ']' : '';
    my $top = $opts{top} // '';

    my $host = $self->host(<<"END", env => {
state: %%DIR%%/state
table: {path: %%DIR%%/buildkit.table, allocations: 1000, workers: 64, pools: 16}
reports: %%DIR%%/reports
api: {listen: ["unix:%%DIR%%/api.sock", "127.0.0.1:%%PORT:api%%"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"$reload}
${top}log: {level: debug}
@{[$opts{conf} // '']}
plugins:
$plugins  - name: process
    options:
$process
END
        PATH => dirname($self->lab('buildkitd')) . ":$ENV{PATH}" });

    my $nginx = $self->nginx($self->gateway_conf(tls => '%%DIR%%/state/tls',
        %{$opts{nginx} // {}}), workers => $opts{nginx_workers} // 1);

    return ($host, $nginx);
}


# bkctl([\%opts,] ARGS), by default over plugin-host's unix socket.
sub bkctl {
    my ($self, @args) = @_;
    my $opts = ref $args[0] eq 'HASH' ? shift @args : {};

    return $self->run({ timeout => 120, %$opts, env => {
        BKCTL_ENDPOINT => "unix:$self->{dir}/api.sock",
        BKCTL_POOL => 'default/demo', NO_COLOR => 1, HOME => $self->{dir},
        PATH => dirname($self->lab('buildctl')) . ':'
            . dirname($self->lab('buildx')) . ":$ENV{PATH}",
        %{$opts->{env} // {}} } }, $self->build . '/bkctl', @args);
}


# allocate(NAME, ARGS): with bkctl into DIR/NAME; returns {cert, key, ca, json,
# token, id, worker}, or the failed run as {run}.
sub allocate {
    my ($self, $name, @args) = @_;

    my $dir = "$self->{dir}/$name";
    my $r = $self->bkctl('allocate', '--out', $dir, @args);
    return { run => $r } if $r->{rc} != 0;

    my $json = JSON->new->decode($self->read("$dir/alloc.json"));

    return { run => $r, json => $json, token => $json->{token},
        id => $json->{id}, worker => $json->{workerName},
        file => "$dir/alloc.json", cert => "$dir/cert.pem",
        key => "$dir/key.pem", ca => "$dir/ca.pem" };
}


# The name of the process plugin's worker that a certificate leads to, as its
# buildkitd says; '' when it is refused.
sub whose {
    my ($self, $cert) = @_;

    my $r = $self->buildctl($cert, 'debug', 'workers');
    my ($id) = $r->{out} =~ /^(\w{20,})\s+linux/m or return '';
    for my $file (glob "$self->{dir}/state/workers/*/root/*/workerid"
        . " $self->{dir}/state/workers/*/*/workerid")
    {
        next if $self->read($file) ne $id;
        my ($name) = $file =~ m{/workers/([^/]+)/};
        return $name =~ s/^.*_//r;
    }

    return "unknown $id";
}

1;
