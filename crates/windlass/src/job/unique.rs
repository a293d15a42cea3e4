//! The key that a job is unique by: a hash of its kind, its tenant and a canonical form of the caller's value. On Postgres
//! other clients make the same one by `windlass.unique_key()` (store/postgres/sql/callers.sql), so it is made of what every
//! database has: SHA-256.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::UniqueKey;

/// The key. Kind, tenant and value are kept apart by their lengths, so that no two of them run together.
pub(super) fn key(kind: &str, tenant: Option<&str>, value: &Value) -> UniqueKey {
    let mut canonical = String::new();
    write_canonical(value, &mut canonical);
    let mut hasher = Sha256::new();
    hasher.update(b"windlass unique key v1");
    for part in [kind, tenant.unwrap_or(""), &canonical] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update([u8::from(tenant.is_some())]);
    let (mut key, hash) = ([0; 16], hasher.finalize());
    key.copy_from_slice(&hash[..16]);
    UniqueKey(key)
}

/// Fields in order of their names, whole numbers without a fraction, no spaces.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (name, field) in fields {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(field, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Number(number) => match number.as_f64() {
            // 2^53: every whole number below it is exact.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                out.push_str(&(float as i64).to_string());
            }
            _ => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str) -> UniqueKey {
        key("k", None, &serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_order_of_fields_and_the_writing_of_numbers_do_not_matter() {
        assert_eq!(of(r#"{"a":1,"b":[2.0,{"x":1,"y":2}]}"#), of(r#"{ "b":[2,{"y":2,"x":1e0}], "a":1.0 }"#));
    }

    /// As `windlass.unique_key('k', NULL, '"a"')` answers.
    #[test]
    fn keys_stay_what_they_are() {
        assert_eq!(of("\"a\"").0, 0x2784_de49_523c_436b_a2a2_bfc0_5759_dd42_u128.to_be_bytes());
    }

    #[test]
    fn other_values_kinds_and_tenants_have_other_keys() {
        let keys = [
            key("k", None, &json!("a")),
            key("k", Some(""), &json!("a")),
            key("k", Some("a"), &json!("a")),
            key("ka", None, &json!("a")),
            key("k", None, &json!("b")),
            key("k", None, &json!(["a"])),
            key("k", None, &json!(1.5)),
            key("k", None, &json!("1.5")),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
