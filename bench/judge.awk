# Judges the events of a run with kills (chaos.sh): invariants I2 to I5, and how long after the kill of a worker the jobs
# that it held ran again. Who crashed for the second time is a suspect and runs alone, after all that runs beside it: it has
# to be back in line in time, and how long it took to run is told apart. A rescue from a claim that nobody tells of says
# that its holder was killed before it could: then the time counts from the first kill after the rescue before it. Ends with 1 if one is violated, or if no kill met a running job.
# in: lines `id fence event seconds file state`, sorted by id, fence and time. A fence is compared as text: it is longer
# than a number of awk is exact. kills: lines `seconds file`; lease, within: seconds.
# tested by: crates/windlass-cli/tests/cli/chaos.rs

BEGIN { while ((getline line < kills) > 0) { split(line, f, " "); killed[f[2]] = f[1] } }
function first_kill_after(moment,   file, first) {
    for (file in killed) if (killed[file] > moment && (!first || killed[file] < first)) first = killed[file]
    return first
}
function bad(what) { print what ": job " id > "/dev/stderr"; failed++ }
# The claims of one job, in the order of their fences.
function judge(   c, outcomes, crashes, wait, from) {
    for (c = 1; c <= claims; c++) {
        outcomes += done[c]
        if (done[c] && c < claims) bad("I4, an outcome of fence " fence[c] " was accepted, and " fence[claims] " had been claimed")
        if (c > 1 && claimed[c] < claimed[c - 1]) bad("I3, a later claim has a lower fence")
        if (c > 1 && !left[c - 1] && claimed[c] - claimed[c - 1] < lease - 0.5) bad("I5, claimed while another lease ran")
        if (c > 1 && !left[c - 1] && (file[c - 1] in killed)) {
            from = killed[file[c - 1]]
            if (again[c - 1] && back[c - 1] && back[c - 1] - from <= within) from = first_kill_after(back[c - 1])
            wait = begun[c] - from
            if (++crashes == 1) {
                n++; total += wait
                if (wait > most) most = wait
                if (wait > within) bad("it ran again only " wait " s after the kill")
                continue
            }
            suspects++
            if (wait > alone) alone = wait
            # The event of a rescuer that was killed itself may be missing.
            wait = back[c - 1] ? back[c - 1] - killed[file[c - 1]] : 0
            if (wait > within) bad("it was back in line only " wait " s after the kill")
        }
    }
    if (outcomes > 1) bad("I2, accepted " outcomes " times")
    seen += outcomes
}
$1 != id { if (id != "") judge(); id = $1; claims = 0 }
$3 == "rescued" {
    rescued++
    if (claims && fence[claims] "" == $2 "") back[claims] = $4
    else if (claims) again[claims] = $4
    next
}
claims == 0 || fence[claims] "" != $2 "" { claims++; fence[claims] = $2; claimed[claims] = $4; begun[claims] = $4; file[claims] = $5; done[claims] = left[claims] = back[claims] = again[claims] = 0 }
$3 == "claimed" { claimed[claims] = $4 }
$3 == "started" { begun[claims] = $4 }
$3 == "finished" { done[claims]++; left[claims] = 1 }
$3 == "released" || $3 == "stale" { left[claims] = 1 }
END {
    judge()
    printf "%d outcomes seen, %d jobs rescued; %d runs of killed workers ran again, after %.1f s on average, %.1f s at most\n", \
        seen, rescued, n, n ? total / n : 0, most
    if (suspects) printf "%d suspects ran again alone, %.1f s after their kill at most\n", suspects, alone
    if (n == 0) { print "no killed worker held anything: the run shows nothing" > "/dev/stderr"; exit 1 }
    if (failed) { print failed " violations" > "/dev/stderr"; exit 1 }
}
