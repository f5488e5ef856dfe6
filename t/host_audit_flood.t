#!/usr/bin/perl

# Who is refused again and again, with a bad token or by the rules, has some
# lines a second in the audit log, and the rest is counted; others have theirs.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use JSON ();
use List::Util qw(sum0);
use Test::Buildkit;
use Time::Piece;

plan tests => 15;

my $calls = 400;
my $t = Test::Buildkit->new;
my $h = Access::host($t, <<'E', plugins => "  - {name: metrics}\n  - {name: who}\n");
audit: {file: "%%DIR%%/audit.log"}
access:
  rules:
    - {name: one, match: [{claim: r, values: [a]}], pools: [default/one]}
E

# of the routes of t/plugins/who.c
sub ask {
    my ($token, $from, $what) = @_;
    return $t->http('127.0.0.1:' . $t->port('api'),
        POST => '/api/v1/who/' . ($what // 'wake'), undef, headers => {
            Authorization => "Bearer $token",
            $from ? ('X-Forwarded-For' => $from) : () })->{status};
}

# whole ones: the last may be half written yet
sub lines { map { JSON::decode_json($_) } $t->read('audit.log') =~ /^(.+)\n/mg }

sub left_out { sum0 map { $_->{leftOut} // 0 } lines() }

# At most 10 in a second, wherever that begins: 20 take longer than one.
sub dense {
    my @at = map { Time::Piece->strptime(substr($_->{time}, 0, 19),
        '%Y-%m-%dT%H:%M:%S')->epoch + substr $_->{time}, 19, 4 } @_;
    return grep { $at[$_] - $at[$_ - 20] < 0.5 } 20 .. $#at;
}

my $bad = Access::token('refuse');
my $ann = Access::token('now', 'ann', { r => 'a' });
my $eve = Access::token('now', 'eve', { r => 'x' });

for (['a bad token', [$bad], 401, sub { !$_->{who} && !$_->{forwardedFor} }],
    ['one behind a proxy', [$bad, '203.0.113.9'], 401,
        sub { ($_->{forwardedFor} // '') eq '203.0.113.9' }],
    ['whom no rule knows', [$eve], 403, sub { ($_->{who} // '') eq 'who:eve' }],
    ['whom a pool refuses', [$ann, undef, 'may?verb=1&pool=default/two'], 403,
        sub { ($_->{who} // '') eq 'who:ann' && $_->{what} eq 'allocate' }])
{
    my ($name, $ask, $status, $mine) = @$_;
    my $before = left_out();
    is((grep { ask(@$ask) != $status } 1 .. $calls), 0, "$name: $status");
    my @mine;
    $t->wait_for(sub {
        @mine = grep { $mine->() && !$_->{leftOut} } lines();
        return @mine + left_out() - $before == $calls;
    }, 60, 'a line, or a place in the number, for each');
    ok(@mine < $calls && @mine >= 10 && !dense(@mine), 'not too many lines')
        or diag(scalar @mine);
}

my ($rest) = grep { $_->{leftOut} } lines();
delete @$rest{qw(time leftOut)};
is_deeply($rest, { what => 'ask', outcome => 'refused' }, 'the line of the rest');

# the last one but for those of the rest, which come when a second is over
sub last_line { (grep { !$_->{leftOut} } lines())[-1] }

ask($bad);
is(last_line()->{status}, 401, 'a second later it has a line again');

# amid them
ask($bad) for 1 .. 49;
ask($bad, '198.51.100.7');
is(last_line()->{forwardedFor}, '198.51.100.7', 'somebody else has a line');
ask($ann);
is(last_line()->{outcome}, 'done', 'and so has what is done');

my $m = $t->http('127.0.0.1:' . $t->port('metrics'), GET => '/metrics')->{body};
is($m =~ /identities_total\{outcome="unknown"\} (\d+)/ && $1, 2 * $calls + 51,
    'all are counted');
is($h->stop, 0, 'stops');
is((grep { $_->{outcome} eq 'refused' && !$_->{leftOut} } lines()) + left_out(),
    4 * $calls + 51, 'and the rest is in the log');
