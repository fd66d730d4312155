//! What people changed of the rules: drafts, approvals, rollbacks. Append-only in effect: what was once approved stays,
//! and stays readable; only a draft is overwritten.
//!
//! Goes in: edits whose content somebody else has checked. Comes out: the same, by rule and scope, with what was in force
//! when. Must never: read a card, judge who may do this (two persons excepted, which the file itself holds to).

use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;
use vitals::{OrganisationId, Timestamp, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS rule_edit(id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, station INTEGER, tag TEXT,
    version INTEGER, state TEXT NOT NULL, body TEXT, note TEXT NOT NULL, author INTEGER NOT NULL, drafted_at INTEGER NOT NULL,
    proposed_from INTEGER, approver INTEGER, approved_at INTEGER, effective_from INTEGER, returns_to INTEGER,
    CHECK(approver IS NULL OR approver <> author OR returns_to IS NOT NULL));
CREATE INDEX IF NOT EXISTS rule_edit_by_rule ON rule_edit(rule, state);
CREATE TABLE IF NOT EXISTS rule_revision(rule TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
";

/// For whom an edit holds: everybody; the patients of one organisation; those who carry a tag or condition; both.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleScope {
    /// The organisation that owns the patients' records.
    pub organisation: Option<OrganisationId>,
    /// A tag or a condition of the patient.
    pub tag: Option<String>,
}

/// Where an edit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditState {
    /// Written, not signed: no effect.
    Draft,
    /// Signed by a second person; in force from `effective_from` until a later one of the same scope is.
    Approved,
    /// Taken back before it had effect.
    Withdrawn,
}

impl EditState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One edit.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleEdit {
    /// Identity, ascending with time.
    pub id: i64,
    /// `BP-C1`, …
    pub rule: String,
    /// For whom.
    pub scope: RuleScope,
    /// Counts what was approved of this rule, whatever the scope; none for a draft.
    pub version: Option<u32>,
    /// Where it stands.
    pub state: EditState,
    /// `{"card": …}` or `{"parameters": {…}}`; none says: as if this scope had never been edited.
    pub body: Option<String>,
    /// Why, in the author's words.
    pub note: String,
    /// Who wrote it; who rolled back.
    pub author: UserId,
    /// When.
    pub drafted_at: Timestamp,
    /// From when the author wants it to hold; none: from the approval on.
    pub proposed_from: Option<Timestamp>,
    /// Who signed it. Never the author, but for a rollback to what two persons signed before.
    pub approver: Option<UserId>,
    /// When.
    pub approved_at: Option<Timestamp>,
    /// First moment at which it holds.
    pub effective_from: Option<Timestamp>,
    /// A rollback: the edit whose content it brings back; 0 for what stood before any edit.
    pub returns_to: Option<i64>,
}

/// A draft to be written.
#[derive(Clone, Debug)]
pub struct NewRuleEdit {
    /// Of which rule.
    pub rule: String,
    /// For whom.
    pub scope: RuleScope,
    /// As [`RuleEdit::body`].
    pub body: String,
    /// Why.
    pub note: String,
    /// Who.
    pub author: UserId,
    /// From when; none: from the approval on.
    pub proposed_from: Option<Timestamp>,
}

impl RuleEdit {
    /// Whether it is signed and its moment has come; a later one of the same scope may have replaced it.
    pub fn has_begun(&self, at: Timestamp) -> bool {
        self.state == EditState::Approved && self.effective_from.is_some_and(|from| from <= at)
    }

    /// What in-force edits of one scope are ordered by.
    fn order(&self) -> (Option<Timestamp>, i64) {
        (self.effective_from, self.id)
    }
}

/// The edit of `scope` that holds at `at`, among all edits of one rule.
pub fn rule_edit_in_force<'a>(edits: &'a [RuleEdit], scope: &RuleScope, at: Timestamp) -> Option<&'a RuleEdit> {
    edits.iter().filter(|e| e.scope == *scope && e.has_begun(at)).max_by_key(|e| e.order())
}

impl Store {
    /// Every edit of every rule, oldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn rule_edits(&self) -> Result<Vec<RuleEdit>, StoreError> {
        self.registry.read(all).await
    }

    /// As [`Store::rule_edits`], for threads.
    ///
    /// # Errors
    /// As every read.
    pub fn rule_edits_blocking(&self) -> Result<Vec<RuleEdit>, StoreError> {
        self.registry.read_blocking(all)
    }

    /// Counts changes of a rule's drafts and versions: its strong ETag. 0 while nobody touched it.
    ///
    /// # Errors
    /// As every read.
    pub async fn rule_revision(&self, rule: String) -> Result<i64, StoreError> {
        self.registry.read(move |c| revision(c, &rule)).await
    }

    /// Moves whenever an edit was written.
    pub fn rule_changes(&self) -> watch::Receiver<u64> {
        self.registry.rule_changes.subscribe()
    }

    /// Writes a draft, in the place of the scope's present one. `known` is the revision that the author saw.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with "meanwhile" when the rule was changed since; as every write.
    pub async fn draft_rule(&self, new: NewRuleEdit, known: i64, now: Timestamp) -> Result<RuleEdit, StoreError> {
        self.edit(move |c| {
            fresh(c, &new.rule, Some(known))?;
            withdraw_drafts(c, &new.rule, &new.scope)?;
            insert(
                c,
                &RuleEdit {
                    id: 0,
                    rule: new.rule.clone(),
                    scope: new.scope.clone(),
                    version: None,
                    state: EditState::Draft,
                    body: Some(new.body.clone()),
                    note: new.note.clone(),
                    author: new.author,
                    drafted_at: now,
                    proposed_from: new.proposed_from,
                    approver: None,
                    approved_at: None,
                    effective_from: None,
                    returns_to: None,
                },
            )
        })
        .await
    }

    /// Signs the draft of a scope. `base`: the version of the card that the program or the installation brings.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without a draft; [`StoreError::Conflict`] with "author" for its author, with "passed" for
    /// a moment in the past, with "meanwhile" when the rule was changed since `known`; as every write.
    #[allow(clippy::too_many_arguments, reason = "each is one fact of a signature")]
    pub async fn approve_rule(
        &self,
        rule: String,
        scope: RuleScope,
        approver: UserId,
        from: Option<Timestamp>,
        base: u32,
        known: Option<i64>,
        now: Timestamp,
    ) -> Result<RuleEdit, StoreError> {
        self.edit(move |c| {
            fresh(c, &rule, known)?;
            let edits = of_rule(c, &rule)?;
            let draft = edits.iter().rev().find(|e| e.state == EditState::Draft && e.scope == scope);
            let draft = draft.ok_or(StoreError::NotFound("draft"))?;
            if draft.author == approver {
                return Err(StoreError::Conflict("the author may not approve it".into()));
            }
            let from = from.or(draft.proposed_from).unwrap_or(now);
            if from < now {
                return Err(StoreError::Conflict("the moment has passed".into()));
            }
            let version = next_version(&edits, base);
            c.execute(
                "UPDATE rule_edit SET state = 'approved', version = ?1, approver = ?2, approved_at = ?3,
                    effective_from = ?4 WHERE id = ?5",
                params![version, approver.as_i64(), now.as_micros(), from.as_micros(), draft.id],
            )?;
            by_id(c, draft.id)
        })
        .await
    }

    /// Brings back, from now on, what held in a scope before the edit that holds now.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when nothing was edited there, or it is back at its beginning; as every write.
    pub async fn roll_back_rule(
        &self,
        rule: String,
        scope: RuleScope,
        (by, note): (UserId, String),
        base: u32,
        known: Option<i64>,
        now: Timestamp,
    ) -> Result<RuleEdit, StoreError> {
        self.edit(move |c| {
            fresh(c, &rule, known)?;
            let edits = of_rule(c, &rule)?;
            let back = before(&edits, &scope, now).ok_or_else(nothing_before)?;
            let rollback = RuleEdit {
                id: 0,
                rule: rule.clone(),
                scope: scope.clone(),
                version: Some(next_version(&edits, base)),
                state: EditState::Approved,
                body: back.and_then(|e| e.body.clone()),
                note: note.clone(),
                author: by,
                drafted_at: now,
                proposed_from: None,
                approver: Some(by),
                approved_at: Some(now),
                effective_from: Some(now),
                returns_to: Some(back.map_or(0, |e| e.id)),
            };
            insert(c, &rollback)
        })
        .await
    }

    /// What a rollback of a scope would bring back; none for what stood before any edit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is nothing to go back to; as every read.
    pub async fn rule_before(
        &self,
        rule: String,
        scope: RuleScope,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        self.registry
            .read(move |c| {
                let edits = of_rule(c, &rule)?;
                let back = before(&edits, &scope, now).ok_or_else(nothing_before)?;
                Ok(back.and_then(|e| e.body.clone()))
            })
            .await
    }

    /// Takes back the draft of a scope, or what is signed and has no effect yet.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is neither; as every write.
    pub async fn withdraw_rule(
        &self,
        rule: String,
        scope: RuleScope,
        known: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.edit(move |c| {
            fresh(c, &rule, known)?;
            let edits = of_rule(c, &rule)?;
            let mine = |e: &&RuleEdit| {
                let waits = e.state == EditState::Approved && e.effective_from.is_some_and(|from| from > now);
                e.scope == scope && (e.state == EditState::Draft || waits)
            };
            let found = edits.iter().rev().find(mine).ok_or(StoreError::NotFound("draft"))?;
            c.execute("UPDATE rule_edit SET state = 'withdrawn' WHERE id = ?1", [found.id])?;
            by_id(c, found.id)
        })
        .await
        .map(drop)
    }

    async fn edit(
        &self,
        work: impl FnOnce(&Connection) -> Result<RuleEdit, StoreError> + Send + 'static,
    ) -> Result<RuleEdit, StoreError> {
        let changes = self.registry.rule_changes.clone();
        let work = move |c: &Connection| {
            let done = work(c)?;
            c.execute(
                "INSERT INTO rule_revision(rule, revision) VALUES(?1, 1)
                 ON CONFLICT(rule) DO UPDATE SET revision = revision + 1",
                [&done.rule],
            )?;
            Ok(done)
        };
        self.registry.write_then(work, move |_| changes.send_modify(|n| *n += 1)).await
    }
}

/// What held in `scope` before what holds there at `now`: an edit, or nothing (`Some(None)`). `None`: there is no before.
fn before<'a>(edits: &'a [RuleEdit], scope: &RuleScope, now: Timestamp) -> Option<Option<&'a RuleEdit>> {
    let mut line: Vec<&RuleEdit> = edits.iter().filter(|e| e.scope == *scope && e.has_begun(now)).collect();
    line.sort_by_key(|e| e.order());
    // A rollback stands where the edit stands that it brought back.
    let resolve = |mut e: &'a RuleEdit| {
        while let Some(back) = e.returns_to {
            e = edits.iter().find(|other| other.id == back)?;
        }
        Some(e)
    };
    let present = resolve(line.last()?)?;
    let place = line.iter().position(|e| e.id == present.id)?;
    Some(line[..place].last().and_then(|e| resolve(e)))
}

fn nothing_before() -> StoreError {
    StoreError::Conflict("there is no earlier version to go back to".into())
}

fn next_version(edits: &[RuleEdit], base: u32) -> u32 {
    edits.iter().filter_map(|e| e.version).chain([base]).max().unwrap_or(base).saturating_add(1)
}

fn fresh(c: &Connection, rule: &str, known: Option<i64>) -> Result<(), StoreError> {
    if known.is_some_and(|known| revision(c, rule).is_ok_and(|found| found != known)) {
        return Err(StoreError::Conflict("it was changed meanwhile".into()));
    }
    Ok(())
}

fn revision(c: &Connection, rule: &str) -> Result<i64, StoreError> {
    let found: Option<i64> =
        c.query_row("SELECT revision FROM rule_revision WHERE rule = ?1", [rule], |r| r.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

fn withdraw_drafts(c: &Connection, rule: &str, scope: &RuleScope) -> Result<(), StoreError> {
    c.execute(
        "UPDATE rule_edit SET state = 'withdrawn' WHERE rule = ?1 AND station IS ?2 AND tag IS ?3 AND state = 'draft'",
        params![rule, scope.organisation.map(OrganisationId::as_i64), scope.tag],
    )?;
    Ok(())
}

fn insert(c: &Connection, e: &RuleEdit) -> Result<RuleEdit, StoreError> {
    c.execute(
        "INSERT INTO rule_edit(rule, station, tag, version, state, body, note, author, drafted_at, proposed_from, approver,
            approved_at, effective_from, returns_to) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            e.rule,
            e.scope.organisation.map(OrganisationId::as_i64),
            e.scope.tag,
            e.version,
            e.state.as_str(),
            e.body,
            e.note,
            e.author.as_i64(),
            e.drafted_at.as_micros(),
            e.proposed_from.map(Timestamp::as_micros),
            e.approver.map(UserId::as_i64),
            e.approved_at.map(Timestamp::as_micros),
            e.effective_from.map(Timestamp::as_micros),
            e.returns_to
        ],
    )?;
    by_id(c, c.last_insert_rowid())
}

const EDIT: &str =
    "SELECT id, rule, station, tag, version, state, body, note, author, drafted_at, proposed_from, approver,
    approved_at, effective_from, returns_to FROM rule_edit";

fn by_id(c: &Connection, id: i64) -> Result<RuleEdit, StoreError> {
    Ok(c.query_row(&format!("{EDIT} WHERE id = ?1"), [id], row)?)
}

fn of_rule(c: &Connection, rule: &str) -> Result<Vec<RuleEdit>, StoreError> {
    let mut statement = c.prepare_cached(&format!("{EDIT} WHERE rule = ?1 ORDER BY id"))?;
    let rows = statement.query_map([rule], row)?;
    rows.map(|r| Ok(r?)).collect()
}

fn all(c: &Connection) -> Result<Vec<RuleEdit>, StoreError> {
    let mut statement = c.prepare_cached(&format!("{EDIT} ORDER BY id"))?;
    let rows = statement.query_map([], row)?;
    rows.map(|r| Ok(r?)).collect()
}

fn row(r: &Row<'_>) -> rusqlite::Result<RuleEdit> {
    let moment = |i: usize| r.get::<_, Option<i64>>(i).map(|t| t.map(Timestamp::from_micros));
    let state: String = r.get(5)?;
    Ok(RuleEdit {
        id: r.get(0)?,
        rule: r.get(1)?,
        scope: RuleScope { organisation: r.get::<_, Option<i64>>(2)?.map(OrganisationId::from_i64), tag: r.get(3)? },
        version: r.get(4)?,
        state: match state.as_str() {
            "approved" => EditState::Approved,
            "draft" => EditState::Draft,
            _ => EditState::Withdrawn,
        },
        body: r.get(6)?,
        note: r.get(7)?,
        author: UserId::from_i64(r.get(8)?),
        drafted_at: Timestamp::from_micros(r.get(9)?),
        proposed_from: moment(10)?,
        approver: r.get::<_, Option<i64>>(11)?.map(UserId::from_i64),
        approved_at: moment(12)?,
        effective_from: moment(13)?,
        returns_to: r.get(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Clock, Drain};

    fn later(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1000).plus(std::time::Duration::from_secs(seconds))
    }

    async fn signed(store: &Store, scope: &RuleScope, body: &str, from: Timestamp) -> RuleEdit {
        let known = store.rule_revision("BP-C1".into()).await.unwrap();
        let new = NewRuleEdit {
            rule: "BP-C1".into(),
            scope: scope.clone(),
            body: body.into(),
            note: String::new(),
            author: UserId::new(1),
            proposed_from: None,
        };
        store.draft_rule(new, known, from).await.unwrap();
        store.approve_rule("BP-C1".into(), scope.clone(), UserId::new(2), None, 1, Some(known + 1), from).await.unwrap()
    }

    async fn back(store: &Store, scope: &RuleScope, at: Timestamp) -> Result<Option<String>, StoreError> {
        let by = (UserId::new(3), "back".to_owned());
        store.roll_back_rule("BP-C1".into(), scope.clone(), by, 1, None, at).await.map(|e| e.body)
    }

    #[tokio::test]
    async fn a_rollback_walks_back_over_what_was_signed_and_each_version_has_a_number_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (_end, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(later(0)), &drain).unwrap();
        let (all, station) =
            (RuleScope::default(), RuleScope { organisation: Some(OrganisationId::new(5)), tag: None });
        assert_eq!(signed(&store, &all, "a", later(0)).await.version, Some(2));
        assert_eq!(signed(&store, &station, "s", later(1)).await.version, Some(3));
        assert_eq!(signed(&store, &all, "b", later(2)).await.version, Some(4));
        assert_eq!(back(&store, &all, later(3)).await.unwrap().as_deref(), Some("a"));
        assert_eq!(signed(&store, &all, "c", later(4)).await.version, Some(6));
        assert_eq!(back(&store, &all, later(5)).await.unwrap().as_deref(), Some("a"), "what c replaced");
        assert_eq!(back(&store, &all, later(6)).await.unwrap(), None, "the card as it was installed");
        assert!(matches!(back(&store, &all, later(7)).await, Err(StoreError::Conflict(_))));
        let edits = store.rule_edits().await.unwrap();
        let holds = |scope, at| rule_edit_in_force(&edits, scope, at).and_then(|e| e.body.clone());
        assert_eq!(holds(&all, later(2)).as_deref(), Some("b"));
        assert_eq!(holds(&all, later(3)).as_deref(), Some("a"));
        assert_eq!(holds(&station, later(9)).as_deref(), Some("s"), "a station's own values are another matter");
        assert_eq!(holds(&station, later(0)), None);
    }

    #[tokio::test]
    async fn nobody_signs_alone_blindly_or_for_yesterday() {
        let folder = tempfile::tempdir().unwrap();
        let (_end, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(later(0)), &drain).unwrap();
        let scope = RuleScope::default();
        let draft = |known| {
            let new = NewRuleEdit {
                rule: "BP-C1".into(),
                scope: RuleScope::default(),
                body: "a".into(),
                note: String::new(),
                author: UserId::new(1),
                proposed_from: None,
            };
            store.draft_rule(new, known, later(0))
        };
        draft(0).await.unwrap();
        let words = |e: StoreError| e.to_string();
        assert!(words(draft(0).await.unwrap_err()).contains("meanwhile"));
        let sign = |who: u64, from: Option<Timestamp>, known: Option<i64>| {
            store.approve_rule("BP-C1".into(), scope.clone(), UserId::new(who), from, 1, known, later(10))
        };
        assert!(words(sign(1, None, None).await.unwrap_err()).contains("author"));
        assert!(words(sign(2, Some(later(9)), None).await.unwrap_err()).contains("passed"));
        assert!(words(sign(2, None, Some(0)).await.unwrap_err()).contains("meanwhile"));
        let signed = sign(2, Some(later(60)), Some(1)).await.unwrap();
        assert!(!signed.has_begun(later(59)) && signed.has_begun(later(60)));
        store.withdraw_rule("BP-C1".into(), scope.clone(), None, later(20)).await.unwrap();
        assert!(matches!(sign(2, None, None).await, Err(StoreError::NotFound(_))));
        assert!(store.withdraw_rule("BP-C1".into(), scope.clone(), None, later(20)).await.is_err());
    }
}
