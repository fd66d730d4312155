//! What runs beside the connections: reviews after revocations, commands, sessions' ends, the orderly close.

use crate::{gate::Gate, mailbox};
use runtime::Drain;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Changes of people and devices come in bursts; one review serves them all.
const REVIEW_EVERY: Duration = Duration::from_millis(200);
/// Commands are noticed at once by the store's bell, and this late without it.
const COMMANDS_EVERY: Duration = Duration::from_secs(1);
/// Subscriptions of many clients are one write.
const KEEP_EVERY: Duration = Duration::from_millis(500);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// At the end, connections have so long to commit, acknowledge and close.
const CLOSE_WITHIN: Duration = Duration::from_secs(7);

pub(crate) fn start(gate: &Arc<Gate>, drain: &Drain) {
    tokio::spawn(review(gate.clone(), drain.named("gate review")));
    tokio::spawn(commands(gate.clone(), drain.named("gate commands")));
    tokio::spawn(sweep(gate.clone(), drain.named("gate sweep")));
    tokio::spawn(entrance(gate.clone(), drain.named("gate entrance")));
    tokio::spawn(keep(gate.clone(), drain.named("gate sessions")));
    tokio::spawn(close(gate.clone(), drain.named("gate connections")));
}

/// Ends the sessions of credentials that were withdrawn.
async fn review(gate: Arc<Gate>, drain: Drain) {
    let mut changes = gate.store.directory().changes();
    loop {
        tokio::select! {
            () = drain.stopping() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        changes.mark_unchanged();
        gate.table.review(gate.store.directory());
        sleep(REVIEW_EVERY).await;
    }
}

/// Gives turns to those who come in.
async fn entrance(gate: Arc<Gate>, drain: Drain) {
    tokio::select! {
        () = drain.stopping() => {}
        () = gate.turnstile.turn() => {}
        () = gate.tls_turnstile.turn() => {}
    }
}

/// Tells connected devices that commands wait for them.
async fn commands(gate: Arc<Gate>, drain: Drain) {
    let mut changes = gate.store.command_changes();
    let mut tick = interval(COMMANDS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reached = 0;
    loop {
        tokio::select! {
            () = drain.stopping() => return,
            _ = tick.tick() => {}
            _ = changes.changed() => {}
        }
        match gate.store.commanded_after(reached).await {
            Ok((devices, sequence)) => {
                reached = sequence;
                gate.commanded.note(&devices);
                for device in devices.iter().filter_map(|key| gate.store.directory().device_by_key(*key)) {
                    if let Some(live) = gate.table.live(&device.id) {
                        live.mailbox.raise(mailbox::COMMANDS);
                    }
                }
            }
            Err(e) => {
                tracing::warn!(error = %e, "commands cannot be read");
                sleep(COMMANDS_EVERY).await;
            }
        }
    }
}

/// Writes down what sessions have subscribed to.
async fn keep(gate: Arc<Gate>, drain: Drain) {
    let mut tick = interval(KEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !drain.is_stopping() {
        tokio::select! {
            () = drain.stopping() => {}
            _ = tick.tick() => {}
        }
        gate.lasting.write(&gate.store).await;
    }
}

/// Forgets sessions whose time is over and says the wills whose delay is over.
async fn sweep(gate: Arc<Gate>, drain: Drain) {
    let mut tick = interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = drain.stopping() => return,
            _ = tick.tick() => {}
        }
        gate.returns.sweep(Instant::now());
        let (over, wills) = gate.table.sweep(Instant::now());
        for device in over.iter().filter_map(|id| gate.store.directory().device(id.as_str())) {
            gate.lasting.forget(device.key);
        }
        for will in wills {
            let _ = timeout(gate.config.ack_timeout(), gate.commit(will)).await;
        }
    }
}

/// The end: everybody finishes what is under way, then the process may go.
async fn close(gate: Arc<Gate>, drain: Drain) {
    drain.stopping().await;
    gate.stopping.send_replace(true);
    let all = u32::try_from(gate.config.limits.connections).unwrap_or(u32::MAX);
    let everybody_gone = gate.permits.acquire_many(all);
    let tell = async {
        loop {
            // Again and again, since somebody may have been on the way in.
            gate.table.everybody().iter().for_each(|live| live.mailbox.raise(mailbox::STOP));
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = everybody_gone => {}
        () = tell => {}
        () = sleep(CLOSE_WITHIN) => tracing::warn!(left = gate.connections(), "connections did not end in time"),
    }
}
