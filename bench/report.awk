# Figures (see figures.awk) to a table: each row the median and the range of the rounds of one figure. Where a peer was
# measured, too, the last column is how many times as fast ours is: by rate, in the phase latency by p99.

BEGIN { FS = "\t" }
{
    key = $1 FS $2 FS $3 FS $4 FS $5 FS $6
    if (!(key in count)) { keys[++rows] = key; if ($1 != "windlass") peers = 1 }
    n = ++count[key]
    for (f = 7; f <= 12; f++) value[key, f, n] = $f
}
# The values of one field in order, in `sorted`.
function sort_values(key, f,   i, j, kept) {
    for (i = 1; i <= count[key]; i++) {
        kept = value[key, f, i]
        for (j = i - 1; j >= 1 && sorted[j] + 0 > kept + 0; j--) sorted[j + 1] = sorted[j]
        sorted[j + 1] = kept
    }
}
function median(key, f) {
    sort_values(key, f)
    return sorted[int((count[key] + 1) / 2)]
}
function spread(key, f, form) {
    sort_values(key, f)
    return sprintf(form " (" form "-" form ")", median(key, f), sorted[1], sorted[count[key]])
}
# By how much ours is ahead of this peer, or nothing.
function ratio(key,   part, ours) {
    split(key, part, FS)
    for (ours in count) {
        split(ours, mine, FS)
        if (mine[1] != "windlass" || mine[3] != part[3] || mine[4] != part[4] || mine[5] != part[5]) continue
        if (part[4] == "latency") return sprintf("%.1f", median(key, 9) / median(ours, 9))
        return sprintf("%.2f", median(ours, 7) / median(key, 7))
    }
    return "-"
}
function or_dash(text, form) { return text == "" ? "-" : sprintf(form, text) }
END {
    printf "| store | phase | slots or callers | jobs | who | jobs/s: median (range) | p50 / p99 ms | CPU us/job | store CPU us/job | peak MiB |"
    print peers ? " ours is so many times as fast |" : ""
    printf "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    print peers ? " --- |" : ""
    for (row = 1; row <= rows; row++) {
        key = keys[row]
        split(key, part, FS)
        who = part[1] (part[2] == "" ? "" : ", " part[2])
        # An open loop: its rate is that of the jobs that come.
        rate = part[4] == "latency" ? "-" : spread(key, 7, "%.0f")
        times = median(key, 9) == "" ? "-" : sprintf("%.2f / %s", median(key, 8), spread(key, 9, "%.2f"))
        printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |", part[3], part[4], part[5], part[6], who, rate, times,
            or_dash(median(key, 10), "%.1f"), or_dash(median(key, 11), "%.1f"), or_dash(median(key, 12) == "" ? "" : median(key, 12) / 1048576, "%.1f")
        print peers ? " " (part[1] == "windlass" ? "" : ratio(key)) " |" : ""
    }
}
