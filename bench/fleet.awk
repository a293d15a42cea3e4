# Judges the events of a fleet of Go and Rust workers with kills (fleet.sh). Go is unfenced: of its runs only their starts
# and the ends of its handlers are known, so what is held to account is what Rust accepted, and who ran beside whom.
#   I2 at most one accepted outcome a job            I3 fences rise with every claim of Rust's
#   I4 none from an older claim than the newest      I5 nobody takes a job while another's lease runs
# Ends with 1 if one is violated, or if no job of a killed worker ran again.
# in: lines `id seconds event fence file state`, sorted by id and time. tested by: crates/windlass-cli/tests/cli/fleet.rs
# kills: lines `seconds file`; lease, go_lease: seconds.

BEGIN { while ((getline line < kills) > 0) { split(line, f, " "); killed[f[2]] = f[1] } }
function bad(what) { print what ": job " id > "/dev/stderr"; failed++ }
function begin() { id = $1; fence = ""; holder = ""; held = 0; outcomes = 0; ended = 0 }
# Somebody takes the job: whoever had it must have let go, or his lease be over.
function take(by,   since) {
    if (outcomes && done) bad("I2, it runs again after its end was accepted")
    if (held) {
        since = $2 - from
        if (since < (holder == "go" ? go_lease : lease) - 0.5) bad("I5, taken by " by " after " since " s, while " holder " held it")
        if (file in killed) { again++; if ($2 - killed[file] > most[holder]) most[holder] = $2 - killed[file] }
    }
    holder = by; held = 1; from = $2; file = $5
}
$1 != id { begin() }
$3 == "claimed" {
    if (fence != "" && (length($4) < length(fence) || (length($4) == length(fence) && $4 "" <= fence ""))) bad("I3, a later claim has no higher fence")
    take("rust"); fence = $4; done = 0; next
}
$3 == "started" && $4 == "-" { take("go"); next }
$3 == "ended" { held = 0; ended++; next }
$3 == "finished" {
    if ($4 "" != fence "" || holder != "rust") bad("I4, an outcome of fence " $4 " was accepted, and " holder " " fence " has it")
    done = $6 == "completed"; outcomes += done; held = 0
    if (outcomes > 1) bad("I2, accepted " outcomes " times")
    seen++; next
}
$3 == "released" || $3 == "stale" { if ($4 "" == fence "") held = 0 }
END {
    printf "%d outcomes of Rust seen; %d runs of killed workers ran again, %.1f s after the kill at most (of Rust), %.1f s (of Go)\n", seen, again, most["rust"], most["go"]
    if (!again) { print "no killed worker held anything: the run shows nothing" > "/dev/stderr"; exit 1 }
    if (failed) { print failed " violations" > "/dev/stderr"; exit 1 }
}
