# The figures of `make bench`: samples by contender and key, medians, ratios to
# ours, tables for people.  Used by bench.pl only.

package Figures;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(record figure spread table goal ratio_goal);

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


# Ours / theirs, each pair from one round, in order; none: not measured.
sub ratios
{
    my ($name, $key, $of) = @_;

    my $ours   = $sample{ $of // 'ours' }{$key} // [];
    my $theirs = $sample{$name}{$key} // [];

    return if @$ours != @$theirs;
    return sort { $a <=> $b } map { $ours->[$_] / $theirs->[$_] } 0 .. $#$ours;
}


# One to another: the median, and between what half of the rounds lie.
sub spread
{
    my ($of, $name, $key) = @_;

    my @r = ratios($name, $key, $of);

    return @r ? (median(@r), @r[$#r / 4, $#r - int($#r / 4)]) : ();
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
                ? cell('%.2f', median(ratios($name, $key)))
                : cell($format, figure($name, $key));
        }

        print "\n";
    }
}


sub goal
{
    my ($text, $value, $format, $limit) = @_;

    verdict($text, cell($format, $value), sprintf($format, $limit),
        !defined $value ? 'not measured'
        : $value <= $limit ? 'reached' : 'NOT reached');
}


# For a ratio to ours: the rounds say how far to trust it.
sub ratio_goal
{
    my ($text, $name, $key, $limit) = @_;

    my ($middle, $low, $high) = spread('ours', $name, $key);

    if (!defined $middle) {
        goal($text, undef, '%.2f', $limit);
        return;
    }

    verdict($text, cell('%.2f', $middle), sprintf('%.2f', $limit),
        ($middle <= $limit ? 'reached'
            : $low <= $limit ? 'equal within noise' : 'NOT reached')
        . sprintf(' (half of the rounds: %.2f to %.2f)', $low, $high));
}


sub verdict
{
    my ($text, $value, $limit, $verdict) = @_;

    printf "  %-44s %8s  <= %-6s %s\n", $text, $value, $limit, $verdict;
}


1;
