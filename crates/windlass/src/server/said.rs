//! What one run has said and the store has not answered for: gathered here by its handler, sent by the reporter, and
//! whatever is left goes with the finish. So nothing that was said before the finish is overtaken by it.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    job::{News, Progress},
};

/// Who waits for a checkpoint, and for which number.
type Waiter = (u64, oneshot::Sender<Result<(), Error>>);

/// A checkpoint on its way.
pub(crate) struct Noted {
    /// The reporter has to be told.
    pub(crate) tell: bool,
    /// The store's answer.
    pub(crate) answered: oneshot::Receiver<Result<(), Error>>,
}

/// The news of one run.
#[derive(Default)]
pub(crate) struct Said {
    /// Said since the last report was made up.
    gathered: News,
    /// Under way, or on their way once more; oldest first.
    unanswered: Vec<News>,
    /// The number of the last of them.
    number: u64,
    waiters: Vec<Waiter>,
    /// The latest checkpoint, for the handler itself.
    checkpoint: Option<Bytes>,
    /// The reporter knows that there is something.
    queued: bool,
    /// The finish has taken all there was; what comes after it is nobody's.
    closed: bool,
}

impl Said {
    /// Adds to what is gathered. True: the reporter has to be told.
    pub(crate) fn add(&mut self, add: impl FnOnce(&mut News)) -> bool {
        if self.closed {
            return false;
        }
        add(&mut self.gathered);
        !std::mem::replace(&mut self.queued, true)
    }

    /// Notes how far the run is.
    pub(crate) fn progress(&mut self, progress: Progress) -> bool {
        self.add(|news| news.progress = Some(progress))
    }

    /// Notes a checkpoint; the store's answer comes over the channel. None: the run has ended.
    pub(crate) fn checkpoint(&mut self, bytes: Bytes) -> Option<Noted> {
        if self.closed {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.waiters.push((self.number + 1, answer));
        Some(Noted { tell: self.note(bytes), answered })
    }

    /// Notes a checkpoint that nobody waits for.
    pub(crate) fn note(&mut self, bytes: Bytes) -> bool {
        self.checkpoint = Some(bytes.clone());
        self.add(|news| news.checkpoint = Some(bytes))
    }

    pub(crate) fn latest_checkpoint(&self) -> Option<&Bytes> {
        self.checkpoint.as_ref()
    }

    /// What is to be reported: what is on its way once more, and unless this is a repeat, what was gathered since.
    pub(crate) fn for_a_report(&mut self, repeat: bool) -> Vec<News> {
        if self.closed {
            return Vec::new();
        }
        if !repeat {
            self.queued = false;
            self.number_gathered();
        }
        self.unanswered.clone()
    }

    /// All that no answer has come for, for the finish.
    pub(crate) fn for_the_finish(&mut self) -> Vec<News> {
        self.number_gathered();
        self.unanswered.clone()
    }

    /// The run has ended: nothing more is said, and nobody hears of a checkpoint any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.waiters.clear();
    }

    /// The store has answered for everything up to this number; or never will, with this error.
    pub(crate) fn answered(&mut self, number: u64, answer: Result<(), Error>) {
        self.unanswered.retain(|news| news.number > number);
        for (_, waiter) in self.waiters.extract_if(.., |(waits_for, _)| *waits_for <= number) {
            // Who has stopped waiting does not mind.
            let _ = waiter.send(answer.clone());
        }
    }

    fn number_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.number += 1;
            let news = std::mem::take(&mut self.gathered);
            self.unanswered.push(News { number: self.number, ..news });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Line, Timestamp};

    fn line(text: &str) -> Line {
        Line::new(Timestamp::default(), text)
    }

    fn numbers(news: &[News]) -> Vec<(u64, usize)> {
        news.iter().map(|news| (news.number, news.lines.len())).collect()
    }

    #[test]
    fn what_is_under_way_goes_with_the_finish_under_its_own_number() {
        let mut said = Said::default();
        assert!(said.add(|news| news.say(line("a"))), "the first one wakes the reporter");
        assert!(!said.add(|news| news.say(line("b"))));
        assert_eq!(numbers(&said.for_a_report(false)), [(1, 2)]);
        assert!(said.add(|news| news.say(line("c"))), "it has to come again");
        assert_eq!(numbers(&said.for_a_report(true)), [(1, 2)], "a repeat is the same");
        assert_eq!(numbers(&said.for_the_finish()), [(1, 2), (2, 1)]);
        let mut waiter = said.checkpoint(Bytes::new()).unwrap().answered;
        said.close();
        assert!(matches!(waiter.try_recv(), Err(oneshot::error::TryRecvError::Closed)), "it waits no longer");
        assert!(!said.add(|news| news.say(line("d"))));
        assert!(said.for_a_report(false).is_empty() && said.checkpoint(Bytes::new()).is_none());
    }

    #[test]
    fn what_was_answered_is_not_sent_again() {
        let mut said = Said::default();
        said.add(|news| news.say(line("a")));
        said.for_a_report(false);
        said.add(|news| news.say(line("b")));
        said.answered(1, Ok(()));
        assert_eq!(numbers(&said.for_the_finish()), [(2, 1)]);
    }

    #[test]
    fn a_checkpoint_waits_for_the_answer_to_its_own_report() {
        let mut said = Said::default();
        said.add(|news| news.say(line("a")));
        said.for_a_report(false);
        let mut answered = said.checkpoint(Bytes::from_static(b"5")).unwrap().answered;
        said.answered(1, Ok(()));
        assert!(answered.try_recv().is_err(), "that was the report before");
        said.for_a_report(false);
        said.answered(2, Ok(()));
        assert!(matches!(answered.try_recv(), Ok(Ok(()))));
        assert_eq!(said.latest_checkpoint().map(|bytes| &bytes[..]), Some(&b"5"[..]));
    }
}
