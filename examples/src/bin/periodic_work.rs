//! `periodic`: at once and then on an interval. A run that lasts too long leaves ticks out; none overlap, none drift.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use windlass::periodic;

#[tokio::main]
async fn main() {
    let (began, interval) = (Instant::now(), Duration::from_millis(500));
    let (send, mut runs) = mpsc::unbounded_channel();
    let mut run = 0;
    let ticker = periodic(interval, move || {
        run += 1;
        let (run, send) = (run, send.clone());
        async move {
            // Which tick it is, counted from the start.
            let tick = began.elapsed().as_millis() / 500;
            if run == 2 {
                tokio::time::sleep(Duration::from_millis(750)).await; // past the next tick
            }
            let _ = send.send((run, tick));
        }
    })
    .start();

    for _ in 0..4 {
        let (run, tick) = runs.recv().await.expect("the ticker runs");
        println!("run {run} on tick {tick}");
    }
    println!("{} tick was left out", ticker.missed());
    ticker.stop().await; // waits for a run that is under way
}
