# plugin-host/doc/table.md against bk_table.h: every offset, size and constant,
# in both directions.

use strict;
use warnings;
use FindBin;
use File::Temp ();
use Test::More tests => 8;

my $host = "$FindBin::Bin/../plugin-host";
my $dir = File::Temp->newdir('bkt-XXXXXX', TMPDIR => 1);

my $header = slurp("$host/include/bk_table.h");
my $doc = slurp("$host/doc/table.md");

# what the header has: structures with their fields, constants

(my $bare = $header) =~ s{/\*.*?\*/}{}gs;
my (%fields, %constants);

while ($bare =~ /typedef struct \{(.*?)\} (bk_table_\w+_t);/gs) {
    my ($body, $name) = ($1, $2);
    $fields{$name} = [ $body =~ /(\w+)(?:\[\w+\])?;/g ];
}

while ($bare =~ /^#define (BK_[A-Z0-9_]+) +(?=\S)/gm) {
    $constants{$1} = 1;
}

# what the document says

my (%said, %size, %values);
my $struct;

for (split /\n/, $doc) {
    if (/^###? /) {
        ($struct, my $n) = /^### (bk_table_\w+_t), (\d+) bytes$/;
        $size{$struct} = $n if defined $struct;
    } elsif (defined $struct
             && /^\| (\d+) \| (\d+) \| (\w+) \|/) {
        push @{ $said{$struct} }, [ $3, $1, $2 ];
    } elsif (/^\| (BK_\w+) \| (\S+) \|$/) {
        $values{$1} = $2;
    }
}

ok(keys %fields == 10, 'the header has ten structures');
is_deeply([ sort keys %size ], [ sort keys %fields ],
    'the document describes each');
is_deeply({ map { $_ => [ map { $_->[0] } @{ $said{$_} } ] } keys %said },
    \%fields, 'with all fields in their order');
is_deeply([ sort keys %values ], [ sort keys %constants ],
    'and every constant');

my ($rc, $out) = compare(\%said, \%size, \%values);
is($rc, 0, 'all numbers agree with the compiler') or diag($out);

# the comparison can fail

$said{bk_table_entry_t}[2][1]++;
($rc, $out) = compare(\%said, \%size, \%values);
isnt($rc, 0, 'a wrong offset is seen');
$said{bk_table_entry_t}[2][1]--;

$values{BK_ALLOC_REVOKED}++;
($rc, $out) = compare(\%said, \%size, \%values);
isnt($rc, 0, 'a wrong constant is seen');

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


sub compare {
    my ($said, $size, $values) = @_;

    open my $fh, '>', "$dir/doc.c" or die $!;
    print $fh "#include <stddef.h>\n#include \"bk_table.h\"\n",
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

    close $fh;

    my $cc = $ENV{CC} // 'cc';
    my $out = qx($cc -I$host/include -fsyntax-only $dir/doc.c 2>&1);

    return ($?, $out);
}


sub slurp {
    my ($file) = @_;

    open my $fh, '<', $file or die "$file: $!";
    local $/;

    return scalar <$fh>;
}
