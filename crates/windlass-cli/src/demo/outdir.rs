//! The folder for results: made or taken over from an earlier run, and locked while a run uses it. Never removes a
//! file that the demo did not write, and refuses a folder that holds anything else.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{conflict, refused};
use crate::exit::{Exit, Failure};

/// Says that the folder is the demo's, and carries the lock.
const MARKER: &str = ".windlass-demo";
const FOLDERS: [&str; 3] = ["images", "outbox", "logs"];
const FILES: [&str; 2] = [REPORT, CSV];
pub(super) const REPORT: &str = "report.html";
pub(super) const DATABASE: &str = "jobs.db";
pub(super) const CSV: &str = "jobs.csv";

/// A folder for results that this process holds.
pub(super) struct OutDir {
    path: PathBuf,
    _lock: File,
}

impl OutDir {
    /// Makes the folder or takes over that of an earlier run, whose results go; its database goes too, or is set
    /// aside with `keep`.
    pub(super) fn claim(path: &Path, keep: bool) -> Result<Self, Failure> {
        let unusable = |error: io::Error| {
            let help = "choose a folder that can be written with --dir";
            Failure::new(Exit::Unavailable, "unavailable", format!("{} cannot be written: {error}", path.display()))
                .help(help)
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let marker = path.join(MARKER);
        if !marker.exists() && fs::read_dir(path).map_err(unusable)?.next().is_some() {
            let why = format!("{} holds files that are not the demo's", path.display());
            return Err(refused(why, "choose another folder with --dir, or empty this one"));
        }
        let lock = File::options().create(true).truncate(false).write(true).open(&marker).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("another demo runs in {}", path.display());
                return Err(conflict(why, "wait for its end, or choose another folder with --dir"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        clear(path, keep).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the worker of this number writes what it has to say.
    pub(super) fn log(&self, worker: usize) -> io::Result<File> {
        File::create(self.path.join(format!("logs/worker-{worker}.log")))
    }

    /// Removes what a killed worker left unfinished.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for folder in FOLDERS {
            for entry in fs::read_dir(self.path.join(folder))? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    /// All results, by name: the report first, then mails and pictures.
    pub(super) fn results(&self) -> io::Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = FILES.iter().map(|name| self.path.join(name)).filter(|p| p.exists()).collect();
        for folder in ["outbox", "images"] {
            let entries = fs::read_dir(self.path.join(folder))?;
            let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            files.sort();
            found.append(&mut files);
        }
        Ok(found)
    }
}

fn clear(path: &Path, keep: bool) -> io::Result<()> {
    for name in FILES {
        if_there(fs::remove_file(path.join(name)))?;
    }
    for folder in FOLDERS {
        if_there(fs::remove_dir_all(path.join(folder)))?;
        fs::create_dir(path.join(folder))?;
    }
    let aside = (1..).map(|number| format!("jobs-{number}.db")).find(|name| !path.join(name).exists());
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let from = path.join(format!("{DATABASE}{suffix}"));
        match &aside {
            Some(aside) if keep => if_there(fs::rename(from, path.join(format!("{aside}{suffix}"))))?,
            _ => if_there(fs::remove_file(from))?,
        }
    }
    Ok(())
}

fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_files_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "x").unwrap();
        assert_eq!(OutDir::claim(folder.path(), false).err().unwrap().exit, Exit::Usage);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_run_replaces_the_first_or_keeps_its_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/out");
        let first = OutDir::claim(&path, false).unwrap();
        assert_eq!(OutDir::claim(&path, false).err().unwrap().exit, Exit::Conflict);
        fs::write(path.join(DATABASE), "1").unwrap();
        fs::write(path.join("images/a.jpg"), "x").unwrap();
        drop(first);
        let second = OutDir::claim(&path, true).unwrap();
        assert!(!path.join(DATABASE).exists() && second.results().unwrap().is_empty());
        assert_eq!(fs::read_to_string(path.join("jobs-1.db")).unwrap(), "1");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        assert_eq!(OutDir::claim(&folder.path().join("file/out"), false).err().unwrap().exit, Exit::Unavailable);
    }

    #[test]
    fn unfinished_files_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let out = OutDir::claim(&folder.path().join("out"), false).unwrap();
        fs::write(out.path().join("images/a.jpg.7.tmp"), "x").unwrap();
        out.sweep().unwrap();
        assert!(out.results().unwrap().is_empty());
    }
}
