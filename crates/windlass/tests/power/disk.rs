//! A disk that loses power. It plays a log of what SQLite did to its files, and gives what would be found afterwards: what
//! was synced, and of the rest what chance left, sector by sector and in any order.

use std::sync::Arc;

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

/// A file of the store. Its shared memory is none of the disk's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Database,
    Wal,
    Journal,
}

impl Name {
    pub const ALL: [Name; 3] = [Name::Database, Name::Wal, Name::Journal];

    pub fn suffix(self) -> &'static str {
        ["", "-wal", "-journal"][self as usize]
    }
}

/// One thing that was done, in order.
#[derive(Clone, Debug)]
pub enum Op {
    Create(Name),
    Write(Name, usize, Arc<[u8]>),
    Truncate(Name, usize),
    Sync(Name),
    /// The flag: the directory is synced at once.
    Delete(Name, bool),
    /// The caller was told: the number of what it was told.
    Told(usize),
}

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Luck {
    NothingStays,
    EverythingStays,
    /// Each write whole or not at all.
    SomeWrites,
    /// Each sector of each write by itself: torn pages.
    SomeSectors,
    /// Only the newest: the older half never reached the disk.
    OnlyTheNewest,
}

const LUCKS: [Luck; 5] =
    [Luck::NothingStays, Luck::EverythingStays, Luck::SomeWrites, Luck::SomeSectors, Luck::OnlyTheNewest];

/// Chance that a seed repeats (SplitMix64, by Steele, Lea and Flood, 2014).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub fn luck(&mut self) -> Luck {
        LUCKS[self.next() as usize % LUCKS.len()]
    }
}

/// The files that are found after the power is back.
pub type Image = [Option<Vec<u8>>; 3];

#[derive(Debug)]
enum Change {
    Write(usize, Arc<[u8]>),
    Truncate(usize),
}

/// A file, whatever it is called now.
#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// The disk at one moment.
#[derive(Debug)]
pub struct Disk {
    files: Vec<File>,
    /// What the directory says, and what it would say after a power loss.
    entries: [Option<usize>; 3],
    durable_entries: [Option<usize>; 3],
    /// Whether a sync does anything.
    honest: bool,
}

impl Disk {
    /// A disk with an empty database file in place: the store makes it without SQLite.
    pub fn new(honest: bool) -> Self {
        let entries = [Some(0), None, None];
        Self { files: vec![File::default()], entries, durable_entries: entries, honest }
    }

    pub fn play(&mut self, op: &Op) {
        match op {
            Op::Create(name) => {
                self.entries[*name as usize] = Some(self.files.len());
                self.files.push(File::default());
            }
            Op::Write(name, at, bytes) => self.file(*name).pending.push(Change::Write(*at, bytes.clone())),
            Op::Truncate(name, size) => self.file(*name).pending.push(Change::Truncate(*size)),
            Op::Sync(name) => self.sync(*name),
            Op::Delete(name, synced) => {
                self.entries[*name as usize] = None;
                if *synced && self.honest {
                    self.durable_entries = self.entries;
                }
            }
            Op::Told(_) => {}
        }
    }

    fn file(&mut self, name: Name) -> &mut File {
        let at = self.entries[name as usize].expect("SQLite works on files that are there");
        &mut self.files[at]
    }

    /// SQLite's own VFS syncs the directory with the first sync of a file that it made.
    fn sync(&mut self, name: Name) {
        if !self.honest {
            return;
        }
        let file = self.file(name);
        for change in std::mem::take(&mut file.pending) {
            match change {
                Change::Write(at, bytes) => put(&mut file.durable, at, &bytes),
                Change::Truncate(size) => file.durable.resize(size, 0),
            }
        }
        let at = self.entries[name as usize];
        if self.durable_entries[name as usize] != at {
            self.durable_entries = self.entries;
        }
    }

    /// What is left when the power goes now.
    pub fn cut(&self, luck: Luck, chance: &mut Chance) -> Image {
        Name::ALL.map(|name| {
            let (now, before) = (self.entries[name as usize], self.durable_entries[name as usize]);
            let entry = match luck {
                Luck::NothingStays => before,
                Luck::EverythingStays => now,
                _ => {
                    if chance.coin() {
                        now
                    } else {
                        before
                    }
                }
            };
            entry.map(|at| self.files[at].left(luck, chance))
        })
    }
}

impl File {
    fn left(&self, luck: Luck, chance: &mut Chance) -> Vec<u8> {
        let mut found = self.durable.clone();
        for (at, change) in self.pending.iter().enumerate() {
            let whole = match luck {
                Luck::NothingStays => false,
                Luck::EverythingStays => true,
                Luck::OnlyTheNewest => at >= self.pending.len() / 2,
                Luck::SomeWrites | Luck::SomeSectors => chance.coin(),
            };
            match change {
                Change::Write(at, bytes) if matches!(luck, Luck::SomeSectors) => {
                    for (at, sector) in sectors(*at, bytes).filter(|_| chance.coin()) {
                        put(&mut found, at, sector);
                    }
                }
                Change::Write(at, bytes) if whole => put(&mut found, *at, bytes),
                Change::Truncate(size) if whole => found.resize(*size, 0),
                _ => {}
            }
        }
        found
    }
}

/// The parts of a write that lie in different sectors of its file.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - at % SECTOR).min(bytes.len());
    let rest = bytes[first..].chunks(SECTOR).enumerate();
    std::iter::once((at, &bytes[..first])).chain(rest.map(move |(n, part)| (at + first + n * SECTOR, part)))
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn what_was_synced_stays_and_of_the_rest_anything_may() {
    let write = |at, byte| Op::Write(Name::Database, at, [byte; 1024].into());
    let cut = |honest, luck, seed| {
        let mut disk = Disk::new(honest);
        [write(0, 1), Op::Sync(Name::Database), write(0, 2), write(1024, 3)].iter().for_each(|op| disk.play(op));
        let [database, wal, _] = disk.cut(luck, &mut Chance(seed));
        assert!(wal.is_none());
        database.unwrap()
    };
    assert_eq!(cut(true, Luck::NothingStays, 1), [1; 1024]);
    assert_eq!(cut(true, Luck::EverythingStays, 1), [[2; 1024], [3; 1024]].concat());
    assert_eq!(cut(true, Luck::OnlyTheNewest, 1), [[1; 1024], [3; 1024]].concat(), "in another order");
    assert!((0..20).any(|seed| cut(true, Luck::SomeSectors, seed).starts_with(&[[1; 512], [2; 512]].concat())), "torn");
    assert_eq!(cut(false, Luck::NothingStays, 1), [0; 0], "a sync that does nothing");
}

#[test]
fn a_file_that_was_made_or_removed_may_be_found_as_before_until_the_directory_is_synced() {
    let played = |ops: &[Op]| {
        let mut disk = Disk::new(true);
        ops.iter().for_each(|op| disk.play(op));
        disk.cut(Luck::NothingStays, &mut Chance(1))[Name::Wal as usize].clone()
    };
    let made = [Op::Create(Name::Wal), Op::Write(Name::Wal, 0, [7; 8].into())];
    assert_eq!(played(&made), None);
    let synced = [&made[..], &[Op::Sync(Name::Wal)]].concat();
    assert_eq!(played(&synced), Some(vec![7; 8]));
    assert_eq!(played(&[&synced[..], &[Op::Delete(Name::Wal, false)]].concat()), Some(vec![7; 8]));
    assert_eq!(played(&[&synced[..], &[Op::Delete(Name::Wal, true)]].concat()), None);
}
