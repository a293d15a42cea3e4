//! Follows a job to its end. On a terminal it shows how far the job says that it is, and the lines of its log.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use windlass::{Client, Error, JobId, JobRecord, Progress, Update};

use crate::output::plain;

/// Waits for the job's end.
pub(crate) async fn to_its_end(client: &Client, id: &JobId) -> Result<JobRecord, Error> {
    let screen = Screen::new();
    let mut updates = client.watch(id);
    while let Some(update) = updates.next().await? {
        match update {
            Update::State(state) => screen.state(&state.to_string()),
            Update::Progress(progress) => screen.progress(&progress),
            Update::Line(line) => screen.line(&line.line),
            Update::Ended(job) => return Ok(*job),
            _ => {}
        }
    }
    // The last update is the end.
    Err(Error::Gone(id.clone()))
}

/// How finely the bar is drawn.
const PARTS: u64 = 1000;

/// A bar on stderr; where that is no terminal, nothing.
struct Screen(ProgressBar);

impl Screen {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(PARTS), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:<9} {bar:32} {percent:>3} % {wide_msg}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")))
    }

    fn state(&self, state: &str) {
        self.0.set_prefix(state.to_owned());
        self.0.tick();
    }

    fn progress(&self, progress: &Progress) {
        self.0.set_position((progress.fraction * PARTS as f64) as u64);
        self.0.set_message(plain(&progress.message));
    }

    fn line(&self, line: &str) {
        self.0.println(plain(line));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
