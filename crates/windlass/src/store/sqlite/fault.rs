//! What goes wrong inside: SQLite's own errors and the store's answers, and how the first become the second.

use rusqlite::{Error as SqlError, ErrorCode};

use crate::store::StoreError;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(SqlError),
    Store(StoreError),
}

/// The result of a step inside the store.
pub(super) type Done<T> = Result<T, Fault>;

impl From<SqlError> for Fault {
    fn from(error: SqlError) -> Self {
        Fault::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Sql(error) => explain(&error),
        }
    }
}

impl Fault {
    /// Whether somebody else has the file now.
    pub(super) fn is_busy(&self) -> bool {
        let Fault::Sql(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// What a row holds that it should not.
    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Fault::Store(StoreError::Corrupt(format!("the store is damaged: {what}")))
    }
}

/// What to say of a full disk.
pub(super) const DISK_FULL: &str =
    "the disk is full; nothing was written, and the store goes on working once there is space";

fn explain(error: &SqlError) -> StoreError {
    let Some(code) = error.sqlite_error() else {
        return StoreError::Corrupt(format!("the store holds a value that this program cannot read: {error}"));
    };
    match code.code {
        ErrorCode::DiskFull => StoreError::Unavailable(DISK_FULL.into()),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            StoreError::Unavailable(format!("the file or its directory cannot be written: {error}"))
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Unavailable(
            "another connection holds the write lock of the file; keep transactions short, or raise ?busy_timeout="
                .into(),
        ),
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted
        | ErrorCode::SchemaChanged => StoreError::Unavailable(error.to_string()),
        ErrorCode::NotADatabase => StoreError::Corrupt("the file is no SQLite database".into()),
        ErrorCode::DatabaseCorrupt => StoreError::Corrupt(format!("the file is damaged: {error}")),
        ErrorCode::TooBig => StoreError::Invalid(format!("a value is larger than SQLite takes: {error}")),
        // A missing table or column: somebody changed ours.
        _ => StoreError::Corrupt(format!("the store's tables are not as this program made them: {error}")),
    }
}
