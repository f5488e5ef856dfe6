# The client of the Kubernetes API against a real kube-apiserver: every verb
# with its preconditions, who we are, whom we trust, streams.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON ();
use MIME::Base64 qw(encode_base64);
use K8s;
use Test::Buildkit;

plan tests => 55;

my $t = Test::Buildkit->new;
my $kube = $t->kube(level => 'api');
my $dir = $t->dir;
$kube->must('create', 'namespace', 'team');

my $p = K8s->new($t, $kube->kubeconfig);
is($p->{first}, 'ready ' . $kube->url . ' default', 'a client certificate');
my @map = (kind => 'configmap', ns => 'team');

# --- create, get, replace --------------------------------------------------

my $a = $p->do(create => @map, body => { metadata => { name => 'one' },
    data => { a => '1' } });
is("$a->{status} $a->{obj}{kind} $a->{obj}{apiVersion}", '201 ConfigMap v1',
    'create: the kind is filled in') or diag(explain($a));
my $first = $a->{obj}{metadata};
is($first->{managedFields}[0]{manager}, 'buildkit-gateway', 'its manager');
$a = $p->do(create => @map, body => { metadata => { name => 'one' } });
is("$a->{status} $a->{reason}", '409 AlreadyExists', 'create again');
like($a->{text}, qr/^configmaps "one" already exists$/, 'in its words');
$a = $p->do(get => @map, name => 'one');
is("$a->{status} $a->{obj}{data}{a}", '200 1', 'get');
$a = $p->do(get => @map, name => 'two');
is("$a->{status} $a->{reason} $a->{text}",
    '404 NotFound configmaps "two" not found', 'get what is not there');
$a = $p->do(get => kind => 'namespace', name => 'team');
is("$a->{status} $a->{obj}{status}{phase}", '200 Active',
    'a kind without namespaces');
$a = $p->do(create => kind => 'worker', ns => 'team', body => { metadata =>
    { name => 'w' }, spec => {} });
is($a->{status}, 404, 'a kind that is not there') or diag(explain($a));
$a = $p->do(create => @map, body => { metadata => { name => 'No Name' } });
is("$a->{status} $a->{reason}", '422 Invalid', 'a bad name');
like($a->{text}, qr/metadata\.name: Invalid value/, 'names the field');

my %put = (metadata => { name => 'one',
    resourceVersion => $first->{resourceVersion} }, data => { a => '2' });
$a = $p->do(replace => @map, name => 'one', body => \%put);
is("$a->{status} $a->{obj}{data}{a}", '200 2', 'replace');
$a = $p->do(replace => @map, name => 'one', body => \%put);
is("$a->{status} $a->{reason}", '409 Conflict', 'replace what has changed');
like($a->{text}, qr/the object has been modified/, 'in its words');

# --- patch, apply ----------------------------------------------------------

$a = $p->do(patch => @map, name => 'one', body => { data => { a => undef,
    b => '3' } });
is("$a->{status} " . $a->{obj}{data}{b} . ($a->{obj}{data}{a} // ''), '200 3',
    'patch: null takes away');
my $version = $a->{obj}{metadata}{resourceVersion};
$a = $p->do(patch => @map, name => 'one', body => { metadata => {
    resourceVersion => $first->{resourceVersion} }, data => { b => '4' } });
is("$a->{status} $a->{reason}", '409 Conflict', 'patch of what has changed');
$a = $p->do(patch => @map, name => 'one', body => { metadata => {
    resourceVersion => $version }, data => { b => '5' } });
is("$a->{status} $a->{obj}{data}{b}", '200 5', 'patch of what has not');

my %web = (metadata => { name => 'web' }, spec => { replicas => 1,
    selector => { matchLabels => { a => 'b' } }, template => {
    metadata => { labels => { a => 'b' } }, spec => { containers => [
    { name => 'web', image => 'none' }] } } });
my @web = (kind => 'deployment', ns => 'team', name => 'web');
$a = $p->do(apply => @web, body => \%web);
is("$a->{status} $a->{obj}{spec}{replicas}", '201 1', 'apply makes it');
$kube->must('-n', 'team', 'scale', 'deployment/web', '--replicas=3');
$a = $p->do(apply => @web, body => \%web);
is("$a->{status} $a->{obj}{spec}{replicas}", '200 1', 'and has its way');
delete $web{spec}{replicas};
$web{spec}{paused} = JSON::true;
$a = $p->do(apply => @web, body => \%web);
ok($a->{obj}{spec}{paused}, 'and takes part');
$a = $p->do(patch => @web, sub => 'status', body => { status => {
    observedGeneration => 7 }, spec => { replicas => 9 } });
is("$a->{status} $a->{obj}{status}{observedGeneration} "
    . $a->{obj}{spec}{replicas}, '200 7 1', 'patch of the status alone');

# --- delete ----------------------------------------------------------------

my @one = (@map, name => 'one');
$a = $p->do(delete => @one, uid => '0' x 8 . '-0000-0000-0000-' . '0' x 12);
is("$a->{status} $a->{reason}", '409 Conflict', 'delete another one');
$a = $p->do(delete => @one, version => $first->{resourceVersion});
is("$a->{status} $a->{reason}", '409 Conflict', 'delete what has changed');
$a = $p->do(delete => @map, name => '');
isnt($a->{status}, 200, 'no name is not all of them') or diag(explain($a));
$a = $p->do(delete => @map, name => '..');
isnt($a->{status}, 200, 'nor is another path');
is($p->do(get => @one)->{status}, 200, 'it is still there');
$a = $p->do(delete => @one, uid => $first->{uid}, grace => 0);
is($a->{status}, 200, 'delete this one');
is($p->do(get => @one)->{status}, 404, 'is gone');
$a = $p->do(delete => @one, uid => $first->{uid});
is("$a->{status} $a->{text}", '200 ', 'delete what is gone');
ok(!defined $a->{obj}, 'has no object');
$a = $p->do(delete => kind => 'worker', ns => 'team', name => 'w');
is($a->{status}, 404, 'delete of a kind that is not there');

# --- streams ---------------------------------------------------------------

my $list = '/api/v1/namespaces/team/configmaps';
my $id = $p->begin(stream => path => "$list?limit=500");
my $text = '';
while (defined(my $part = $p->part($id))) {
    $text .= $part;
}
is(JSON->new->decode($text)->{kind}, 'ConfigMapList', 'a stream that ends');
$a = $p->answer($id);
is("$a->{status} $a->{text}", '200 ', 'ends well');
$a = $p->do(stream => path => '/api/v1/nothing');
is("$a->{status} $a->{reason}", '404 NotFound', 'a stream of nothing');

my @watches = map { $p->begin(stream => path => "$list?watch=1") } 1 .. 20;
$p->do(create => @map, body => { metadata => { name => 'two' } });
for my $watch (@watches) {
    my $seen = '';
    $seen .= $p->part($watch) // last while $seen !~ /"two"/;
    like($seen, qr/^\{"type":"ADDED"/, 'told') if $watch eq $watches[-1];
}
is($p->do(cancel => id => $watches[0])->{cancelled}, 1, 'one is cancelled');
is($p->do(get => @map, name => 'two')->{status}, 200,
    'streams keep no request waiting');

$a = $p->do(stream => path => "$list?watch=1&resourceVersion=0",
    silence => 300);
is("$a->{status} $a->{text}", '0 API server ' . $kube->url
    . ': it has stopped to say anything', 'silence');
$a = $p->do(stream => path => $list, stop => 1);
is("$a->{status} $a->{text}", '0 stopped', 'whoever reads stops it');
$a = $p->do(stream => path => $list, begin => { do => 'get', id => 'in',
    kind => $K8s::KIND{configmap}, ns => 'team', name => 'two' });
is($p->answer('in')->{status}, 200, 'a request that begins in a part');
$id = $p->begin(stream => id => 'self', path => $list, stop => 1,
    begin => { do => 'cancel', id => 'self' });
ok($p->answer('self')->{cancelled}, 'a stream that cancels itself');
is($p->do(get => @map, name => 'two')->{status}, 200, 'and all goes on');
is($p->quit, 0, 'the end, with streams under way');

# --- who we are ------------------------------------------------------------

my $pki = $kube->dir . '/pki';
$kube->must('-n', 'team', 'create', 'serviceaccount', $_) for qw(reader no);
$kube->must('-n', 'team', 'create', 'role', 'reader', '--verb=get',
    '--resource=configmaps');
$kube->must('-n', 'team', 'create', 'rolebinding', 'reader', '--role=reader',
    '--serviceaccount=team:reader');

# conf(NAME, USER[, CLUSTER]): a kubeconfig, of fields that are not usual
sub conf {
    my ($name, $user, %cluster) = @_;

    return $t->write($name, JSON->new->encode({ 'current-context' => 'a',
        contexts => [{ name => 'a', context => { cluster => 'c', user => 'u',
            namespace => 'team' } }], users => [{ name => 'u',
            user => $user }], clusters => [{ name => 'c', cluster => {
            server => $kube->url, 'certificate-authority' => $kube->ca,
            %cluster } }] }));
}

sub pem { encode_base64($t->read("$pki/$_[0]"), '') }

$t->write('token', $kube->account_token('team', 'no') . "\n");
$p = K8s->new($t, conf('reader.conf', { tokenFile => 'token' }));
is($p->{first}, 'ready ' . $kube->url . ' team', 'a token file');
$a = $p->do(get => @map, name => 'two');
is("$a->{status} $a->{reason}", '403 Forbidden', 'who may not');
like($a->{text}, qr/"system:serviceaccount:team:no" cannot get resource/,
    'is told so');
# what a role says holds some moments after it was made
$t->wait_for(sub { $kube->kubectl(qw(auth can-i get configmaps -n team
    --as=system:serviceaccount:team:reader))->{rc} == 0 }, 30, 'the role');
$t->write('token', $kube->account_token('team', 'reader'));
is($p->do(get => @map, name => 'two')->{status}, 200, 'a renewed token');
$a = $p->do(delete => @map, name => 'two');
is("$a->{status} $a->{reason}", '403 Forbidden', 'reading is not deleting');
$t->write('token', "eyJh.wrong.token\n");
$a = $p->do(get => @map, name => 'two');
is("$a->{status} $a->{reason}", '401 Unauthorized', 'a token that is none');
unlink "$dir/token";
$a = $p->do(get => @map, name => 'two');
like("$a->{status} $a->{text}", qr/^0 .*token: No such file or directory$/,
    'no token at all');
$p->quit;

$p = K8s->new($t, conf('data.conf', { 'client-certificate-data' =>
    pem('admin.crt'), 'client-key-data' => pem('admin.key') },
    'certificate-authority-data' => pem('ca.crt'),
    'tls-server-name' => 'kubernetes.default.svc'));
is($p->do(get => @map, name => 'two')->{status}, 200,
    'certificates as data, and the name to verify');
$p->quit;

# --- whom we trust ---------------------------------------------------------

my $admin = { 'client-certificate' => "$pki/admin.crt",
    'client-key' => "$pki/admin.key" };
$p = K8s->new($t, conf('name.conf', $admin,
    'tls-server-name' => 'elsewhere.example'));
$a = $p->do(get => @map, name => 'two');
like("$a->{status} $a->{text}", qr/^0 .*no alternative certificate subject/,
    'another name is refused');
$p->quit;
$t->write('ca.pem', $t->read($kube->ca));
$p = K8s->new($t, conf('ca.conf', $admin, 'certificate-authority' =>
    "$dir/ca.pem"));
is($p->do(get => @map, name => 'two')->{status}, 200, 'its authority');
$t->write('ca.pem', $t->read($t->pki . '/other-ca.pem'));
$a = $p->do(get => @map, name => 'two');
like("$a->{status} $a->{text}", qr/^0 .*(?:certificate|issuer)/,
    'another authority is refused, for the next request');
$p->quit;

$p = K8s->new($t, conf('exec.conf', { exec => { command => 'aws' } }));
like($p->{first}, qr/^error 400 \w+ \S+exec\.conf:1: users\.0\.user\.exec: is /,
    'a program for credentials is refused');
