package Test::Buildkit::Old;

# Sessions that find themselves in an nginx process that takes no new ones:
# live and held, each with a fate that is still to come.
#
#   my $old = Test::Buildkit::Old->new($t);     # worker and table
#   ... nginx ...
#   $old->begin;
#   ... reload, upgrade, quit ...
#   $old->check;                                # CHECKS checks
#
# Afterwards one live session is left; ->end ends it.

use strict;
use warnings;

use Test::Buildkit::Live;
use Test::More ();
use Time::HiRes qw(time);

use constant CHECKS => 12;

my @LIVE = qw(stays expires revoked);
my @HELD = qw(woken told gone);


sub new {
    my ($class, $t) = @_;

    my $live = Test::Buildkit::Live->new($t, 'w1');
    my $self = bless { t => $t, live => $live }, $class;

    $self->{token}{$_} = $t->token for @LIVE, @HELD;
    $self->{cert}{$_} = $t->client_cert($_, cn => "alloc:$self->{token}{$_}")
        for @LIVE, @HELD;
    $self->{table} = $t->table('pool default/demo', $live->row,
        (map { "alloc token:$self->{token}{$_} default/demo w1 ready 0" }
            @LIVE),
        (map { "alloc token:$self->{token}{$_} default/demo w1 starting 0" }
            @HELD));

    return $self;
}


sub begin {
    my ($self) = @_;

    for my $name (@LIVE) {
        my ($client, $worker) = $self->{live}->connect($self->{cert}{$name});
        $client->request(1);
        $worker->until(sub { $worker->seen(1, 1) });
        $self->{$name} = [$client, $worker];
    }

    for my $name (@HELD) {
        my $h2 = $self->{t}->grpc($self->{cert}{$name}, streams => [],
            keep => 1);
        $h2->open_stream(1);
        $self->{t}->wait_for(sub { $h2->_more(0.02); $h2->{settings} }, 10,
            "$name to be held");
        $self->{$name} = $h2;
    }

    return;
}


# one at a time, so that each is found by its own change
sub check {
    my ($self) = @_;

    my $table = $self->{table};
    $self->{gone}->finish;
    $self->talks('stays', 'a live session goes on');

    $table->cmd("alloc token:$self->{token}{woken} default/demo w1 ready 0");
    my $worker = $self->{live}->accept;
    $worker->{preface} = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    Test::More::ok($worker->until(sub { $worker->seen(1, 1) }),
        'a held session has its worker');
    $worker->data(1, 'at last');
    Test::More::ok($self->{woken}->wait_for_data('at last'),
        'and hears of it');
    $self->{woken}->finish;

    $self->end_alloc('told', 'revoked');
    $self->says($self->{told}, qr/ was revoked at .*: enough;/,
        'one that is revoked while it waits');

    # what it waited for happens all the same
    $table->cmd("alloc token:$self->{token}{gone} default/demo w1 ready 0");

    $self->end_alloc('revoked', 'revoked');
    $self->says($self->{revoked}[0], qr/ was revoked at .*: enough/,
        'a live one that is revoked');
    Test::More::ok($self->{revoked}[1]->wait_closed($Test::Buildkit::PATIENCE),
        'its worker is let go');

    # the table does not change again: the clock ends it
    $table->cmd("alloc token:$self->{token}{expires} default/demo w1 ready "
        . int(time * 1000 + 700));
    $self->says($self->{expires}[0], qr/ expired at /,
        'a live one whose time is over');

    $self->talks('stays', 'the first one still goes on');
    Test::More::ok(!$self->{live}->knocked, 'one that left was not dialled');

    return;
}


sub end {
    my ($self) = @_;

    $self->{stays}[0]->finish;

    return $self->{stays}[1]->wait_closed($Test::Buildkit::PATIENCE);
}


sub talks {
    my ($self, $name, $what) = @_;

    my ($client, $worker) = @{$self->{$name}};
    my $text = 'word ' . ++$self->{words} . ';';
    $worker->data(1, $text);

    return Test::More::ok($client->until(sub { $client->body(1) =~ /$text/ }),
        $what);
}


sub end_alloc {
    my ($self, $name, $state) = @_;

    return $self->{table}->cmd('end ' . $self->{t}->hash($self->{token}{$name})
        . " $state enough");
}


sub says {
    my ($self, $h2, $text, $what) = @_;

    $h2->wait_stream(1, $Test::Buildkit::PATIENCE);
    my $got = $h2->{streams}{1} // {};
    Test::More::is($got->{grpc_status}, 16, "$what: code");
    Test::More::like($got->{message}, $text, "$what: text");
    $h2->finish;

    return;
}


package Test::Buildkit::H2::Connection;

sub wait_for_data {
    my ($self, $text) = @_;

    my $deadline = time + $Test::Buildkit::PATIENCE;
    while (time < $deadline && !$self->{closed}) {
        $self->_more(0.05);
        return 1 if grep { $_->[0] == 0 && $_->[3] eq $text }
            @{$self->{frames}};
    }

    return 0;
}

1;
