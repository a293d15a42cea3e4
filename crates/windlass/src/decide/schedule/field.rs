//! One field of a spec, as text and as a set of numbers: `*`, numbers, names, ranges that may wrap around, lists, steps.
//! The forms of days (`L`, `W`, `#`) are read in `parse.rs`, which hands the rest to this.

use super::SpecError;

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) least: u32,
    pub(crate) most: u32,
    /// The names of the numbers from `least` on.
    pub(crate) names: &'static [&'static str],
    /// Written in errors after the numbers that are allowed.
    pub(crate) forms: &'static str,
}

const FORMS: &str = "`*`, lists (1,5), ranges (1-5, also 22-4) and steps (*/5)";
const DAY_FORMS: &str = "`*`, `?`, lists (1,15), ranges (1-5), steps (*/2), `L` (the last day), `L-3`, `15W` (the nearest weekday) and `LW`";
const WEEK_FORMS: &str = "SUN-SAT, `*`, `?`, lists (MON,WED), ranges (FRI-MON), steps (*/2), `FRI#2` (the second Friday) and `FRIL` (the last)";
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The fields of a spec, in order. The first is left out of a spec of five.
pub(crate) const FIELDS: [Field; 6] = [
    Field { name: "second", least: 0, most: 59, names: &[], forms: FORMS },
    Field { name: "minute", least: 0, most: 59, names: &[], forms: FORMS },
    Field { name: "hour", least: 0, most: 23, names: &[], forms: FORMS },
    Field { name: "day of month", least: 1, most: 31, names: &[], forms: DAY_FORMS },
    Field { name: "month", least: 1, most: 12, names: MONTHS, forms: FORMS },
    Field { name: "day of week", least: 0, most: 6, names: WEEKDAYS, forms: WEEK_FORMS },
];

impl Field {
    /// The numbers of one entry of a list. Sunday may be 7, too.
    pub(crate) fn entry(&self, text: &str) -> Result<u64, SpecError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step, text)?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (self.number(first, text)?, self.number(last, text)?),
            None if range == "*" => (self.least, self.most),
            None => {
                let first = self.number(range, text)?;
                // As everywhere: `5/15` goes on to the end.
                (first, if step.is_some() { self.most } else { first })
            }
        };
        Ok(self.set(first, last, step.unwrap_or(1)))
    }

    /// Every `step`th number from `first` to `last`, over the end and on from the beginning if `last` is less.
    fn set(&self, first: u32, last: u32, step: u32) -> u64 {
        let span = self.most - self.least + 1;
        // 7 at the end of a range of weekdays closes it; anywhere else it is the Sunday that is 0.
        let distance = if last >= first { last - first } else { last + span - first };
        let numbers = (0..=distance).step_by(step as usize);
        numbers.fold(0, |set, ahead| set | 1 << (self.least + (first - self.least + ahead) % span))
    }

    /// A number or a name.
    pub(crate) fn number(&self, text: &str, entry: &str) -> Result<u32, SpecError> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.least + at as u32);
        }
        let number = digits(text).ok_or_else(|| self.refuse(entry, "cannot be read"))?;
        if number < self.least || number > self.highest() {
            return Err(self.refuse(entry, "is out of range"));
        }
        Ok(number)
    }

    /// Sunday may be 7.
    fn highest(&self) -> u32 {
        if self.most == 6 { 7 } else { self.most }
    }

    fn step(&self, text: &str, entry: &str) -> Result<u32, SpecError> {
        let step = digits(text).filter(|step| (1..=self.most).contains(step));
        step.ok_or_else(|| {
            SpecError::new(self.name, entry, format!("is no step; a step is a number from 1 to {}", self.most))
        })
    }

    /// The error of an entry, with what would have been allowed.
    pub(crate) fn refuse(&self, entry: &str, problem: &str) -> SpecError {
        let names = match self.names {
            [first, .., last] if self.most == 12 => format!("{first}-{last}, "),
            _ => String::new(),
        };
        let (Self { least, forms, .. }, most) = (self, self.highest());
        SpecError::new(self.name, entry, format!("{problem}; allowed are {least}-{most}, {names}{forms}"))
    }
}

/// A number of at most four digits and nothing else.
pub(crate) fn digits(text: &str) -> Option<u32> {
    let plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(field: usize, text: &str) -> Vec<u32> {
        let set = FIELDS[field].entry(text).unwrap();
        (0..64).filter(|number| set & 1 << number != 0).collect()
    }

    #[test]
    fn ranges_wrap_around_and_steps_count_from_their_first() {
        assert_eq!(set(2, "22-2"), [0, 1, 2, 22, 23]);
        assert_eq!(set(2, "22-4/2"), [0, 2, 4, 22]);
        assert_eq!(set(1, "5/25"), [5, 30, 55]);
        assert_eq!(set(1, "*/20"), [0, 20, 40]);
        assert_eq!(set(4, "nov-Feb"), [1, 2, 11, 12]);
        assert_eq!(set(3, "30-2"), [1, 2, 30, 31]);
    }

    #[test]
    fn sunday_is_0_and_7() {
        assert_eq!(set(5, "7"), [0]);
        assert_eq!(set(5, "5-7"), [0, 5, 6]);
        assert_eq!(set(5, "FRI-MON"), [0, 1, 5, 6]);
        assert_eq!(set(5, "0-7"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(set(5, "7-1"), [0, 1]);
    }

    #[test]
    fn an_error_names_the_field_and_what_is_allowed() {
        let text = |field: usize, entry| FIELDS[field].entry(entry).unwrap_err().to_string();
        assert!(text(2, "25").starts_with("hour `25` is out of range; allowed are 0-23, `*`"), "{}", text(2, "25"));
        assert!(text(4, "13").contains("1-12, JAN-DEC"), "{}", text(4, "13"));
        assert!(text(1, "*/0").contains("minute `*/0` is no step"), "{}", text(1, "*/0"));
        for entry in ["", "-", "1-", "-5", "1-2-3", "a", "+5", "1/", "*/x", "99999999999", "60", "*-5"] {
            assert!(FIELDS[1].entry(entry).is_err(), "{entry}");
        }
    }
}
