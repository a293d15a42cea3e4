//! Enqueueing streams: bounded, in order, and honest about where it stopped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt, stream};
use windlass::{Enqueued, Error, RawJob};

use crate::place::{Place, job};

fn numbered(number: usize) -> RawJob {
    job("x").with(|options| options.id(format!("job-{number}")))
}

async fn every_job_of_a_long_stream_is_answered_in_order(place: Place) {
    let client = place.client();
    let answers: Vec<_> = client.enqueue_iter((0..2_500).map(numbered)).collect().await;
    assert_eq!(answers.len(), 2_500);
    for (number, answer) in answers.iter().enumerate() {
        assert!(matches!(answer, Ok(Enqueued::New(id)) if id.to_string() == format!("job-{number}")), "{answer:?}");
    }
    assert_eq!(client.census().await.unwrap().queues[0].by_state.iter().sum::<u64>(), 2_500);
}

async fn a_reader_that_stops_stops_the_source(place: Place) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let source = stream::iter(0..).map(move |number| {
        counter.fetch_add(1, Ordering::Relaxed);
        numbered(number)
    });
    let mut answers = Box::pin(place.client().enqueue_stream(source));
    assert!(answers.next().await.unwrap().is_ok());
    assert_eq!(taken.load(Ordering::Relaxed), 1_000, "one load, however endless the stream is");
    for _ in 0..1_000 {
        answers.next().await.unwrap().unwrap();
    }
    assert_eq!(taken.load(Ordering::Relaxed), 2_000);
}

async fn big_payloads_travel_in_smaller_loads(place: Place) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let source = stream::iter(0..40).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        RawJob::new("x", vec![b'x'; 1024 * 1024])
    });
    let mut answers = Box::pin(place.client().enqueue_stream(source));
    answers.next().await.unwrap().unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), 8);
}

async fn a_refused_job_ends_it_after_those_before_it(place: Place) {
    let too_big = || RawJob::new("x", vec![b'x'; 2 * 1024 * 1024]);
    let source = stream::iter([numbered(0), numbered(1), too_big(), numbered(3)]);
    let answers: Vec<_> = place.client().enqueue_stream(source).collect().await;
    assert!(matches!(answers.as_slice(), [Ok(_), Ok(_), Err(Error::Invalid(_))]), "{answers:?}");
    assert!(place.client().get(&"job-3".parse().unwrap()).await.unwrap().is_none());
}

async fn a_store_that_is_away_ends_it_with_what_was_acknowledged(place: Place) {
    let (client, line) = place.line();
    let mut answers = Box::pin(client.enqueue_iter((0..3_000).map(numbered)));
    for _ in 0..1_000 {
        answers.next().await.unwrap().unwrap();
    }
    line.cut(true);
    assert!(matches!(answers.next().await, Some(Err(Error::Store(_)))));
    assert!(answers.next().await.is_none());
    line.cut(false);
    assert_eq!(client.census().await.unwrap().queues[0].by_state.iter().sum::<u64>(), 1_000);
}

async fn a_slow_source_is_not_waited_for(place: Place) {
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let source = stream::poll_fn(move |cx| receive.poll_recv(cx));
    let mut answers = Box::pin(place.client().enqueue_stream(source));
    for number in 0..3 {
        send.send(numbered(number)).unwrap();
        assert!(answers.next().await.unwrap().unwrap().is_new());
    }
    drop(send);
    assert!(answers.next().await.is_none());
}

on_every_store! {
    every_job_of_a_long_stream_is_answered_in_order
    a_reader_that_stops_stops_the_source
    big_payloads_travel_in_smaller_loads
    a_refused_job_ends_it_after_those_before_it
    a_store_that_is_away_ends_it_with_what_was_acknowledged
    a_slow_source_is_not_waited_for
}
