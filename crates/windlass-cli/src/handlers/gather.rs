//! What `windlass work` makes of the members of a group: one job, whose payload is the array of theirs.

use serde_json::value::RawValue;
use windlass::{Group, GroupRules, RawJob, Server};

use crate::config::{Config, GroupConfig};

/// Adds an aggregator for each pattern of the configuration.
pub(crate) fn aggregators(mut server: Server, config: &Config) -> Server {
    for (pattern, group) in &config.groups {
        let (kind, queue) = (group.kind.clone(), group.queue.clone());
        server = server.aggregate(pattern.as_str(), rules(group), move |members: &Group| {
            let job = RawJob::new(&kind, array(members)?);
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

/// The payloads as they were written, those that have waited longest first.
fn array(group: &Group) -> windlass::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&group.payloads::<Box<RawValue>>()?)?)
}
