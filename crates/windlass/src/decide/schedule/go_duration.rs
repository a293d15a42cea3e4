//! Durations as Go writes them (`1h30m`, `1.5h`, `-2us`), for `@every` in Asynq's flavour.

/// Units and their nanoseconds. The micro sign and the Greek letter both mean micro.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("\u{3bc}s", 1000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The longest duration that Go has; the shortest is one less below zero.
const MOST: u64 = i64::MAX as u64;

/// Nanoseconds.
pub(crate) fn nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (part, more) = part(rest)?;
        sum = sum.checked_add(part).filter(|sum| *sum <= MOST + 1)?;
        rest = more;
    }
    if negative {
        return Some(0i64.wrapping_sub_unsigned(sum));
    }
    i64::try_from(sum).ok()
}

/// The first number with its unit, and what follows.
fn part(text: &str) -> Option<(u64, &str)> {
    let whole_ends = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(whole_ends);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_ends = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_ends);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(*unit).filter(|nanos| *nanos <= MOST + 1)?;
    Some((nanos.checked_add(part_of(fraction, *unit))?, rest))
}

/// A fraction of a unit. Go computes it in floating point, and leaves out the digits that no integer holds.
fn part_of(fraction: &str, unit: u64) -> u64 {
    let (mut number, mut scale): (u64, f64) = (0, 1.0);
    for digit in fraction.bytes() {
        let longer = number.checked_mul(10).and_then(|number| number.checked_add(u64::from(digit - b'0')));
        let Some(longer) = longer.filter(|longer| *longer <= MOST + 1) else { break };
        (number, scale) = (longer, scale * 10.0);
    }
    (number as f64 * (unit as f64 / scale)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_in_go() {
        let read = [
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("-2us", -2000),
            ("0", 0),
            ("+.5h", 1_800_000_000_000),
        ];
        for (text, nanos_of) in read {
            assert_eq!(nanos(text), Some(nanos_of), "{text}");
        }
        assert_eq!(nanos("9223372036854775807ns"), Some(i64::MAX));
        assert_eq!(nanos("-9223372036854775808ns"), Some(i64::MIN));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in
            ["", "-", "5", "h", ".s", "1 h", "1d", "9223372036854775808ns", "3000000h", "1h-5m", "1e3s", "1..5s"]
        {
            assert_eq!(nanos(text), None, "{text}");
        }
    }
}
