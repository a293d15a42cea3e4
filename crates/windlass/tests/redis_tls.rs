//! The Redis store over TLS, in a program that has chosen no provider of cryptography. The certificate of `servers/tls`
//! is for these tests alone: it is nobody's, and its key is no secret.
#![cfg(all(feature = "redis", feature = "testing"))]

mod servers;

use windlass::{Client, Error, RawJob};

fn of_tests(file: &str) -> String {
    format!("{}/tests/servers/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn a_store_over_tls_trusts_the_certificate_that_it_is_told_of_and_no_other() {
    let (cert, key) = (of_tests("cert.pem"), of_tests("key.pem"));
    let server = servers::Server::start_tls(&cert, &key);
    let url = format!("rediss://127.0.0.1:{}/0", server.port);
    let client = Client::open(&format!("{url}?ca={}", of_tests("ca.pem"))).await.expect("open");
    let answer = client.enqueue(RawJob::new("mail", "{}")).await.expect("enqueue");
    assert!(client.get(answer.id()).await.expect("get").is_some());
    let refused = Client::open(&format!("{url}?timeout=2s")).await;
    assert!(matches!(refused, Err(Error::Store(_))), "the control: nobody vouches for it");
}
