//! Whom a caller sees: computed from roles and relationships, asked by every call that touches a record.
//!
//! Goes in: the caller and the directory. Comes out: records that are theirs, or 404.
//! Must never: tell a record that is not the caller's from one that does not exist.

use crate::{
    access::{self, Roles},
    problem::{Answer, Problem},
};
use std::{collections::HashSet, sync::Arc};
use store::{Among, Directory, Home, Organisation, Role, Team, User};
use vitals::{Device, OrganisationId, Patient, PatientId, TeamId};

const CLINICAL: [Role; 4] = [Role::Gp, Role::Specialist, Role::HealthManager, Role::Assistant];

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Arc<User>,
    pub(crate) roles: Roles,
    pub(crate) session: [u8; 32],
    pub(crate) scope: Arc<Scope>,
}

/// Whom a caller sees.
#[derive(Debug)]
pub(crate) struct Scope {
    directory: Directory,
    /// The first administrator: everything.
    all: bool,
    /// Administrators: this organisation and everything below it.
    within: Option<OrganisationId>,
    /// Team members: their teams' patients.
    teams: HashSet<TeamId>,
    /// The patient that the caller is.
    own: Option<PatientId>,
    /// Where the caller works.
    home: Option<OrganisationId>,
}

impl Caller {
    pub(crate) fn new(user: Arc<User>, session: [u8; 32], directory: &Directory) -> Self {
        let scope = Arc::new(Scope::of(&user, directory));
        Self { roles: access::bits(&user.roles), user, session, scope }
    }

    pub(crate) const fn is(&self, role: Role) -> bool {
        self.roles & access::bit(role) != 0
    }

    /// Somebody who works here, whatever else they are.
    pub(crate) const fn is_staff(&self) -> bool {
        self.roles & !access::bit(Role::Patient) != 0
    }

    pub(crate) const fn is_admin(&self) -> bool {
        self.is(Role::StationAdmin) || self.is(Role::RegionAdmin)
    }
}

impl Scope {
    fn of(user: &User, directory: &Directory) -> Self {
        let is = |role: Role| user.roles.contains(&role);
        let clinical = CLINICAL.into_iter().any(is);
        let member = |t: &Arc<Team>| t.members.iter().any(|m| m.user_id == user.id);
        let teams = if clinical {
            directory.teams().iter().filter(|t| member(t)).map(|t| t.id).collect()
        } else {
            HashSet::new()
        };
        let admin = is(Role::StationAdmin) || is(Role::RegionAdmin);
        Self {
            directory: directory.clone(),
            all: is(Role::RegionAdmin) && user.organisation.is_none(),
            within: if admin { user.organisation } else { None },
            teams,
            own: if is(Role::Patient) { user.patient } else { None },
            home: user.organisation,
        }
    }

    /// Whether this person treats people, and this patient is one of theirs.
    pub(crate) fn treats(user: &User, patient: PatientId, directory: &Directory) -> bool {
        CLINICAL.iter().any(|role| user.roles.contains(role)) && Self::of(user, directory).sees_id(patient)
    }

    /// Everything, as the first administrator does.
    pub(crate) const fn sees_all(&self) -> bool {
        self.all
    }

    /// The caller's own place, which what they make belongs to unless they say otherwise.
    pub(crate) const fn home(&self) -> Option<OrganisationId> {
        self.home
    }

    /// Whether this patient's record is theirs.
    pub(crate) fn sees(&self, patient: &Patient) -> bool {
        self.all
            || self.own == Some(patient.id)
            || patient.team.is_some_and(|team| self.teams.contains(&team))
            || patient.organisation.is_some_and(|o| self.governs(o))
    }

    /// Whether an administrator's rights reach this organisation.
    pub(crate) fn governs(&self, organisation: OrganisationId) -> bool {
        self.all || self.within.is_some_and(|outer| self.directory.is_within(organisation, outer))
    }

    /// Whether its name may be shown: governed, their own place, or above it.
    pub(crate) fn knows(&self, organisation: OrganisationId) -> bool {
        self.governs(organisation) || self.home.is_some_and(|home| self.directory.is_within(home, organisation))
    }

    /// Whether devices of this organisation are theirs to make and to look after: governed, their own place, or below it.
    pub(crate) fn reaches(&self, organisation: OrganisationId) -> bool {
        self.governs(organisation) || self.home.is_some_and(|home| self.directory.is_within(organisation, home))
    }

    /// The patient, or 404.
    pub(crate) fn patient(&self, id: PatientId) -> Answer<(Arc<Patient>, i64)> {
        self.directory.patient_version(id).filter(|(p, _)| self.sees(p)).ok_or_else(Problem::not_found)
    }

    /// Whether the patient with this id is theirs.
    pub(crate) fn sees_id(&self, id: PatientId) -> bool {
        self.all || self.directory.patient(id).is_some_and(|p| self.sees(&p))
    }

    /// Every patient that is theirs.
    pub(crate) fn patients(&self) -> Vec<Arc<Patient>> {
        self.directory.patients().into_iter().filter(|p| self.sees(p)).collect()
    }

    /// Where the patients that are theirs can be found.
    pub(crate) fn among(&self) -> Among {
        if self.all {
            return Among::All;
        }
        let governed = match self.within {
            Some(_) => self.directory.organisations().into_iter().filter(|o| self.governs(o.id)).collect(),
            None => Vec::new(),
        };
        let places = governed.iter().map(|o| Home::Organisation(o.id));
        let teams = self.teams.iter().map(|team| Home::Team(*team));
        Among::Homes(places.chain(teams).chain(self.own.map(Home::Patient)).collect())
    }

    /// For questions over many patients: their ids, or `None` for all.
    pub(crate) fn patient_ids(&self) -> Option<HashSet<PatientId>> {
        (!self.all).then(|| self.patients().iter().map(|p| p.id).collect())
    }

    /// The team, or 404: one's own, or governed.
    pub(crate) fn team(&self, id: TeamId) -> Answer<Arc<Team>> {
        self.directory.team(id).filter(|t| self.sees_team(t)).ok_or_else(Problem::not_found)
    }

    pub(crate) fn sees_team(&self, team: &Team) -> bool {
        self.teams.contains(&team.id) || self.knows(team.organisation)
    }

    /// Whether patients may be given to this team by the caller.
    pub(crate) fn may_fill(&self, team: &Team) -> bool {
        self.teams.contains(&team.id) || self.governs(team.organisation)
    }

    /// The organisation, or 404: known.
    pub(crate) fn organisation(&self, id: OrganisationId) -> Answer<Arc<Organisation>> {
        self.directory.organisation(id).filter(|o| self.knows(o.id)).ok_or_else(Problem::not_found)
    }

    /// The organisation, or 404: governed.
    pub(crate) fn governed(&self, id: OrganisationId) -> Answer<Arc<Organisation>> {
        self.directory.organisation(id).filter(|o| self.governs(o.id)).ok_or_else(Problem::not_found)
    }

    /// Whether a user's record may be changed: they work in a governed place, or are a governed patient.
    pub(crate) fn governs_user(&self, user: &User) -> bool {
        self.all
            || user.organisation.is_some_and(|o| self.governs(o))
            || (user.organisation.is_none() && user.patient.is_some_and(|p| self.sees_id(p)))
    }

    /// Whether a colleague's name may be shown.
    pub(crate) fn knows_user(&self, user: &User) -> bool {
        self.governs_user(user)
            || user.organisation.is_some_and(|o| self.knows(o) && Some(o) == self.home || self.governs(o))
    }

    /// Whether a device is theirs: owned by their place, or worn by somebody of theirs, or by nobody and owned by nobody.
    pub(crate) fn sees_device(&self, device: &Device) -> bool {
        if self.all {
            return true;
        }
        if device.organisation.is_some_and(|o| self.reaches(o)) {
            return true;
        }
        let bindings = self.directory.bindings(device.key);
        bindings.iter().any(|b| self.sees_id(b.patient)) || (bindings.is_empty() && device.organisation.is_none())
    }

    /// The device, or 404.
    pub(crate) fn device(&self, id: &str) -> Answer<Arc<Device>> {
        self.directory.device(id).filter(|d| self.sees_device(d)).ok_or_else(Problem::not_found)
    }
}
