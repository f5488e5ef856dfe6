# Nobody reloads nginx: a rotation cuts nobody either, since whatever is issued
# leads to the old authority as well, and a worker that is started since is
# trusted by an nginx that knows the old one alone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;

plan tests => 11;

my $t = Test::Buildkit->new;
my ($host, $nginx) = $t->gateway(workers => 2);
my $old = $t->allocate('old');
my $first = $t->whose($old);
like($first, qr/^w[12]$/, 'it works');

my $r = $host->request('POST', '/api/v1/ca/rotate');
is($r->{status}, 200, 'rotated');
is($r->{json}{reload}{state}, 'none', 'nobody reloads nginx');
ok($t->wait_for(sub { $host->log
    =~ /tls have changed: reload nginx \(nginx -s reload\)/ }, 30, 'a word'),
    'which is said');

my $new = $t->allocate('new');
my $second = $t->whose($new);
like($second, qr/^w[12]$/, 'who has the new one gets through');
isnt($second, $first, 'to a worker that was started since');
my ($file) = glob $t->dir . "/state/workers/*$second/cert.pem";
is(scalar(() = $t->read($file) =~ /BEGIN CERT/g), 2,
    'which leads to the old authority');
is($t->whose($old), $first, 'who has the old one gets through');
is($t->whose({ %$new, ca => $old->{ca} }), $second, 'and knows it alone');

$nginx->reload;
is($t->whose($old) . $t->whose($new), $first . $second, 'and after a reload');
# one that came too late says nothing of certificates
is((grep { /probe|verify failed/
    && !/does not end|is not answered|does not take/ } split /\n/, $host->log),
    0, 'the probes are content');
