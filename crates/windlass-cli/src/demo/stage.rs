//! What the handlers of a worker share: the folder for results, the templates, the pace, and how files are written.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use minijinja::{AutoEscape, Environment, Value};
use windlass::{BoxError, JobContext};

use super::email::Mailer;

/// The state of the demo's router.
#[derive(Clone)]
pub(super) struct Stage(Arc<Parts>);

struct Parts {
    out: PathBuf,
    pace: Duration,
    templates: Environment<'static>,
    mailer: Mailer,
}

impl Stage {
    pub(super) fn new(out: PathBuf, pace: Duration, mailer: Mailer) -> Result<Self, minijinja::Error> {
        Ok(Self(Arc::new(Parts { out, pace, templates: templates()?, mailer })))
    }

    pub(super) fn mailer(&self) -> &Mailer {
        &self.0.mailer
    }

    pub(super) fn out(&self) -> &PathBuf {
        &self.0.out
    }

    /// A template filled in.
    pub(super) fn render(&self, template: &str, data: Value) -> Result<String, minijinja::Error> {
        self.0.templates.get_template(template)?.render(data)
    }

    /// Waits as a download or an upload would, so that there is something to see: more or less the pace, by the job.
    pub(super) async fn world_outside(&self, ctx: &JobContext) {
        let part = (ctx.id().seed() >> 40) as f64 / (1u64 << 24) as f64;
        ctx.client().env().sleep(self.0.pace.mul_f64(0.5 + part)).await;
    }

    /// Writes a file under the folder for results, whole or not at all. A run that repeats after a crash writes the
    /// same file again, so its effect counts once.
    pub(super) fn write(&self, ctx: &JobContext, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.out.join(name);
        // The fence keeps the unfinished file of a run that was given up apart from ours.
        let unfinished = self.0.out.join(format!("{name}.{}.tmp", ctx.fence()));
        fs::write(&unfinished, bytes)?;
        fs::rename(&unfinished, &path)
    }
}

/// Runs CPU work on the threads for blocking calls, away from those that renew leases.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, BoxError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// The templates in the binary; those of HTML escape what they are filled with.
pub(super) fn templates() -> Result<Environment<'static>, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    templates.add_template("mail.txt", include_str!("../../assets/demo/mail.txt"))?;
    templates.add_template("mail.html", include_str!("../../assets/demo/mail.html"))?;
    templates.add_template("report.html", include_str!("../../assets/demo/report.html"))?;
    Ok(templates)
}
