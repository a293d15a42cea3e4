//! The kind `image:process`: reads a picture, makes a thumbnail, applies filters to it and writes JPEG files.
//! A picture that cannot be read and a filter that does not exist are buried: no retry would mend them.

use std::sync::Arc;

use ::image::RgbImage;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use windlass::{Job, JobContext, JobError, JobOptions, Json, ResultExt, State};

use super::{
    email::SendEmail,
    filters::{self, Filter},
    photos,
    stage::{Stage, blocking},
};

/// The payload of `image:process`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProcessImage {
    /// A file, or `photo:cat.jpg` for a photograph in the binary.
    #[serde(rename = "ImageURL")]
    pub(super) image_url: String,
    #[serde(rename = "Filters")]
    pub(super) filters: Vec<String>,
    /// Who gets a mail with the thumbnail once the picture is done.
    #[serde(rename = "NotifyTo", default, skip_serializing_if = "Option::is_none")]
    pub(super) notify_to: Option<String>,
}

impl Job for ProcessImage {
    const KIND: &'static str = "image:process";

    fn options(&self) -> JobOptions {
        JobOptions::new().queue("images")
    }
}

/// The result of `image:process`: what it read and what it wrote.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Processed {
    pub(super) source_width: u32,
    pub(super) source_height: u32,
    pub(super) source_bytes: u64,
    pub(super) files: Vec<Written>,
}

/// One JPEG file; its name is relative to the folder for results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: u64,
}

#[windlass::check_handler]
pub(super) async fn process(
    job: ProcessImage,
    State(stage): State<Stage>,
    ctx: JobContext,
) -> windlass::Result<Json<Processed>> {
    let steps = job.filters.iter().map(|name| name.parse()).collect::<Result<Vec<Filter>, _>>().or_bury()?;
    stage.world_outside(&ctx).await;
    let job = Arc::new(job);
    let work = (job.clone(), stage.clone(), ctx.clone());
    let processed = blocking(move || {
        let (job, stage, ctx) = work;
        work_on(&job, &steps, &stage, &ctx)
    });
    let processed = processed.await.map_err(JobError::from)?;
    if let Some(to) = &job.notify_to {
        // Enqueued in the same step as this job's finish: both or neither.
        ctx.then(SendEmail::picture_ready(to, &job.image_url, &processed))?;
    }
    Ok(Json(processed))
}

fn work_on(job: &ProcessImage, steps: &[Filter], stage: &Stage, ctx: &JobContext) -> anyhow::Result<Processed> {
    let source = photos::load(&job.image_url)?;
    let picture = filters::decode(&source).or_bury().with_context(|| format!("decoding {}", job.image_url))?;
    let mut processed = Processed {
        source_width: picture.width(),
        source_height: picture.height(),
        source_bytes: source.len() as u64,
        files: Vec::new(),
    };
    let thumbnail = Filter::Thumbnail.apply(&picture);
    processed.files.push(write(&thumbnail, "thumbnail", job, stage, ctx)?);
    let others: Vec<Filter> = steps.iter().copied().filter(|step| *step != Filter::Thumbnail).collect();
    if !others.is_empty() {
        let filtered = others.iter().fold(thumbnail, |picture, step| step.apply(&picture));
        let label = others.iter().map(|step| step.as_str()).collect::<Vec<_>>().join("+");
        processed.files.push(write(&filtered, &label, job, stage, ctx)?);
    }
    Ok(processed)
}

fn write(
    picture: &RgbImage,
    label: &str,
    job: &ProcessImage,
    stage: &Stage,
    ctx: &JobContext,
) -> anyhow::Result<Written> {
    let bytes = filters::encode(picture)?;
    // The end of a UUIDv7 is random, so jobs on the same picture write files of their own.
    let id = ctx.id().to_string();
    let short = id.get(id.len().saturating_sub(8)..).unwrap_or(&id);
    let label: String = label.chars().take(80).collect();
    let name = format!("images/{}-{label}-{short}.jpg", photos::stem(&job.image_url));
    stage.write(ctx, &name, &bytes)?;
    Ok(Written { name, width: picture.width(), height: picture.height(), bytes: bytes.len() as u64 })
}
