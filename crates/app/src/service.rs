//! All stages, wired and running: what `run` keeps alive and `demo` builds on.

use crate::{
    Failure, authority,
    config::{Config, Series},
    links::Stages,
    pace::Pace,
};
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use runtime::{Clock, Drain, DrainHandle, Fatal, Paced};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use store::{Store, questdb};
use vitals::Zone;
use wire::topic::Up;

/// From the signal to the last byte; the contract promises an end within 10 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);
/// Seconds; every histogram has buckets, so that they can be added up over processes.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The running stages.
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) broker: broker::Handle,
    pub(crate) rules: rules::Handle,
    pub(crate) ingest: ingest::Handle,
    pub(crate) http: SocketAddr,
    drain: DrainHandle,
}

/// The edge hands over, ingest answers when it is durable.
struct ToIngest(ingest::Handle, Zone);

impl broker::Sink for ToIngest {
    fn commit(&self, up: broker::Uplink) -> BoxFuture<'static, Result<broker::Accepted, broker::Unavailable>> {
        if up.will && up.route == Up::Status {
            let noted = self.0.lost(&up.device, &up.payload);
            return Box::pin(async move {
                noted.await.map(|()| broker::Accepted::default()).map_err(|_| broker::Unavailable)
            });
        }
        let zone = up.wants_receipt.then(|| self.1.clone());
        let done = self.0.submit(up.device, up.tree, up.route, up.payload);
        Box::pin(async move {
            let receipt = done.await.map_err(|_| broker::Unavailable)?;
            let written = zone.and_then(|zone| receipt.map(|receipt| receipt.to_json(&zone)));
            Ok(broker::Accepted { receipt: written })
        })
    }

    fn hold(&self, who: broker::Stranger) -> BoxFuture<'static, Result<broker::Accepted, broker::Unavailable>> {
        let done = self.0.hold_stranger(who.through, who.topic, who.payload);
        // A stranger is told nothing.
        Box::pin(async move { done.await.map(|_| broker::Accepted::default()).map_err(|_| broker::Unavailable) })
    }
}

impl Service {
    /// Starts every stage, uphill last: nothing is accepted before everything behind it stands.
    pub(crate) async fn start(folder: &Path, mut config: Config, clock: Clock) -> Result<Self, Failure> {
        let metrics = recorder()?;
        let (drain, root) = Drain::new();
        let zone = Zone::named(&config.site.time_zone).map_err(|e| Failure::failed("site.time_zone", e))?;
        let store = Store::open(folder, clock.clone(), &root)?.in_zone(zone.clone());
        keep_zone(&store, folder).await?;
        let of_ingest = config.for_ingest();
        let (store, questdb) = match config.store.engine {
            Series::Embedded => (store, None),
            Series::Questdb => {
                let handle = project(&store, config.store.questdb.clone(), &root)?;
                (store.with_projection(config.store.questdb, handle.clone()), Some(handle))
            }
        };
        let ingest = ingest::start(of_ingest, store.clone(), &root).await.map_err(|e| Failure::failed("ingest", e))?;
        let rules = rules::start(config.rules, store.clone(), &root).await.map_err(|e| Failure::failed("rules", e))?;
        let http = dashboard_api::Listener::bind(&config.api).await.map_err(|e| Failure::failed("api", e))?;
        let public_url = http.public_url();
        let alerts = alerts::start(config.alerts, public_url, store.clone(), &root)
            .await
            .map_err(|e| Failure::failed("alerts", e))?;
        let certificate_days = config.broker.tls.certificate_days;
        config.broker.tls.device_ca_file = Some(folder.join(authority::CERTIFICATES));
        let edge = broker::start(config.broker, store.clone(), Arc::new(ToIngest(ingest.clone(), zone.clone())), &root)
            .await
            .map_err(|e| Failure::failed("broker", e))?;
        let paced: Vec<Arc<dyn Paced>> = vec![Arc::new(rules.clone()), Arc::new(alerts.clone())];
        let pace = clock.is_manual().then(|| Pace::new(clock, paced, folder.to_owned()));
        let books = crate::upkeep::start(store.clone(), alerts.clone(), config.store.retention, questdb.clone(), &root);
        let stages = Stages {
            store: store.clone(),
            broker: edge.clone(),
            ingest: ingest.clone(),
            rules: rules.clone(),
            alerts,
            questdb,
            books,
            metrics,
            certificate_days,
        };
        let links = crate::links::links(&stages, zone.clone(), pace, &root);
        let http = http.serve(config.api, store.clone(), links, &root).await.map_err(|e| Failure::failed("api", e))?;
        crate::live::copy(store.clone(), edge.clone(), zone, &root);
        Ok(Self { store, broker: edge, rules, ingest, http: http.address(), drain })
    }

    /// Waits for a fault after which the process must not go on.
    pub(crate) async fn fatal(&mut self) -> Fatal {
        self.drain.fatal().await
    }

    /// No new connections, commits finished and acknowledged, then the end. Returns who was late.
    pub(crate) async fn stop(self) -> Vec<&'static str> {
        self.drain.stop();
        let Self { store, broker, rules, ingest, drain, .. } = self;
        drop((store, broker, rules, ingest));
        drain.drained(DRAIN_DEADLINE).await
    }
}

/// A clock without an offset is read in the site's zone, and the books' days are counted in it: in another zone what is
/// sent again would be another reading, and the days would not add up. So a folder with readings keeps its zone.
async fn keep_zone(store: &Store, folder: &Path) -> Result<(), Failure> {
    let asked = store.zone().name();
    if let Some(kept) = store::site_zone(folder)?.filter(|kept| kept != asked)
        && *store.readings().committed().borrow() > 0
    {
        return Err(Failure::Configuration(format!(
            "site.time_zone: {asked:?}, but the readings in {} were taken in {kept:?}, by which their times are known and \
             their days are counted. Write time_zone = {kept:?} again, or begin a new folder in the other zone",
            folder.display()
        )));
    }
    Ok(store.keep_zone(asked.to_owned()).await?)
}

/// QuestDB follows the journal; readings that got another patient are sent again. Its absence stops nothing.
fn project(store: &Store, config: questdb::Config, drain: &Drain) -> Result<questdb::Handle, Failure> {
    let handle = questdb::start(config, store.folder(), questdb::Source::of(store), drain)
        .map_err(|e| Failure::failed("store.questdb", e))?;
    tokio::spawn(questdb::follow(store.readings().moved(), handle.clone()));
    Ok(handle)
}

fn recorder() -> Result<PrometheusHandle, Failure> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS);
    builder.and_then(PrometheusBuilder::install_recorder).map_err(|e| Failure::failed("metrics", e))
}
