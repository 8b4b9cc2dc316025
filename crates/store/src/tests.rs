//! Migrations, sums and full disks.

use super::*;

/// A database in its state before a migration.
async fn before(number: i64, path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let before: Vec<_> = MIGRATIONS.iter().copied().filter(|(known, ..)| *known < number).collect();
    migrator(&before).run(&pool).await.unwrap();
    pool
}

const OLD_ASSET: &str = "INSERT INTO asset (id, name, source, identity, os, kernel, addresses, \
     boot_id, program_version, sequence, state, state_reason, problems, events_lost, created_at) \
     VALUES ('as-1', 'h', 'spark', zeroblob(32), '', '', '[]', '', '', 7, 'no-policy', '', '[]', \
     9.3e18, 900)";

#[test]
fn every_migration_is_carried_out() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
    let files = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(MIGRATIONS.len(), files, "a file is missing from the list");
}

#[tokio::test]
async fn the_schema_version_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    for (number, had) in [(2, Some(1)), (9, Some(8)), (0, None)] {
        let pool = before(number, &dir.path().join(format!("{number}.db"))).await;
        if had.is_none() {
            sqlx::query("DROP TABLE _sqlx_migrations").execute(&pool).await.unwrap();
        }
        assert_eq!(schema(&pool).await.unwrap(), had, "before migration {number}");
    }
}

#[tokio::test]
async fn long_work_is_logged_until_it_is_done() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let work = async move {
        for _ in 0..3 {
            told.recv().await.unwrap();
        }
        "done"
    };
    let every = Duration::from_millis(1);
    assert_eq!(log_while(every, work, || tell.send(()).unwrap()).await, "done");
}

#[tokio::test]
async fn counts_stored_as_floating_point_are_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("xshield.db");
    let pool = before(8, &path).await;
    for statement in [
        OLD_ASSET,
        "INSERT INTO rule_hits VALUES ('as-1', 'inbound', 'a/b', 1e300, -1e300, 1000)",
        "INSERT INTO rule_hits VALUES ('as-1', 'inbound', 'a/c', 12, 'twelve', 1000)",
        "INSERT INTO rule_hits VALUES ('as-1', 'inbound', 'a/d', 9223372036854775807, 3.7, 1000)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let store = Store::open(&path).await.unwrap();
    let mut conn = store.read().await.unwrap();
    let most = MOST.unsigned_abs();
    assert_eq!(assets::by_name(&mut conn, "h").await.unwrap().unwrap().events_lost, most);
    let mut hits = reports::hits(&mut conn, &"as-1".parse().unwrap()).await.unwrap();
    hits.sort_by(|a, b| a.hits.rule.cmp(&b.hits.rule));
    let counts: Vec<_> = hits.iter().map(|one| (one.hits.packets, one.hits.bytes)).collect();
    assert_eq!(counts, [(most, 0), (12, 0), (most, 3)]);
}

#[tokio::test]
async fn counts_saturate() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("xshield.db")).await.unwrap();
    let mut tx = store.write().await.unwrap();
    sqlx::query(OLD_ASSET).execute(&mut *tx).await.unwrap();
    let id = "as-1".parse().unwrap();
    for (lost, sum) in [(3, MOST), (u64::MAX, MOST)] {
        reports::add_lost(&mut tx, &id, lost).await.unwrap();
        let asset = assets::by_name(&mut tx, "h").await.unwrap().unwrap();
        assert_eq!(asset.events_lost, sum.unsigned_abs(), "also from a damaged count");
    }
    for (lost, sum) in [(5, 5), (u64::MAX, MOST), (u64::MAX, MOST), (1, MOST)] {
        paths::add_lost(&mut tx, &id, lost).await.unwrap();
        assert_eq!(paths::lost(&mut tx, &id).await.unwrap(), sum.unsigned_abs());
    }
}

#[tokio::test]
async fn writes_resume_once_the_database_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("xshield.db");
    let options = SqliteConnectOptions::new().filename(&path);
    let store = Store::open_with(options.clone().pragma("max_page_count", "400")).await.unwrap();
    let write = async |at: i64| {
        let mut tx = store.write().await?;
        let new_entry = audit::NewAuditEntry {
            actor: "user:a",
            action: "fill",
            target: "",
            before: String::new(),
            after: "x".repeat(50_000),
        };
        audit::record(&mut tx, new_entry, Timestamp(at)).await?;
        commit(tx).await
    };
    let mut failures = 0;
    for at in 0..200 {
        failures += i32::from(write(at).await.is_err());
    }
    assert!((1..200).contains(&failures), "{failures}: it fits at first and does not at last");
    let other = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    sqlx::query("DELETE FROM audit").execute(&other).await.unwrap();
    for at in 200..220 {
        write(at).await.unwrap();
    }
}

#[tokio::test]
async fn pending_identities_survive_their_migration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("xshield.db");
    let pool = before(6, &path).await;
    sqlx::query(
        "INSERT INTO asset (id, name, source, identity, pending_identity, pending_since, \
         rejected_identity, os, kernel, addresses, boot_id, program_version, sequence, state, \
         state_reason, problems, events_lost, created_at) \
         VALUES ('as-1', 'h', 'spark', $1, $2, 1000, $3, '', '', '[]', '', '', 7, \
         'no-policy', '', '[]', 0, 900)",
    )
    .bind(vec![1; 32])
    .bind(vec![2; 32])
    .bind(vec![3; 32])
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO enforcement_key (id, name, secret, tags, created_at, created_by, \
         last_used_at) VALUES ('k', 'old', 's', '{}', 900, 'user:admin', 950)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;

    let store = Store::open(&path).await.unwrap();
    let mut conn = store.read().await.unwrap();
    let asset = assets::by_name(&mut conn, "h").await.unwrap().unwrap();
    let pending = asset.pending.unwrap();
    assert_eq!((pending.identity.0, pending.since), ([2; 32], Timestamp(1000)));
    let rejected = identities::rejected(&mut conn, &asset.id).await.unwrap();
    assert_eq!(rejected.iter().map(|one| one.identity.0).collect::<Vec<_>>(), [[3; 32]]);
    let key = enforcement_keys::get(&mut conn, "k").await.unwrap().unwrap();
    assert_eq!(key.kind, xshield_model::key_kind::KeyKind::Key);
    assert_eq!(key.admits, enforcement_keys::Admission::default());
    assert_eq!(key.uses.last_used_at, Some(Timestamp(950)));
}

#[tokio::test]
async fn channels_survive_their_migration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("xshield.db");
    let pool = before(9, &path).await;
    let of_before = [
        (
            "mail",
            r#"{"kind":"mail","host":"10.0.0.1","from":"x@example.com","to":["a@b.example"]}"#,
        ),
        ("syslog", r#"{"kind":"syslog","host":"10.0.0.1"}"#),
        ("webhook", r#"{"kind":"webhook","url":"https://x/","allow_private":false}"#),
    ];
    for (name, settings) in of_before {
        sqlx::query(
            "INSERT INTO alert_channel VALUES ($1, $1, $2, NULL, 1, 900, 'user:admin', 0, 0, NULL, NULL, '')",
        )
        .bind(name)
        .bind(settings)
        .execute(&pool)
        .await
        .unwrap();
    }
    pool.close().await;

    let store = Store::open(&path).await.unwrap();
    let mut conn = store.read().await.unwrap();
    let channels = deliveries::channels(&mut conn).await.unwrap();
    let private = channels.iter().map(|one| (one.name.as_str(), one.settings.allows_private()));
    let expected = [("mail", true), ("syslog", true), ("webhook", false)];
    assert_eq!(private.collect::<Vec<_>>(), expected);
}
