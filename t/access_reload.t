#!/usr/bin/perl

# Rules are read again on SIGHUP: what is wrong changes nothing, and nobody is
# judged by what the rules before said of him.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Access;
use Test::Buildkit;

plan tests => 19;

my $t = Test::Buildkit->new;
my $rules = <<'E';
access:
  rules:
    - {name: first, match: [{claim: a, values: ["1"]}], verbs: [wake, admin]}
E
my $h = Access::host($t, $rules);

sub may {
    my ($claims) = @_;
    return Access::as($t, Access::token('now', 'ann', $claims),
        POST => '/api/v1/who/may?verb=2&pool=a/b');
}

# the rest of the configuration, with other rules
sub change {
    my ($new, $says) = @_;

    my $log = $h->{proc}{log};
    my $seen = () = $t->read($log) =~ /$says/g;
    my $text = $t->read($h->{conf});
    $text =~ s/^access:\n(?: .*\n)*|^\n(?=plugins:)/$new/m or die;
    $t->write($h->{conf}, $text);
    $h->kill('HUP');
    $t->wait_for(sub { $seen < (() = $t->read($log) =~ /$says/g) }, 5,
        "the log to say $says");
}

my $done = qr/access rules, log level and format were reloaded/;

is(may({ a => 1 })->{json}{rule}, 'first', 'the first rules');
is(may({ b => 1 })->{status}, 403, 'and no others');

change(<<'E', $done);
access:
  rules:
    - {name: second, match: [{claim: b, values: ["1"]}], verbs: [wake]}
    - {name: never, match: [{claim: b, values: ["1"]}], verbs: [wake]}
E
is(may({ a => 1 })->{status}, 403, 'they are gone');
is(may({ b => 1 })->{json}{rule}, 'second', 'there are others');
ok($t->wait_for(sub { $t->read($h->{proc}{log})
    =~ /access: rule never can never match/ }, 30, 'a word'),
    'one of which can never match');

# wrong ones
for (["access:\n  rules:\n    - {name: 'a b'}\n", 'nothing was reloaded: .*name'],
    ["access:\n  rules:\n    - {nme: a}\n", 'nothing was reloaded: .*unknown key'],
    ["access:\n  rules:\n    - {name: a, match: [{claim: b, pattern: '('}]}\n",
        'nothing was reloaded: .*no regular expression'])
{
    change($_->[0], qr/$_->[1]/);
    is(may({ b => 1 })->{json}{rule}, 'second', 'what is wrong changes nothing');
}

# again and again; the peer of the socket is the same one all the time
my $r = $h->request(GET => '/api/v1/who/may?verb=8&pool=a/b');
is($r->{json}{rule}, 'operators', 'an operator');
for my $n (1 .. 5) {
    change(<<"E", $done);
access:
  rules:
    - {name: r$n, match: [{claim: b, values: ["1"]}], verbs: [wake]}
E
    is(may({ b => 1 })->{json}{rule}, "r$n", "change $n");
}
is($h->request(GET => '/api/v1/explain?verb=admin')->{json}{rule}, 'operators',
    'he still is');

# none at all: as it was before there were any
change("\n", $done);
is($h->request(GET => '/api/v1/who/may?verb=8&pool=a/b')->{json}{rule},
    'unix-peers', 'no rules: the socket');
is(may({ b => 1 })->{status}, 403, 'and nobody else');
change("access: {rules: [{name: back, verbs: [wake]}]}\n", $done);
is(may({})->{json}{rule}, 'back', 'and back');
is($h->stop, 0, 'stops');
