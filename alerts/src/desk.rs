//! Who is called: people behind the words of a chain, at a moment, with the reason. Reads people and roster from memory.
//!
//! override > leave and substitute > rota > team role > station duty > regional desk.
//! Goes in: words, a moment. Comes out: users with why. Must never: decide when.

use crate::{
    config::{Config, WEEK, time_of_day},
    hours::Hours,
};
use jiff::civil::Time;
use serde::Deserialize;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};
use store::{
    Contact, DeadAddress, Directory, Episode, OnCallLevel, OnCallPerson, Organisation, OrganisationKind, Role, Roster,
    Store, Team, User,
};
use vitals::{OrganisationId, TeamId, Timestamp, UserId, Zone};

/// An organisation's own hours: `{"from": "08:00", "to": "17:30", "days": ["mon", …]}`.
#[derive(Deserialize)]
struct Opening {
    from: String,
    to: String,
    #[serde(default)]
    days: Option<Vec<String>>,
}

/// Whose chain: a team, or only the station of a patient without one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) team: Option<Arc<Team>>,
    pub(crate) organisation: Option<OrganisationId>,
}

/// A view of everybody at one moment. Cheap to make.
pub(crate) struct Desk<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) config: &'a Config,
    pub(crate) roster: Arc<Roster>,
    dead: Arc<HashSet<DeadAddress>>,
    /// Each station's administrators; asked for thousands of times when every chain is looked through.
    heads: OnceLock<HashMap<OrganisationId, Vec<UserId>>>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(store: &'a Store, config: &'a Config) -> Self {
        let (roster, dead) = (store.roster(), store.dead_addresses());
        Self { directory: store.directory(), config, roster, dead, heads: OnceLock::new() }
    }

    /// The same, were the roster another.
    pub(crate) fn with_roster(&self, roster: Arc<Roster>) -> Desk<'_> {
        Desk { directory: self.directory, config: self.config, roster, dead: self.dead.clone(), heads: OnceLock::new() }
    }

    pub(crate) fn place(&self, team: Option<TeamId>, organisation: Option<OrganisationId>) -> Place {
        let team = team.and_then(|t| self.directory.team(t));
        let organisation = team.as_ref().map(|t| t.organisation).or(organisation);
        Place { team, organisation }
    }

    /// The place of an alert: its team's, or its patient's station.
    pub(crate) fn place_of(&self, episode: &Episode) -> Place {
        let station = self.directory.patient(episode.patient).and_then(|p| p.organisation);
        self.place(episode.team, station)
    }

    /// The chain of a place, as it is now.
    pub(crate) fn chain(&self, place: &Place) -> Vec<Vec<String>> {
        let own = place.team.as_ref().and_then(|t| t.chain.clone());
        own.filter(|c| !c.is_empty()).unwrap_or_else(|| self.config.chain.clone())
    }

    /// Everybody whom a step calls at `at` and who can be reached, each once, with the reason.
    pub(crate) fn people(&self, place: &Place, step: &[String], critical: bool, at: Timestamp) -> Vec<OnCallPerson> {
        self.people_with(place, step, at, |u| !self.living(u, critical).is_empty())
    }

    /// Whom a step of this chain calls. An address that once said that it is gone is no reason to call nobody: for a
    /// critical it counts in the last step when nobody else there can be reached (whoever is left further up is called
    /// with it), and in every step when nobody of the whole chain can.
    pub(crate) fn called(
        &self,
        place: &Place,
        chain: &[Vec<String>],
        step: &[String],
        critical: bool,
        at: Timestamp,
    ) -> Vec<OnCallPerson> {
        let living = self.people(place, step, critical, at);
        let last = chain.last().is_some_and(|last| last == step);
        if !living.is_empty() || !critical || self.dead.is_empty() {
            return living;
        }
        let left = chain.iter().rev().map(|step| self.people(place, step, true, at)).find(|p| !p.is_empty());
        if left.is_some() && !last {
            return living;
        }
        let mut found = self.people_with(place, step, at, |u| !self.contacts(u, true).is_empty());
        if !found.is_empty() {
            found.extend(left.unwrap_or_default());
        }
        found
    }

    fn people_with(
        &self,
        place: &Place,
        step: &[String],
        at: Timestamp,
        reached: impl Fn(&User) -> bool,
    ) -> Vec<OnCallPerson> {
        let mut found: Vec<OnCallPerson> = Vec::new();
        for word in step {
            for (user, why) in self.behind(place, word, at) {
                let known = found.iter().any(|p| p.user_id == user);
                if !known && self.directory.user(user).is_some_and(|u| reached(&u)) {
                    found.push(OnCallPerson { user_id: user, why });
                }
            }
        }
        found
    }

    /// Where a message to a user goes, in their order of preference. Somebody who is called for a critical though every
    /// address of theirs is said to be gone is called there all the same.
    pub(crate) fn contacts<'u>(&self, user: &'u User, critical: bool) -> Vec<&'u Contact> {
        let living = self.living(user, critical);
        if critical && living.is_empty() { self.usable(user, critical) } else { living }
    }

    /// How a user can be reached; empty for a disabled user.
    fn living<'u>(&self, user: &'u User, critical: bool) -> Vec<&'u Contact> {
        let mut usable = self.usable(user, critical);
        usable.retain(|c| !self.dead.contains(&(user.id, c.channel.clone(), c.address.clone(), user.version)));
        usable
    }

    fn usable<'u>(&self, user: &'u User, critical: bool) -> Vec<&'u Contact> {
        let usable = |c: &&Contact| (c.critical || !critical) && self.config.channels.contains_key(&c.channel);
        user.contacts.iter().filter(|_| !user.disabled).filter(usable).collect()
    }

    fn behind(&self, place: &Place, word: &str, at: Timestamp) -> Vec<(UserId, String)> {
        match word.split_once(':') {
            Some(("team", role)) => {
                let members = place.team.iter().flat_map(|t| &t.members);
                let named = members.filter(|m| role_word(m.role) == Some(role)).map(|m| m.user_id).collect();
                self.present(named, word, at)
            }
            Some(("station", "duty")) => place.organisation.map_or_else(Vec::new, |o| self.duty(o, word, at)),
            Some(("region", "duty")) => {
                self.regions(place.organisation).into_iter().flat_map(|o| self.duty(o, word, at)).collect()
            }
            Some(("station", "head")) => {
                let heads = place.organisation.map_or_else(Vec::new, |o| self.heads(o));
                self.present(heads, word, at)
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn heads(&self, station: OrganisationId) -> Vec<UserId> {
        let heads = self.heads.get_or_init(|| {
            let mut heads: HashMap<OrganisationId, Vec<UserId>> = HashMap::new();
            let users = self.directory.users();
            for user in users.iter().filter(|u| u.roles.contains(&Role::StationAdmin)) {
                user.organisation.into_iter().for_each(|o| heads.entry(o).or_default().push(user.id));
            }
            heads.values_mut().for_each(|of_one| of_one.sort_unstable());
            heads
        });
        heads.get(&station).cloned().unwrap_or_default()
    }

    /// The region above; a patient without a station is every region's.
    fn regions(&self, organisation: Option<OrganisationId>) -> Vec<OrganisationId> {
        let is_region = |o: &&Arc<Organisation>| o.kind == OrganisationKind::Region;
        match organisation {
            Some(id) => {
                let line = self.directory.ancestry(id);
                line.iter().find(is_region).or(line.last()).map(|o| o.id).into_iter().collect()
            }
            None => self.directory.organisations().iter().filter(is_region).map(|o| o.id).collect(),
        }
    }

    /// An organisation's duty desk: whoever was put there, else whose shift it is, else whoever is named for it.
    fn duty(&self, organisation: OrganisationId, word: &str, at: Timestamp) -> Vec<(UserId, String)> {
        let put = self
            .roster
            .overrides
            .iter()
            .filter(|o| o.organisation_id == organisation && o.role == "duty" && o.from <= at && at < o.to);
        let put: Vec<(UserId, String)> = put.map(|o| (o.user_id, format!("{word} (override)"))).collect();
        if !put.is_empty() {
            return put;
        }
        let rotas = self.roster.rotas.iter().filter(|r| r.organisation_id == organisation && r.role == "duty");
        let shift = rotas.flat_map(|r| &r.shifts).filter(|s| s.from <= at && at < s.to);
        let shift: Vec<UserId> = shift.map(|s| s.user_id).collect();
        if !shift.is_empty() {
            return self.present(shift, &format!("{word} (rota)"), at);
        }
        let named = self.directory.organisation(organisation).map(|o| o.duty.clone()).unwrap_or_default();
        self.present(named, word, at)
    }

    /// Everybody who is away is replaced by their substitute, or left out.
    fn present(&self, users: Vec<UserId>, why: &str, at: Timestamp) -> Vec<(UserId, String)> {
        let mut found = Vec::new();
        for user in users {
            let mut seen = HashSet::from([user]);
            let (mut user, mut why) = (user, why.to_owned());
            let present = loop {
                let Some(leave) = self.roster.leave_of(user, at) else { break true };
                match leave.substitute_id {
                    Some(substitute) if seen.insert(substitute) => {
                        (user, why) = (substitute, format!("{why} (substitute)"));
                    }
                    _ => break false,
                }
            };
            if present {
                found.push((user, why));
            }
        }
        found
    }

    /// Who would be paged for a critical of this team at `at`.
    pub(crate) fn on_call(&self, team: TeamId, at: Timestamp) -> Vec<OnCallLevel> {
        let place = self.place(Some(team), None);
        let chain = self.chain(&place);
        let levels = (1_u32..).zip(&chain);
        levels.map(|(level, step)| OnCallLevel { level, people: self.people(&place, step, true, at) }).collect()
    }

    /// A station's hours: its own or the nearest above it that has some, and every calendar on the way up.
    pub(crate) fn hours(&self, organisation: Option<OrganisationId>, zone: &Zone) -> Hours {
        let mut hours = default_hours(self.config, zone);
        let line = organisation.map_or_else(Vec::new, |o| self.directory.ancestry(o));
        let own = line.iter().find_map(|o| serde_json::from_str::<Opening>(o.opening.as_deref()?).ok());
        if let Some(own) = own
            && let (Some(opens), Some(closes)) = (time_of_day(&own.from), time_of_day(&own.to))
            && opens < closes
        {
            (hours.opens, hours.closes) = (opens, closes);
            if let Some(days) = own.days {
                hours.week = week(&days);
            }
        }
        for organisation in line.iter().rev() {
            for calendar in self.roster.calendars.iter().filter(|c| c.organisation_id == organisation.id) {
                hours.days.extend(calendar.days.iter().map(|d| (d.date, d.kind)));
            }
        }
        hours
    }
}

fn week(days: &[String]) -> [bool; 7] {
    WEEK.map(|day| days.iter().any(|d| d == day))
}

fn default_hours(config: &Config, zone: &Zone) -> Hours {
    let time = |text: &str, hour: i8| time_of_day(text).unwrap_or_else(|| Time::constant(hour, 0, 0, 0));
    Hours {
        zone: zone.clone(),
        opens: time(&config.opens, 8),
        closes: time(&config.closes, 17),
        week: week(&config.working_days),
        days: std::collections::BTreeMap::new(),
        quiet_from: time(&config.quiet_from, 22),
        quiet_to: time(&config.quiet_to, 7),
    }
}

const fn role_word(role: Role) -> Option<&'static str> {
    match role {
        Role::Gp => Some("gp"),
        Role::Specialist => Some("specialist"),
        Role::HealthManager => Some("health_manager"),
        Role::Assistant => Some("assistant"),
        _ => None,
    }
}
