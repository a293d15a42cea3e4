//! Whether the file that is open is still the one that its path names. A store whose file was deleted or replaced would
//! go on with what nobody else can see: what it acknowledges is lost, and what others enqueue never comes.
//! The writer asks before each group, by the name alone: opening the file to look would cost the locks on it.

use std::{fs, io, path::Path};

use tracing::{error, info};

use crate::store::StoreError;

/// The file as it was when it was opened.
pub(super) struct Identity {
    path: Box<Path>,
    opened: Option<Inode>,
    lost: bool,
}

/// Which file it is, whatever it is called: its device and its number there.
type Inode = (u64, u64);

impl Identity {
    /// Of the file that was just opened.
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.into(), opened: inode(path).ok(), lost: false }
    }

    /// Fails as long as the file is not where it was opened. Says so once in the log, however often it is asked.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        let Some(opened) = self.opened else { return Ok(()) };
        let lost = match inode(&self.path) {
            Ok(now) => now != opened,
            // What else may be wrong with the place is no sign that the file has gone.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if lost != std::mem::replace(&mut self.lost, lost) {
            let path = self.path.display();
            if lost {
                error!(%path, "the store's file was deleted or replaced while it was open; nothing more is read or written");
            } else {
                info!(%path, "the store's file is back");
            }
        }
        if !lost {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "{}: the file was deleted or replaced while it was open; put it back, or restart this process to use what is \
             there now",
            self.path.display()
        )))
    }
}

#[cfg(unix)]
fn inode(path: &Path) -> io::Result<Inode> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Elsewhere a file that is open can be neither deleted nor replaced.
#[cfg(not(unix))]
fn inode(path: &Path) -> io::Result<Inode> {
    fs::metadata(path).map(|_| (0, 0))
}
