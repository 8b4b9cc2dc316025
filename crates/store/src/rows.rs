//! Reading of rows. Whatever a column contains, reading it yields a value or an error, never a panic; an
//! unreadable row is reported with its place and does not affect the rest of its list.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sqlx::{Decode, QueryBuilder, Row as _, Type};
use xshield_model::Timestamp;
use xshield_model::causes::in_words;
use xshield_policy::AssetId;
use xshield_wire::Bytes;

use super::{Conn, Db, Doing as _, Row, StoreError, StoreResult};

/// Columns that identify a row, the most specific last.
const PLACES: [&str; 9] =
    ["asset_name", "asset_id", "name", "scope", "revision", "number", "fresh_id", "id", "batch"];
/// Damaged rows of one list that are logged individually.
const TOLD: usize = 20;
/// Damaged rows that are remembered.
const REMEMBERED: usize = 100;

/// Access to columns.
pub(crate) trait Columns {
    /// The value of a column.
    fn col<'r, T: Decode<'r, Db> + Type<Db>>(&'r self, name: &str) -> StoreResult<T>;

    /// A time.
    fn time(&self, name: &str) -> StoreResult<Timestamp> {
        self.col(name).map(Timestamp)
    }

    /// A time that may be missing.
    fn maybe_time(&self, name: &str) -> StoreResult<Option<Timestamp>> {
        Ok(self.col::<Option<i64>>(name)?.map(Timestamp))
    }

    /// A non-negative number.
    fn count(&self, name: &str) -> StoreResult<u64> {
        self.col(name).map(unsigned)
    }

    /// A text; `None` if it is empty.
    fn filled(&self, name: &str) -> StoreResult<Option<String>> {
        Ok(Some(self.col::<String>(name)?).filter(|text| !text.is_empty()))
    }
}

impl Columns for Row {
    fn col<'r, T: Decode<'r, Db> + Type<Db>>(&'r self, name: &str) -> StoreResult<T> {
        self.try_get(name).doing("read a stored value")
    }
}

/// A stored count; a negative one is damaged, and counts as 0.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The public key in a column.
pub(crate) fn key_bytes(stored: Vec<u8>) -> StoreResult<Bytes<32>> {
    let bytes: [u8; 32] =
        stored.try_into().map_err(|_| StoreError::damaged("read a stored key", "wrong length"))?;
    Ok(Bytes(bytes))
}

/// A parsed text column.
pub(crate) fn parse<T>(row: &Row, column: &'static str) -> StoreResult<T>
where
    T: std::str::FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    row.col::<&str>(column)?.parse::<T>().doing("read a stored name")
}

/// `IN` these; an empty list matches nothing.
pub(crate) fn push_in<'a>(query: &mut QueryBuilder<Db>, ids: impl Iterator<Item = &'a AssetId>) {
    // PostgreSQL does not accept an empty list.
    query.push(" IN (NULL");
    for id in ids {
        query.push(", ").push_bind(id.as_str().to_owned());
    }
    query.push(")");
}

/// An unreadable row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The list that was read.
    pub list: &'static str,
    /// The row.
    pub place: String,
    /// Why it can't be read.
    pub reason: String,
    /// When it was last encountered.
    pub seen: Timestamp,
}

/// The damaged rows found by this process in any store: reading only has a connection.
static DAMAGE: Mutex<BTreeMap<(&'static str, String), Damage>> = Mutex::new(BTreeMap::new());

/// The damaged rows found since the platform started, up to a limit.
#[must_use]
pub fn damage() -> Vec<Damage> {
    DAMAGE.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

/// Logs an unreadable row.
fn log_damage(list: &'static str, row: &Row, error: &StoreError) {
    let (place, reason) = (place(row), in_words(&error));
    tracing::error!(list, place, reason, "a damaged row is passed over");
    let mut met = DAMAGE.lock().unwrap_or_else(PoisonError::into_inner);
    if met.len() < REMEMBERED || met.contains_key(&(list, place.clone())) {
        let damage = Damage { list, place: place.clone(), reason, seen: Timestamp::now() };
        met.insert((list, place), damage);
    }
}

/// Identifies a row, as far as it is readable.
fn place(row: &Row) -> String {
    let shown = |name: &&str| {
        let number = row.try_get::<i64, _>(*name).map(|number| number.to_string());
        let value = number.or_else(|_| row.try_get::<String, _>(*name)).ok()?;
        Some(format!("{name} {value}"))
    };
    let known: Vec<_> = PLACES.iter().filter_map(shown).collect();
    if known.is_empty() { "a row without a name".to_owned() } else { known.join(", ") }
}

/// The readable rows; unreadable ones are logged with the reason.
pub(crate) fn readable<T>(
    list: &'static str,
    rows: &[Row],
    read: impl FnMut(&Row) -> StoreResult<T>,
) -> Vec<T> {
    let mut damaged = 0;
    let mut read = read;
    let found = rows.iter().filter_map(|row| {
        read(row)
            .inspect_err(|error| {
                damaged += 1;
                if damaged <= TOLD {
                    log_damage(list, row, error);
                }
            })
            .ok()
    });
    let found = found.collect();
    if damaged > 0 {
        metrics::counter!("xshield_damaged_rows_total", "list" => list)
            .increment(u64::try_from(damaged).unwrap_or(u64::MAX));
    }
    found
}

/// Up to `limit` readable rows of a query without `LIMIT`: damaged ones are replaced by later ones, so that a
/// client does not take a short page for the last one.
///
/// # Errors
/// When the database fails.
pub(crate) async fn page<T: Send>(
    conn: &mut Conn,
    list: &'static str,
    limit: u32,
    query: impl Fn() -> StoreResult<QueryBuilder<Db>> + Send + Sync,
    read: impl Fn(&Row) -> StoreResult<T> + Send + Sync,
) -> StoreResult<Vec<T>> {
    page_after(conn, list, (0, limit), query, read).await
}

/// As [`page`], after skipping some rows.
///
/// # Errors
/// When the database fails.
pub(crate) async fn page_after<T: Send>(
    conn: &mut Conn,
    list: &'static str,
    (left_out, limit): (u32, u32),
    query: impl Fn() -> StoreResult<QueryBuilder<Db>> + Send + Sync,
    read: impl Fn(&Row) -> StoreResult<T> + Send + Sync,
) -> StoreResult<Vec<T>> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut passed) = (Vec::new(), i64::from(left_out));
    loop {
        let mut query = query()?;
        query.push(" LIMIT ").push_bind(i64::from(limit)).push(" OFFSET ").push_bind(passed);
        let rows = query.build().fetch_all(&mut *conn).await.doing("read a list")?;
        found.extend(readable(list, &rows, &read));
        if rows.len() < wanted || found.len() >= wanted {
            found.truncate(wanted);
            return Ok(found);
        }
        passed = passed.saturating_add(i64::from(limit));
    }
}

/// All of these rows, where leaving one out would change what is enforced: the first unreadable one is the
/// error, which names it.
///
/// # Errors
/// When one can't be read.
pub(crate) fn every<T, C: FromIterator<T>>(
    list: &'static str,
    rows: &[Row],
    read: impl FnMut(&Row) -> StoreResult<T>,
) -> StoreResult<C> {
    let mut read = read;
    let told = |row| read(row).inspect_err(|error| log_damage(list, row, error));
    rows.iter().map(told).collect()
}

/// These rows by asset; none for an asset with an unreadable row.
pub(crate) fn grouped<T>(
    list: &'static str,
    rows: &[Row],
    read: impl Fn(&Row) -> StoreResult<T>,
) -> BTreeMap<String, Option<Vec<T>>> {
    let mut groups: BTreeMap<String, Option<Vec<T>>> = BTreeMap::new();
    let whose = |row: &Row| {
        Ok((row.col("asset_id")?, read(row).inspect_err(|error| log_damage(list, row, error)).ok()))
    };
    for (asset, value) in readable(list, rows, whose) {
        let group = groups.entry(asset).or_insert_with(|| Some(Vec::new()));
        match (group.as_mut(), value) {
            (Some(values), Some(value)) => values.push(value),
            _ => *group = None,
        }
    }
    groups
}
