//! The cohort through a running service: enrolled over HTTP, measured over MQTT, in test-clock time.
//!
//! Goes in: a scenario, a seed, the service's addresses. Comes out: the truth, written down as JSON Lines. The patients
//! answer what their meters are asked; a virtual team acknowledges and resolves every alert, so that no chain runs on.
//! Must never: send to another machine than this one, go on for ever, tell the service what is true.

use super::{
    api::{Api, Login},
    home::{Home, Next, Upload},
    panel::{Scenario, Station},
    request::Request,
    truth::Truth,
};
use crate::{
    Error,
    credentials::Credential,
    meter::{Heard, Meter, Options, Target},
};
use serde_json::{Value, json};
use std::{cmp::Reverse, collections::BinaryHeap, io::Write as _, path::Path, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use vitals::{Kind, Timestamp};

/// Where the service is.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its HTTP address.
    pub api: String,
    /// Its broker.
    pub target: Target,
    /// The first administrator.
    pub login: Login,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Driven {
    /// Patients.
    pub patients: u64,
    /// Messages acknowledged, repeats too.
    pub messages: u64,
    /// Readings in them, each once.
    pub readings: u64,
    /// Requests to measure again that meters heard.
    pub asked: u64,
    /// Alerts that the virtual team resolved.
    pub resolved: u64,
}

/// How long a patient with a reading far off waits by the meter for a request. Real time.
const WAITS: Duration = Duration::from_secs(2);
const PASSWORD: &str = "virtual team, loopback only";

/// One patient on the line.
struct Line {
    home: Home,
    meters: [Option<(Meter, mpsc::Receiver<Heard>)>; 2],
    patient: String,
}

struct Run<'a> {
    service: &'a Service,
    admin: Api,
    doctor: Api,
    lines: Vec<Line>,
    /// Of each patient's station.
    teams: Vec<String>,
    prefix: String,
    out: Driven,
}

/// Drives one seed's cohort through the service and writes `truth` down.
///
/// # Errors
/// [`Error`] when the service does not do what the contract says, or has no test clock.
pub async fn drive(scenario: &Scenario, seed: u64, service: &Service, truth: &Path) -> Result<Driven, Error> {
    let admin = Api::log_in(&service.api, &service.login).await?;
    let stations = scenario.stations(seed);
    let start = vitals::Zone::default().start_of(scenario.begins(seed));
    let now = admin.now().await?;
    if now > start {
        let text = start.to_rfc3339(&vitals::Zone::default());
        return Err(Error::Input(format!(
            "the test clock is past the cohort's first day: start at manual={text} or before"
        )));
    }
    admin.move_to(start).await?;
    let prefix = format!("{}-{seed}", scenario.name);
    let (teams, doctor) = found(&admin, service, &prefix, &stations).await?;
    let mut run = Run { service, admin, doctor, lines: Vec::new(), teams, prefix, out: Driven::default() };
    run.go(stations).await?;
    run.write(truth)
}

/// A region with a station and a team for each, and who answers for them.
async fn found(
    admin: &Api,
    service: &Service,
    prefix: &str,
    stations: &[Station],
) -> Result<(Vec<String>, Api), Error> {
    let id = |v: Value| v["id"].as_str().unwrap_or_default().to_owned();
    let organisation = async |name: String, kind: &str, parent: Option<&str>| {
        admin.post("/api/v1/organisations", &json!({"name": name, "kind": kind, "parentId": parent})).await.map(id)
    };
    let region = organisation(format!("{prefix} region"), "region", None).await?;
    let centre = organisation(format!("{prefix} centre"), "centre", Some(&region)).await?;
    let user = async |name: &str, role: &str, at: &str| {
        let contacts = json!([{"channel": "log", "address": name}]);
        let body = json!({"username": name, "name": name, "roles": [role], "organisationId": at, "password": PASSWORD, "contacts": contacts});
        admin.post("/api/v1/users", &body).await.map(id)
    };
    let desk = user(&format!("{prefix}-desk"), "region_admin", &region).await?;
    admin.patch(&format!("/api/v1/organisations/{region}"), &json!({"duty": [desk]})).await?;
    let gp = user(&format!("{prefix}-gp"), "gp", &centre).await?;
    let mut teams = Vec::new();
    for station in stations {
        let name = format!("{prefix} {}", station.name);
        let place = organisation(name.clone(), "station", Some(&centre)).await?;
        let mut members = vec![json!({"userId": gp, "role": "gp"})];
        for role in ["health_manager", "specialist"] {
            let who = user(&format!("{prefix}-{}-{role}", station.name), role, &place).await?;
            members.push(json!({"userId": who, "role": role}));
        }
        let head = user(&format!("{prefix}-{}-head", station.name), "station_admin", &place).await?;
        admin.patch(&format!("/api/v1/organisations/{place}"), &json!({"duty": [head]})).await?;
        let team =
            admin.post("/api/v1/teams", &json!({"name": name, "organisationId": place, "members": members})).await?;
        let team = id(team);
        teams.extend(std::iter::repeat_n(team, station.homes.len()));
    }
    let doctor = Api::log_in(&service.api, &Login::new(&format!("{prefix}-gp"), PASSWORD)).await?;
    Ok((teams, doctor))
}

impl Run<'_> {
    async fn go(&mut self, stations: Vec<Station>) -> Result<(), Error> {
        let homes = stations.into_iter().flat_map(|s| s.homes);
        self.lines = homes.map(|home| Line { home, meters: [None, None], patient: String::new() }).collect();
        let mut queue: BinaryHeap<Reverse<(Timestamp, usize, bool)>> =
            self.lines.iter().enumerate().map(|(i, l)| Reverse((l.home.begins(), i, false))).collect();
        while let Some(Reverse((at, i, enrolled))) = queue.pop() {
            if enrolled && self.lines[i].home.next_at() != Some(at) {
                continue; // it has had something earlier to say since, and has said it
            }
            self.admin.move_to(at).await?;
            if enrolled {
                match self.lines[i].home.go_on() {
                    Some(Next::Sends(upload)) => self.send(i, &upload).await?,
                    Some(Next::Hears(kind)) => self.hear(i, at, kind, WAITS).await?,
                    None => {}
                }
            } else {
                self.enrol(i).await?;
            }
            queue.extend(self.lines[i].home.next_at().map(|next| Reverse((next, i, true))));
            self.handle().await?;
        }
        let end = self.lines.iter().map(|l| l.home.ends()).max();
        if let Some(end) = end {
            self.admin.move_to(end).await?;
        }
        self.handle().await
    }

    async fn enrol(&mut self, i: usize) -> Result<(), Error> {
        const HEADER: &str =
            "patient_key,name,birth_date,sex,team,tags,conditions,phone,device_id,device_kind,user_slot,bound_from";
        let person = &self.lines[i].home.person;
        let kinds: &[&str] = if person.glucose.is_some() { &["bp", "bg"] } else { &["bp"] };
        let conditions = if person.glucose.is_some() { "hypertension;diabetes" } else { "hypertension" };
        let team = &self.teams[i];
        let rows: Vec<String> = kinds
            .iter()
            .map(|kind| {
                let device = person.meter(&self.prefix, kind);
                format!(
                    "{0}-{1},Virtual {1},{2},,{team},,{conditions},,{device},,,2000-01-01T00:00:00+08:00",
                    self.prefix, person.index, person.born
                )
            })
            .collect();
        let plan = person.plan();
        let name = format!("Virtual {}", person.index);
        let answer = self.admin.import(format!("{HEADER}\n{}\n", rows.join("\n"))).await?;
        let secrets: Vec<Credential> = serde_json::from_value(answer["secrets"].clone()).unwrap_or_default();
        if secrets.len() != kinds.len() {
            return Err(Error::Input(format!(
                "the import gave {} secrets for {} meters: {}",
                secrets.len(),
                kinds.len(),
                answer["rejected"]
            )));
        }
        let query = name.replace(' ', "%20");
        let found = self.admin.all(&format!("/api/v1/patients?q={query}&team={team}")).await?;
        let row = found.iter().find(|p| p["name"] == name.as_str());
        let id = row.and_then(|p| p["id"].as_str()).unwrap_or_default().to_owned();
        self.admin.replace(&format!("/api/v1/patients/{id}/plan"), &plan).await?;
        for credential in secrets {
            let place = usize::from(credential.id.ends_with("-bg"));
            let options = Options { commands: true, ..Options::default() };
            self.lines[i].meters[place] = Some(Meter::connect(&self.service.target, credential, options).await?);
        }
        self.lines[i].patient = id;
        self.out.patients += 1;
        Ok(())
    }

    async fn send(&mut self, i: usize, upload: &Upload) -> Result<(), Error> {
        let line = &mut self.lines[i];
        let place = usize::from(upload.kind == Kind::BloodGlucose);
        let Some((meter, _)) = &mut line.meters[place] else { return Ok(()) };
        for _ in 0..=u8::from(upload.twice) {
            let gone =
                |_| Error::Broken { device: line.home.person.meter(&self.prefix, "*"), what: "refused by the broker" };
            meter.publish(upload.payload.clone()).await.map_err(gone)?;
            self.out.messages += 1;
        }
        // Who sees a number far off stays by the meter for a moment.
        self.hear(i, upload.at, upload.kind, if upload.far_off { WAITS } else { Duration::ZERO }).await
    }

    /// What a meter says to who is near it at `at`.
    async fn hear(&mut self, i: usize, at: Timestamp, kind: Kind, mut patience: Duration) -> Result<(), Error> {
        self.admin.settle().await?;
        let line = &mut self.lines[i];
        let Some((_, heard)) = &mut line.meters[usize::from(kind == Kind::BloodGlucose)] else { return Ok(()) };
        while let Some(word) = listen(heard, patience).await {
            let Heard::Command(body) = word else { continue };
            let Some(request) = Request::of(&body) else { continue };
            self.out.asked += 1;
            line.home.asked(at, &request);
            // Two rules may ask at once; what they ask comes together.
            patience = WAITS / 10;
        }
        Ok(())
    }

    /// The virtual team: calls, writes it down, resolves.
    async fn handle(&mut self) -> Result<(), Error> {
        let open = self.doctor.get("/api/v1/alerts?limit=200").await?;
        for alert in open["items"].as_array().into_iter().flatten() {
            let Some(id) = alert["id"].as_str() else { continue };
            let now = self.admin.get("/test/clock").await?;
            self.doctor.post(&format!("/api/v1/alerts/{id}/ack"), &json!({})).await?;
            let contact = json!({"contactedAt": now["now"], "how": "phone"});
            self.doctor.post(&format!("/api/v1/alerts/{id}/follow-up"), &contact).await?;
            self.doctor.post(&format!("/api/v1/alerts/{id}/resolve"), &json!({"outcome": "treated"})).await?;
            self.out.resolved += 1;
        }
        Ok(())
    }

    fn write(mut self, path: &Path) -> Result<Driven, Error> {
        let name = path.display().to_string();
        let file = std::fs::File::create(path).map_err(Error::io(&*name))?;
        let mut file = std::io::BufWriter::new(file);
        for line in &self.lines {
            let truth = Truth { patient: Some(line.patient.clone()), ..Truth::of(&line.home, &self.prefix) };
            self.out.readings += u64::try_from(truth.facts.len()).unwrap_or(0);
            let text = serde_json::to_string(&truth).map_err(|e| Error::Input(e.to_string()))?;
            writeln!(file, "{text}").map_err(Error::io(&*name))?;
        }
        file.flush().map_err(Error::io(&*name))?;
        Ok(self.out)
    }
}

async fn listen(heard: &mut mpsc::Receiver<Heard>, patience: Duration) -> Option<Heard> {
    match heard.try_recv() {
        Ok(word) => Some(word),
        Err(_) if patience.is_zero() => None,
        Err(_) => timeout(patience, heard.recv()).await.ok().flatten(),
    }
}
