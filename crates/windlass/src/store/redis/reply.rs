//! Reads what scripts answer. An answer of another shape than the script's header says is damage.

use redis::Value;

use crate::store::{Result, StoreError};

pub(super) fn odd(what: &str) -> StoreError {
    StoreError::Corrupt(format!("the store answered {what} in another shape than expected"))
}

pub(super) fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(odd("a list")),
    }
}

pub(super) fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(odd("bytes")),
    }
}

pub(super) fn text(value: Value) -> Result<String> {
    String::from_utf8(bytes(value)?).map_err(|_| odd("text"))
}

pub(super) fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::BulkString(bytes) => parse(bytes).ok_or_else(|| odd("a number")),
        _ => Err(odd("a number")),
    }
}

/// A number as scripts and sorted sets write it: whole, or beyond 2^53 with an exponent.
pub(super) fn parse(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as i64))
}
