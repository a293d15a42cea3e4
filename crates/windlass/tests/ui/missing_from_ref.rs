//! A part of the state that the state does not have.

use windlass::{RawJob, State};

#[derive(Clone)]
struct App;

#[derive(Clone)]
struct Mailer;

#[windlass::check_handler(state = App)]
async fn send(_mail: RawJob, State(_app): State<App>, State(_mailer): State<Mailer>) -> windlass::Result {
    Ok(())
}

fn main() {}
