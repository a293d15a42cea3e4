//! The first argument is no job.

struct Mail;

#[windlass::check_handler]
async fn send(_mail: Mail) -> windlass::Result {
    Ok(())
}

fn main() {}
