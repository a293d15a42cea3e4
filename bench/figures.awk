# One JSON document a line, as `windlass bench` and the drivers in peers/ print a figure, to fields between tabs:
# who, mode, store, phase, concurrency, jobs, rate, p50, p99, CPU a job, CPU of the store a job, peak memory, version,
# durability. Ends with 1 if a figure is not exact: it is none.

function field(name,   found) {
    if (!match($0, "\"" name "\" *: *(\"[^\"]*\"|[^,}]*)")) return ""
    found = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*" *: */, "", found); gsub(/"/, "", found)
    return found == "null" ? "" : found
}
/"phase"/ {
    who = field("peer")
    printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", who == "" ? "windlass" : who, field("mode"), field("store"),
        field("phase"), field("concurrency"), field("jobs"), field("rate"), field("p50_ms"), field("p99_ms"),
        field("cpu_us_per_job"), field("store_cpu_us_per_job"), field("peak_rss_bytes"), field("version"), field("durability")
    seen++
    if (field("lost") + field("twice") > 0) { print "delivery is not exact: " $0 > "/dev/stderr"; bad = 1 }
}
END { if (bad || !seen) exit 1 }
