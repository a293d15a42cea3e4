//! What the user sees while the demo runs, on standard error: bars and lines on a terminal, plain lines elsewhere,
//! nothing with `--json`. Decides nothing.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use windlass::{Env, Monotonic};

/// Colours, on a terminal that wants them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn on(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(terminal && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb"))
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(super) fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }
}

/// Tells the story with the time since the start.
pub(super) struct Screen {
    env: Env,
    began: Monotonic,
    pub(super) paint: Paint,
    out: Out,
}

enum Out {
    Silent,
    Plain,
    Bars { all: MultiProgress, images: ProgressBar, mails: ProgressBar },
}

impl Screen {
    pub(super) fn new(env: &Env, silent: bool, images: usize, mails: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let out = match (silent, terminal) {
            (true, _) => Out::Silent,
            (false, false) => Out::Plain,
            (false, true) => bars(images, mails),
        };
        Self { env: env.clone(), began: env.monotonic(), paint: Paint::on(terminal && !silent), out }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        self.env.monotonic().since(self.began).as_secs_f64()
    }

    /// A line of the story.
    pub(super) fn say(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint.dim(&format!("{:>5.1} s ", self.seconds()))));
    }

    /// More about the line before.
    pub(super) fn more(&self, text: &str) {
        self.line(&format!("         {}", self.paint.dim(text)));
    }

    /// A line without the time.
    pub(super) fn line(&self, text: &str) {
        match &self.out {
            Out::Silent => {}
            Out::Plain => eprintln_quietly(text),
            Out::Bars { all, .. } => drop(all.println(text)),
        }
    }

    /// How many pictures and mails have ended.
    pub(super) fn progress(&self, images: usize, mails: usize) {
        if let Out::Bars { images: first, mails: second, .. } = &self.out {
            first.set_position(images as u64);
            second.set_position(mails as u64);
        }
    }

    /// Takes the bars away.
    pub(super) fn end(&self) {
        if let Out::Bars { all, images, mails } = &self.out {
            images.finish_and_clear();
            mails.finish_and_clear();
            let _ = all.clear();
        }
    }
}

/// A reader that has gone away is no reason to fail.
fn eprintln_quietly(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn bars(images: usize, mails: usize) -> Out {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let bar = |name: &'static str, length: usize| {
        let style = ProgressStyle::with_template("  {prefix:<9} {bar:32} {pos:>4} of {len}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        let bar = all.add(ProgressBar::new(length as u64).with_style(style).with_prefix(name));
        bar.tick();
        bar
    };
    let (images, mails) = (bar("pictures", images), bar("mails", mails));
    Out::Bars { images, mails, all }
}
