//! What runs the kinds of `windlass work`: a command of the user's, or one of the builtins.

pub(crate) mod builtin;
pub(crate) mod command;
mod gather;
pub(crate) mod group;
mod tail;

use std::sync::Arc;

use windlass::{JobContext, RawJob, Router};

pub(crate) use self::{gather::aggregators, group::Groups};
use crate::config::{Config, Runner};

/// A router for all kinds of the configuration.
pub(crate) fn router(config: &Config, groups: &Groups) -> anyhow::Result<Router> {
    let mut router = Router::new();
    for (pattern, kind) in &config.kinds {
        router = match kind.runner().map_err(anyhow::Error::msg)? {
            Runner::Builtin(builtin) => builtin::add(router, pattern, builtin),
            Runner::Command(words) => {
                let (words, groups): (Arc<[String]>, _) = (words.into(), groups.clone());
                router.at(pattern, move |_: RawJob, ctx: JobContext| command::run(words.clone(), groups.clone(), ctx))
            }
        };
    }
    Ok(router)
}
