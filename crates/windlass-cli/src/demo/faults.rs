//! The mishaps that the demo rehearses: a middleware reads a job's header and lets its first attempts go wrong.
//! The handlers know nothing of it.

use windlass::{JobContext, JobError, Outcome, middleware::Next};

/// The header that asks for a mishap: `error:2` for two failed attempts, `panic:1` for one that panics.
pub(super) const HEADER: &str = "demo-fault";

/// A mishap of the first attempts of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Error { attempts: u32 },
    Panic { attempts: u32 },
}

impl Fault {
    pub(super) fn header(self) -> String {
        match self {
            Fault::Error { attempts } => format!("error:{attempts}"),
            Fault::Panic { attempts } => format!("panic:{attempts}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (what, attempts) = text.split_once(':')?;
        let attempts = attempts.parse().ok()?;
        match what {
            "error" => Some(Fault::Error { attempts }),
            "panic" => Some(Fault::Panic { attempts }),
            _ => None,
        }
    }
}

/// The middleware.
pub(super) async fn rehearse(ctx: JobContext, next: Next) -> Outcome {
    match ctx.headers().get(HEADER).and_then(|text| Fault::parse(text)) {
        Some(Fault::Error { attempts }) if ctx.attempt() <= attempts => {
            let said = match ctx.kind() {
                "email:send" => "451 4.2.2 the mailbox is full (rehearsed)",
                _ => "the picture store answers 503 (rehearsed)",
            };
            Outcome::Failed(JobError::from(said))
        }
        Some(Fault::Panic { attempts }) if ctx.attempt() <= attempts => {
            panic!("index out of bounds in a codec (rehearsed)")
        }
        _ => next.run(ctx).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_travel_as_headers() {
        for fault in [Fault::Error { attempts: 2 }, Fault::Panic { attempts: 1 }] {
            assert_eq!(Fault::parse(&fault.header()), Some(fault));
        }
        assert_eq!(Fault::parse("flood:1"), None);
    }
}
