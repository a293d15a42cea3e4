//! An argument that nobody can give.

use windlass::{JobContext, RawJob};

struct Mailer;

#[windlass::check_handler]
async fn send(_mail: RawJob, _ctx: JobContext, _mailer: Mailer) -> windlass::Result {
    Ok(())
}

fn main() {}
