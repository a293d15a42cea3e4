//! A loop of its own for small tasks that must not starve when others hog the runtime. It is there as long as it has
//! some, so that nothing of it keeps a process from its end once they are done.

use std::{future::Future, sync::Arc};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Env;

/// See the head of this file.
pub(crate) struct Apart {
    name: &'static str,
    env: Env,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    given: Mutex<Given>,
    more: Notify,
}

#[derive(Default)]
struct Given {
    tasks: Vec<BoxFuture<'static, ()>>,
    running: bool,
}

impl Apart {
    pub(crate) fn new(name: &'static str, env: &Env) -> Self {
        Self { name, env: env.clone(), shared: Arc::default() }
    }

    /// Runs a task there.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = {
            let mut given = self.shared.given.lock();
            given.tasks.push(Box::pin(task));
            std::mem::replace(&mut given.running, true)
        };
        if running {
            self.shared.more.notify_one();
        } else {
            // A place that is about to end may drop the loop at once, which takes the lock.
            drop(self.env.spawn_apart(self.name, run(Running(Some(self.shared.clone())))));
        }
    }
}

/// The loop that there is. If it ends otherwise than by itself (its runtime does), the next task starts another one.
struct Running(Option<Arc<Shared>>);

impl Drop for Running {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let left = {
            let mut given = shared.given.lock();
            given.running = false;
            std::mem::take(&mut given.tasks)
        };
        // Whatever they hold is dropped without the lock.
        drop(left);
    }
}

async fn run(mut running: Running) {
    let Some(shared) = running.0.clone() else { return };
    let mut tasks = FuturesUnordered::new();
    loop {
        {
            let mut given = shared.given.lock();
            tasks.extend(given.tasks.drain(..));
            if tasks.is_empty() {
                // Whoever comes from here on starts another loop.
                given.running = false;
                running.0 = None;
                return;
            }
        }
        tokio::select! {
            _ = tasks.next() => {}
            () = shared.more.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_loop_ends_with_its_last_task_and_comes_again_with_the_next() {
        let apart = Apart::new("test", &Env::system());
        for _ in 0..3 {
            let (done, told) = oneshot::channel();
            apart.run(async move { done.send(()).unwrap() });
            told.await.unwrap();
        }
    }

    #[test]
    fn a_runtime_that_is_about_to_end_takes_no_task_and_holds_nobody_up() {
        struct RunsOneMore(Arc<Apart>);
        impl Drop for RunsOneMore {
            fn drop(&mut self) {
                self.0.run(async {});
            }
        }
        let apart = Arc::new(Apart::new("test", &Env::system()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let last = RunsOneMore(apart.clone());
        runtime.spawn(async move {
            let _last = last;
            std::future::pending::<()>().await;
        });
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
        assert!(!apart.shared.given.lock().running);
    }

    #[test]
    fn a_loop_that_ended_with_its_runtime_is_replaced() {
        let apart = Apart::new("test", &Env::system());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (done, told) = oneshot::channel();
            apart.shared.given.lock().running = true;
            drop(Running(Some(apart.shared.clone())));
            apart.run(async move { done.send(()).unwrap() });
            told.await.unwrap();
        });
    }
}
