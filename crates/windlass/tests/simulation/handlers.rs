//! The handler of all simulated jobs: it does what the job's script says, on its process's own clock.

use std::{sync::Arc, time::Duration};

use windlass::{JobContext, RawJob, ResultExt, Router, State};

use crate::{history::Event, plan::Script, run::Sim};

/// Where a handler runs.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) sim: Arc<Sim>,
    pub(crate) place: usize,
    pub(crate) process: windlass::testing::Process,
}

pub(crate) fn router(place: Place) -> Router {
    Router::new().at("sim:*", handle).with_state(place)
}

async fn handle(job: RawJob, State(place): State<Place>, ctx: JobContext) -> windlass::Result {
    let lease = windlass::Lease { id: ctx.id().clone(), fence: ctx.fence() };
    let process = place.process.name().to_owned();
    place.sim.history.note(Event::Started { process: process.clone(), lease: lease.clone() });
    let ended = play(&serde_json::from_slice(&job.payload)?, &place, &ctx).await;
    place.sim.history.note(Event::Ended { process, lease });
    ended
}

async fn play(script: &Script, place: &Place, ctx: &JobContext) -> windlass::Result {
    let pause = async |ms: u64| ctx.client().env().sleep(Duration::from_millis(ms)).await;
    match *script {
        Script::Runs { ms: 0 } => {}
        Script::Runs { ms } => pause(ms).await,
        Script::Fails { times, ms } => {
            pause(ms).await;
            if ctx.attempt() <= times {
                return Err("not yet".into());
            }
        }
        // Without the panic hook, which would write to the terminal a thousand times.
        Script::Panics { times } if ctx.attempt() <= times => std::panic::resume_unwind(Box::new("scripted")),
        Script::Panics { .. } => {}
        Script::Snoozes { times, ms } if ctx.snoozes() < times => Err("later").or_snooze(Duration::from_millis(ms))?,
        Script::Snoozes { .. } => {}
        Script::Buries => Err("never").or_bury()?,
        Script::Chains { jobs } => {
            pause(20).await;
            for _ in 0..jobs {
                ctx.then(RawJob::new("sim:follower", follower()).with(|options| options.queue("default")))?;
            }
        }
        Script::Waits => tokio::select! {
            biased;
            _ = ctx.cancelled() => return Err("told to stop".into()),
            () = pause(30_000) => {}
        },
        Script::Steps { steps, ms } => {
            let lease = windlass::Lease { id: ctx.id().clone(), fence: ctx.fence() };
            for step in ctx.last_checkpoint()?.unwrap_or(0)..steps {
                pause(ms).await;
                ctx.progress(f64::from(step) / f64::from(steps), "");
                ctx.checkpoint(&(step + 1)).await?;
                place.sim.history.note(Event::Noted { lease: lease.clone(), step: step + 1 });
            }
        }
        Script::Kills => {
            pause(50).await;
            place.sim.kill(place.place, &place.process);
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

fn follower() -> Vec<u8> {
    serde_json::to_vec(&Script::Runs { ms: 10 }).expect("a script serializes")
}
