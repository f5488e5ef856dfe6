# The audit trail of connections in conf/nginx.conf: one line of JSON for each
# that ended, right also where a reason has quotes in it, and never a token.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON;
use Test::Buildkit;

plan tests => 13;

my $t = Test::Buildkit->new;
my ($format) = $t->read($t->root . '/conf/nginx.conf')
    =~ /^(    log_format buildkit_audit .*?;\n)/ms or die 'no such format';

my %token = map { $_ => $t->token } qw(good bad);
my $table = $t->table('pool default/demo',
    'worker default/demo w1 127.0.0.1:' . $t->buildkitd('w1')
        . ' w1.workers.buildkit.internal ready',
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $reason = 'over "budget" \ again';
$table->cmd("end token:$token{bad} revoked $reason");

my $nginx = $t->nginx($t->gateway_conf(stream => $format,
    server => "access_log %%DIR%%/audit.log buildkit_audit;\n"));

ask('good', 0);
ask('bad', 1);
stranger();

my @lines = $t->wait_for(sub {
    my @all = ($t->read('audit.log') // '') =~ /(.*)\n/g;
    return @all == 3 ? \@all : undef;
}, 10, 'three lines')->@*;
my ($good, $bad, $none) = map { decode_json($_) } @lines;

is($good->{allocation}, $t->id($token{good}), 'the allocation');
is("$good->{pool} $good->{worker} $good->{outcome} $good->{what}",
    'default/demo w1 routed connection', '... where it went');
like($good->{client}, qr/^127\.0\.0\.1:\d+$/, '... from where');
like($good->{time}, qr/^\d{4}-\d\d-\d\dT/, '... when');
is($good->{status}, 200, '... how it ended');
cmp_ok($good->{$_}, '>', 0, "... $_") for qw(seconds bytesUp bytesDown);

is("$bad->{outcome} $bad->{status}", 'refused:revoked 403', 'one that is refused');
like($bad->{reason}, qr/\Q$reason\E/, '... and why, with its quotes');
is($none->{allocation}, '', 'one without an allocation');

my $all = join '', @lines;
is(() = $all =~ /\Q$token{good}\E|\Q$token{bad}\E/g, 0, 'no token');
is(scalar(@lines), 3, 'a line each');


sub ask {
    my ($name, $rc) = @_;

    my $cert = $t->client_cert($name, cn => "alloc:$token{$name}");
    my $r = $t->run($t->lab('buildctl'), '--addr', 'tcp://localhost:'
        . $t->port('gw'), '--tlscacert', $cert->{ca}, '--tlscert',
        $cert->{cert}, '--tlskey', $cert->{key}, 'debug', 'workers');
    die "$name: $r->{rc} $r->{err}" if $r->{rc} != $rc;
    seen($name eq 'good' ? 1 : 2);
}

sub stranger {
    my $cert = $t->client_cert('none', cn => 'nobody');
    $t->run($t->lab('buildctl'), '--addr', 'tcp://localhost:' . $t->port('gw'),
        '--tlscacert', $cert->{ca}, '--tlscert', $cert->{cert}, '--tlskey',
        $cert->{key}, 'debug', 'workers');
}

sub seen {
    my ($n) = @_;

    $t->wait_for(sub { ($t->read('audit.log') // '') =~ tr/\n// == $n }, 10,
        "line $n");
}
