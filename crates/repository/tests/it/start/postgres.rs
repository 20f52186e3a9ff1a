//! The states of a `PostgreSQL` server at the start and later, which `SQLite` does not have.

use std::time::Duration;

use coredock_domain::error::RepositoryError;
use coredock_domain::models::model::NewModel;
use coredock_domain::models::repository::ModelRepository;
use coredock_repository::{SchemaStatus, StartError};
use coredock_testkit::postgres::{TestDatabase, server, url_of};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use crate::support::{Bench, change, code, connect_to};

#[tokio::test]
async fn an_empty_database_gets_every_migration_once() {
    let database = TestDatabase::empty();
    let db = connect_to(&database.url()).unwrap();
    let fresh = db.schema_status().await.unwrap();
    assert_eq!(fresh.applied, Vec::<String>::new());
    assert!(!fresh.pending.is_empty());
    assert_eq!(db.migrate().await.unwrap(), fresh.pending);
    assert_eq!(db.migrate().await.unwrap(), Vec::<String>::new());
    let migrated = SchemaStatus { applied: fresh.pending, ..SchemaStatus::default() };
    assert_eq!(db.schema_status().await.unwrap(), migrated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_together_apply_each_migration_once() {
    let database = TestDatabase::empty();
    let replicas: Vec<_> = (0..4).map(|_| connect_to(&database.url()).unwrap()).collect();
    let pending = replicas[0].pending_migrations().await.unwrap();
    let mut starting = tokio::task::JoinSet::new();
    for replica in replicas {
        starting.spawn(async move { replica.migrate().await.unwrap().len() });
    }
    assert_eq!(starting.join_all().await.into_iter().sum::<usize>(), pending);
}

#[test]
fn migrations_go_up_down_and_up_again() {
    let database = TestDatabase::empty();
    let mut connection: AsyncConnectionWrapper<AsyncPgConnection> =
        diesel::Connection::establish(&database.url()).unwrap();
    let source = || FileBasedMigrations::from_path("../../migrations/postgres").unwrap();
    let applied = connection.run_pending_migrations(source()).unwrap().len();
    assert_eq!(connection.revert_all_migrations(source()).unwrap().len(), applied);
    let left = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.texts(left), ["__diesel_schema_migrations"]);
    assert_eq!(connection.run_pending_migrations(source()).unwrap().len(), applied);
}

#[tokio::test]
async fn a_database_of_a_newer_coredock_is_refused_by_name() {
    let bench = Bench::postgres().await;
    bench.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('20990101000001')");
    let db = connect_to(&bench.url()).unwrap();
    for error in [db.pending_migrations().await.unwrap_err(), db.migrate().await.unwrap_err()] {
        assert!(matches!(&error, StartError::Newer { unknown } if unknown == &["20990101000001"]));
    }
}

#[tokio::test]
async fn tables_of_another_program_are_refused_and_not_changed() {
    for (table, is_legacy) in [("recipes", false), ("alembic_version", true)] {
        let database = TestDatabase::empty();
        database.execute(&format!("CREATE TABLE {table} (id integer)"));
        let db = connect_to(&database.url()).unwrap();
        let error = db.migrate().await.unwrap_err();
        assert_eq!(matches!(error, StartError::Legacy), is_legacy, "{error:?}");
        assert_eq!(matches!(error, StartError::Foreign), !is_legacy, "{error:?}");
        let tables = database.texts("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
        assert_eq!(tables, [table]);
    }
    let database = TestDatabase::empty();
    database.execute("CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY)");
    database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('20200101000001')");
    let error = connect_to(&database.url()).unwrap().migrate().await.unwrap_err();
    assert!(matches!(error, StartError::Foreign), "another program which uses diesel: {error:?}");
}

/// The error of opening a database at this URL.
async fn refusal(url: &str) -> StartError {
    match connect_to(url) {
        Ok(database) => database.schema_status().await.unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_refusal_is_not_an_outage() {
    let server = server();
    assert!(matches!(refusal(&url_of(&server, "nowhere")).await, StartError::Refused { .. }));
    let stranger = server.replace("postgres@", "stranger:secret@");
    let error = refusal(&stranger).await;
    assert!(matches!(error, StartError::Refused { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let no_tls = refusal(&format!("{server}?sslmode=require")).await;
    assert!(
        matches!(no_tls, StartError::Refused { .. }),
        "the server does not offer TLS: {no_tls:?}"
    );
    let no_file = refusal(&format!("{server}?sslmode=verify-ca&sslrootcert=/nowhere.pem")).await;
    assert!(matches!(no_file, StartError::Certificates { .. }), "{no_file:?}");
    let database = TestDatabase::empty();
    database.execute("CREATE ROLE reader LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let reader = connect_to(&database.url().replace("postgres@", "reader@")).unwrap();
    let error = reader.migrate().await.unwrap_err();
    assert!(matches!(error, StartError::NotPermitted), "{error:?}");
    database.execute("REVOKE ALL ON SCHEMA public FROM reader; DROP ROLE reader");
    let unreachable = refusal("postgres://me@127.0.0.1:1/core").await;
    assert!(unreachable.is_outage(), "{unreachable:?}");
}

#[tokio::test]
async fn a_server_that_is_not_postgres_is_recognised() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for greeting in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "J\0\0\0\n5.7"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 64]).await;
                let _ = stream.write_all(greeting.as_bytes()).await;
            }
        };
        let url = format!("postgres://me@{address}/core");
        let error = tokio::select! {
            error = refusal(&url) => error,
            () = answering => unreachable!("the server answers for ever"),
        };
        assert!(matches!(error, StartError::NotPostgres), "{greeting}: {error:?}");
    }
}

#[tokio::test]
async fn a_lost_connection_costs_one_failure_and_is_replaced() {
    let bench = Bench::postgres().await;
    let others = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    bench.model("one").await;
    assert!(!bench.lines(others).is_empty());
    let mut failures = 0;
    while let Err(error) = ModelRepository::list(&bench.db).await {
        assert!(matches!(error, RepositoryError::Unavailable { .. }), "{error:?}");
        failures += 1;
        assert!(failures < 5, "the pool hands out dead connections");
    }
    bench.model("two").await;
}

#[tokio::test]
async fn a_statement_that_waits_too_long_fails_and_its_connection_is_not_used_again() {
    let bench = Bench::postgres().await;
    let url = bench.url();
    let options = coredock_repository::PostgresOptions {
        url: coredock_repository::PostgresUrl::parse(&url).unwrap(),
        pool_size: 1,
        overflow: 0,
        wait: Duration::from_secs(1),
    };
    let db = coredock_repository::Database::open_postgres(options).unwrap();
    let (locked, is_locked) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let blocker = std::thread::spawn(move || {
        let mut connection: AsyncConnectionWrapper<AsyncPgConnection> =
            diesel::Connection::establish(&url).unwrap();
        let run = |connection: &mut _, statement: &str| {
            diesel::connection::SimpleConnection::batch_execute(connection, statement).unwrap();
        };
        run(&mut connection, "BEGIN; LOCK TABLE device_models IN ACCESS EXCLUSIVE MODE");
        locked.send(()).unwrap();
        released.recv().unwrap();
        run(&mut connection, "ROLLBACK");
    });
    is_locked.recv().unwrap();
    let model = NewModel { code: code("late"), name: "late".into(), config_schema: None };
    let error = ModelRepository::create(&db, model, &change(1)).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Unavailable { .. }), "{error:?}");
    db.ping().await.unwrap();
    release.send(()).unwrap();
    blocker.join().unwrap();
    assert_eq!(ModelRepository::list(&db).await.unwrap().len(), 0, "nothing was written");
}

#[tokio::test]
async fn surplus_connections_are_closed_when_no_task_waits() {
    let bench = Bench::postgres().await;
    let read = async || ModelRepository::list(&bench.db).await.unwrap().len();
    futures::future::join_all((0..40).map(|_| read())).await;
    assert_eq!(read().await, 0);
    assert!(bench.db.connections().open <= 4, "{:?}", bench.db.connections());
    assert_eq!(bench.db.connections().in_use, 0);
}

#[tokio::test]
async fn the_time_of_the_server_is_shared() {
    let bench = Bench::postgres().await;
    let first = bench.db.shared_time().await.unwrap().unwrap();
    let second = bench.db.shared_time().await.unwrap().unwrap();
    assert!(first < second);
    assert_eq!(Bench::sqlite().await.db.shared_time().await.unwrap(), None);
}
