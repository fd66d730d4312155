//! One thread of the generator: a pacer that walks the plan, and its share of the devices. Single-threaded inside, so
//! that nothing is locked and a message costs two system calls.

use super::{
    Run,
    compose::{WallText, compose},
    device::{Device, Shared, Tag},
    plan::{Arrival, Plan, What, connect_at},
    scenario::Scenario,
    tally::{Snapshot, Tally},
};
use crate::{
    Error,
    codec::{DISCONNECT, PING, Version},
    credentials::Credential,
    meter,
};
use std::{
    cell::RefCell, fs::File, future::poll_fn, io::Write as _, rc::Rc, sync::mpsc::Sender, time::Duration, time::Instant,
};
use tokio::{net::TcpStream, task::LocalSet};
use vitals::DeviceId;
use wire::topic::{self, Tree, Up};

/// Everything a thread needs; owned, so that it can move there.
pub(super) struct Job {
    target: String,
    version: Version,
    devices: Vec<(Credential, u64)>,
    arrivals: Vec<Arrival>,
    starts: Vec<u64>,
    scenario: Scenario,
    seed: u64,
    threads: u32,
    first_seq: u64,
    start: Instant,
    wall: i64,
    ack_log: Option<File>,
}

/// Up to here the pacer waits with all of its thread.
const SHORT: Duration = Duration::from_millis(1);
/// Arrivals handled before the sockets get a turn.
const BURST: u32 = 256;
const KEEP_ALIVE: u16 = 180;
/// Every device pings once in so many seconds.
const PING_EVERY: u64 = 60;
const CONNECT_WAIT: Duration = Duration::from_secs(20);

impl Job {
    /// The share of thread `number` of `threads`; `start` is the moment 0 as both clocks show it.
    ///
    /// # Errors
    /// [`Error::Io`] when the acknowledgement log cannot be opened.
    pub(super) fn new(
        scenario: &Scenario,
        plan: &Plan,
        run: &Run,
        devices: &[Credential],
        (number, threads): (u32, u32),
        (start, wall): (Instant, i64),
    ) -> Result<Self, Error> {
        let devices = (0..).zip(devices).filter(|(i, _)| i % threads == number);
        let open = |path| File::options().create(true).append(true).open(path);
        let ack_log = run.ack_log.as_ref().map(open).transpose().map_err(Error::io("the acknowledgement log"))?;
        Ok(Self {
            target: run.target.to_string(),
            version: run.version,
            devices: devices.map(|(i, c)| (c.clone(), connect_at(scenario, i))).collect(),
            arrivals: plan.arrivals.iter().filter(|a| a.device % threads == number).copied().collect(),
            starts: plan.starts.clone(),
            scenario: scenario.clone(),
            seed: plan.seed,
            threads,
            first_seq: run.first_seq,
            start,
            wall,
            ack_log,
        })
    }
}

/// Runs a job to its end.
///
/// # Errors
/// [`Error::Io`] when the thread cannot have a runtime; what befalls connections is counted, not an error.
pub(super) fn work(job: Job, say: &Sender<Snapshot>) -> Result<Tally, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(31)
        .build()
        .map_err(Error::io("start the generator's runtime"))?;
    let shared = Shared {
        start: job.start,
        version: job.version,
        ends: job.starts.iter().skip(1).copied().collect(),
        tally: Tally::new(job.scenario.phases.len())?,
        second: Snapshot::new()?,
        acks: job.ack_log.is_some().then(Vec::new),
        connected: 0,
        waiting: 0,
        scratch: vec![0; 16 * 1024],
    };
    let shared = Rc::new(RefCell::new(shared));
    LocalSet::new().block_on(&runtime, async {
        let window = usize::try_from(job.scenario.message.window).unwrap_or(64);
        let mut devices = Vec::with_capacity(job.devices.len());
        for (credential, connect) in &job.devices {
            let id: DeviceId =
                credential.id.parse().map_err(|_| Error::Input(format!("bad device id {:?}", credential.id)))?;
            let topic = topic::up(Tree::Devices, &id, &Up::Readings);
            let device = Rc::new(Device::new(credential.clone(), topic, window, job.first_seq));
            let line = Line { device: device.clone(), shared: shared.clone(), target: job.target.clone() };
            tokio::task::spawn_local(line.live(*connect));
            devices.push(device);
        }
        let tally = Pacer { wall: WallText::new(job.wall), job, devices, shared, next: 0 }.run(say).await;
        Ok(tally)
    })
}

/// A device's way through connections.
struct Line {
    device: Rc<Device>,
    shared: Rc<RefCell<Shared>>,
    target: String,
}

impl Line {
    async fn live(self, planned: u64) {
        let start = self.shared.borrow().start;
        tokio::time::sleep_until((start + Duration::from_micros(planned)).into()).await;
        let version = self.shared.borrow().version;
        let mut pause = Duration::from_millis(20);
        let mut first = true;
        loop {
            match meter::open(&self.target, version, &self.device.credential, KEEP_ALIVE, CONNECT_WAIT).await {
                Ok(stream) => {
                    {
                        let mut shared = self.shared.borrow_mut();
                        let taken = shared.now().saturating_sub(planned);
                        shared.tally.connects += 1;
                        if first {
                            shared.tally.connect.saturating_record(taken);
                        }
                    }
                    first = false;
                    pause = Duration::from_millis(20);
                    let cut = self.serve(stream).await;
                    let mut shared = self.shared.borrow_mut();
                    self.device.disconnected(&mut shared);
                    shared.tally.lost_connections += u64::from(!cut);
                }
                Err(Error::Refused { .. }) => {
                    self.shared.borrow_mut().tally.refused_connects += 1;
                    pause = Duration::from_secs(5);
                }
                Err(_) => {
                    self.shared.borrow_mut().tally.failed_connects += 1;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Until the connection ends; whether the plan had it cut.
    async fn serve(&self, stream: TcpStream) -> bool {
        let alive = self.device.connected(stream, &mut self.shared.borrow_mut());
        alive && poll_fn(|cx| self.device.poll(cx, &mut self.shared.borrow_mut())).await
    }
}

struct Pacer {
    job: Job,
    devices: Vec<Rc<Device>>,
    shared: Rc<RefCell<Shared>>,
    next: usize,
    wall: WallText,
}

impl Pacer {
    async fn run(mut self, say: &Sender<Snapshot>) -> Tally {
        let end = self.job.starts.last().copied().unwrap_or(0);
        let give_up = end + u64::from(self.job.scenario.drain_seconds) * 1_000_000;
        loop {
            self.due();
            let (now, second, waiting) = {
                let shared = self.shared.borrow();
                (shared.now(), shared.second.second, shared.waiting)
            };
            if now >= (second + 1) * 1_000_000 {
                self.second(say);
            }
            self.write_acks();
            if self.next == self.job.arrivals.len() && now >= end && (waiting == 0 || now >= give_up) {
                break;
            }
            let due = self.job.arrivals.get(self.next).map_or(now + 100_000, |a| a.at);
            if due <= now {
                tokio::task::yield_now().await;
            } else {
                let wake = due.min((second + 1) * 1_000_000).max(now + 500);
                let rest = Duration::from_micros(wake - now);
                if rest <= SHORT {
                    // The whole thread rests: what comes meanwhile is read in one go, and who sends it wakes nobody.
                    std::thread::sleep(rest);
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(rest).await;
                }
            }
        }
        for device in &self.devices {
            let mut state = device.state.borrow_mut();
            state.out.extend_from_slice(&DISCONNECT);
            drop(state);
            device.flush(&mut self.shared.borrow_mut());
        }
        let mut shared = self.shared.borrow_mut();
        shared.tally.lost = shared.waiting;
        shared.tally.clone()
    }

    /// Handles a burst of arrivals that are due.
    fn due(&mut self) {
        for _ in 0..BURST {
            let Some(arrival) = self.job.arrivals.get(self.next).copied() else { return };
            {
                let mut shared = self.shared.borrow_mut();
                let now = shared.now();
                if arrival.at > now {
                    return;
                }
                let late = now - arrival.at;
                shared.tally.lag.saturating_record(late.max(1));
                shared.second.lag = shared.second.lag.max(late);
            }
            self.next += 1;
            self.arrive(arrival);
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let index = usize::try_from(arrival.device / self.job.threads).unwrap_or(0);
        let Some(device) = self.devices.get(index).cloned() else { return };
        let mut shared = self.shared.borrow_mut();
        let mut state = device.state.borrow_mut();
        let (payload, seqs, duplicate) = match (arrival.what, state.last.clone()) {
            (What::Cut, _) => {
                state.cut = true;
                shared.tally.cuts += 1;
                state.wake();
                return;
            }
            (What::Again, Some((payload, seqs))) => (payload, seqs, true),
            (what, _) => {
                let count = u64::from(self.job.scenario.message.readings);
                let seqs = state.next_seq..state.next_seq + count;
                state.next_seq = seqs.end;
                let payload = compose(self.job.seed, &arrival, what, seqs.clone(), &mut self.wall);
                if self.job.scenario.message.duplicate_share > 0.0 {
                    state.last = Some((payload.clone(), seqs.clone()));
                }
                (payload, seqs, false)
            }
        };
        let readings = seqs.end - seqs.start;
        shared.waiting += readings;
        shared.second.planned += readings;
        if let Some(phase) = shared.tally.phases.get_mut(usize::from(arrival.phase)) {
            phase.planned += readings;
        }
        state.outbox.push(payload, Tag { planned: arrival.at, phase: arrival.phase, duplicate, seqs });
        drop(state);
        let alive = device.flush(&mut shared);
        let mut state = device.state.borrow_mut();
        if !alive || !state.out.is_empty() {
            // A dead socket is found by its own task; a full one is waited for there.
            state.wake();
        }
    }

    fn second(&mut self, say: &Sender<Snapshot>) {
        let mut shared = self.shared.borrow_mut();
        (shared.second.waiting, shared.second.connected) = (shared.waiting, shared.connected);
        let done = shared.second.turn();
        for device in self.devices.iter().skip(usize::try_from(done.second % PING_EVERY).unwrap_or(0)).step_by(60) {
            let mut state = device.state.borrow_mut();
            if state.stream.is_some() {
                state.out.extend_from_slice(&PING);
            }
            drop(state);
            device.flush(&mut shared);
        }
        drop(shared);
        // Nobody listens any more only when the program is ending.
        let _ = say.send(done);
    }

    fn write_acks(&mut self) {
        let mut shared = self.shared.borrow_mut();
        if let (Some(lines), Some(file)) = (&mut shared.acks, &mut self.job.ack_log)
            && !lines.is_empty()
        {
            if let Err(e) = file.write_all(lines) {
                eprintln!("the acknowledgement log cannot be written ({e}): it ends here");
                self.job.ack_log = None;
            }
            lines.clear();
        }
    }
}
