//! Says whether a path is on a network file system, where WAL does not work: its index is shared memory of one host.

use std::{fs, path::Path};

use crate::store::{Result, StoreError};

/// File systems by their magic number (statfs(2)).
const NETWORK: [(u32, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB2"),
    (0xff53_4d42, "CIFS"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0102_1997, "9p"),
];
const FUSE: u32 = 0x6573_5546;
/// FUSE serves local disks, too; these it fetches from elsewhere.
const FUSE_NETWORK: [&str; 9] =
    ["sshfs", "s3fs", "rclone", "gluster", "ceph", "gcsfuse", "davfs", "goofys", "curlftpfs"];

/// Refuses a path on a network file system.
pub(super) fn refuse_network(path: &Path) -> Result<()> {
    // What cannot be told apart is taken for local; SQLite finds out soon enough.
    let Ok(found) = rustix::fs::statfs(path) else { return Ok(()) };
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match network(found.f_type as u32, &full, mounts) {
        None => Ok(()),
        Some(name) => Err(StoreError::Unavailable(format!(
            "{}: is on a network file system ({name}), where SQLite's WAL does not work; use a local disk",
            path.display()
        ))),
    }
}

fn network(magic: u32, path: &Path, mounts: impl FnOnce() -> String) -> Option<String> {
    if magic == FUSE {
        let kind = mounted_as(path, &mounts())?;
        return FUSE_NETWORK.iter().any(|name| kind.contains(name)).then_some(kind);
    }
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| (*name).to_owned())
}

/// The type of the file system that holds a path, out of the lines of `mountinfo` (proc(5)).
fn mounted_as(path: &Path, mounts: &str) -> Option<String> {
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then(|| (point.len(), after.split(' ').next().unwrap_or_default().to_owned()))
    };
    mounts.lines().filter_map(parse).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:41 / /home/me/far rw,nosuid - fuse.sshfs me@far:/srv rw,user_id=1000
41 22 0:42 / /mnt/usb rw - fuseblk /dev/sdb1 rw";

    fn told(magic: u32, path: &str) -> Option<String> {
        network(magic, Path::new(path), || MOUNTS.into())
    }

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(told(0x6969, "/srv/jobs.db").as_deref(), Some("NFS"));
        assert_eq!(told(0xff53_4d42, "/srv/jobs.db").as_deref(), Some("CIFS"));
        assert_eq!(told(0xef53, "/srv/jobs.db"), None, "ext4");
    }

    #[test]
    fn of_fuse_only_what_comes_from_elsewhere_is_refused() {
        assert_eq!(told(FUSE, "/home/me/far/jobs.db").as_deref(), Some("fuse.sshfs"));
        assert_eq!(told(FUSE, "/mnt/usb/jobs.db"), None);
    }
}
