# Prints mean and variance (biased) of each column of a row-major table whose numbers come one per line.
# Usage: … | awk -v columns=13 -f samples/column-stats.awk
# Two passes over the values: a mean far from 0 would otherwise cost the variance its digits.
{ value[NR] = $1 }
END {
    rows = NR / columns
    printf "%8s %16s %16s\n", "feature", "mean", "variance"
    for (c = 1; c <= columns; c++) {
        mean = 0; variance = 0
        for (r = 0; r < rows; r++) mean += value[r * columns + c] / rows
        for (r = 0; r < rows; r++) variance += (value[r * columns + c] - mean) ^ 2 / rows
        printf "%8d %16.6g %16.6g\n", c, mean, variance
    }
}
