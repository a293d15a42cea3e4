//! Stands between SQLite and its files: hands every call on to SQLite's own VFS, locks and shared memory included, and notes
//! down what would have to reach the disk.

#![allow(
    unsafe_code,
    reason = "SQLite calls a VFS through C function pointers; there is no other way between it and its files"
)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{Name, Op};

/// What was done, in order.
#[derive(Clone)]
pub struct Recorder {
    /// What SQLite calls this VFS.
    pub name: String,
    log: Arc<Mutex<Vec<Op>>>,
}

/// Ours, with SQLite's structure first, so that a pointer to the one is a pointer to the other.
#[repr(C)]
struct Vfs {
    base: sqlite3_vfs,
    real: *mut sqlite3_vfs,
    log: Arc<Mutex<Vec<Op>>>,
}

/// An open file. The file of SQLite's own VFS stands behind it, in the space that SQLite gave us for both.
#[repr(C)]
struct File {
    base: sqlite3_file,
    vfs: *const Vfs,
    name: Option<Name>,
}

impl Recorder {
    /// Registers a VFS of its own. SQLite may keep using it, so it is never taken away.
    pub fn register() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("recorder-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let log = Arc::<Mutex<Vec<Op>>>::default();
        let text = CString::new(name.as_str()).unwrap().into_raw();
        // SAFETY: SQLite's default VFS is there for good. Ours is made of its parts and is leaked, name and all.
        unsafe {
            let real = ffi::sqlite3_vfs_find(ptr::null());
            let size = c_int::try_from(size_of::<File>()).unwrap() + (*real).szOsFile;
            let base = sqlite3_vfs {
                szOsFile: size,
                pNext: ptr::null_mut(),
                zName: text,
                xOpen: Some(open),
                xDelete: Some(delete),
                ..*real
            };
            let vfs = Box::leak(Box::new(Vfs { base, real, log: log.clone() }));
            assert_eq!(ffi::sqlite3_vfs_register(&mut vfs.base, 0), ffi::SQLITE_OK);
        }
        Self { name, log }
    }

    /// Notes that the caller was told something.
    pub fn told(&self, what: usize) {
        self.log.lock().unwrap().push(Op::Told(what));
    }

    pub fn log(&self) -> Vec<Op> {
        self.log.lock().unwrap().clone()
    }
}

fn name_of(flags: c_int) -> Option<Name> {
    match flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) {
        ffi::SQLITE_OPEN_MAIN_DB => Some(Name::Database),
        ffi::SQLITE_OPEN_WAL => Some(Name::Wal),
        ffi::SQLITE_OPEN_MAIN_JOURNAL => Some(Name::Journal),
        _ => None,
    }
}

// SAFETY of all that follows: SQLite calls these with pointers to a VFS that `register` made and to files that `open` has
// set up, whose memory has room for both structures. Each hands on what it was given to the function of the same name of
// SQLite's own VFS, whose contract is ours, too.

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let ours = &*vfs.cast::<Vfs>();
        let mut log = ours.log.lock().unwrap();
        let name = name_of(flags);
        let is_new = !path.is_null() && !path_of(path).exists();
        let code = (*ours.real).xOpen.unwrap()(ours.real, path, real(file), flags, out);
        let file = file.cast::<File>();
        (*file).base.pMethods = if code == ffi::SQLITE_OK { &raw const METHODS } else { ptr::null() };
        (*file).vfs = ours;
        (*file).name = name;
        if let Some(name) = name.filter(|_| is_new && code == ffi::SQLITE_OK) {
            log.push(Op::Create(name));
        }
        code
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    unsafe {
        let ours = &*vfs.cast::<Vfs>();
        let mut log = ours.log.lock().unwrap();
        let code = (*ours.real).xDelete.unwrap()(ours.real, path, sync);
        let path = CStr::from_ptr(path).to_bytes();
        let name = Name::ALL[1..].iter().find(|name| path.ends_with(name.suffix().as_bytes()));
        if let Some(name) = name.filter(|_| code == ffi::SQLITE_OK) {
            log.push(Op::Delete(*name, sync != 0));
        }
        code
    }
}

unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    Path::new(std::ffi::OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// The file of SQLite's own VFS behind ours.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Does it, and notes it down if it was done, as one step.
unsafe fn noted(file: *mut sqlite3_file, done: impl FnOnce() -> c_int, op: impl FnOnce(Name) -> Op) -> c_int {
    let (vfs, name) = unsafe { (&*(*file.cast::<File>()).vfs, (*file.cast::<File>()).name) };
    let mut log = vfs.log.lock().unwrap();
    let code = done();
    if let Some(name) = name.filter(|_| code == ffi::SQLITE_OK) {
        log.push(op(name));
    }
    code
}

macro_rules! hand_on {
    ($($ours:ident = $method:ident($($arg:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {$(
        unsafe extern "C" fn $ours(file: *mut sqlite3_file $(, $arg: $type)*) $(-> $answer)? {
            unsafe {
                let real = real(file);
                (*(*real).pMethods).$method.unwrap()(real $(, $arg)*)
            }
        }
    )*};
}

hand_on! {
    close = xClose() -> c_int;
    read = xRead(to: *mut c_void, size: c_int, at: sqlite3_int64) -> c_int;
    real_write = xWrite(from: *const c_void, size: c_int, at: sqlite3_int64) -> c_int;
    real_truncate = xTruncate(size: sqlite3_int64) -> c_int;
    file_size = xFileSize(size: *mut sqlite3_int64) -> c_int;
    lock = xLock(level: c_int) -> c_int;
    unlock = xUnlock(level: c_int) -> c_int;
    check_reserved_lock = xCheckReservedLock(out: *mut c_int) -> c_int;
    file_control = xFileControl(op: c_int, arg: *mut c_void) -> c_int;
    sector_size = xSectorSize() -> c_int;
    device_characteristics = xDeviceCharacteristics() -> c_int;
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier = xShmBarrier();
    shm_unmap = xShmUnmap(delete: c_int) -> c_int;
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, size: c_int, at: sqlite3_int64) -> c_int {
    unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), size as usize);
        noted(file, || real_write(file, from, size, at), |name| Op::Write(name, at as usize, bytes.into()))
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    unsafe { noted(file, || real_truncate(file, size), |name| Op::Truncate(name, size as usize)) }
}

/// Noted alone: no power is lost while we record.
unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    unsafe { noted(file, || ffi::SQLITE_OK, Op::Sync) }
}

/// Version 2: with shared memory, without memory-mapped pages, which the store does not use.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
