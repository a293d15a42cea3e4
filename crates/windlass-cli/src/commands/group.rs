//! `windlass group`: looks at groups of jobs that wait to become one, flushes and deletes them.

use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use windlass::{Client, GroupInfo, GroupKey, Pattern, QueueName, Timestamp};

use crate::{
    exit::{Exit, Failure},
    output::table,
    store::App,
    units,
};

const EXAMPLES: &str = "\
Examples:
  windlass enqueue note --payload '\"hello\"' --group digest:ann
  windlass group list
  windlass group flush default digest:ann
  windlass group delete default digest:ann";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The groups that have members, how many, how old, and whether a live server aggregates them
    List(ListFlags),
    /// Make a group due now, for those of its members that are there
    Flush { queue: String, group: String },
    /// Remove the members of a group without a trace
    Delete { queue: String, group: String },
}

#[derive(Args, Debug)]
struct ListFlags {
    #[arg(long)]
    queue: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where a page said `next`
    #[arg(long, value_name = "NEXT", value_parser = cursor)]
    cursor: Option<GroupKey>,
}

/// A group as it is listed.
#[derive(Serialize)]
struct Listed {
    /// `size` is counted up to 1,000.
    #[serde(flatten)]
    info: GroupInfo,
    /// Whether a live server takes from its queue and aggregates groups of its name.
    aggregated: bool,
}

#[derive(Serialize)]
struct Page<'a> {
    items: &'a [Listed],
    next: Option<String>,
}

#[derive(Serialize)]
struct Asked<'a> {
    #[serde(flatten)]
    key: &'a GroupKey,
    flush_asked: bool,
}

#[derive(Serialize)]
struct Deleted<'a> {
    #[serde(flatten)]
    key: &'a GroupKey,
    removed: u64,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    match flags.action {
        Action::List(flags) => list(app, &client, flags).await,
        Action::Flush { queue, group } => flush(app, &client, &GroupKey::new(QueueName::new(queue)?, group)).await,
        Action::Delete { queue, group } => delete(app, &client, &GroupKey::new(QueueName::new(queue)?, group)).await,
    }
}

async fn list(app: &App, client: &Client, flags: ListFlags) -> anyhow::Result<Exit> {
    let queue = flags.queue.as_deref().map(QueueName::new).transpose()?;
    let page = client.groups(queue.as_ref(), flags.cursor.as_ref(), flags.limit).await?;
    let servers = client.servers().await?;
    let aggregated = |key: &GroupKey| {
        servers.iter().any(|server| {
            let takes = server.queues.iter().any(|(queue, _)| *queue == key.queue);
            let matches = |text: &String| Pattern::new(text).is_ok_and(|pattern| pattern.matches(&key.name));
            takes && server.groups.iter().any(matches)
        })
    };
    let listed = |info: GroupInfo| Listed { aggregated: aggregated(&info.key), info };
    let items: Vec<Listed> = page.items.into_iter().map(listed).collect();
    let document = Page { items: &items, next: page.next.as_ref().map(text) };
    app.out.document(&document, || {
        let rows: Vec<_> = items.iter().map(|group| row(group, page.now)).collect();
        let more = document.next.as_ref().map(|next| format!("\nmore: --cursor {next}")).unwrap_or_default();
        table(&HEADINGS, &rows) + &more
    })?;
    Ok(Exit::Ok)
}

const HEADINGS: [&str; 6] = ["QUEUE", "GROUP", "SIZE", "OLDEST", "NEWEST", "AGGREGATED"];

fn row(group: &Listed, now: Timestamp) -> Vec<String> {
    let info = &group.info;
    let ago = |at: Timestamp| units::show(std::time::Duration::from_secs(now.since(at).as_secs()));
    let aggregated = match (group.aggregated, info.flush_asked) {
        (true, true) => "now",
        (true, false) => "yes",
        (false, _) => "no server",
    };
    let names = [info.key.queue.to_string(), info.key.name.to_string()];
    names
        .into_iter()
        .chain([info.size.to_string(), ago(info.oldest_at), ago(info.newest_at), aggregated.into()])
        .collect()
}

async fn flush(app: &App, client: &Client, key: &GroupKey) -> anyhow::Result<Exit> {
    if !client.flush_group(key).await? {
        return Err(missing(key).into());
    }
    app.out.document(&Asked { key, flush_asked: true }, || {
        format!("group {} of queue {} is due now; a server that aggregates it flushes it", key.name, key.queue)
    })?;
    Ok(Exit::Ok)
}

async fn delete(app: &App, client: &Client, key: &GroupKey) -> anyhow::Result<Exit> {
    let removed = client.delete_group(key).await?;
    if removed == 0 {
        return Err(missing(key).into());
    }
    app.out
        .document(&Deleted { key, removed }, || format!("{removed} jobs of group {} have been removed", key.name))?;
    Ok(Exit::Ok)
}

fn missing(key: &GroupKey) -> Failure {
    let failure = Failure::not_found(format!("no job waits in a group `{}` of queue `{}`", key.name, key.queue));
    failure.help("a group is there while jobs wait in it; `windlass group list` shows them")
}

/// A place in the list as one word: names may hold anything that a shell would read otherwise.
fn text(key: &GroupKey) -> String {
    BASE64URL_NOPAD.encode(format!("{}\n{}", key.queue, key.name).as_bytes())
}

fn cursor(text: &str) -> Result<GroupKey, String> {
    let wrong = || format!("`{text}` is no place in a list of groups; take the `next` of a page as it is");
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| wrong())?;
    let names = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (queue, name) = names.split_once('\n').ok_or_else(wrong)?;
    Ok(GroupKey::new(QueueName::new(queue).map_err(|error| error.to_string())?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_leads_back_to_its_group() {
        let key = GroupKey::new(QueueName::new("a b").unwrap(), "x/\"y\" ünd");
        assert_eq!(cursor(&text(&key)), Ok(key));
        assert!(cursor("?").is_err() && cursor("YQ").is_err());
    }
}
