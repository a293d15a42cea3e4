//! The event log of `work --events`: one JSON line an event, written by a thread of its own, so that jobs never wait
//! for the disk longer than it is behind by 64 thousand events.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::JoinHandle,
};

use tracing::warn;
use windlass::Event;

use crate::exit::{Exit, Failure};

const BEHIND: usize = 64 * 1024;

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
        let (sender, receiver) = sync_channel(BEHIND);
        let writer =
            std::thread::Builder::new().name("windlass-events".into()).spawn(move || write(file, &receiver))?;
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

fn write(file: File, events: &Receiver<Message>) {
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    let mut failed = false;
    while let Some(message) = next(events, &mut file, &mut failed) {
        let Message::Event(event) = message else { break };
        let written = serde_json::to_writer(&mut file, &event).map_err(io::Error::from);
        note(written.and_then(|()| file.write_all(b"\n")), &mut failed);
    }
    note(file.flush(), &mut failed);
}

/// The next message; whoever has to wait for it first puts what is written where others can read it.
fn next(events: &Receiver<Message>, file: &mut impl Write, failed: &mut bool) -> Option<Message> {
    match events.try_recv() {
        Ok(message) => Some(message),
        Err(TryRecvError::Empty) => {
            note(file.flush(), failed);
            events.recv().ok()
        }
        Err(TryRecvError::Disconnected) => None,
    }
}

/// Says once that events are lost; jobs go on.
fn note(written: io::Result<()>, failed: &mut bool) {
    if let Err(error) = written
        && !std::mem::replace(failed, true)
    {
        warn!(%error, "the event log cannot be written; events are lost");
    }
}
