//! The database: one file per kind of record. SQL is written so that SQLite and PostgreSQL both run
//! it; where they differ, the difference is in this file or in the migrations folder of the dialect.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqlSafeStr as _, SqlStr};
use tokio::time::timeout;

use write_queue::{WritePermit, WritePriority, WriteQueue};
use xshield_model::Timestamp;

/// SQL: the counter `column` of `table` plus the inserted value, limited to [`MOST`]. (A sum beyond 64 bits
/// is an error in PostgreSQL, and a floating-point number in SQLite.)
macro_rules! added {
    ($table:literal, $column:literal) => {
        added!($table, $column, concat!("excluded.", $column))
    };
    ($table:literal, $column:literal, $more:expr) => {
        concat!(
            $column,
            " = CASE WHEN ",
            $table,
            ".",
            $column,
            " > 9007199254740992 - ",
            $more,
            " THEN 9007199254740992 ELSE ",
            $table,
            ".",
            $column,
            " + ",
            $more,
            " END"
        )
    };
}

/// SQL: the sum of a column over rows, limited to [`MOST`]; 0 if there are no rows. It is computed in
/// floating point, which is exact up to there and cannot overflow with hosts' counters.
macro_rules! total {
    ($column:literal) => {
        concat!(
            "CAST(CASE WHEN sum(CAST(",
            $column,
            " AS DOUBLE PRECISION)) >= 9007199254740992 ",
            "THEN 9007199254740992 ELSE COALESCE(sum(CAST(",
            $column,
            " AS DOUBLE PRECISION)), 0) END AS BIGINT)"
        )
    };
}

pub mod accounts;
pub mod addresses;
pub mod agent_events;
pub mod alerts;
pub mod assets;
pub mod audit;
pub mod claims;
pub mod commands;
pub mod deliveries;
pub mod enforcement_keys;
pub mod enrolment;
pub mod events;
pub mod host_configuration;
pub mod identities;
pub mod ids;
pub mod paths;
pub mod pending;
pub mod policy;
pub mod problems;
pub mod refusals;
pub mod reports;
pub mod rows;
pub mod rulesets;
pub mod sign_in_sources;
pub mod telemetry;
pub mod threat_assets;
pub mod threat_events;
pub mod threat_feeds;
pub mod threat_lists;
pub mod trim;
pub mod uploads;
mod write_queue;

/// The database's dialect.
pub type Db = sqlx::Sqlite;
/// One connection, inside or outside a transaction.
pub type Conn = sqlx::SqliteConnection;
/// A row of a result.
pub type Row = sqlx::sqlite::SqliteRow;

/// The greatest count that is stored. Two of them can be added within 64 bits, and every JSON reader and
/// every floating-point number holds it exactly.
pub const MOST: i64 = 1 << 53;

/// The interval at which a running migration is logged.
const LONG: Duration = Duration::from_secs(5);

/// After this time the client has given up.
const WRITER_WAITS: Duration = Duration::from_secs(60);

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/sqlite/0001_first.sql")),
    (2, "threat", include_str!("../migrations/sqlite/0002_threat.sql")),
    (3, "threat events", include_str!("../migrations/sqlite/0003_threat_events.sql")),
    (4, "agents", include_str!("../migrations/sqlite/0004_agents.sql")),
    (5, "live", include_str!("../migrations/sqlite/0005_live.sql")),
    (6, "claims", include_str!("../migrations/sqlite/0006_claims.sql")),
    (7, "enrolment", include_str!("../migrations/sqlite/0007_enrolment.sql")),
    (8, "counters", include_str!("../migrations/sqlite/0008_counters.sql")),
    (9, "edge", include_str!("../migrations/sqlite/0009_edge.sql")),
    (10, "compilations", include_str!("../migrations/sqlite/0010_compilations.sql")),
    (11, "recovery", include_str!("../migrations/sqlite/0011_recovery.sql")),
    (13, "succession", include_str!("../migrations/sqlite/0013_succession.sql")),
];

/// A failed database operation.
#[derive(Debug, thiserror::Error)]
#[error("the database could not {action}")]
pub struct StoreError {
    action: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// The error for a stored value that can't be read.
    pub fn damaged(
        action: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { action, source: source.into() }
    }
}

/// The result of a database operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// Adds the failed action to a database error.
pub trait Doing<T> {
    /// `action` completes "the database could not …".
    ///
    /// # Errors
    /// The error, with the action's name.
    fn doing(self, action: &'static str) -> StoreResult<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str) -> StoreResult<T> {
        self.map_err(|source| StoreError { action, source: source.into() })
    }
}

/// The platform's database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    /// Writers queue here without holding a connection that readers could use.
    writers: WriteQueue,
}

/// A transaction that may write. It has no effect until it is [committed](commit).
#[derive(Debug)]
pub struct Tx {
    inner: sqlx::Transaction<'static, Db>,
    _turn: WritePermit,
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.inner
    }
}

impl Store {
    /// Opens or creates the database file and migrates its tables.
    ///
    /// # Errors
    /// When the file can't be opened or a migration fails.
    pub async fn open(path: &Path) -> StoreResult<Self> {
        Self::open_with(SqliteConnectOptions::new().filename(path)).await
    }

    async fn open_with(options: SqliteConnectOptions) -> StoreResult<Self> {
        // `Full`: an acknowledged batch survives a power failure.
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(15))
            .after_release(|conn, _| Box::pin(is_clean(conn)))
            .connect_with(options)
            .await
            .doing("open its file")?;
        bring_up_to_date(&pool).await?;
        Ok(Self { pool, writers: WriteQueue::default() })
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// When none is free in time.
    pub async fn read(&self) -> StoreResult<sqlx::pool::PoolConnection<Db>> {
        self.pool.acquire().await.doing("give a connection")
    }

    /// A transaction for writing. SQLite takes the write lock at once: a transaction that began with a read
    /// could not write after another one has written.
    ///
    /// # Errors
    /// When the lock is not free in time.
    pub async fn write(&self) -> StoreResult<Tx> {
        self.begin(WritePriority::Now).await
    }

    /// The same for bulk work, which is split into short transactions: interactive requests take precedence.
    ///
    /// # Errors
    /// When the lock is not free in time.
    pub async fn write_later(&self) -> StoreResult<Tx> {
        self.begin(WritePriority::Later).await
    }

    async fn begin(&self, priority: WritePriority) -> StoreResult<Tx> {
        let turn = timeout(WRITER_WAITS, self.writers.take(priority));
        let turn = turn.await.doing("begin a transaction: other writers take too long")?;
        let inner = self.pool.begin_with("BEGIN IMMEDIATE").await.doing("begin a transaction")?;
        Ok(Tx { inner, _turn: turn })
    }

    /// Writes a row and makes it durable, to see whether that works.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn probe(&self, now: Timestamp) -> StoreResult<()> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE probe SET at = $1 WHERE id = 1")
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .doing("write a row")?;
        commit(tx).await
    }

    /// Waits for the connections in use and closes all.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Whether a connection returned to the pool is outside of any transaction; otherwise it is closed. If a
/// commit fails (a full disk), the database may roll back by itself, and the rollback that follows fails,
/// too; such a connection could never begin another transaction.
async fn is_clean(conn: &mut Conn) -> sqlx::Result<bool> {
    // A rollback may still be pending; the ping is answered after it.
    conn.ping().await?;
    let is_clean = !conn.is_in_transaction();
    if !is_clean {
        tracing::warn!(
            "a connection to the database was left in a broken transaction; it is closed"
        );
        metrics::counter!("xshield_connections_broken_total").increment(1);
    }
    Ok(is_clean)
}

/// Runs the pending migrations, and logs them.
async fn bring_up_to_date(pool: &SqlitePool) -> StoreResult<()> {
    let newest = MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or_default();
    if let Some(from) = schema(pool).await?.filter(|from| *from < newest) {
        tracing::info!(from, to = newest, "bringing the database's tables up to date");
    }
    let migrator = migrator(MIGRATIONS);
    let began = Instant::now();
    let done = log_while(LONG, migrator.run(pool), || {
        let seconds = began.elapsed().as_secs();
        tracing::info!(seconds, "still bringing the database's tables up to date");
    });
    done.await.doing("bring its tables up to date")
}

/// The newest migration of a database; `None` for a new one.
async fn schema(pool: &SqlitePool) -> StoreResult<Option<i64>> {
    let action = "say how old its tables are";
    let table = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(table).fetch_one(pool).await.doing(action)?;
    if tables == 0 {
        return Ok(None);
    }
    let newest = "SELECT max(version) FROM _sqlx_migrations";
    sqlx::query_scalar(newest).fetch_one(pool).await.doing(action)
}

/// Does `work`, and calls `tell` at an interval until it is done.
async fn log_while<T>(every: Duration, work: impl Future<Output = T>, tell: impl Fn()) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match timeout(every, &mut work).await {
            Ok(done) => return done,
            Err(_) => tell(),
        }
    }
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|&(version, name, sql)| {
        let sql: SqlStr = sql.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Commits.
///
/// # Errors
/// When the database could not make it durable; then it has no effect.
pub async fn commit(tx: Tx) -> StoreResult<()> {
    tx.inner.commit().await.doing("commit a transaction")
}

/// Writes a value as JSON text.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).doing("write a value as JSON")
}

/// Reads a column of JSON text.
///
/// # Errors
/// When it is no JSON of such a value.
pub fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> StoreResult<T> {
    serde_json::from_str(text).doing("read a stored JSON value")
}

/// The word of a unit variant as serialized.
///
/// # Errors
/// When the value is no unit variant.
pub fn word<T: serde::Serialize>(value: &T) -> StoreResult<String> {
    match serde_json::to_value(value).doing("write a word")? {
        serde_json::Value::String(word) => Ok(word),
        other => Err(StoreError::damaged("write a word", format!("{other} is not a word"))),
    }
}

/// The unit variant that is serialized as a word.
///
/// # Errors
/// When no variant has that word.
pub fn from_word<T: serde::de::DeserializeOwned>(word: &str) -> StoreResult<T> {
    serde_json::from_value(serde_json::Value::from(word)).doing("read a stored word")
}

/// A `LIKE` pattern for lower-case texts that contain `part` in any case, with `\` as the escape
/// character. (SQLite's `LIKE` ignores case, PostgreSQL's does not.)
pub(crate) fn contains(part: &str) -> String {
    let escaped = part.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests;
