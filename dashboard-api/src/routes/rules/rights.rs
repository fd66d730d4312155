//! Who may write, sign and undo an edit of a rule (decision record 0011).
//!
//! The platform's: written by a specialist or a region's administrator; signed by another one of them, and one of the two
//! answers for the whole installation. A station's: written by its doctors and administrators, signed by its specialist or
//! its administrators. Nobody signs their own.

use crate::{
    problem::{Answer, Problem},
    scope::Caller,
    state::Inner,
};
use axum::http::StatusCode;
use store::{Role, RuleEdit, RuleScope, User};
use vitals::OrganisationId;

fn refused(words: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", words)
}

fn works_at(caller: &Caller, place: OrganisationId) -> bool {
    caller.scope.home() == Some(place)
}

/// Whether the caller may write an edit of this scope.
pub(super) fn draft(caller: &Caller, scope: &RuleScope) -> Answer<()> {
    let may = match scope.organisation {
        None => caller.is(Role::Specialist) || caller.is(Role::RegionAdmin),
        Some(place) => {
            let doctor = caller.is(Role::Gp) || caller.is(Role::Specialist);
            caller.scope.governs(place) || (doctor && works_at(caller, place))
        }
    };
    may.then_some(()).ok_or_else(|| {
        refused("the platform's rules are edited by a specialist or a region's administrator, a station's by its own")
    })
}

/// Whether the caller may sign or undo edits of this scope at all.
pub(super) fn lead(caller: &Caller, scope: &RuleScope) -> Answer<()> {
    let may = match scope.organisation {
        None => caller.is(Role::Specialist) || caller.is(Role::RegionAdmin),
        Some(place) => caller.scope.governs(place) || (caller.is(Role::Specialist) && works_at(caller, place)),
    };
    may.then_some(()).ok_or_else(|| refused("this is signed by the medical lead or an administrator of that place"))
}

/// Whether the caller may sign this draft.
pub(super) fn sign(api: &Inner, caller: &Caller, draft: &RuleEdit) -> Answer<()> {
    lead(caller, &draft.scope)?;
    if draft.author == caller.user.id {
        return Err(refused("its author may not approve it: a second person does"));
    }
    let author = api.directory().user(draft.author);
    let whole = answers_for_all(api, &caller.user) || author.is_some_and(|a| answers_for_all(api, &a));
    if draft.scope.organisation.is_none() && !whole {
        return Err(refused("one of the two who sign a platform's rule is an administrator over every region"));
    }
    Ok(())
}

/// Whether the caller may take back what has no effect yet.
pub(super) fn withdraw(_: &Inner, caller: &Caller, edit: &RuleEdit) -> Answer<()> {
    if edit.author == caller.user.id { Ok(()) } else { lead(caller, &edit.scope) }
}

/// A region's administrator over every organisation that has none above it.
fn answers_for_all(api: &Inner, user: &User) -> bool {
    let Some(place) = user.organisation else { return user.roles.contains(&Role::RegionAdmin) };
    let mut roots = api.directory().organisations().into_iter().filter(|o| o.parent.is_none());
    user.roles.contains(&Role::RegionAdmin) && roots.all(|root| root.id == place)
}
