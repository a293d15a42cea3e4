//! What operators do to one job or one queue. What is to be done is decided here, from the job as it was read; the server
//! does it if the job is still so, and otherwise it is decided anew.

use tokio_postgres::types::Type;

use super::{Shared, encode, rows};
use crate::{
    decide::{
        group::joins,
        operate::{Action, Effect, effect},
    },
    job::{DeadReason, JobId, QueueName, State, micros},
    store::{Operated, Result, StoreError, postgres::link::sql},
};

/// How often a job may change under the operator's hands.
const TRIES: u32 = 20;

/// What `operate_job` is asked for.
struct Wish {
    what: i32,
    to: Option<i16>,
    reason: Option<String>,
    payload: Option<Vec<u8>>,
    start: (i16, i64),
}

impl Wish {
    fn new(what: i32) -> Self {
        Self { what, to: None, reason: None, payload: None, start: (0, 0) }
    }

    fn of(action: &Action, effect: Effect) -> Option<Self> {
        Some(match (effect, action) {
            (Effect::Remove, _) => Self::new(0),
            (Effect::Edit, Action::Edit { payload }) => Self { payload: Some(payload.to_vec()), ..Self::new(1) },
            (Effect::AskToCancel, Action::Cancel { reason }) => {
                Self { reason: Some(encode::text(reason)), ..Self::new(2) }
            }
            (Effect::Become(to), action) => Self { to: Some(to.code().into()), ..Self::becoming(action) },
            _ => return None,
        })
    }

    fn becoming(action: &Action) -> Self {
        match action {
            Action::Cancel { reason } => Self { reason: Some(encode::text(reason)), ..Self::new(3) },
            Action::Bury => Self { reason: Some(DeadReason::Buried.as_str().into()), ..Self::new(3) },
            Action::Redrive => Self::new(4),
            Action::Reschedule { start } => Self { start: encode::start(*start), ..Self::new(6) },
            _ => Self::new(5),
        }
    }
}

pub(in super::super) async fn operate(store: &Shared, id: &JobId, action: &Action) -> Result<Operated> {
    let name = id.to_string();
    for _ in 0..TRIES {
        let found = store.link.rows(sql!("job_state"), &[(&name, Type::TEXT)]).await?;
        let Some(row) = found.first() else { return Ok(Operated::NotFound) };
        let state = rows::state(rows::get(row, "state")?)?;
        let attempt = u32::try_from(rows::get::<i32>(row, "attempt")?).unwrap_or(0);
        let grouped = joins(rows::get(row, "has_group")?, attempt);
        let effect = effect(action, state, grouped);
        let Some(wish) = Wish::of(action, effect) else { return Ok(Operated::Conflict { state, holder: None }) };
        match ask(store, &name, state, grouped, &wish).await? {
            Answer::Changed => {}
            Answer::Held(holder) => return Ok(Operated::Conflict { state, holder: Some(holder) }),
            Answer::Done(became) => return Ok(done(store, effect, became.unwrap_or(state))),
        }
    }
    Err(StoreError::Unavailable(format!("job {id} changes faster than it can be operated on; try again")))
}

/// `state`: the one that it has now.
fn done(store: &Shared, effect: Effect, state: State) -> Operated {
    match effect {
        Effect::Remove => Operated::Removed,
        Effect::Become(to) if to.is_terminal() && store.address.keep_failed.is_zero() => Operated::Removed,
        _ => Operated::Done(state),
    }
}

enum Answer {
    Changed,
    /// With the state that it got, if it was to get one.
    Done(Option<State>),
    Held(JobId),
}

async fn ask(store: &Shared, id: &str, state: State, grouped: bool, wish: &Wish) -> Result<Answer> {
    let row = store
        .link
        .row(
            "SELECT answer, holder, became FROM windlass.operate_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                (&store.clock.wall(), Type::INT8),
                (&id, Type::TEXT),
                (&i16::from(state.code()), Type::INT2),
                (&grouped, Type::BOOL),
                (&wish.what, Type::INT4),
                (&wish.to, Type::INT2),
                (&wish.reason, Type::TEXT),
                (&wish.payload, Type::BYTEA),
                (&micros(store.address.keep_failed), Type::INT8),
                (&wish.start.0, Type::INT2),
                (&wish.start.1, Type::INT8),
            ],
        )
        .await?;
    Ok(match rows::get::<i32>(&row, "answer")? {
        0 => Answer::Changed,
        1 => Answer::Done(rows::get::<Option<i16>>(&row, "became")?.map(rows::state).transpose()?),
        _ => Answer::Held(rows::id(rows::get(&row, "holder")?)?),
    })
}

pub(in super::super) async fn pause(store: &Shared, queue: &QueueName, paused: bool) -> Result<bool> {
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&queue.as_str(), Type::TEXT), (&paused, Type::BOOL)];
    let row = store.link.row("SELECT windlass.pause_queue($1, $2) AS there", &params).await?;
    rows::get(&row, "there")
}
