//! What is still to be sent to the database of a fleet: noted in the transaction that changes it, and taken off when it is there.
//!
//! It sends nothing. That a minute is taken off only as it was when it was sent is what makes late shares arrive.

use super::{Pending, Store, StoreError};
use rusqlite::{Connection, TransactionBehavior, params};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A minute that is in the database of the fleet as it was after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::records) struct Sent {
    /// Of the file that it was read from.
    pub(in crate::records) origin: Arc<str>,
    /// Unix time divided by sixty.
    pub(in crate::records) minute: i64,
    /// The last change that is there.
    pub(in crate::records) change: i64,
}

/// Notes the minutes that this transaction changes.
pub(super) fn mark_unsent(change: &Connection, pending: &Pending) -> rusqlite::Result<()> {
    let of_events = pending.events().iter().map(|event| event.at_ms.div_euclid(60_000));
    let minutes: BTreeSet<i64> = pending.minutes().map(|(minute, _)| minute).chain(of_events).collect();
    let number: i64 = change
        .prepare_cached("UPDATE origin SET changes = changes + 1 RETURNING changes")?
        .query_row([], |row| row.get(0))?;
    let sql = "INSERT INTO unsent VALUES (?1, ?2) ON CONFLICT DO UPDATE SET change = excluded.change";
    let mut statement = change.prepare_cached(sql)?;
    for minute in minutes {
        statement.execute([minute, number])?;
    }
    Ok(())
}

impl Store {
    /// Takes off what is there, unless it has changed since. What was read from another file says nothing of this one.
    ///
    /// # Errors
    /// SQLite's; nothing was taken off.
    pub(in crate::records) fn mark_sent(&mut self, sent: &[Sent]) -> Result<(), StoreError> {
        if sent.is_empty() {
            return Ok(());
        }
        let Store { connection, origin, .. } = self;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut statement = change.prepare_cached("DELETE FROM unsent WHERE minute = ?1 AND change = ?2")?;
        for minute in sent.iter().filter(|sent| *sent.origin == **origin) {
            statement.execute(params![minute.minute, minute.change])?;
        }
        drop(statement);
        change.commit()?;
        Ok(())
    }
}
