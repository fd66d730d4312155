//! A started gate on free ports, with a real store in a folder of its own and a sink that can misbehave.

use broker::{Accepted, Config, Handle, Sink, Unavailable, Uplink};
use bytes::Bytes;
use runtime::{BoxFuture, Clock, Drain, DrainHandle};
use sha2::{Digest, Sha256};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use store::Store;
use tokio::sync::oneshot;
use vitals::{Device, DeviceKey, DeviceKind, OrganisationId, Timestamp};

pub(crate) const PASSWORD: &str = "correct horse";

/// Remembers what was committed; holds commits back, or fails them, when told so.
#[derive(Default)]
pub(crate) struct TestSink {
    pub(crate) taken: Mutex<Vec<(String, String, Bytes)>>,
    /// How many of them were wills.
    pub(crate) wills: AtomicUsize,
    pub(crate) failing: AtomicBool,
    pub(crate) holding: AtomicBool,
    held: Mutex<Vec<oneshot::Sender<()>>>,
}

impl TestSink {
    pub(crate) fn payloads(&self) -> Vec<Bytes> {
        self.taken.lock().unwrap().iter().map(|(_, _, p)| p.clone()).collect()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// Lets the held commit at `index` through.
    pub(crate) fn release(&self, index: usize) {
        let _ = self.held.lock().unwrap().remove(index).send(());
    }
}

impl Sink for TestSink {
    fn commit(&self, up: Uplink) -> BoxFuture<'static, Result<Accepted, Unavailable>> {
        if self.failing.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Unavailable) });
        }
        self.wills.fetch_add(usize::from(up.will), Ordering::SeqCst);
        let receipt = Bytes::from([b"receipt for ", &up.payload[..]].concat());
        self.taken.lock().unwrap().push((up.device.id.to_string(), up.route.tail(), up.payload));
        let wait = self.holding.load(Ordering::SeqCst).then(|| {
            let (release, released) = oneshot::channel();
            self.held.lock().unwrap().push(release);
            released
        });
        Box::pin(async move {
            if let Some(wait) = wait {
                let _ = wait.await;
            }
            Ok(Accepted { receipt: Some(receipt) })
        })
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) sink: Arc<TestSink>,
    pub(crate) gate: Handle,
    pub(crate) drain: DrainHandle,
    pub(crate) root: Drain,
    pub(crate) _folder: tempfile::TempDir,
}

/// Every port free, short times.
pub(crate) fn config() -> Config {
    Config { mqtt: "127.0.0.1:0".into(), ..Config::default() }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::at(tempfile::tempdir().unwrap(), config).await
    }

    /// Ends in order and begins again in the same folder.
    pub(crate) async fn restarted(self) -> Self {
        let Self { store, gate, drain, root, _folder: folder, .. } = self;
        drain.stop();
        drop((store, gate, root));
        assert!(drain.drained(std::time::Duration::from_secs(10)).await.is_empty());
        Self::at(folder, config()).await
    }

    async fn at(folder: tempfile::TempDir, config: Config) -> Self {
        let (drain, root) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(1_000)), &root).unwrap();
        let sink = Arc::new(TestSink::default());
        let gate = broker::start(config, store.clone(), sink.clone(), &root).await.unwrap();
        Self { store, sink, gate, drain, root, _folder: folder }
    }

    pub(crate) async fn device(&self, id: &str) -> Device {
        self.device_of(id, DeviceKind::Meter, None).await
    }

    pub(crate) async fn device_of(&self, id: &str, kind: DeviceKind, organisation: Option<OrganisationId>) -> Device {
        let secret_hash = Some(Sha256::digest(PASSWORD).into());
        let device = Device {
            key: DeviceKey::new(0),
            id: id.parse().unwrap(),
            kind,
            label: None,
            model: None,
            organisation,
            secret_hash,
            revoked: false,
        };
        self.store.create_device(device).await.unwrap()
    }
}
