//! Who lives in the demonstration: a region, a centre, two stations, three teams and their patients.

use crate::{Done, Failure, folder};
use dashboard_api::{
    admin::{self, NewUser},
    password,
};
use serde::{Deserialize, Serialize};
use simulators::{credentials::Credential, history::Cohort};
use std::{collections::HashMap, fmt::Write, fs, net::SocketAddr, path::Path};
use store::{Contact, Member, Organisation, OrganisationKind, Role, Store, Team, User};
use vitals::{OrganisationId, PatientId, TeamId, UserId};

/// Kept in the folder for a second start; only its owner may read it.
const ROLL: &str = "demo.json";

/// Logins and meters of the demonstration.
#[derive(Serialize, Deserialize)]
pub(super) struct Roll {
    logins: Vec<(String, String, String)>,
    devices: Vec<(String, Option<String>)>,
    secrets: HashMap<String, String>,
    #[serde(skip)]
    pub(super) homes: Vec<Home>,
}

/// The meters of one person, in the order of the cohort.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) pressure: Credential,
    pub(super) glucose: Option<Credential>,
}

/// The channel that needs nothing: a line in the log.
pub(super) fn log_channel() -> alerts::Channel {
    alerts::Channel::default()
}

impl Roll {
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let text = fs::read(folder.join(ROLL)).map_err(|e| Failure::failed("this folder is no demonstration's", e))?;
        let roll: Self = serde_json::from_slice(&text).map_err(|e| Failure::failed(ROLL, e))?;
        Ok(roll.at_home())
    }

    fn at_home(mut self) -> Self {
        let secrets = &self.secrets;
        let meter = |id: &String| Credential { id: id.clone(), secret: secrets.get(id).cloned() };
        self.homes = self
            .devices
            .iter()
            .map(|(bp, glu)| Home { pressure: meter(bp), glucose: glu.as_ref().map(meter) })
            .collect();
        self
    }

    fn keep(&self, folder: &Path) -> Done {
        let text = serde_json::to_vec(self).map_err(|e| Failure::failed(ROLL, e))?;
        folder::write_private(&folder.join(ROLL), &text)
    }

    /// The page's address and who may log in.
    pub(super) fn greet(&self, http: SocketAddr) {
        println!("\n  Hearthbeat demo          http://{http}/\n");
        println!("  user name      password                   who");
        for (username, password, who) in &self.logins {
            println!("  {username:<14} {password:<26} {who}");
        }
        println!("\n  Invented people. Not a medical device, not an emergency service. Ctrl-C ends it.\n");
    }
}

/// Makes everybody, through the same functions as any installation.
pub(super) async fn settle(store: &Store, cohort: &Cohort, folder: &Path) -> Result<Roll, Failure> {
    let mut maker = Maker { store, logins: Vec::new() };
    let teams = maker.organisations().await?;
    let import = admin_import(store, cohort, &teams).await?;
    let secrets: HashMap<String, String> = import.secrets.into_iter().map(|s| (s.device_id, s.secret)).collect();
    let devices: Vec<_> = cohort
        .persons()
        .iter()
        .map(|p| (pressure_meter(p.index), p.diabetic.then(|| glucose_meter(p.index))))
        .collect();
    let first = plans(store, cohort).await?;
    maker.user("patient-1", "patient", &[Role::Patient], None, first).await?;
    let roll = Roll { logins: maker.logins, devices, secrets, homes: Vec::new() };
    roll.keep(folder)?;
    Ok(roll.at_home())
}

fn pressure_meter(index: usize) -> String {
    format!("bp-{:04}", index + 1)
}

fn glucose_meter(index: usize) -> String {
    format!("glu-{:04}", index + 1)
}

/// One row a patient and device, as an administrator would upload it.
async fn admin_import(
    store: &Store,
    cohort: &Cohort,
    teams: &[TeamId],
) -> Result<dashboard_api::ImportReport, Failure> {
    let mut csv =
        "patient_key,name,birth_date,sex,team,tags,conditions,phone,device_id,device_kind,user_slot,bound_from\n"
            .to_owned();
    for p in cohort.persons() {
        let (team, conditions) = (teams[p.index % teams.len()], p.conditions().join(";"));
        let mut row = |device: String, kind: &str| {
            let _ = writeln!(
                csv,
                "{},{},{},{},{team},hypertension,{conditions},1390000{:04},{device},{kind},,2020-01-01",
                p.index,
                p.name,
                p.birth_date,
                p.sex.as_str(),
                p.index
            );
        };
        row(pressure_meter(p.index), "blood_pressure");
        if p.diabetic {
            row(glucose_meter(p.index), "blood_glucose");
        }
    }
    let report =
        dashboard_api::import_csv(store, csv.as_bytes(), false).await.map_err(|e| Failure::failed("import", e))?;
    match report.rejected.first() {
        Some(row) => Err(Failure::Failed(format!("import, line {}: {} {}", row.line, row.column, row.reason))),
        None => Ok(report),
    }
}

/// Gives each patient the plan that the invented person keeps; returns the first of the cohort.
async fn plans(store: &Store, cohort: &Cohort) -> Result<Option<PatientId>, Failure> {
    let mut first = None;
    for p in cohort.persons() {
        let device = store.directory().device(&pressure_meter(p.index));
        let bindings = device.map(|d| store.directory().bindings(d.key));
        let Some(id) = bindings.and_then(|b| b.first().map(|b| b.patient)) else { continue };
        first = first.or(Some(id));
        let Some(patient) = store.directory().patient(id) else { continue };
        let mut patient = (*patient).clone();
        patient.plan.measuring.blood_pressure_per_week = Some(f64::from(p.sessions_per_week));
        patient.plan.measuring.glucose_per_week = p.diabetic.then(|| f64::from(p.glucose_per_week));
        store.update_patient(patient, None).await?;
    }
    Ok(first)
}

struct Maker<'a> {
    store: &'a Store,
    logins: Vec<(String, String, String)>,
}

impl Maker<'_> {
    async fn organisations(&mut self) -> Result<Vec<TeamId>, Failure> {
        let region = self.organisation("示范区 Demo Region", OrganisationKind::Region, None).await?;
        let centre = self.organisation("示范中心 Demo Centre", OrganisationKind::Centre, Some(region.id)).await?;
        let desk = self.user("desk-1", "regional desk", &[Role::RegionAdmin], Some(region.id), None).await?;
        self.duty(region, desk).await?;
        self.user("ops-1", "operations", &[Role::Ops], None, None).await?;
        let mut teams = Vec::new();
        for (station, size) in [(1, 2), (2, 1)] {
            let name = format!("社区站{station} Station {station}");
            let place = self.organisation(&name, OrganisationKind::Station, Some(centre.id)).await?;
            let at = Some(place.id);
            let duty = self.user(&format!("duty-{station}"), "station on call", &[Role::Gp], at, None).await?;
            self.user(&format!("head-{station}"), "station head", &[Role::StationAdmin], at, None).await?;
            let specialist = self
                .user(&format!("specialist-{station}"), "specialist consultant", &[Role::Specialist], at, None)
                .await?;
            let id = place.id;
            self.duty(place, duty).await?;
            for _ in 0..size {
                teams.push(self.team(teams.len() + 1, id, specialist).await?);
            }
        }
        Ok(teams)
    }

    async fn team(
        &mut self,
        number: usize,
        organisation: OrganisationId,
        specialist: UserId,
    ) -> Result<TeamId, Failure> {
        let gp = self.user(&format!("gp-{number}"), "family doctor", &[Role::Gp], Some(organisation), None).await?;
        let manager = self
            .user(&format!("manager-{number}"), "health manager", &[Role::HealthManager], Some(organisation), None)
            .await?;
        let member = |user_id, role| Member { user_id, role };
        let members =
            vec![member(gp, Role::Gp), member(manager, Role::HealthManager), member(specialist, Role::Specialist)];
        let name = format!("家庭医生团队{number} Team {number}");
        let team = Team { id: TeamId::new(0), name, organisation, members, chain: None, version: 0 };
        Ok(self.store.create_team(team).await?.id)
    }

    async fn organisation(
        &self,
        name: &str,
        kind: OrganisationKind,
        parent: Option<OrganisationId>,
    ) -> Result<Organisation, Failure> {
        let id = OrganisationId::new(0);
        let new = Organisation { id, name: name.into(), kind, parent, duty: Vec::new(), opening: None, version: 0 };
        Ok(self.store.create_organisation(new).await?)
    }

    async fn duty(&self, mut organisation: Organisation, who: UserId) -> Done {
        organisation.duty = vec![who];
        self.store.update_organisation(organisation).await?;
        Ok(())
    }

    async fn user(
        &mut self,
        username: &str,
        who: &str,
        roles: &[Role],
        organisation: Option<OrganisationId>,
        patient: Option<PatientId>,
    ) -> Result<UserId, Failure> {
        let password = password::readable().map_err(|e| Failure::failed(username, e))?;
        let contacts = vec![Contact { channel: "log".into(), address: username.into(), critical: true }];
        let new = NewUser {
            username: username.into(),
            name: username.into(),
            roles: roles.to_vec(),
            organisation,
            password: Some(password.clone()),
            contacts,
            patient,
            ..NewUser::default()
        };
        let made: User = admin::create_user(self.store, new).await.map_err(|e| Failure::failed(username, e))?.user;
        self.logins.push((username.into(), password, who.into()));
        Ok(made.id)
    }
}
