//! Which steps of a chain call nobody, and when: for a team that is saved, for a leave, and for all teams together.
//!
//! Goes in: a team or a leave, a moment. Comes out: steps. Must never: tell anybody, decide who is called.

use crate::{
    config::is_word_of_chain,
    desk::{Desk, Place},
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use store::{ChainFault, ChainWarning, Leave, Roster, Team};
use vitals::{OrganisationId, TeamId, Timestamp, UserId};

/// A chain must hold for so long from the moment it is saved.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 3600);

impl Desk<'_> {
    /// Whether a critical of this team reaches somebody throughout the next 14 days.
    pub(crate) fn check_team(&self, team: &Team, now: Timestamp) -> Result<Vec<ChainWarning>, ChainFault> {
        let place = place_of(team);
        let chain = team.chain.clone().unwrap_or_else(|| self.config.chain.clone());
        let fault = |step: u32, reason: &str| Err(ChainFault { step, reason: reason.to_owned() });
        if chain.is_empty() {
            return fault(1, "a chain needs a step: leave it out for the default one");
        }
        for (step, words) in (1_u32..).zip(&chain) {
            if words.is_empty() || words.iter().any(|w| !is_word_of_chain(w)) {
                return fault(step, "a step is a list of team:ROLE, station:duty, station:head, region:duty");
            }
        }
        let empty = self.empty_of(&place, &chain, now);
        let last = u32::try_from(chain.len()).unwrap_or(u32::MAX);
        if empty.contains_key(&last) {
            let reason = "throughout the next 14 days somebody with a channel for criticals must be called here: \
                          name a duty, a member or a contact";
            return fault(last, reason);
        }
        Ok(empty.into_keys().map(|step| ChainWarning { step }).collect())
    }

    /// Steps of every team that call nobody at some moment of the next 14 days, each with the first such moment.
    pub(crate) fn empty_steps(&self, now: Timestamp) -> BTreeMap<(TeamId, u32), Timestamp> {
        let mut found = BTreeMap::new();
        for team in self.directory.teams() {
            let place = place_of(&team);
            let empty = self.empty_of(&place, &self.chain(&place), now);
            found.extend(empty.into_iter().map(|(step, at)| ((team.id, step), at)));
        }
        found
    }

    /// Steps that call nobody at some moment of this leave, and would call somebody without it. The leave is stored.
    pub(crate) fn emptied_by(&self, leave: &Leave, now: Timestamp) -> Vec<(TeamId, ChainWarning)> {
        let mut roster = Roster::clone(&self.roster);
        roster.leaves.retain(|l| l.id != leave.id);
        let without = self.with_roster(Arc::new(roster));
        let mut found = Vec::new();
        for team in self.directory.teams() {
            let place = place_of(&team);
            let moments = self.moments(&place, leave.from.max(now), leave.to);
            for (step, words) in (1_u32..).zip(self.chain(&place)) {
                let nobody = |desk: &Desk<'_>, at: Timestamp| desk.people(&place, &words, true, at).is_empty();
                if moments.iter().any(|at| nobody(self, *at) && !nobody(&without, *at)) {
                    found.push((team.id, ChainWarning { step }));
                }
            }
        }
        found.sort_unstable_by_key(|(team, warning)| (*team, warning.step));
        found
    }

    /// The next moment after `now` at which somebody comes on or goes.
    pub(crate) fn next_turn(&self, now: Timestamp) -> Option<Timestamp> {
        self.roster.turns(now).min()
    }

    /// When steps may be empty, or not be any more, without anybody changing anything: somebody comes on or goes, or
    /// such a moment comes within the 14 days.
    pub(crate) fn next_cover(&self, now: Timestamp) -> Option<Timestamp> {
        let seen = self.next_turn(now.plus(AHEAD)).map(|at| at.minus(AHEAD));
        [self.next_turn(now), seen].into_iter().flatten().min()
    }

    fn empty_of(&self, place: &Place, chain: &[Vec<String>], now: Timestamp) -> BTreeMap<u32, Timestamp> {
        let moments = self.moments(place, now, now.plus(AHEAD));
        let gap = |step: &[String]| moments.iter().find(|at| self.people(place, step, true, **at).is_empty()).copied();
        (1_u32..).zip(chain).filter_map(|(n, step)| Some((n, gap(step)?))).collect()
    }

    /// `from`, and every moment until `to` at which somebody whom this place may call comes on or goes: only theirs,
    /// for a region's roster turns thousands of times in two weeks.
    fn moments(&self, place: &Place, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let line = place.organisation.map_or_else(Vec::new, |o| self.directory.ancestry(o));
        let here = |o: &OrganisationId| line.iter().any(|l| l.id == *o);
        let overrides: Vec<_> = self.roster.overrides.iter().filter(|o| here(&o.organisation_id)).collect();
        let rotas = self.roster.rotas.iter().filter(|r| here(&r.organisation_id));
        let shifts: Vec<_> = rotas.flat_map(|r| &r.shifts).collect();
        let mut users: HashSet<UserId> = place.team.iter().flat_map(|t| &t.members).map(|m| m.user_id).collect();
        users.extend(line.iter().flat_map(|o| o.duty.iter().copied()));
        users.extend(place.organisation.into_iter().flat_map(|o| self.heads(o)));
        users.extend(shifts.iter().map(|s| s.user_id));
        users.extend(overrides.iter().map(|o| o.user_id));
        loop {
            let known = users.len();
            let theirs = self.roster.leaves.iter().filter(|l| users.contains(&l.user_id));
            let substitutes: Vec<UserId> = theirs.filter_map(|l| l.substitute_id).collect();
            users.extend(substitutes);
            if users.len() == known {
                break;
            }
        }
        let leaves = self.roster.leaves.iter().filter(|l| users.contains(&l.user_id)).flat_map(|l| [l.from, l.to]);
        let turns = overrides.iter().flat_map(|o| [o.from, o.to]).chain(shifts.iter().flat_map(|s| [s.from, s.to]));
        let mut moments: Vec<Timestamp> = turns.chain(leaves).filter(|at| from < *at && *at <= to).collect();
        moments.push(from);
        moments.sort_unstable();
        moments.dedup();
        moments
    }
}

fn place_of(team: &Team) -> Place {
    Place { organisation: Some(team.organisation), team: Some(Arc::new(team.clone())) }
}
