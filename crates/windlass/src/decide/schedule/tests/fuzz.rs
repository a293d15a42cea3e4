//! Any text is read or refused, and whatever was read goes forward and comes to an end.

use proptest::prelude::*;

use super::super::*;

/// Pieces of specs, more often right than not.
fn field() -> impl Strategy<Value = String> {
    let number = prop_oneof![4 => 0u32..32, 1 => 0u32..70].prop_map(|number| number.to_string());
    let name =
        proptest::sample::select(vec!["JAN", "feb", "SUN", "fri", "*", "?", "L", "W", "", "7"]).prop_map(String::from);
    let one = prop_oneof![5 => number, 1 => name];
    let entry = (
        one.clone(),
        proptest::option::weighted(0.3, one.clone()),
        proptest::option::weighted(0.3, one.clone()),
        0u8..20,
    )
        .prop_map(|(first, last, step, odd)| {
            let last = last.map(|last| format!("-{last}")).unwrap_or_default();
            let step = step.map(|step| format!("/{step}")).unwrap_or_default();
            let odd = ["W", "L", "#2", "#"].get(usize::from(odd)).copied().unwrap_or_default();
            format!("{first}{last}{step}{odd}")
        });
    prop_oneof![2 => Just("*".to_owned()), 3 => proptest::collection::vec(entry, 1..4).prop_map(|list| list.join(","))]
}

fn spec() -> impl Strategy<Value = String> {
    let zones = vec![
        "",
        "",
        "TZ=Europe/Berlin ",
        "CRON_TZ=Pacific/Apia ",
        "TZ=America/Havana ",
        "TZ=",
        "TZ=x ",
        "CRON_TZ=Local ",
    ];
    let zone = proptest::sample::select(zones);
    (zone, proptest::collection::vec(field(), 5..7)).prop_map(|(zone, fields)| format!("{zone}{}", fields.join(" ")))
}

/// Whatever was read goes on, strictly forward.
fn goes_forward(text: &str, from: i64) -> Result<(), TestCaseError> {
    for flavor in [Flavor::Windlass, Flavor::Asynq] {
        let Ok(spec) = ScheduleSpec::parse_as(text, flavor) else { continue };
        for (gap, fold) in [(Gap::RunAfter, Fold::First), (Gap::Skip, Fold::Second), (Gap::RunAfter, Fold::Both)] {
            let spec = spec.clone().gap(gap).fold(fold);
            let mut last = Timestamp::from_micros(from);
            for tick in spec.ticks_after(last).take(5) {
                prop_assert!(tick > last, "{text}: {tick} after {last}");
                last = tick;
            }
        }
        spec.lint(Timestamp::from_micros(from));
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_looks_like_a_spec_is_refused_or_goes_forward(text in spec(), from in 0i64..4_000_000_000_000_000) {
        goes_forward(&text, from)?;
    }

    #[test]
    fn any_text_is_refused_or_goes_forward(text in "\\PC{0,30}", from in any::<i64>()) {
        goes_forward(&text, from)?;
    }

    #[test]
    fn any_characters_of_specs_are_refused_or_go_forward(text in "(@every |TZ=|)[-0-9*/,LW#?a-zA-Z.+ \u{b5}]{0,25}", from in any::<i64>()) {
        goes_forward(&text, from)?;
    }

    #[test]
    fn nothing_lies_between_a_moment_and_its_next_tick(text in spec(), from in 0i64..4_000_000_000, ahead in 0i64..4_000_000_000) {
        // Whoever asks from any later moment before the tick gets the same one.
        if let Ok(spec) = ScheduleSpec::parse(&text) {
            let from = Timestamp::from_micros(from * 1_000_000);
            if let Some(next) = spec.next(from) {
                let span = next.as_micros() - from.as_micros();
                let between = Timestamp::from_micros(from.as_micros() + ahead * 1000 % span);
                prop_assert_eq!(spec.next(between), Some(next));
            }
        }
    }
}
