//! Something that may not move between threads is held across an await.

use std::rc::Rc;

use windlass::RawJob;

#[windlass::check_handler]
async fn send(_mail: RawJob) -> windlass::Result {
    let count = Rc::new(1);
    std::future::ready(()).await;
    println!("{count}");
    Ok(())
}

fn main() {}
