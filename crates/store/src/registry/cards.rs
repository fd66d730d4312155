//! The rule cards in force, as whoever concludes has said them, for those who list them.
//!
//! Goes in: cards as JSON text. Comes out: the same. Must never: know what a card means.

use crate::{Store, StoreError};
use rusqlite::params;

/// A rule card in force, as the API lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardRecord {
    /// `BP-C1`, …
    pub id: String,
    /// Counts edits of the card.
    pub version: u32,
    /// The whole card: a JSON object's text.
    pub body: String,
}

impl Store {
    /// Replaces the list of cards in force.
    ///
    /// # Errors
    /// As every write.
    pub fn put_cards_blocking(&self, cards: Vec<CardRecord>) -> Result<(), StoreError> {
        self.registry.write_blocking(move |c| {
            c.execute("DELETE FROM card", [])?;
            let mut insert = c.prepare_cached("INSERT INTO card(id, version, body) VALUES(?1, ?2, ?3)")?;
            for card in &cards {
                insert.execute(params![card.id, card.version, card.body])?;
            }
            Ok(())
        })
    }

    /// The cards in force, by id.
    ///
    /// # Errors
    /// As every read.
    pub async fn cards(&self) -> Result<Vec<CardRecord>, StoreError> {
        self.registry
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT id, version, body FROM card ORDER BY id")?;
                let rows = statement
                    .query_map([], |r| Ok(CardRecord { id: r.get(0)?, version: r.get(1)?, body: r.get(2)? }))?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }
}
