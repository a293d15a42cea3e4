//! How durations are written on the command line, in the configuration and in batches: `500ms`, `10s`, `5m`, `1h`,
//! `2d`, and nothing else.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
    let (Some(millis), false) = (millis, number.is_empty()) else {
        return Err(format!("`{text}` is no duration; write a whole number and a unit: 500ms, 10s, 5m, 1h or 2d"));
    };
    let too_long = || format!("the duration `{text}` is too long");
    let number: u64 = number.parse().map_err(|_| too_long())?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(too_long)
}

/// Writes a duration for people: in the largest unit that leaves at least one.
pub(crate) fn show(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = UNITS.iter().rev().find(|(_, unit)| millis >= *unit);
    let (name, unit) = fits.unwrap_or(&UNITS[0]);
    format!("{}{name}", millis / unit)
}

/// A duration in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration(&text).map(Span).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_units_are_read() {
        let millis = |text| duration(text).unwrap().as_millis();
        assert_eq!([millis("500ms"), millis("10s"), millis("5m")], [500, 10_000, 300_000]);
        assert_eq!([millis("1h"), millis("2d"), millis("0s")], [3_600_000, 172_800_000, 0]);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "5", "5x", "s", "-1s", "1.5s", "1h30m", " 1s", "1S", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn people_see_the_largest_unit_that_fits() {
        let shown = |millis| show(Duration::from_millis(millis));
        assert_eq!([shown(0), shown(999), shown(61_000), shown(90_000_000)], ["0ms", "999ms", "1m", "1d"]);
    }
}
