# A client that is cut in the middle of a Session reads first what it was sent:
# a PING, then the reason (settle.c says why).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::Buildkit;
use Test::Buildkit::Live;

plan tests => 9;

my $t = Test::Buildkit->new;

my $live = Test::Buildkit::Live->new($t, 'w1');
my %token = map { $_ => $t->token } qw(open answers none);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") }
    keys %token;
my $table = $t->table('pool default/demo', $live->row,
    map { "alloc token:$_ default/demo w1 ready 0" } values %token);
my $nginx = $t->nginx($t->gateway_conf);

# END_STREAM with the headers, or with the last DATA
sub ask { $_[0]->frame(1, 5, $_[1], "\x83\x86\x84") }
sub last_data { $_[0]->frame(0, 1, $_[1], 'that is all') }

# types and streams of what came from us
sub frames {
    my ($client) = @_;

    return join ' ', map { "$_->[0]:$_->[2]" } @{$client->{frames}};
}

for my $name (qw(open answers)) {
    my ($client, $worker) = $live->connect($cert{$name});
    ask($client, 1);
    $client->request(3);
    $client->data(3, 'more to come');
    $worker->until(sub { $worker->seen(0, 3) });
    @{$client->{frames}} = ();

    $table->cmd("end token:$token{$name} revoked now");
    ok($client->until(sub { $client->seen(6) }), "$name: a PING");
    $client->frame(6, 1, 0, $client->{frames}[0][3]) if $name eq 'answers';
    like(($client->said($_))[1], qr/was revoked/, "$name: stream $_")
        for 1, 3;
    # (two seconds later there is a GOAWAY)
    like(frames($client), qr/^6:0 1:1 1:3(?: 7:0)?$/,
        "$name: in this order");
}

{
    my ($client, $worker) = $live->connect($cert{none});
    ask($client, 1);
    $client->request(3);
    last_data($client, 3);
    $client->request(5);
    $worker->until(sub { $worker->seen(1, 5) });
    $worker->finish_stream(5);
    $client->until(sub { $client->seen(1, 5) });
    @{$client->{frames}} = ();

    $table->cmd("end token:$token{none} revoked now");
    $client->said(3);
    like(frames($client), qr/^1:1 1:3/, 'none is open: at once');
}
