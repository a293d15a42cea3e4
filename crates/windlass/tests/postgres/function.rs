//! `windlass.enqueue()`, the function for other clients and for triggers.

use std::time::Duration;

use tokio_postgres::Client as Connection;
use windlass::{Client, JobId, JobRecord, JobState, RawJob, UniqueBy};

use super::{application, enqueued, open, servers::postgres::url};

/// A store, and a connection whose search path begins with its schema.
async fn place() -> (Client, Connection) {
    let url = url();
    let client = open(&url).await;
    let (app, schema) = application(&url).await;
    app.batch_execute(&format!("SET search_path TO {schema}")).await.unwrap();
    (client, app)
}

/// Calls the function with what stands between its brackets.
async fn call(app: &Connection, arguments: &str) -> Result<String, tokio_postgres::Error> {
    Ok(app.query_one(&format!("SELECT enqueue({arguments})"), &[]).await?.get(0))
}

async fn record(client: &Client, id: &str) -> JobRecord {
    let id: JobId = id.parse().unwrap();
    client.get(&id).await.unwrap().expect("it is there")
}

#[tokio::test]
async fn a_job_of_the_function_is_a_job_like_any_other() {
    let (client, app) = place().await;
    let id = call(&app, "'work', '{\"to\": 1}'").await.unwrap();
    let job = record(&client, &id).await;
    assert_eq!(job.id().as_uuid().map(|id| id.get_version_num()), Some(7));
    assert_eq!((job.state, &job.spec.payload[..]), (JobState::Pending, &b"{\"to\": 1}"[..]));
    let plain = RawJob::new("work", "{\"to\": 1}").with(|options| options.id(&*id));
    let plain = client.prepare(plain).unwrap().spec;
    assert_eq!(format!("{:?}", job.spec), format!("{plain:?}"));
    assert!(
        client.enqueue(RawJob::new("work", "{}").with(|options| options.id(&*id))).await.is_ok_and(|it| !it.is_new())
    );
    let seen = app.query_one("SELECT state, payload->>'to' FROM jobs", &[]).await.unwrap();
    assert_eq!((seen.get::<_, &str>(0), seen.get::<_, &str>(1)), ("pending", "1"));
}

#[tokio::test]
async fn each_option_is_the_librarys() {
    let (client, app) = place().await;
    let options = r#"{"id": "f0e1d2c3-0000-7000-8000-000000000001", "queue": "mail", "priority": -100, "max_retry": 0,
        "timeout": "90s", "deadline": "2096-10-02 07:06:40+00", "process_at": "2093-08-01T21:20:00Z", "retention": "2 days",
        "tags": ["b", "a"], "tenant": "t", "headers": {"trace": "1", "a": "\u001f"},
        "unique": {"key": {"y": [1.0, "\u00e9"], "x": null}}}"#;
    let id = call(&app, &format!("'full', '{{}}', '{options}'")).await.unwrap();
    let job = record(&client, &id).await;
    assert!(job.id().as_uuid().is_some(), "{id}");
    let same = RawJob::new("full", "{}").with(|options| {
        let key = serde_json::json!({"x": null, "y": [1, "é"]});
        let options = options.id(&*id).queue("mail").priority(-100).max_retry(0).timeout(Duration::from_secs(90));
        let options = options.deadline(windlass::Timestamp::from_micros(4_000_000_000_000_000));
        let options = options.retention(Duration::from_secs(2 * 86400)).tag("b").tag("a").tenant("t");
        options.header("trace", "1").header("a", "\u{1f}").unique(UniqueBy::until_done(&key))
    });
    assert_eq!(format!("{:?}", job.spec), format!("{:?}", client.prepare(same).unwrap().spec));
    assert_eq!(job.state, JobState::Scheduled);
    assert_eq!(job.run_at, Some(windlass::Timestamp::from_micros(3_900_000_000_000_000)));
    // What has no place in the same job.
    let id = call(&app, "'grouped', 'null', '{\"group\": \"g\", \"queue\": null}'").await.unwrap();
    let job = record(&client, &id).await;
    assert_eq!(
        (job.state, job.spec.group.as_deref(), job.spec.queue.as_str()),
        (JobState::Aggregating, Some("g"), "default")
    );
    let id = call(&app, "'later', 'null', '{\"process_in\": \"1h\"}'").await.unwrap();
    let job = record(&client, &id).await;
    assert_eq!(job.run_at.unwrap().since(job.created_at), Duration::from_secs(3600));
    let id = call(&app, "'alone', 'null', '{\"exclusive\": \"e\", \"queue\": \"mail\"}'").await.unwrap();
    let job = record(&client, &id).await;
    assert_eq!((job.state, job.spec.exclusive.as_deref()), (JobState::Blocked, Some("e")), "until a server lets it in");
    let seen = app.query_one("SELECT exclusive FROM jobs WHERE kind = 'alone'", &[]).await.unwrap();
    assert_eq!(seen.get::<_, &str>(0), "e");
}

#[tokio::test]
async fn an_id_or_a_key_that_is_taken_answers_who_has_it() {
    let (client, app) = place().await;
    assert_eq!(call(&app, "'a', '{}', '{\"id\": \"one\"}'").await.unwrap(), "one");
    assert_eq!(call(&app, "'b', '{}', '{\"id\": \"one\"}'").await.unwrap(), "one");
    let by_library = RawJob::new("k", "{}").with(|options| options.id("holder").unique(UniqueBy::until_done("key")));
    client.enqueue(by_library).await.unwrap();
    assert_eq!(call(&app, "'k', '{}', '{\"unique\": {\"key\": \"key\"}}'").await.unwrap(), "holder");
    let elsewhere = call(&app, "'k', '{}', '{\"unique\": {\"key\": \"key\"}, \"tenant\": \"t\"}'").await.unwrap();
    assert_ne!(elsewhere, "holder", "a tenant has keys of its own");
    let first = call(&app, "'w', '{}', '{\"unique\": {\"key\": [7], \"ttl\": \"1h\"}}'").await.unwrap();
    let window =
        RawJob::new("w", "{}").with(|options| options.unique(UniqueBy::idempotency(&[7], Duration::from_secs(1))));
    assert_eq!(client.enqueue(window).await.unwrap().id().to_string(), first);
    assert_eq!(enqueued(&client).await, 4);
}

#[tokio::test]
async fn what_the_library_would_refuse_is_refused_with_the_name_of_the_option() {
    let (client, app) = place().await;
    for (arguments, says) in [
        ("NULL, '{}'", "the kind"),
        ("'', '{}'", "the kind"),
        ("'a*', '{}'", "the kind"),
        ("E'a\\u0085', '{}'", "control character"),
        ("'a', NULL", "payload is null"),
        ("'a', to_jsonb(repeat('x', 1048577))", "larger than 1 MiB"),
        ("'a', '{}', '[]'", "give an object"),
        ("'a', '{}', '{\"prio\": 1}'", "no `prio`; there are queue, priority"),
        ("'a', '{}', '{\"priority\": 101}'", "`priority` is a whole number from -100 to 100"),
        ("'a', '{}', '{\"priority\": 1.5}'", "`priority`"),
        ("'a', '{}', '{\"priority\": \"1\"}'", "`priority`"),
        ("'a', '{}', '{\"max_retry\": -1}'", "`max_retry`"),
        ("'a', '{}', '{\"queue\": \"a{b\"}'", "`queue`"),
        ("'a', '{}', '{\"queue\": 7}'", "`queue` is a text"),
        ("'a', '{}', '{\"id\": \" \"}'", "`id`"),
        ("'a', '{}', '{\"tenant\": \"\"}'", "`tenant`"),
        ("'a', '{}', '{\"group\": []}'", "`group`"),
        ("'a', '{}', '{\"exclusive\": \"\"}'", "`exclusive`"),
        ("'a', '{}', '{\"exclusive\": \"e\", \"group\": \"g\"}'", "not both"),
        ("'a', '{}', '{\"timeout\": \"soon\"}'", "`timeout` is a duration such as"),
        ("'a', '{}', '{\"timeout\": \"10\"}'", "`timeout`"),
        ("'a', '{}', '{\"timeout\": \"0s\"}'", "`timeout` is above zero"),
        ("'a', '{}', '{\"timeout\": \"99999999999 years\"}'", "`timeout`"),
        ("'a', '{}', '{\"retention\": 60}'", "`retention`"),
        ("'a', '{}', '{\"process_in\": \"-1s\"}'", "`process_in`"),
        ("'a', '{}', '{\"process_at\": \"infinity\"}'", "`process_at` is a moment such as"),
        ("'a', '{}', '{\"deadline\": \"some day\"}'", "`deadline`"),
        ("'a', '{}', '{\"process_at\": \"2030-01-01\", \"process_in\": \"1s\"}'", "not both"),
        ("'a', '{}', '{\"tags\": \"a\"}'", "`tags` is a list"),
        ("'a', '{}', '{\"tags\": [1]}'", "`tags`"),
        ("'a', '{}', '{\"tags\": [\"\"]}'", "the tag"),
        ("'a', '{}', '{\"headers\": []}'", "`headers` is an object"),
        ("'a', '{}', '{\"headers\": {\"a\": 1}}'", "`headers`"),
        ("'a', '{}', '{\"headers\": {\"\": \"\"}}'", "name of a header"),
        ("'a', '{}', '{\"unique\": \"key\"}'", "`unique`: give an object"),
        ("'a', '{}', '{\"unique\": {\"ttl\": \"1h\"}}'", "needs a `key`"),
        ("'a', '{}', '{\"unique\": {\"key\": 1, \"window\": \"1h\"}}'", "no `window`"),
        ("'a', '{}', '{\"unique\": {\"key\": 1.5}}'", "whole and below 2^53"),
        ("'a', '{}', '{\"unique\": {\"key\": 1, \"ttl\": \"x\"}}'", "`ttl`"),
    ] {
        let refused = call(&app, arguments).await.expect_err(arguments);
        let refused = refused.as_db_error().expect(arguments);
        assert_eq!(refused.code().code(), "22023", "{arguments}: {refused}");
        assert!(refused.message().contains(says), "{arguments}: {refused}");
    }
    assert_eq!(enqueued(&client).await, 0);
}

/// Whatever else the library takes for blank, in each place where a name stands.
#[tokio::test]
async fn a_name_of_white_space_alone_is_refused_wherever_it_stands() {
    let (client, app) = place().await;
    let blanks: Vec<char> = ('\u{1}'..=char::MAX).filter(|c| c.is_whitespace() && !c.is_control()).collect();
    assert!(blanks.contains(&'\u{a0}') && blanks.contains(&'\u{3000}'), "the control: {blanks:?}");
    for name in blanks.iter().map(|blank| format!(" {blank}")).chain([blanks.iter().collect::<String>()]) {
        for arguments in [
            format!("'{name}', '{{}}'"),
            format!("'a', '{{}}', '{{\"id\": \"{name}\"}}'"),
            format!("'a', '{{}}', '{{\"queue\": \"{name}\"}}'"),
            format!("'a', '{{}}', '{{\"tenant\": \"{name}\"}}'"),
            format!("'a', '{{}}', '{{\"group\": \"{name}\"}}'"),
            format!("'a', '{{}}', '{{\"exclusive\": \"{name}\"}}'"),
            format!("'a', '{{}}', '{{\"tags\": [\"{name}\"]}}'"),
            format!("'a', '{{}}', '{{\"headers\": {{\"{name}\": \"\"}}}}'"),
        ] {
            let refused = call(&app, &arguments).await.expect_err(&arguments);
            assert_eq!(refused.code().map(|code| code.code()), Some("22023"), "{arguments}: {refused}");
        }
        let letters = format!("{name}a{name}");
        assert_eq!(call(&app, &format!("'a', '{{}}', '{{\"id\": \"{letters}\"}}'")).await.unwrap(), letters);
        record(&client, &letters).await;
    }
}

#[tokio::test]
async fn a_trigger_enqueues_a_job_for_each_row_that_is_committed() {
    let (client, mut app) = place().await;
    app.batch_execute(
        "CREATE TABLE orders (id int, mail text);
         CREATE FUNCTION receipt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM enqueue('receipt', jsonb_build_object('order', NEW.id), jsonb_build_object('id', 'receipt-' || NEW.id));
             RETURN NEW;
         END $$;
         CREATE TRIGGER receipt AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION receipt()",
    )
    .await
    .unwrap();
    app.batch_execute("INSERT INTO orders SELECT n, 'a@b.c' FROM generate_series(1, 50) AS n").await.unwrap();
    assert_eq!(enqueued(&client).await, 50);
    let tx = app.transaction().await.unwrap();
    tx.batch_execute("INSERT INTO orders VALUES (51, 'a@b.c'), (52, 'a@b.c')").await.unwrap();
    tx.rollback().await.unwrap();
    app.batch_execute("INSERT INTO orders VALUES (1, 'again')").await.unwrap();
    assert_eq!(enqueued(&client).await, 50, "rolled back, and an id that is taken");
    assert_eq!(&record(&client, "receipt-50").await.spec.payload[..], b"{\"order\": 50}");
    assert!(client.get(&"receipt-51".parse().unwrap()).await.unwrap().is_none());
}
