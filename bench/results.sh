# From the figures of `windlass bench --json`, and of the peers' drivers, to a table, and to bench/RESULTS.md. Sourced,
# not run, in the root of the repository.
# binary: builds what is measured, unless WINDLASS names it.   figures: JSON on stdin to a line a figure.
# report FIGURES: the table.   machine: what it was measured on.   write_section NAME: stdin into bench/RESULTS.md.

binary() {
    if [ -z "${WINDLASS:-}" ]; then
        cargo build --locked --release -p windlass-cli
        WINDLASS=${CARGO_TARGET_DIR:-target}/release/windlass
    fi
}

figures() {
    tr -d '\n' | sed 's/}} *{"peer"/}}\n{"peer"/g; s/}}, *{ *"store"/}}\n{"store"/g' | awk -f bench/figures.awk
}

report() {
    awk -f bench/report.awk "$1"
}

machine() {
    echo "$(date -u +%F), $(nproc) cores shared by all processes, $(uname -sr), $("$WINDLASS" --version), commit" \
        "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ' and changes')"
}

# Puts stdin in the place of the section with this name, or at the end.
write_section() {
    local file=bench/RESULTS.md
    awk -v name="$1" '
        NR == FNR { text = text $0 "\n"; next }
        $0 == "<!-- " name " -->" { printf "%s\n%s", $0, text; inside = written = 1; next }
        $0 == "<!-- /" name " -->" { inside = 0 }
        !inside { print }
        END { if (!written) printf "\n<!-- %s -->\n%s<!-- /%s -->\n", name, text, name }
    ' - "$file" >"$file.new"
    mv "$file.new" "$file"
    echo "written to $file" >&2
}
