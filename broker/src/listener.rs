//! The four doors. Accepting is all that happens here; every handshake is its own connection's business.

use crate::{
    Addresses, Error,
    auth::CertificateNames,
    config::Config,
    connection::{self, Transport},
    entrance::{Origin, Place},
    gate::Gate,
    meters, websocket,
};
use runtime::Drain;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::Instant,
};

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug)]
struct Door {
    key: &'static str,
    tls: bool,
    websocket: bool,
}

const DOORS: [Door; 4] = [
    Door { key: "mqtt", tls: false, websocket: false },
    Door { key: "mqtts", tls: true, websocket: false },
    Door { key: "ws", tls: false, websocket: true },
    Door { key: "wss", tls: true, websocket: true },
];

/// Bound, not yet serving.
pub(crate) struct Listeners([Option<TcpListener>; 4]);

/// Binds every door that is on, or none.
pub(crate) async fn bind(config: &Config) -> Result<Listeners, Error> {
    let mut bound = [None, None, None, None];
    let addresses = [&config.mqtt, &config.mqtts, &config.ws, &config.wss];
    for ((slot, door), address) in bound.iter_mut().zip(DOORS).zip(addresses) {
        if !address.is_empty() {
            let listener = TcpListener::bind(address.as_str()).await;
            *slot = Some(listener.map_err(|source| Error::Bind { key: door.key, address: address.clone(), source })?);
        }
    }
    Ok(Listeners(bound))
}

impl Listeners {
    /// With the real ports.
    pub(crate) fn addresses(&self) -> Addresses {
        let [mqtt, mqtts, ws, wss] = &self.0;
        let at = |l: &Option<TcpListener>| l.as_ref().and_then(|l| l.local_addr().ok());
        Addresses { mqtt: at(mqtt), mqtts: at(mqtts), ws: at(ws), wss: at(wss) }
    }

    /// Accepts on every door until the end begins.
    pub(crate) fn serve(self, gate: &Arc<Gate>, drain: &Drain) {
        for (listener, door) in self.0.into_iter().zip(DOORS) {
            if let Some(listener) = listener {
                tokio::spawn(accept(listener, door, gate.clone(), drain.named("gate")));
            }
        }
    }
}

async fn accept(listener: TcpListener, door: Door, gate: Arc<Gate>, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            () = drain.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(permit) = gate.permits.clone().try_acquire_owned() else {
                    meters::refused("full");
                    continue;
                };
                match gate.strangers.enter(Origin::of(peer.ip()), gate.config.limits.handshakes) {
                    Some(place) => drop(tokio::spawn(open(stream, door, gate.clone(), permit, place))),
                    None => meters::refused("crowd"),
                }
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(e) => {
                // Out of file descriptors, most likely: those who are in go on, newcomers wait.
                meters::refused("accept");
                tracing::warn!(error = %e, door = door.key, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Its turn, the handshakes, then MQTT; all before CONNECT within one time-out, which begins with its turn.
async fn open(stream: TcpStream, door: Door, gate: Arc<Gate>, permit: OwnedSemaphorePermit, mut place: Place) {
    gate.meters.connections.increment(1.0);
    let _ = stream.set_nodelay(true);
    let mut stopping = gate.stopping.subscribe();
    let turnstile = if door.tls { &gate.tls_turnstile } else { &gate.turnstile };
    let origin = place.origin();
    let handshake = Box::pin(async {
        let wait = gate.config.connect_timeout();
        tokio::time::timeout(wait, turnstile.pass(origin)).await.map_err(|_| "busy")?;
        let deadline = Instant::now() + gate.config.connect_timeout();
        let opened = tokio::time::timeout_at(deadline, handshake(&gate, stream, door)).await;
        let (stream, names) = opened.map_err(|_| "timeout")?.map_err(|_| "handshake")?;
        Ok((stream, names, deadline))
    });
    let opened = tokio::select! {
        _ = stopping.wait_for(|s| *s) => None,
        () = place.lost() => Some(Err("crowd")),
        opened = handshake => Some(opened),
    };
    match opened {
        Some(Ok((stream, names, deadline))) => connection::serve(&gate, stream, &names, deadline, place).await,
        Some(Err(why)) => meters::refused(why),
        None => {}
    }
    gate.meters.connections.decrement(1.0);
    drop(permit);
}

async fn handshake(gate: &Gate, stream: TcpStream, door: Door) -> io::Result<(Transport, CertificateNames)> {
    let nobody = || CertificateNames::from([]);
    let Some(tls) = gate.tls.as_ref().filter(|_| door.tls) else {
        return Ok(if door.websocket {
            (Transport::new(websocket::accept(stream).await?), nobody())
        } else {
            (Transport::new(stream), nobody())
        });
    };
    let (stream, names) = tls.accept(stream, door.websocket).await?;
    Ok(if door.websocket {
        (Transport::new(websocket::accept(stream).await?), names)
    } else {
        (Transport::new(stream), names)
    })
}
