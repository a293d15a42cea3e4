//! What the driver and the server answer, in the words of the contract.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use super::{address::Address, checkup::NAME_THE_PRIMARY};
use crate::store::StoreError;

/// An error with what caused it: the driver's own words say little.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Why no connection was to be had.
pub(super) fn no_connection(address: &Address, error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => store_error(address, error),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => StoreError::Unavailable(format!(
            "{}: no connection within {:?}; is the server there?",
            address.shown, address.timeout
        )),
        PoolError::Timeout(TimeoutType::Wait) => StoreError::Unavailable(format!(
            "{}: all {} connections were busy for {:?}; raise pool= in the URL",
            address.shown, address.pool, address.timeout
        )),
        other => StoreError::Unavailable(format!("{}: {}", address.shown, chain(other))),
    }
}

/// Whether the server has become a copy of another one, or was told to take no writes.
pub(super) fn takes_no_writes(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Whether a call ran at a level at which the functions cannot work: at READ COMMITTED this never happens.
pub(super) fn ran_above_read_committed(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
}

/// What the server or the driver says of a call.
pub(super) fn store_error(address: &Address, error: &tokio_postgres::Error) -> StoreError {
    of_code(address, chain(error), error.code().map(SqlState::code))
}

/// The same of what another driver says, with the server's code if it has one.
pub(super) fn of_code(address: &Address, said: String, code: Option<&str>) -> StoreError {
    let said = format!("{}: {said}", address.shown);
    let Some(code) = code else {
        if said.contains("does not allow writes") {
            return StoreError::Unavailable(format!("{said}; {NAME_THE_PRIMARY}"));
        }
        // The connection broke, or was never made; what the driver cannot read is the server's fault, too.
        return StoreError::Unavailable(said);
    };
    match code.get(..2).unwrap_or_default() {
        // Who may come in, and what he may do.
        "28" => StoreError::Invalid(format!("{said}; check user and password in the URL")),
        "3D" => StoreError::Invalid(format!("{said}; make the database, or name another one in the URL")),
        "22" | "23" => StoreError::Invalid(said),
        "42" if code == SqlState::INSUFFICIENT_PRIVILEGE.code() => StoreError::Invalid(format!(
            "{said}; let the user create the schema `{}` in this database, or use it",
            address.schema
        )),
        "42" => StoreError::Corrupt(format!("{said}; the schema `{}` is not as windlass made it", address.schema)),
        // Too many connections, a full disk, a shutdown, a lost race: the same call may succeed later.
        _ => StoreError::Unavailable(said),
    }
}
