//! How fast the gate is by itself: `cargo test --release -p broker --test gate -- --ignored --nocapture`.
//! The sink answers at once, so this is the bound that the gate sets, with its clients on the same processors.

use crate::{client::*, world::*};
use broker::{Accepted, Sink, Unavailable, Uplink};
use runtime::BoxFuture;
use std::{sync::Arc, time::Instant};

struct Nothing;

impl Sink for Nothing {
    fn commit(&self, _: Uplink) -> BoxFuture<'static, Result<Accepted, Unavailable>> {
        Box::pin(async { Ok(Accepted::default()) })
    }
}

const CLIENTS: u32 = 200;
const WINDOW: u32 = 20;
const ROUNDS: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a proof"]
async fn publishes_a_second() {
    let w = World::new().await;
    let gate = broker::start(config(), w.store.clone(), Arc::new(Nothing), &w.root).await.unwrap();
    let door = gate.addresses().mqtt.unwrap();
    let begun = Instant::now();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let id = format!("d{n}");
        w.device(&id).await;
        let mut c = Client::tcp(door).await;
        assert!(matches!(c.ask(&hello(&id).bytes()).await, Packet(0x20, _)));
        clients.push((id, c));
    }
    println!("{CLIENTS} provisioned and connected in {:?}", begun.elapsed());
    let begun = Instant::now();
    let all = clients.into_iter().map(|(id, mut c)| {
        tokio::spawn(async move {
            let batch: Vec<u8> = (1..=WINDOW).flat_map(|_| publish(4, &readings(&id), 1, &[b'x'; 200])).collect();
            let mut answers = vec![0; 4 * WINDOW as usize];
            for _ in 0..ROUNDS {
                c.say(&batch).await;
                tokio::io::AsyncReadExt::read_exact(&mut c.stream, &mut answers).await.unwrap();
            }
        })
    });
    for task in all.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    println!("{:.0} publishes a second at QoS 1", f64::from(CLIENTS * WINDOW * ROUNDS) / took);
}
