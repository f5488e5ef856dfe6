# The API server is away for long, and a gateway does not notice: a real
# kube-apiserver and etcd, the companion as it is shipped, nginx, TLS workers.
# The API server hangs; it is dead, and meanwhile the companion is killed; etcd
# hangs.  All the time there is one connection, and a new one every few seconds;
# allocations end on time; the companion stays as small as it was, and says
# little.  Then all is back, at first with a token that has expired meanwhile:
# nothing was cut, nothing has changed, what is new is routable.
#
# tools/soak away runs it; it is none of the suite's.  BK_AWAY="HANG DEAD ETCD":
# seconds of each of these (60); from 600 on the token expires by itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IO::Select;
use JSON ();
use POSIX qw(strftime);
use Test::Buildkit;
use Test::Buildkit::Kube qw(good);
use Test::Buildkit::Net;
use Time::HiRes qw(sleep time);

my @away = split ' ', $ENV{BK_AWAY} // 60;
push @away, $away[-1] while @away < 3;

my $EVERY   = 5;        # s, a new connection
my $LOOK    = 60;       # s, routes, memory, files and log are looked at
my $EXPIRY  = 600;      # s, of a token: the shortest that there is
my $FILL    = 40;       # workers that nobody connects to
my $LATE    = 10;       # s, after its end an allocation may be cut
my $LINES   = 20;       # of log, however long it takes
my $GROWTH  = 1024;     # KB, in the last three quarters of it
my $FILES   = 8;        # more open than before

my $API = '/apis/buildkit.smrt-devops.net/v1alpha1/namespaces/team';
my $MERGE = 'application/merge-patch+json';
my $LABEL = 'buildkit.smrt-devops.net';

plan tests => 42;

my $t = Test::Buildkit->new;
Test::Buildkit::Net->here($t, 'ip link set lo up',
    map { "ip addr add 10.77.9.$_/32 dev lo" } 1 .. 8);
my $kube = $t->kube(level => 'api');
$t->pki;
my $began = time;

sub said {
    my ($text) = @_;
    diag sprintf '%s %5d s  %s', strftime('%H:%M:%S', gmtime), time - $began,
        $text;
    return;
}

# --- objects ------------------------------------------------------------

sub make {
    my ($kind, $path, $name, $body) = @_;
    return good("make $name", sub { $kube->api(POST => $path, { %$body,
        metadata => { name => $name, %{$body->{metadata} // {}} },
        apiVersion => $kind eq 'Pod' ? 'v1' : "$LABEL/v1alpha1",
        kind => $kind }) })->{metadata}{uid};
}

# worker(NAME, ADDRESS, TOKEN[, ENDS]): with its Pod, which is ready
sub worker {
    my ($name, $ip, $token, $ends) = @_;
    my $uid = make(BuildKitWorker => "$API/buildkitworkers", $name, { spec => {
        poolRef => { name => 'demo' }, allocation => { tokenHash =>
        $t->hash($token), id => $t->id($token), allocatedAt => stamp(time),
        $ends ? (expiresAt => stamp($ends)) : () } } });
    make(Pod => '/api/v1/namespaces/team/pods', $name, {
        metadata => { labels => { "$LABEL/worker" => $name,
            "$LABEL/purpose" => 'worker', "$LABEL/pool" => 'demo' },
            ownerReferences => [{ apiVersion => "$LABEL/v1alpha1", kind =>
            'BuildKitWorker', name => $name, uid => $uid, controller =>
            JSON::true }] },
        spec => { automountServiceAccountToken => JSON::false,
            containers => [{ name => 'buildkitd', image => 'none' }] } });
    good("status $name", sub { $kube->api(PATCH =>
        "/api/v1/namespaces/team/pods/$name/status", { status => {
        phase => 'Running', podIP => $ip, podIPs => [{ ip => $ip }],
        conditions => [{ type => 'Ready', status => 'True' }] } }, $MERGE) });
    return;
}

sub stamp { return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $_[0]) }

# what the kubelet would write, and does not while there is no API server
sub renew {
    my $answer = good('token', sub {
        $kube->api(POST => '/api/v1/namespaces/team/'
        . 'serviceaccounts/buildkit-gateway/token', { spec => {
        expirationSeconds => $EXPIRY } }) });
    return $t->write('token', $answer->{status}{token});
}

# --- workers and clients --------------------------------------------------

# serve(NAME, ADDRESS): a TLS worker, as a Pod would have it
sub serve {
    my ($name, $ip) = @_;
    my $cert = $t->worker_cert($name,
        "$name.demo.team.workers.buildkit.internal");
    my $pipe = $t->start_pipe("worker-$name", $t->tool('worker'), '--name',
        $name, '--listen', "$ip:1234", '--cert', $cert->{cert}, '--key',
        $cert->{key}, '--ca', $cert->{ca});
    $pipe->line(10);
    return;
}

my (%token, %cert, %worker, %ends, %socket, %closed);

sub caller_of {
    my ($name, $worker) = @_;
    $token{$name} = $t->token;
    $cert{$name} = $t->client_cert($name, cn => "alloc:$token{$name}");
    $worker{$name} = $worker;
    return $token{$name};
}

# what came, without what the gateway itself tells those who say nothing for a
# while, as this test may on a slow machine: an empty SETTINGS frame
sub heard { return $_[0] =~ s/\A\x00{3}\x04\x00{5}//r }

# a new connection: the right worker?
sub calls {
    my ($name) = @_;
    my $got = heard($t->say_hello($cert{$name}, timeout => 20));
    return $got eq "worker $worker{$name}\nhello\n" ? ''
        : "$name: got \"" . shown($got) . '"';
}

# opened(NAME): a connection that stays
sub opened {
    my ($name) = @_;
    my $socket = $socket{$name} = $t->tls($cert{$name})
        or die "$name: no connection\n";
    print $socket "open\n";
    my $got = heard($t->read_until($socket, qr/open\n/, 20));
    die "$name: got $got\n" if $got ne "worker $worker{$name}\nopen\n";
    return;
}

my $spoken = 0;

sub speaks {
    my ($name) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $text = 'word ' . ++$spoken . "\n";
    my $socket = $socket{$name};
    print $socket $text or return "$name: the connection is gone";
    my $got = $t->read_until($socket, qr/\n/, 20);
    return $got eq $text ? ''
        : "$name: got \"" . shown($got) . '" on its connection';
}

sub shown { return substr $_[0] =~ s/[^ -~]+/./gr, 0, 80 }

# --- the companion --------------------------------------------------------

my ($host, $nginx);

sub companion {
    my $conf = $t->read($t->root . '/k8s/base/gateway-config/gateway.yaml');
    $conf =~ s{/var/lib/buildkit-gateway}{%%DIR%%/gw}g;
    $conf =~ s{/run/buildkit-gateway}{%%DIR%%/gw}g;
    $conf =~ s{127\.0\.0\.1:9091}{127.0.0.1:%%PORT:metrics%%};
    $conf =~ s{role: gateway}{role: gateway
      kubeconfig: "%%DIR%%/kubeconfig"
      namespaces: [team]};
    return $t->host($conf);
}

# what is live, and since when: a change is one
sub routes {
    my %all = map { ("$_->{id}" => "$_->{state} $_->{worker} $_->{changedAt}") }
        grep { $_->{state} !~ /^(?:released|failed|revoked|expired)$/ }
        @{$host->request(GET => '/api/v1/allocations')->{json} // []};
    return \%all;
}

sub metric {
    my ($pattern) = @_;
    my $all = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')
        ->{body};
    my $sum = 0;
    $sum += $_ for $all =~ /^\w*$pattern (\S+)$/mg;
    return $sum;
}

sub errors { return metric('kubernetes_errors_total\{[^}]*\}') }
sub up { return metric('kubernetes_watches_up\{[^}]*\}') }

# of the companion, as it is now
sub size {
    my $pid = $host->pid;
    my $status = $t->read("/proc/$pid/status") // '';
    return { map({ (lc $_ => ($status =~ /^$_:\s+(\d+)/m)[0] // 0) }
        qw(VmRSS RssAnon Threads)), files => scalar(() =
        glob "/proc/$pid/fd/*"), log => length $host->log,
        lines => ($host->log =~ tr/\n//) };
}

sub sized {
    my ($s) = @_;
    return "RSS $s->{vmrss} KB (anonymous $s->{rssanon}), $s->{files} files, "
        . "$s->{threads} threads, log $s->{log} bytes in $s->{lines} lines";
}

# what a kubelet asks it, all the time and at its start: "0 0" is well
sub probes {
    my %env = (BKCTL_ENDPOINT => 'unix:' . $t->dir . '/gw/api.sock');
    return join ' ', map { $t->run({ env => \%env }, $t->build . '/bkctl', @$_)
        ->{rc} } ['pools', '--json'], ['routes', '--live', '--table',
        $t->dir . '/gw/buildkit.table'];
}

# --- some time -------------------------------------------------------------

my (%seen, @bad, $want);

# spell(SECONDS[, /readyz]): clients come, all is looked at; returns the sizes
sub spell {
    my ($seconds, $ready) = @_;
    $ready //= 200;
    my ($end, $next, $look) = (time + $seconds, time, time + $LOOK);
    my ($n, @sizes) = (0, size());
    while (time < $end) {
        for my $name (sort keys %ends) {
            next if $closed{$name} || time < $ends{$name} - 3;
            if (time > $ends{$name} + $LATE) {
                push @bad, "$name is not cut $LATE s after its end";
                $closed{$name} = time;
            }
        }
        if (time >= $next) {
            push @bad, grep { length } calls($n++ % 2 ? 'one' : 'two'),
                speaks('one');
            $seen{new}++;
            for my $name (sort keys %ends) {
                next if $closed{$name} || time > $ends{$name} - 3;
                push @bad, grep { length } calls($name), speaks($name);
                $seen{ending}++;
            }
            $next += $EVERY;
            $next = time if $next < time;
        }
        if (time >= $look) {
            push @sizes, size();
            my $got = unended();
            push @bad, "routes have changed: " . join ' ', grep {
                ($got->{$_} // 'none') ne ($want->{$_} // 'none') }
                sort keys %{{%$got, %$want}}
                if JSON->new->canonical->encode($got)
                    ne JSON->new->canonical->encode($want);
            my $status = $host->request(GET => '/readyz')->{status};
            push @bad, "/readyz: $status" if $status != $ready;
            $seen{looks}++;
            said(sized($sizes[-1]) . ', ' . up() . ' watches up, '
                . errors() . " errors, $seen{new} connections");
            $look += $LOOK;
        }
        wait_until($next < $look ? $next : $look, $end);
    }
    return @sizes, size();
}

# or until one of those that end is closed
sub wait_until {
    my ($until, $end) = @_;
    $until = $end if $end < $until;
    my %by = map { (fileno $socket{$_} => $_) } grep { !$closed{$_} }
        keys %ends;
    my $left = $until - time;
    return if $left <= 0;

    # it waits for nobody's
    return sleep $left if !%by;
    for my $socket (IO::Select->new(map { $socket{$_} } values %by)
        ->can_read($left))
    {
        my $name = $by{fileno $socket};
        $socket->blocking(0);
        while (my $n = sysread $socket, my $text, 4096) { }
        $closed{$name} = time;
        push @bad, "$name is cut before its end"
            if time < $ends{$name};
        said(sprintf '%s is cut %.1f s after its end', $name,
            time - $ends{$name});
        push @bad, "$name may still come in" if !calls($name);
    }
    return;
}

# a look at what was found: nothing
sub well {
    my ($name) = @_;
    is(join("\n", @bad[0 .. ($#bad > 5 ? 5 : $#bad)]), '', $name);
    @bad = ();
    return;
}

# ends in the middle of the next so many seconds
sub ends_amid {
    my ($name, $ip, $seconds) = @_;
    my $ends = int(time + $seconds / 2 + 5);
    worker("w-$name", $ip, caller_of($name, "w-$name"), $ends);
    serve("w-$name", $ip);
    arrives($name);
    opened($name);
    $ends{$name} = $ends;
    return;
}

# and a client of it comes through
sub arrives {
    my ($name) = @_;
    my $at = time;
    my $got;
    # an API server that was away is asked again after 30 s at the latest
    eval { $t->wait_for(sub { !($got = calls($name)) }, 90, $name) };
    is($got, '', "$name is routable");
    return time - $at;
}

sub away {
    my ($part, $seconds) = @_;
    my @sizes = spell($seconds);
    well("$part: for $seconds s nobody notices");
    my ($first, $last) = @sizes[@sizes / 4, -1];
    is(probes(), '0 0', "$part: nor its kubelet");
    cmp_ok($last->{lines} - $sizes[0]{lines}, '<=', $LINES,
        "$part: little is said");
    cmp_ok($last->{rssanon} - $first->{rssanon}, '<=', $GROWTH,
        "$part: it does not grow");
    cmp_ok($last->{files}, '<=', $sizes[0]{files} + $FILES,
        "$part: nor open more files");
    said("$part, begin: " . sized($sizes[0]));
    said("$part, end:   " . sized($last));
    return;
}

# what the companion's token is when the API server is back
sub expire {
    my ($seconds) = @_;
    return if $seconds >= $EXPIRY;
    $t->write('token', $t->read('token') =~ s/(.{8})\z/scalar reverse $1/er);
    return;
}

# back(PART, NEW, ADDRESS): refused at first, then not
sub back {
    my ($part, $new, $ip) = @_;
    my $said = length $host->log;
    $kube->wait_api;

    # a watch from before may have lived through a short time
    $t->wait_for(sub { !up() }, 120, 'the last watch to end');
    my $errors = errors();
    $t->wait_for(sub { errors() >= $errors + 6 }, 180, 'refused tokens');
    is(up(), 0, "$part: back, and its token is none any more");
    like($t->read($kube->dir . '/logs/kube-apiserver.log'),
        qr/Unable to authenticate the request/, "$part: as the server says");
    my $why = () = substr($host->log, $said) =~ /Unauthorized; routes stay/g;
    ok($why >= 1 && $why <= 3, "$part: as it says, not too often")
        or diag "$why times";
    is_deeply(unended(), $want, "$part: and nothing has changed");
    renew();
    again($part, $new, $ip);
    return;
}

# it has a token, and all is as it was; something new comes
sub again {
    my ($part, $new, $ip) = @_;
    my $at = time;
    $t->wait_for(sub { up() == 3 }, 120, 'all watches');
    said(sprintf '%s: up again after %.1f s', $part, time - $at);
    serve("w-$new", $ip);
    worker("w-$new", $ip, caller_of($new, "w-$new"));
    said(sprintf '%s: what is new is routable after %.2f s', $part,
        arrives($new));
    my $got = unended();
    delete $got->{$t->id($token{$new})};
    is_deeply($got, $want, "$part: and nothing else has changed");
    $want = unended();
    my @sizes = spell($LOOK + 15);
    well("$part: nor in the next minute");
    said("$part, back:  " . sized($sizes[-1]));
    return;
}

sub unended {
    my $got = routes();
    delete @$got{map { $t->id($token{$_}) } keys %ends};
    return $got;
}

# --- at its start -----------------------------------------------------------

$kube->must('apply', '-k', $t->root . '/k8s/base/crds');
$kube->must('apply', '-f', $t->root
    . '/k8s/base/rbac/clusterrole-gateway.yaml');
$kube->must('create', 'namespace', 'team');
$kube->must('-n', 'team', 'create', 'serviceaccount', $_)
    for qw(default buildkit-gateway);
$kube->must('-n', 'team', 'create', 'rolebinding', 'buildkit-gateway',
    '--clusterrole=buildkit-gateway', '--serviceaccount=team:buildkit-gateway');
$kube->wait('condition=Established', 'crd', '--all');
make(BuildKitPool => "$API/buildkitpools", 'demo', { spec => {} });
worker("fill-$_", '10.77.10.' . ($_ + 1), $t->token) for 0 .. $FILL - 1;
worker('w-one', '10.77.9.1', caller_of('one', 'w-one'));
worker('w-two', '10.77.9.2', caller_of('two', 'w-two'));
worker('w-quiet', '10.77.9.3', caller_of('quiet', 'w-quiet'));
serve('w-one', '10.77.9.1');
serve('w-two', '10.77.9.2');
serve('w-quiet', '10.77.9.3');
renew();
$t->write('kubeconfig', <<"END");
apiVersion: v1
kind: Config
current-context: lab
contexts:
- {name: lab, context: {cluster: lab, user: me, namespace: team}}
clusters:
- {name: lab, cluster: {server: "${\ $kube->url}",
   certificate-authority: "${\ $kube->ca}"}}
users:
- {name: me, user: {tokenFile: token}}
END
$host = companion();
$nginx = $t->nginx($t->gateway_conf(table => '%%DIR%%/gw/buildkit.table',
    stream => "buildkit_report %%DIR%%/gw/reports;\n")
    =~ s/proxy_timeout +\K1h/24h/r, workers => 2);
arrives('one');
arrives('two');
opened('one');
opened('quiet');
$want = unended();
is(keys %$want, $FILL + 3, 'all are known');

# --- it hangs ---------------------------------------------------------------

ends_amid('hang-end', '10.77.9.4', $away[0]);
kill STOP => $kube->pid('kube-apiserver');
away('hangs', $away[0]);
expire($away[0]);
kill CONT => $kube->pid('kube-apiserver');
back('hangs', 'new-1', '10.77.9.5');

# --- it is dead, and nobody starts it again ---------------------------------

ends_amid('dead-end', '10.77.9.6', $away[1]);
my $server = $kube->pid('kube-apiserver');
my ($parent) = $t->read("/proc/$server/stat") =~ /\) \S+ (\d+)/;
kill STOP => $parent;
kill KILL => $server;
away('dead', $away[1]);

# as a kubelet does, which needs no API server for that
$host->kill('KILL');
$host->restart;
spell($away[1] < 120 ? $away[1] : 120, 503);
well('dead: nor when the companion is started again');
is(probes(), '0 0', 'dead: which its kubelet need not do once more');
expire($away[1]);
kill CONT => $parent;
back('dead', 'new-2', '10.77.9.7');

# --- it is there, and has nothing to say ------------------------------------

kill STOP => $kube->pid('etcd');
away('etcd hangs', $away[2]);
kill CONT => $kube->pid('etcd');

# it reads before it writes again
$t->wait_for(sub { eval { $kube->wait_api; renew() } }, 180, 'a token');
again('etcd', 'new-3', '10.77.9.8');

# --- the end ----------------------------------------------------------------

is(speaks('quiet'), '', 'a connection that was silent all the time');
is(speaks('one'), '', 'and one that was not');
said("$seen{new} connections, $seen{ending} of those that end, "
    . "$seen{looks} looks");
close $_ for values %socket;
is($host->stop, 0, 'the end');
