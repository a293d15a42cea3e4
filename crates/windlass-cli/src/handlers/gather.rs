//! What `windlass work` makes of the members of a group: one job, whose payload is the array of theirs. A member that
//! can be no part of it is buried, as a handler would bury it, so that it does not hold the others for ever.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tracing::warn;
use windlass::{Client, DEFAULTS, Group, GroupRules, JobRecord, JobSpec, JobState, RawJob, Server};

use crate::config::{Config, GroupConfig};

/// Adds an aggregator for each pattern of the configuration.
pub(crate) fn aggregators(mut server: Server, client: &Client, config: &Config) -> Server {
    for (pattern, group) in &config.groups {
        let (kind, queue) = (group.kind.clone(), group.queue.clone());
        let (client, runtime) = (client.clone(), Handle::current());
        server = server.aggregate(pattern.as_str(), rules(group), move |members: &Group| {
            let payload = array(members).map_err(|unfit| {
                let problem = unfit.to_string();
                runtime.spawn(bury(client.clone(), unfit.0));
                problem
            })?;
            let job = RawJob::new(&kind, payload);
            windlass::Result::<RawJob>::Ok(match &queue {
                Some(queue) => job.with(|options| options.queue(queue)),
                None => job,
            })
        });
    }
    server
}

fn rules(config: &GroupConfig) -> GroupRules {
    let mut rules = GroupRules::new();
    if let Some(grace) = config.grace {
        rules = rules.grace(grace.0);
    }
    if let Some(delay) = config.max_delay {
        rules = rules.max_delay(delay.0);
    }
    if let Some(size) = config.max_size {
        rules = rules.max_size(size);
    }
    rules
}

/// Members that can be no part of any array.
struct Unfit(Vec<Arc<JobSpec>>, &'static str);

/// The payloads as they were written, those that have waited longest first.
fn array(group: &Group) -> Result<Vec<u8>, Unfit> {
    let is_json = |member: &&Arc<JobSpec>| serde_json::from_slice::<&RawValue>(&member.payload).is_ok();
    let (fit, unfit): (Vec<_>, Vec<_>) = group.members.iter().partition(is_json);
    if !unfit.is_empty() {
        return Err(Unfit(unfit.into_iter().cloned().collect(), "no JSON"));
    }
    let payloads: Vec<&[u8]> = fit.iter().map(|member| &member.payload[..]).collect();
    let array = [b"[".as_slice(), &payloads.join(&b','), b"]"].concat();
    // Of several the server takes fewer at a time, down to one.
    if let [alone] = fit[..]
        && array.len() > DEFAULTS.max_payload_bytes
    {
        return Err(Unfit(vec![alone.clone()], "too large for a job of its own"));
    }
    Ok(array)
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(members, problem) = self;
        let id = &members[0].id;
        write!(f, "the payload of job `{id}` is {problem}, so it is buried and the others become a job without it")?;
        if members.len() > 1 {
            write!(f, "; so are {} more", members.len() - 1)?;
        }
        write!(f, ". Edit it and redrive it: it goes back into its group")
    }
}

/// Makes them dead, unless somebody has mended or taken them meanwhile. When it fails, the next call of the aggregator
/// finds them again.
async fn bury(client: Client, members: Vec<Arc<JobSpec>>) {
    for member in members {
        let buried = async {
            let is_unfit = |job: JobRecord| job.state == JobState::Aggregating && job.spec.payload == member.payload;
            if client.get(&member.id).await?.is_some_and(is_unfit) {
                client.bury(&member.id).await?;
            }
            Ok::<(), windlass::Error>(())
        };
        if let Err(error) = buried.await {
            warn!(job.id = %member.id, %error, "a member that fits into no job could not be buried");
        }
    }
}
