//! The server's CPU time, for measurements: it grows with what the server does, and whoever may not see it learns nothing.

use crate::{application, open, servers::postgres::Server};

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_cpu_time_of_the_server_is_told_to_those_who_may_read_it() {
    let server = Server::start();
    let url = format!("{}?schema=measured", server.url());
    let client = open(&url).await;
    let before = client.store().cpu().await.expect("cpu").expect("a user who may read it");
    // Well over the tick of a hundredth of a second, by a process that has ended when it is asked for again.
    let (app, _) = application(&url).await;
    app.batch_execute("SELECT count(*) FROM generate_series(1, 2000000)").await.expect("some work");
    drop(app);
    // Between its end and the moment in which the server hears of it, its time is nobody's.
    let mut after = before;
    for _ in 0..1000 {
        after = client.store().cpu().await.expect("cpu").expect("as before");
        if after > before {
            break;
        }
    }
    assert!(after > before, "{after:?} {before:?}");

    let (app, schema) = application(&url).await;
    app.batch_execute(&format!("CREATE ROLE reader; GRANT USAGE ON SCHEMA {schema} TO reader; SET ROLE reader"))
        .await
        .expect("a user without rights");
    let told = app.query_one(&format!("SELECT {schema}.server_cpu()"), &[]).await.expect("an answer");
    assert_eq!(told.get::<_, Option<i64>>(0), None);
}
