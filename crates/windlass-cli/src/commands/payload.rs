//! Payloads as they come in: on the command line, in a file, on stdin, in a line of a batch. Always JSON, always
//! bounded, and never nested deeper than a handler's reader would follow.

use std::{
    fs::File,
    io::{self, Read},
};

use serde_json::Value;
use windlass::DEFAULTS;

use crate::exit::Failure;

/// Reads what `--payload` says: JSON, `@FILE`, or `-` for stdin.
pub(crate) fn read(argument: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = match argument.strip_prefix('@') {
        Some(path) => File::open(path)
            .and_then(bounded)
            .map_err(|error| Failure::usage(format!("the payload file {path} cannot be read: {error}")))?,
        None if argument == "-" => {
            bounded(io::stdin().lock()).map_err(|error| Failure::usage(format!("stdin cannot be read: {error}")))?
        }
        None => argument.as_bytes().to_vec(),
    };
    if bytes.len() > DEFAULTS.max_payload_bytes {
        let problem = format!("the payload has more than {} bytes", DEFAULTS.max_payload_bytes);
        return Err(Failure::usage(problem).help("store the data elsewhere and enqueue a reference to it").into());
    }
    Ok(bytes)
}

/// At most one byte over the limit: enough to see that it is too much.
fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(DEFAULTS.max_payload_bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The payload as a value. Serde's own limit of nesting keeps a deep one from running out of stack.
pub(crate) fn parse(payload: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(payload).map_err(|error| {
        let failure = Failure::usage(format!("the payload is no JSON: {error}"));
        failure.help("quote it for your shell, e.g. --payload '{\"to\":\"a@example.com\"}', or use --payload @FILE")
    })
}

/// What a job is unique by: the whole payload, or these of its fields (`a.b` for a field within a field).
pub(crate) fn unique_value(payload: Value, fields: &[String]) -> Result<Value, Failure> {
    if fields.is_empty() {
        return Ok(payload);
    }
    let pick = |field: &String| {
        let found = field.split('.').try_fold(&payload, |value, name| value.get(name));
        let found =
            found.ok_or_else(|| Failure::usage(format!("the payload has no field `{field}` to be unique by")))?;
        Ok((field.clone(), found.clone()))
    };
    fields.iter().map(pick).collect::<Result<_, _>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_json_is_refused_without_recursion() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn fields_of_fields_can_be_picked() {
        let payload = serde_json::json!({"user": {"id": 7, "name": "x"}, "at": 1});
        let picked = unique_value(payload.clone(), &["user.id".into()]).unwrap();
        assert_eq!(picked, serde_json::json!({"user.id": 7}));
        assert_eq!(unique_value(payload.clone(), &[]).unwrap(), payload);
        assert!(unique_value(payload, &["user.mail".into()]).is_err());
    }
}
