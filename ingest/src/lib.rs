//! From a device's bytes to durable readings: decode → time → whose → plausible? → admit | flag | exclude | hold.
//!
//! Goes in: what a device published, with its identity from the broker. Comes out: a receipt, after the commit.
//! Must never: trust an identity inside a payload, drop a byte silently, answer before the store has answered.

mod adapters;
pub mod admit;
mod asks;
mod desk;
mod frames;
pub mod place;
pub mod plausible;
mod replay;
pub mod time;

pub use adapters::check;
pub use replay::Replayed;

use bytes::Bytes;
use desk::{Answer, Arrival, Site};
use jiff::civil::Date;
use parking_lot::Mutex;
use runtime::{BoxFuture, Drain};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, future::Future, path::PathBuf, sync::Arc};
use store::{Desk, Store, StoreError};
use vitals::{Device, DeviceKey, Disposition, Reason, Zone};
use wire::{
    fhir,
    reading_v1::{self, Message, Unreadable},
    receipt::{Outcome, Receipt, Verdict},
    topic::{self, Tree, Up},
};

/// Settings. Default: the built-in ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The site's zone, by IANA name: what a clock without an offset shows, and where a day begins.
    pub time_zone: String,
    /// Model name → the day at which its clock begins after a reset; readings of that day have an unset clock.
    pub reset_days: BTreeMap<String, Date>,
    /// A folder of adapters beside the built-in ones; a file replaces the built-in one of its profile.
    pub adapters: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { time_zone: "Asia/Shanghai".into(), reset_days: BTreeMap::new(), adapters: None }
    }
}

/// Readings that one frame may hold: the records of a continuous monitor, at 6 octets each in a value of 512.
const MOST_RECORDS: usize = 86;

/// What can go wrong at start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The zone is unknown.
    #[error("[site] time_zone = {0:?}: there is no such zone; use an IANA name such as \"Asia/Shanghai\"")]
    Zone(String),
    /// An adapter's file is not one that can be used; the previous set stays.
    #[error(transparent)]
    Adapter(#[from] wire::vendor::AdapterError),
    /// Two files say the same profile.
    #[error("{file}: profile {profile:?} is said in {other} too; leave one of the two")]
    Twice {
        /// Which profile.
        profile: String,
        /// The second.
        file: String,
        /// The first.
        other: String,
    },
    /// A folder or file of adapters cannot be read.
    #[error("{folder}: {reason}. Give a readable folder of .toml adapters as [ingest] adapters, or leave it out")]
    Folder {
        /// Which.
        folder: String,
        /// The system's words.
        reason: String,
    },
}

/// Nothing was stored: no PUBACK, close the connection; the device sends again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot store at present")]
pub struct Unavailable;

/// The running stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Stage>);

/// In one piece, because every message takes it along to its answer: clones of the parts are counted on both processors.
#[derive(Debug)]
struct Stage {
    store: Store,
    site: Arc<Site>,
    meters: Meters,
    asks: asks::Asks,
    adapters: adapters::Adapters,
}

/// Starts the stage. It has no task of its own: its work is done by the broker's tasks and the store's commit thread.
///
/// # Errors
/// [`Error`] for a setting that cannot be used.
#[allow(clippy::unused_async)] // every stage starts alike
pub async fn start(config: Config, store: Store, _drain: &Drain) -> Result<Handle, Error> {
    let zone = Zone::named(&config.time_zone).map_err(|_| Error::Zone(config.time_zone.clone()))?;
    let adapters = adapters::Adapters::load(config.adapters.as_deref())?;
    let site = Arc::new(Site { zone, reset_days: config.reset_days, known_again: Mutex::default() });
    Ok(Handle(Arc::new(Stage { store, site, meters: Meters::new(), asks: asks::Asks::default(), adapters })))
}

impl Handle {
    /// Takes one publish. Order of commitment is the order of these calls. None is answered to `hello` and
    /// `status`.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was stored.
    #[allow(clippy::needless_pass_by_value)] // the broker gives the whole uplink away
    pub fn submit(
        &self,
        device: Arc<Device>,
        tree: Tree,
        route: Up,
        payload: Bytes,
    ) -> impl Future<Output = Result<Option<Receipt>, Unavailable>> + Send + 'static + use<> {
        let arrival = Arrival {
            device,
            route: Cow::Borrowed("readings"),
            received_at: self.0.store.clock().now(),
            site: self.0.site.clone(),
        };
        let work: BoxFuture<'static, _> = match (route, tree) {
            (Up::Hello, _) => self.hello(arrival.device, payload),
            (Up::Status, _) => self.status(arrival.device.key, &payload, false),
            (Up::Readings, tree) => self.readings(arrival, tree, payload),
            (Up::Gatt(characteristic), _) => {
                let arrival = Arrival { route: Cow::Owned(Up::Gatt(characteristic).tail()), ..arrival };
                self.commit(arrival, None, MOST_RECORDS, Some(payload.clone()), move |arrival, desk| {
                    arrival.take_frame(characteristic, &payload, desk)
                })
            }
            (Up::Fhir, _) => {
                let decoded = fhir::decode(&payload);
                self.decoded(Arrival { route: Cow::Borrowed("fhir"), ..arrival }, payload, decoded)
            }
            (Up::Vendor(profile), _) => {
                let arrival = Arrival { route: Cow::Owned(Up::Vendor(profile.clone()).tail()), ..arrival };
                match self.0.adapters.get(&profile) {
                    Some(adapter) => {
                        let decoded = adapter.decode(&payload);
                        self.decoded(arrival, adapter.without_persons(&payload), decoded)
                    }
                    // It waits, whole, for the adapter that will read it.
                    None => self.whole(arrival, payload, Reason::KindUnknown, None),
                }
            }
        };
        work
    }

    /// Keeps, under `through`, what came for no device that is let in; `topic` is the whole topic. It can be replayed
    /// once its device is provisioned. What an adapter that is here calls personal is not kept of a stranger either.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was stored.
    pub fn hold_stranger(
        &self,
        through: Arc<Device>,
        topic: String,
        payload: Bytes,
    ) -> impl Future<Output = Result<Option<Receipt>, Unavailable>> + Send + 'static + use<> {
        let arrival = Arrival {
            device: through,
            route: Cow::Owned(topic),
            received_at: self.0.store.clock().now(),
            site: self.0.site.clone(),
        };
        let payload = match topic::parse_any_up(&arrival.route) {
            Some((_, _, route)) => self.0.adapters.bytes_to_keep(&route.tail(), payload),
            None => payload,
        };
        self.whole(arrival, payload, Reason::NotAllowed, None)
    }

    /// Acknowledged when it is kept and answered.
    fn hello(&self, device: Arc<Device>, payload: Bytes) -> BoxFuture<'static, Result<Option<Receipt>, Unavailable>> {
        let stage = self.0.clone();
        Box::pin(async move {
            let kept = asks::greet(&stage.store, &device, &payload, &stage.site.zone).await;
            kept.map(|()| None).map_err(|_| Unavailable)
        })
    }

    /// As [`Handle::submit`] of a `status` that is the device's will: its connection broke off.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was stored.
    pub fn lost(
        &self,
        device: &Device,
        payload: &[u8],
    ) -> impl Future<Output = Result<(), Unavailable>> + Send + 'static + use<> {
        let noted = self.status(device.key, payload, true);
        async move { noted.await.map(drop) }
    }

    fn status(
        &self,
        device: DeviceKey,
        payload: &[u8],
        lost: bool,
    ) -> BoxFuture<'static, Result<Option<Receipt>, Unavailable>> {
        let (store, battery) = (self.0.store.clone(), wire::hello::decode(payload).battery);
        Box::pin(async move {
            let noted = store.note_status(device, battery, lost).await;
            noted.map(|()| None).map_err(|_| Unavailable)
        })
    }

    fn readings(
        &self,
        arrival: Arrival,
        tree: Tree,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Option<Receipt>, Unavailable>> {
        match reading_v1::decode(&payload) {
            Err(unreadable) => self.whole(arrival, payload, unreadable.reason, unreadable.id),
            Ok(message) => {
                let (id, size) = (message.id.clone(), message.items.len());
                self.commit(arrival, id, size, Some(payload), move |arrival, desk| match tree {
                    Tree::Devices => arrival.take(&message, desk),
                    Tree::Gateways => arrival.take_for_others(&message, desk),
                })
            }
        }
    }

    /// A payload in another format than our own, read by now; where it could not be, `payload` is held.
    fn decoded(
        &self,
        arrival: Arrival,
        payload: Bytes,
        decoded: Result<Message, Unreadable>,
    ) -> BoxFuture<'static, Result<Option<Receipt>, Unavailable>> {
        match decoded {
            Err(unreadable) => self.whole(arrival, payload, unreadable.reason, unreadable.id),
            Ok(message) => {
                let (id, size) = (message.id.clone(), message.items.len());
                self.commit(arrival, id, size, Some(payload), move |arrival, desk| arrival.take(&message, desk))
            }
        }
    }

    /// Loads the adapters again. Messages from now on are read by them; what is held waits for a replay.
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::Twice`], [`Error::Folder`]; the previous set stays whole.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        self.0.adapters.reload(config.adapters.as_deref())
    }

    fn whole(
        &self,
        arrival: Arrival,
        payload: Bytes,
        reason: Reason,
        id: Option<Box<str>>,
    ) -> BoxFuture<'static, Result<Option<Receipt>, Unavailable>> {
        // What is held whole has its bytes with it.
        self.commit(arrival, id, 1, None, move |arrival, desk| arrival.take_whole(&payload, reason, desk))
    }

    fn commit(
        &self,
        arrival: Arrival,
        message_id: Option<Box<str>>,
        size: usize,
        original: Option<Bytes>,
        work: impl FnOnce(&Arrival, &mut Desk<'_>) -> Result<Answer, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<Option<Receipt>, Unavailable>> {
        let (stage, server_time) = (self.0.clone(), arrival.received_at);
        let day = server_time.day(&stage.site.zone);
        let device = arrival.device.key;
        let committed = stage.store.readings().submit(day, size, move |desk| {
            let answer = work(&arrival, desk)?;
            if let Some(bytes) = original {
                desk.keep_original(arrival.device.key, arrival.route.clone(), arrival.received_at, &bytes);
            }
            Ok((answer, asks::owed(&arrival.device, desk)?))
        });
        Box::pin(async move {
            // The store has logged the fault once; here it is only counted.
            let ((results, stored_through), owed) = committed.await.map_err(|_| {
                stage.meters.unavailable.increment(1);
                Unavailable
            })?;
            stage.meters.count(&results);
            stage.asks.resend(&stage.store, device, owed, &stage.site.zone).await;
            Ok(Some(Receipt { message_id, server_time, results, stored_through }))
        })
    }
}

/// What became of readings, counted. Looked up once: by name it costs a lock for each message.
struct Meters {
    messages: metrics::Counter,
    unavailable: metrics::Counter,
    by_verdict: [(Verdict, metrics::Counter); 5],
}

impl Meters {
    fn new() -> Self {
        let verdicts = [
            Verdict::Kept(Disposition::Stored),
            Verdict::Kept(Disposition::Flagged),
            Verdict::Kept(Disposition::Excluded),
            Verdict::Duplicate,
            Verdict::Quarantined,
        ];
        Self {
            messages: metrics::counter!("hearthbeat_ingest_messages_total"),
            unavailable: metrics::counter!("hearthbeat_ingest_unavailable_total"),
            by_verdict: verdicts
                .map(|v| (v, metrics::counter!("hearthbeat_ingest_readings_total", "result" => v.as_str()))),
        }
    }

    fn count(&self, results: &[Outcome]) {
        self.messages.increment(1);
        for (verdict, counter) in &self.by_verdict {
            let n = results.iter().filter(|r| r.verdict == *verdict).count() as u64;
            if n > 0 {
                counter.increment(n);
            }
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}
