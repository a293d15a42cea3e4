//! The CSV file: a line for each job, as RFC 4180 has it.

use windlass::JobRecord;

use super::subject;

const HEAD: &str = "id,kind,queue,state,attempts,failures,crashes,created_at,started_at,completed_at,wait_ms,run_ms,\
                    about,reason,last_error";

/// All jobs, oldest first. Lines end in CR LF.
pub(super) fn render(jobs: &[JobRecord]) -> String {
    let mut text = format!("{HEAD}\r\n");
    for job in jobs {
        let line: Vec<String> = fields(job).iter().map(|field| quoted(field)).collect();
        text.push_str(&line.join(","));
        text.push_str("\r\n");
    }
    text
}

fn fields(job: &JobRecord) -> [String; 15] {
    let time = |at: Option<windlass::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let millis = |from: Option<windlass::Timestamp>, to: Option<windlass::Timestamp>| match (from, to) {
        (Some(from), Some(to)) => to.since(from).as_millis().to_string(),
        _ => String::new(),
    };
    [
        job.id().to_string(),
        job.spec.kind.to_string(),
        job.spec.queue.to_string(),
        job.state.to_string(),
        job.attempt.to_string(),
        job.failures.to_string(),
        job.crashes.to_string(),
        job.created_at.to_string(),
        time(job.started_at),
        time(job.completed_at),
        millis(Some(job.created_at), job.started_at),
        millis(job.started_at, job.completed_at),
        subject(job),
        job.reason.as_deref().unwrap_or_default().to_owned(),
        job.errors.last().map(|error| error.message.clone()).unwrap_or_default(),
    ]
}

/// A field, in quotes where it needs them. A spreadsheet would run what begins like a formula, so that gets a space.
fn quoted(field: &str) -> String {
    let field = if field.starts_with(['=', '+', '-', '@']) { format!(" {field}") } else { field.to_owned() };
    if field.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), " =1+1");
    }

    #[test]
    fn the_head_names_every_field() {
        assert_eq!(HEAD.split(',').count(), 15);
    }
}
