//! Payloads in other formats than JSON, on their way through a store to their handler.

use serde::{Serialize, de::DeserializeOwned};
use windlass::{
    BoxError, ErrorClass, Job, JobState, RawJob, Router,
    codec::{CODEC_HEADER, Codec},
};

use crate::place::{Place, job, ok, server};

/// JSON with every byte turned around: surely no JSON.
struct Turned;

impl Codec for Turned {
    const NAME: &'static str = "turned";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BoxError> {
        Ok(serde_json::to_vec(value)?.into_iter().map(|byte| !byte).collect())
    }

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, BoxError> {
        let turned: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        Ok(serde_json::from_slice(&turned)?)
    }
}

#[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
#[job(kind = "note", codec = Turned, retention = "1h")]
struct Note {
    text: String,
}

#[cfg(feature = "msgpack")]
#[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
#[job(kind = "packed", codec = "msgpack", retention = "1h")]
struct Packed {
    number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
}

#[cfg(feature = "msgpack")]
#[derive(serde::Serialize, serde::Deserialize)]
enum Mode {
    Fast,
}

fn router() -> Router {
    let router = Router::new().at("note", |note: Note| async move { ok(windlass::Json(note.text)) });
    #[cfg(feature = "msgpack")]
    let router = router.at("packed", |packed: Packed| async move { ok(windlass::Json(packed.number.to_string())) });
    router
}

async fn a_codec_of_ones_own_is_named_in_the_header_and_read_again(place: Place) {
    let client = place.client();
    let running = server(&client, router()).start().await.unwrap();
    let note = Note { text: "äöü".into() }.with(|options| options.header("other", "1"));
    let id = client.enqueue(note).await.unwrap().id().clone();
    let record = client.wait(&id).await.unwrap();
    assert_eq!(record.spec.headers[CODEC_HEADER], "turned");
    assert_eq!(record.spec.headers["other"], "1");
    assert!(std::str::from_utf8(&record.spec.payload).is_err());
    assert_eq!(record.result.as_deref(), Some("\"äöü\"".as_bytes()));
    let again = Note::coding().read(&record.spec.headers, &record.spec.payload).unwrap();
    assert_eq!(again.text, "äöü");
    running.shutdown().await;
}

async fn jobs_from_before_the_codec_are_read_as_json(place: Place) {
    let running = server(&place.client(), router()).start().await.unwrap();
    let id = place.add(RawJob::new("note", r#"{"text":"old"}"#)).await;
    assert_eq!(place.client().wait(&id).await.unwrap().result.as_deref(), Some(&b"\"old\""[..]));
    running.shutdown().await;
}

async fn an_unknown_codec_makes_the_job_dead_with_the_reason(place: Place) {
    let running = server(&place.client(), router()).start().await.unwrap();
    let id = place.add(job("note").with(|options| options.header(CODEC_HEADER, "yaml"))).await;
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!((record.state, record.reason.as_deref()), (JobState::Dead, Some("undecodable")));
    assert_eq!(record.errors[0].class, ErrorClass::Undecodable);
    let message = &record.errors[0].message;
    assert!(message.contains("`yaml`") && message.contains("json and turned"), "{message}");
    running.shutdown().await;
}

#[cfg(feature = "msgpack")]
async fn messagepack_is_binary_and_its_errors_quote_nothing(place: Place) {
    let client = place.client();
    let running = server(&client, router()).start().await.unwrap();
    let id = client.enqueue(Packed { number: 70_000, mode: None }).await.unwrap().id().clone();
    let record = client.wait(&id).await.unwrap();
    assert_eq!(record.spec.headers[CODEC_HEADER], "msgpack");
    assert_eq!(&*record.spec.payload, b"\x81\xa6number\xce\x00\x01\x11\x70");
    assert_eq!(record.result.as_deref(), Some(&b"\"70000\""[..]));
    let document = serde_json::to_value(&record).unwrap();
    assert!(document["payload_base64"].is_string(), "{document}");

    let wrong =
        [&b"\x81\xa6number\xa6secret"[..], b"\x82\xa6number\x01\xa4mode\xa6secret", b"\x81\xa6number\x01secret"];
    for (payload, said) in wrong.into_iter().zip(["marker", "expected `Fast`", "6 bytes follow"]) {
        let secret = RawJob::new("packed", payload).with(|options| options.header(CODEC_HEADER, "msgpack"));
        let record = client.wait(&place.add(secret).await).await.unwrap();
        assert_eq!(record.reason.as_deref(), Some("undecodable"));
        let message = &record.errors[0].message;
        assert!(message.contains(said) && !message.contains("secret"), "{message}");
    }
    running.shutdown().await;
}

on_every_store! {
    a_codec_of_ones_own_is_named_in_the_header_and_read_again
    jobs_from_before_the_codec_are_read_as_json
    an_unknown_codec_makes_the_job_dead_with_the_reason
}

#[cfg(feature = "msgpack")]
mod msgpack {
    use super::messagepack_is_binary_and_its_errors_quote_nothing;

    on_every_store! { messagepack_is_binary_and_its_errors_quote_nothing }
}
