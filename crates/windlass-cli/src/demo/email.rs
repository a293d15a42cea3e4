//! The kind `email:send`: fills a template, builds an RFC 5322 message and puts it into the outbox folder, or hands it
//! to a mail server when `SMTP_URL` is set.

use std::{fs, time::Duration};

use anyhow::Context;
use lettre::{
    Message, SmtpTransport, Transport,
    message::{Attachment, MultiPart, header::ContentType},
};
use serde::{Deserialize, Serialize};
use windlass::{Job, JobContext, JobError, JobOptions, Json, ResultExt, State};

use super::{
    image::Processed,
    photos, refused,
    stage::{Stage, blocking},
};

use crate::exit::Failure;

/// The payload of `email:send`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendEmail {
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: String,
    /// Files of the results to attach, such as `images/cat-thumbnail-1234abcd.jpg`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) attachments: Vec<String>,
}

impl Job for SendEmail {
    const KIND: &'static str = "email:send";

    fn options(&self) -> JobOptions {
        JobOptions::new().queue("mail")
    }
}

impl SendEmail {
    /// The mail that follows a picture.
    pub(super) fn picture_ready(to: &str, image_url: &str, processed: &Processed) -> Self {
        let name = photos::stem(image_url);
        let (width, height) = (processed.source_width, processed.source_height);
        let after: u64 = processed.files.iter().map(|file| file.bytes).sum();
        let body = format!(
            "Your picture {name} is ready.\n\nIt had {width} x {height} pixels and {} KB; the {} in the attachment {} {} KB.",
            processed.source_bytes.div_ceil(1000),
            if processed.files.len() == 1 { "file" } else { "files" },
            if processed.files.len() == 1 { "has" } else { "have" },
            after.div_ceil(1000),
        );
        Self {
            to: to.to_owned(),
            subject: format!("Your picture {name} is ready"),
            body,
            attachments: processed.files.iter().map(|file| file.name.clone()).collect(),
        }
    }
}

/// The result of `email:send`: the file in the outbox, or none when a mail server took the message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) file: Option<String>,
}

/// Where messages go.
pub(super) enum Mailer {
    Outbox,
    Smtp(SmtpTransport),
}

impl Mailer {
    /// The mail server that `SMTP_URL` names, or the outbox.
    pub(super) fn from_env() -> Result<Self, Failure> {
        match std::env::var("SMTP_URL") {
            Ok(url) if !url.trim().is_empty() => Self::smtp(url.trim()),
            _ => Ok(Self::Outbox),
        }
    }

    fn smtp(url: &str) -> Result<Self, Failure> {
        let help = "use SMTP_URL=smtp://localhost:1025, say, or unset it to write mails into the outbox folder";
        // The address may hold a password, so the message does not repeat it.
        let refuse = |why: &str| refused(format!("SMTP_URL {why}"), help);
        let url = url::Url::parse(url).map_err(|error| refuse(&format!("is no URL: {error}")))?;
        if url.scheme() != "smtp" {
            return Err(refuse("does not begin with smtp://; the demo speaks to a local mail server, without TLS"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("has a password; the demo would send it in the clear, so it refuses"));
        }
        let host = url.host_str().ok_or_else(|| refuse("has no host"))?;
        let server = SmtpTransport::builder_dangerous(host).port(url.port().unwrap_or(25));
        Ok(Self::Smtp(server.timeout(Some(Duration::from_secs(10))).build()))
    }
}

#[windlass::check_handler]
pub(super) async fn send(mail: SendEmail, State(stage): State<Stage>, ctx: JobContext) -> windlass::Result<Json<Sent>> {
    stage.world_outside(&ctx).await;
    let message = compose(&mail, &stage, &ctx)?;
    let work = (stage.clone(), ctx.clone());
    let sent = blocking(move || {
        let (stage, ctx) = work;
        deliver(&message, &stage, &ctx)
    });
    sent.await.map(Json).map_err(JobError::from)
}

/// The message as text and HTML, with its attachments. The same job makes the same Message-ID, so that a mail server
/// or a reader can tell a repeat after a crash from a second mail.
fn compose(mail: &SendEmail, stage: &Stage, ctx: &JobContext) -> anyhow::Result<Message> {
    let name = mail.to.split('@').next().unwrap_or_default();
    let data = minijinja::context! {
        name => name, subject => mail.subject.as_str(), body => mail.body.as_str(), attachments => mail.attachments.len(),
        id => ctx.id().to_string(), attempt => ctx.attempt(), queue => ctx.queue(),
        enqueued => ctx.created_at().to_string(),
    };
    let (text, html) = (stage.render("mail.txt", data.clone())?, stage.render("mail.html", data)?);
    let body = MultiPart::alternative_plain_html(text, html);
    let to = mail.to.parse().or_bury().with_context(|| format!("the address `{}`", mail.to))?;
    let builder = Message::builder()
        .from("Windlass demo <demo@windlass.example>".parse()?)
        .to(to)
        .subject(&mail.subject)
        .date(ctx.client().env().wall().into())
        .message_id(Some(format!("<{}@windlass.example>", ctx.id())));
    if mail.attachments.is_empty() {
        return Ok(builder.multipart(body)?);
    }
    let mut whole = MultiPart::mixed().multipart(body);
    for name in &mail.attachments {
        let inside = name.strip_prefix("images/").filter(|file| !file.contains(['/', '\\']));
        let file = inside.ok_or_else(|| format!("`{name}` is no file of the results")).or_bury()?;
        let bytes = fs::read(stage.out().join(name)).with_context(|| format!("reading {name}"))?;
        whole = whole.singlepart(Attachment::new(file.to_owned()).body(bytes, ContentType::parse("image/jpeg")?));
    }
    Ok(builder.multipart(whole)?)
}

fn deliver(message: &Message, stage: &Stage, ctx: &JobContext) -> anyhow::Result<Sent> {
    match stage.mailer() {
        // The file is named after the job: a run that repeats writes it again instead of adding a second mail.
        Mailer::Outbox => {
            let name = format!("outbox/{}.eml", ctx.id());
            stage.write(ctx, &name, &message.formatted())?;
            Ok(Sent { file: Some(name) })
        }
        Mailer::Smtp(server) => match server.send(message) {
            Err(refused) if refused.is_permanent() => Err(refused).or_bury().context("the mail server refuses it")?,
            other => other.map(|_| Sent { file: None }).context("sending to the mail server"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn mail_servers_are_plain_and_without_a_password() {
        assert!(matches!(Mailer::smtp("smtp://localhost:1025"), Ok(Mailer::Smtp(_))));
        for bad in ["smtps://localhost", "smtp://me:secret@localhost", "localhost", "smtp:"] {
            let refusal = Mailer::smtp(bad).err().unwrap();
            assert!(refusal.exit == Exit::Usage && !refusal.message.contains("secret"), "{bad}");
        }
    }

    #[test]
    fn payloads_have_the_names_that_others_use() {
        let json = r#"{"To":"ada@example.com","Subject":"Hi","Body":"hello"}"#;
        let mail: SendEmail = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&mail).unwrap(), json);
    }
}
