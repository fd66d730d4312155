//! `hearthbeat demo`: the whole service on loopback, with invented people whose simulated meters speak real MQTT.
//!
//! Set up through the same functions as any installation. History older than a day is replayed as backfill, so that
//! only the live crisis pages anybody.

mod people;

use crate::{
    Done, Failure,
    arguments::DemoOptions,
    config::Config,
    folder::{self, Owned},
    run::Stop,
    service::Service,
};
use people::{Home, Roll};
use runtime::{Clock, telemetry};
use simulators::{
    history::{self, Cohort},
    live::{Day, live},
    meter::{Meter, Options, Target},
};
use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet};
use vitals::Timestamp;

const PEOPLE: usize = 200;
const HISTORY_DAYS: u16 = 90;
/// Meters that replay their memory at a time.
const REPLAYING: usize = 16;
/// When the crisis begins, counted from the moment the live meters are on.
const CRISIS_AFTER: Duration = Duration::from_secs(20);
/// How often a living person measures: often enough to see the page move.
const EVERY: Duration = Duration::from_secs(240);

/// Runs until a signal.
pub(crate) fn demo(options: &DemoOptions) -> Done {
    // Held until the end: a temporary folder goes with it.
    let temporary = match &options.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|e| Failure::failed("temporary folder", e))?),
    };
    let folder = match (&options.data_dir, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().join("data"),
        (None, None) => return Err(Failure::Failed("no folder".into())),
    };
    telemetry::start(telemetry::Format::Auto, "warn").map_err(|e| Failure::failed("log", e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("tokio runtime", e))?;
    let outcome = runtime.block_on(play(options, folder));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn play(options: &DemoOptions, folder: PathBuf) -> Done {
    let mut stop = Stop::listen()?;
    let fresh = !folder.join(folder::REGISTRY).exists();
    if fresh {
        folder::claim_new(&folder)?;
        crate::authority::make(&folder, Clock::wall())?;
    }
    let owned = if fresh { Owned::take_new(&folder)? } else { Owned::take(&folder, "")? };
    let mut config = Config::default();
    config.broker.mqtt = "127.0.0.1:0".into();
    config.api.address = free(&options.address)?;
    config.alerts.channels.insert("log".into(), people::log_channel());
    let mut service = Service::start(&folder, config, Clock::system()).await?;
    let cohort = Cohort::new(options.seed, PEOPLE);
    let roll = if fresh { people::settle(&service.store, &cohort, &folder).await? } else { Roll::read(&folder)? };
    owned.publish_addresses(service.broker.addresses(), service.http)?;
    roll.greet(service.http);
    let target = target(&service)?;
    let story = async {
        if fresh {
            replay(&target, &cohort, &roll.homes).await;
        }
        alive(&target, &cohort, &roll.homes).await
    };
    let fatal = tokio::select! {
        () = stop.wait() => None,
        fatal = service.fatal() => Some(fatal),
        never = story => match never {},
    };
    owned.withdraw_addresses();
    if let Some(fatal) = fatal {
        return Err(Failure::Failed(fatal.to_string()));
    }
    println!("\nstopping …");
    service.stop().await;
    Ok(())
}

/// The address as asked for, or a free port where somebody else has it already. Loopback only.
fn free(address: &str) -> Result<String, Failure> {
    let wrong = || Failure::Configuration("--address: the demo listens on loopback only; write 127.0.0.1:8080".into());
    let asked: std::net::SocketAddr = address.parse().map_err(|_| wrong())?;
    if !asked.ip().is_loopback() {
        return Err(wrong());
    }
    Ok(if TcpListener::bind(asked).is_ok() { address.to_owned() } else { "127.0.0.1:0".into() })
}

fn target(service: &Service) -> Result<Target, Failure> {
    let mqtt = service.broker.addresses().mqtt.ok_or_else(|| Failure::Failed("no MQTT listener".into()))?;
    mqtt.to_string().parse().map_err(|e| Failure::failed("MQTT address", e))
}

/// What the meters have in memory, up to a day ago.
async fn replay(target: &Target, cohort: &Cohort, homes: &[Home]) {
    let until = Clock::wall().minus(Duration::from_secs(24 * 3600));
    let places = Arc::new(Semaphore::new(REPLAYING));
    let mut work = JoinSet::new();
    println!("replaying {HISTORY_DAYS} days of {} people through MQTT …", homes.len());
    for (person, home) in cohort.persons().iter().zip(homes) {
        let (person, home, target, places) = (person.clone(), home.clone(), target.clone(), places.clone());
        work.spawn(async move {
            let _place = places.acquire_owned().await;
            let history = person.history(HISTORY_DAYS, until);
            for (meter, readings) in [(Some(home.pressure), history.pressure), (home.glucose, history.glucose)] {
                let Some(credential) = meter else { continue };
                let Ok((meter, heard)) = Meter::connect(&target, credential, Options::default()).await else {
                    continue;
                };
                drop(heard);
                for message in history::messages(&readings) {
                    if meter.publish(message).await.is_err() {
                        break;
                    }
                }
            }
        });
    }
    while work.join_next().await.is_some() {}
    println!("history is in; live meters are on, and somebody's pressure will rise within a minute");
}

/// Everybody measures now and then; the first person has a crisis. Never ends by itself.
async fn alive(target: &Target, cohort: &Cohort, homes: &[Home]) -> std::convert::Infallible {
    let now: Timestamp = Clock::wall();
    let mut work = JoinSet::new();
    for (person, home) in cohort.persons().iter().zip(homes) {
        let nth = u32::try_from(person.index).unwrap_or(0);
        let day = Day {
            first_after: Duration::from_millis(500) * nth,
            every: EVERY,
            crisis_after: (person.index == 0).then_some(CRISIS_AFTER),
            patience: Duration::from_secs(15),
            // Above anything that a former run of this folder can have used.
            next_seq: u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0),
        };
        let (person, credential, target) = (person.clone(), home.pressure.clone(), target.clone());
        work.spawn(async move { live(&target, credential, person, day).await });
    }
    while let Some(ended) = work.join_next().await {
        if let Ok(Err(e)) = ended {
            tracing::warn!(error = %e, "a simulated meter ended");
        }
    }
    std::future::pending().await
}
