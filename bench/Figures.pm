# The figures of `make bench`: samples by contender and key, medians, ratios to
# ours, tables for people.  Used by bench.pl only.

package Figures;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(record ratio table goal);

my %sample;


sub record
{
    my ($name, %values) = @_;

    push @{ $sample{$name}{$_} }, $values{$_} for keys %values;
}


sub median
{
    my @v = sort { $a <=> $b } @_;

    return @v ? ($v[$#v / 2] + $v[@v / 2]) / 2 : undef;
}


sub figure
{
    my ($name, $key) = @_;

    return median(@{ $sample{$name}{$key} // [] });
}


# The median of ours / theirs, each pair from one round; undef: not measured.
sub ratio
{
    my ($name, $key) = @_;

    my $ours   = $sample{ours}{$key} // [];
    my $theirs = $sample{$name}{$key} // [];

    return @$ours && @$ours == @$theirs
        ? median(map { $ours->[$_] / $theirs->[$_] } 0 .. $#$ours) : undef;
}


sub cell
{
    my ($format, $value) = @_;

    return defined $value ? sprintf($format, $value) : '-';
}


# columns: [heading, key, format] or [heading, key, 'ratio']
sub table
{
    my ($title, $contenders, @columns) = @_;

    print "\n$title\n";
    printf "  %-35s", '';
    printf " %9s", $_->[0] for @columns;
    print "\n";

    for my $c (@$contenders) {
        my ($name, $label) = @$c;

        printf "  %-35s", $label;

        for my $column (@columns) {
            my (undef, $key, $format) = @$column;

            printf " %9s", $format eq 'ratio'
                ? cell('%.2f', ratio($name, $key))
                : cell($format, figure($name, $key));
        }

        print "\n";
    }
}


sub goal
{
    my ($text, $value, $format, $limit) = @_;

    printf "  %-50s %9s  %-11s %s\n", $text, cell($format, $value),
        sprintf("(<= $format)", $limit),
        !defined $value ? 'not measured'
        : $value <= $limit ? 'reached' : 'NOT reached';
}


1;
