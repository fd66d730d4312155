//! Messages at a planned pace, and how long their acknowledgements took.

use crate::client::Doors;
use runtime::Clock;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Measured times.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// One line of JSON: every time in microseconds, so that phases can be put together.
    pub(crate) fn print(self, what: &str) {
        let all: Vec<String> = self.0.iter().map(|t| t.as_micros().to_string()).collect();
        println!("{{\"{what}\": [{}]}}", all.join(","));
    }
}

/// `count` devices send `rate` messages a second in all, evenly, for `seconds`; each time runs from the planned moment.
pub(crate) async fn send(doors: Doors, count: usize, rate: usize, seconds: usize) {
    let first_seq = u64::try_from(Clock::wall().as_micros()).unwrap();
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        clients.push(doors.login(index).await);
    }
    let start = Instant::now() + Duration::from_millis(200);
    let every = Duration::from_secs_f64(count as f64 / rate as f64);
    let messages = u32::try_from(rate * seconds / count).unwrap();
    let mut all = JoinSet::new();
    for (index, mut client) in clients.into_iter().enumerate() {
        let first = start + every.mul_f64(index as f64 / count as f64);
        all.spawn(async move {
            let mut times = Vec::with_capacity(messages as usize);
            for n in 0..messages {
                let planned = first + every * n;
                tokio::time::sleep_until(planned.into()).await;
                let pid = u16::try_from(n % 60_000).unwrap() + 1;
                client.publish(pid, first_seq + u64::from(n)).await;
                client.acknowledged(pid).await;
                times.push(planned.elapsed());
            }
            times
        });
    }
    let mut times = Times::default();
    while let Some(of_one) = all.join_next().await {
        of_one.unwrap().into_iter().for_each(|t| times.add(t));
    }
    times.print("puback");
}
