//! The event log of `work --events`: one JSON line an event, written by a thread of its own, so that jobs never wait
//! for the disk longer than it is behind by 64 thousand events.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::JoinHandle,
};

use serde::Serialize;
use tracing::warn;
use windlass::Event;

use crate::exit::{Exit, Failure};

const BEHIND: usize = 64 * 1024;
/// How many bytes are gathered at most before they are written.
const BLOCK: usize = 64 * 1024;

enum Message {
    Event(Event),
    End,
}

/// The log while a server writes to it.
pub(crate) struct EventLog {
    sender: SyncSender<Message>,
    writer: JoinHandle<()>,
}

impl EventLog {
    /// Appends to the file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
            let message = format!("the event log {} cannot be opened: {error}", path.display());
            Failure::new(Exit::Usage, "usage", message)
        })?;
        let torn = ends_torn(path);
        let (sender, receiver) = sync_channel(BEHIND);
        let writer =
            std::thread::Builder::new().name("windlass-events".into()).spawn(move || write(file, torn, &receiver))?;
        Ok(Self { sender, writer })
    }

    /// What the server is to call.
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let sender = self.sender.clone();
        move |event| drop(sender.send(Message::Event(event.clone())))
    }

    /// Writes what is left.
    pub(crate) fn close(self) {
        let _ = self.sender.send(Message::End);
        let _ = self.writer.join();
    }
}

fn write(file: File, torn: bool, events: &Receiver<Message>) {
    let mut lines = Lines { file, block: Vec::new(), torn, failed: false };
    while let Some(message) = next(events, &mut lines) {
        let Message::Event(event) = message else { break };
        lines.add(&event);
    }
    lines.flush();
}

/// The next message; whoever has to wait for it first puts what is written where others can read it.
fn next<W: Write>(events: &Receiver<Message>, lines: &mut Lines<W>) -> Option<Message> {
    match events.try_recv() {
        Ok(message) => Some(message),
        Err(TryRecvError::Empty) => {
            lines.flush();
            events.recv().ok()
        }
        Err(TryRecvError::Disconnected) => None,
    }
}

/// Whether the file ends in half a line, as a process leaves it that was killed or had no more room.
fn ends_torn(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        let mut last = [b'\n'];
        // A pipe is not looked into: it would wait for somebody.
        if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        io::Result::Ok(last[0])
    };
    std::fs::metadata(path).is_ok_and(|found| found.is_file()) && last().is_ok_and(|byte| byte != b'\n')
}

/// Whole lines, gathered and appended in one write: what several processes append to one file does not mix.
struct Lines<W> {
    file: W,
    block: Vec<u8>,
    /// The file ends in half a line, which has to end first.
    torn: bool,
    failed: bool,
}

impl<W: Write> Lines<W> {
    fn add(&mut self, event: &impl Serialize) {
        let whole = self.block.len();
        if let Err(error) = serde_json::to_writer(&mut self.block, event) {
            self.block.truncate(whole);
            return self.lost(&error.into());
        }
        self.block.push(b'\n');
        if self.block.len() >= BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        if self.torn {
            self.block.insert(0, b'\n');
        }
        let mut written = 0;
        while written < self.block.len() {
            match self.file.write(&self.block[written..]) {
                Ok(0) => {
                    self.lost(&io::ErrorKind::WriteZero.into());
                    break;
                }
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.lost(&error);
                    break;
                }
            }
        }
        if let Some(last) = written.checked_sub(1) {
            self.torn = self.block[last] != b'\n';
        }
        self.block.clear();
    }

    /// Says once that events are lost; jobs go on.
    fn lost(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            warn!(%error, "the event log cannot be written; events are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        holds: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room - self.holds.len());
            self.holds.extend(&bytes[..taken]);
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(room: usize) -> Lines<Disk> {
        Lines { file: Disk { holds: Vec::new(), room }, block: Vec::new(), torn: false, failed: false }
    }

    fn parsed(lines: &Lines<Disk>) -> Vec<Option<u64>> {
        let text = std::str::from_utf8(&lines.file.holds).unwrap();
        text.lines().map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[test]
    fn a_full_disk_costs_what_it_has_no_room_for_and_no_line_after_it() {
        let mut log = lines(8);
        for number in [111, 222, 333] {
            log.add(&number);
        }
        log.flush();
        log.file.room = 1000;
        log.add(&444);
        log.flush();
        assert!(log.failed);
        // "444" would have been glued to nothing here: the block was cut between two lines.
        assert_eq!(parsed(&log), [Some(111), Some(222), Some(444)]);
        log.file.room = log.file.holds.len() + 2;
        log.add(&5555);
        log.flush();
        log.file.room = 1000;
        log.add(&666);
        log.flush();
        assert_eq!(parsed(&log)[3..], [Some(55), Some(666)], "half a line, and then a whole one");
    }

    #[test]
    fn a_line_is_written_in_one_piece_with_all_that_gathered() {
        struct Pieces(Vec<Vec<u8>>);
        impl Write for Pieces {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = Lines { file: Pieces(Vec::new()), block: Vec::new(), torn: false, failed: false };
        for _ in 0..100 {
            log.add(&"x".repeat(5000));
        }
        log.flush();
        assert!(log.file.0.len() > 3, "{}", log.file.0.len());
        assert!(log.file.0.iter().all(|piece| piece.ends_with(b"\n") && piece.starts_with(b"\"")));
    }

    #[test]
    fn a_file_that_ends_in_half_a_line_is_known() {
        let place = tempfile::tempdir().unwrap();
        for (text, torn) in [("", false), ("{}\n", false), ("{}\n{\"at\"", true)] {
            let path = place.path().join("events");
            std::fs::write(&path, text).unwrap();
            assert_eq!(ends_torn(&path), torn, "{text:?}");
        }
        assert!(!ends_torn(&place.path().join("none")));
    }
}
