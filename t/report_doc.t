# plugin-host/doc/report.md against bk_report.h: every offset, size, constant
# and every word that logs, metrics and the API use for a number.

use strict;
use warnings;
use FindBin;
use File::Temp ();
use Test::More tests => 10;

my $host = "$FindBin::Bin/../plugin-host";
my $dir = File::Temp->newdir('bkt-XXXXXX', TMPDIR => 1);

my $header = slurp("$host/include/bk_report.h");
my $doc = slurp("$host/doc/report.md");

# what the header has: structures with their fields, constants

(my $bare = $header) =~ s{/\*.*?\*/}{}gs;
my (%fields, %constants);

while ($bare =~ /typedef struct \{(.*?)\} (bk_report_\w+_t);/gs) {
    my ($body, $name) = ($1, $2);
    $fields{$name} = [ $body =~ /(\w+)(?:\[\w+\])?;/g ];
}

while ($bare =~ /^#define (BK_[A-Z0-9_]+) +(?=\S)/gm) {
    $constants{$1} = 1 if $1 !~ /_NAMES$|_BOUNDS$/;
}

# what the document says

my (%said, %size, %values, %words);
my $struct;

for (split /\n/, $doc) {
    if (/^###? /) {
        ($struct, my $n) = /^### (bk_report_\w+_t), (\d+) bytes$/;
        $size{$struct} = $n if defined $struct;
    } elsif (defined $struct && /^\| (\d+) \| (\d+) \| (\w+) \|/) {
        push @{ $said{$struct} }, [ $3, $1, $2 ];
    } elsif (/^\| (BK_\w+) \| (\S+) \|(?: (\w+) \|.*)?$/) {
        $values{$1} = $2;
        $words{$1} = $3 if defined $3;
    }
}

is(scalar keys %fields, 4, 'the header has four structures');
is_deeply([ sort keys %size ], [ sort keys %fields ],
    'the document describes each');
is_deeply({ map { $_ => [ map { $_->[0] } @{ $said{$_} } ] } keys %said },
    \%fields, 'with all fields in their order');
is_deeply([ sort keys %values ], [ sort keys %constants ],
    'and every constant');

my ($rc, $out) = compare(\%said, \%size, \%values, \%words);
is($rc, 0, 'all numbers and words agree with the compiler') or diag($out);

# the comparison can fail

$said{bk_report_pool_t}[2][1]++;
($rc, $out) = compare(\%said, \%size, \%values, \%words);
isnt($rc, 0, 'a wrong offset is seen');
$said{bk_report_pool_t}[2][1]--;

$values{BK_REFUSED_KEY}++;
($rc, $out) = compare(\%said, \%size, \%values, {});
isnt($rc, 0, 'a wrong constant is seen');
$values{BK_REFUSED_KEY}--;

$words{BK_CUT_MOVED} = 'gone';
($rc, $out) = compare(\%said, \%size, \%values, \%words);
isnt($rc, 0, 'a wrong word is seen');

# no hole: fields follow each other, so that padding has a name

my @holes;
for my $name (sort keys %said) {
    my $at = 0;
    for (@{ $said{$name} }) {
        push @holes, "$name.$_->[0]" if $_->[1] != $at;
        $at = $_->[1] + $_->[2];
    }
    push @holes, "$name: end" if $at != $size{$name};
}
is_deeply(\@holes, [], 'no structure has a hole');

# every reason has a place among the counters

my %room = (refused => $values{BK_REFUSED}, cut => $values{BK_CUT});
my @over = grep {
    my $f = $_;
    my ($field) = grep { $_->[0] eq $f } @{ $said{bk_report_pool_t} };
    $field->[2] / 8 < $room{$f}
} keys %room;
is_deeply(\@over, [], 'and every reason has a counter');


sub compare {
    my ($said, $size, $values, $words) = @_;

    open my $fh, '>', "$dir/doc.c" or die $!;
    print $fh "#include <stddef.h>\n#include <string.h>\n",
        "#include \"bk_report.h\"\n",
        "#define same(a, b) _Static_assert((a) == (b), #a)\n";

    for my $name (sort keys %$said) {
        print $fh "same(sizeof($name), $size->{$name});\n";
        for (@{ $said->{$name} }) {
            print $fh "same(offsetof($name, $_->[0]), $_->[1]);\n",
                "same(sizeof((($name *) 0)->$_->[0]), $_->[2]);\n";
        }
    }

    for (sort keys %$values) {
        print $fh $values->{$_} =~ /^"/
            ? "same(__builtin_strcmp($_, $values->{$_}), 0);\n"
            : "same($_, $values->{$_});\n";
    }

    my @kinds = qw(REFUSED CUT HANDSHAKE PHASE KIND);
    print $fh "static const char *const names_$_\[] = BK_${_}_NAMES;\n"
        for @kinds;
    print $fh "int main(void) { int bad = 0;\n";
    for my $c (sort keys %$words) {
        my ($kind) = grep { $c =~ /^BK_${_}_/ } @kinds;
        print $fh "bad |= strcmp(names_$kind\[$c], \"$words->{$c}\") != 0;\n";
    }
    print $fh "return bad; }\n";
    close $fh;

    my $cc = $ENV{CC} // 'cc';
    my $said_ = qx($cc -I$host/include -o $dir/doc $dir/doc.c 2>&1);
    return ($?, $said_) if $?;

    return (system("$dir/doc"), 'a word differs');
}


sub slurp {
    my ($file) = @_;

    open my $fh, '<', $file or die "$file: $!";
    local $/;

    return scalar <$fh>;
}
