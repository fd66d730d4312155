//! The load side of `benches/edge`: many light clients of the gate in one thread, so that both fit on two processors.
//!
//! Goes in: a command line. Comes out: one line of JSON a figure on standard output. It knows the gate only from outside.
//!
//!     crowd certificates FOLDER                              ca.pem, cert.pem and key.pem for 127.0.0.1
//!     crowd idle     ADDRESS DEVICES COUNT [CA]              connects COUNT devices; a line when all are in; stays until
//!                                                            standard input ends
//!     crowd logins   ADDRESS DEVICES COUNT SILENT CA         COUNT logins one after another, beside SILENT callers that
//!                                                            say nothing
//!     crowd send     ADDRESS DEVICES COUNT RATE SECONDS      COUNT devices send RATE messages a second in all
//!     crowd flood    ADDRESS DEVICES INDEX                   one device sends without a pause until standard input ends
//!
//! DEVICES is a file of `[{"id": …, "secret": …}]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a tool for a bench: what goes wrong is shown and ends it

mod client;
mod figures;

use client::Doors;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Instant,
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

/// Handshakes under way at a time; more would measure queueing in the kernel.
const AT_A_TIME: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["certificates", folder] => certificates(Path::new(folder)),
        ["idle", address, devices, count] => idle(Doors::new(address, devices, None), number(count)).await,
        ["idle", address, devices, count, ca] => idle(Doors::new(address, devices, Some(ca)), number(count)).await,
        ["logins", address, devices, count, silent, ca] => {
            logins(Doors::new(address, devices, Some(ca)), number(count), number(silent)).await;
        }
        ["send", address, devices, count, rate, seconds] => {
            let doors = Doors::new(address, devices, None);
            figures::send(doors, number(count), number(rate), number(seconds)).await;
        }
        ["flood", address, devices, index] => flood(Doors::new(address, devices, None), number(index)).await,
        _ => panic!("certificates, idle, logins, send or flood; see the top of broker/examples/crowd/main.rs"),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// An authority and a server's certificate for this machine.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut server = CertificateParams::new(Vec::new()).unwrap();
    server.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let key = KeyPair::generate().unwrap();
    let certificate = server.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| std::fs::write(PathBuf::from(folder).join(name), text).unwrap();
    write("ca.pem", authority.pem());
    write("cert.pem", certificate.pem());
    write("key.pem", key.serialize_pem());
}

/// Returns when standard input ends, which is how the bench says that it is done.
async fn input_ended() {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

async fn idle(doors: Doors, count: usize) {
    let begun = Instant::now();
    let (mut joining, mut inside) = (JoinSet::new(), Vec::with_capacity(count));
    for index in 0..count {
        if joining.len() >= AT_A_TIME {
            inside.push(joining.join_next().await.unwrap().unwrap());
        }
        let doors = doors.clone();
        joining.spawn(async move { doors.login(index).await });
    }
    while let Some(client) = joining.join_next().await {
        inside.push(client.unwrap());
    }
    println!("{{\"connected\": {}, \"seconds\": {}}}", inside.len(), begun.elapsed().as_secs_f64());
    input_ended().await;
    drop(inside);
    std::process::exit(0);
}

async fn logins(doors: Doors, count: usize, silent: usize) {
    let mut callers = Vec::with_capacity(silent);
    for _ in 0..silent {
        callers.push(TcpStream::connect(doors.address).await.unwrap());
    }
    let mut took = figures::Times::default();
    for index in 0..count {
        let begun = Instant::now();
        doors.login(index).await;
        took.add(begun.elapsed());
    }
    took.print("login");
    drop(callers);
}

/// Sends with no regard for any limit, as a broken meter does; the gate reads as fast as it likes.
async fn flood(doors: Doors, index: usize) {
    let mut client = doors.login(index).await;
    let (done, mut ended) = mpsc::channel::<()>(1);
    tokio::spawn(async move {
        input_ended().await;
        drop(done);
    });
    let mut sent: u64 = 0;
    let pour = async {
        loop {
            client.publish(u16::try_from(sent % 65_535).unwrap() + 1, sent).await;
            sent += 1;
        }
    };
    tokio::select! {
        () = pour => {}
        _ = ended.recv() => {}
    }
    println!("{{\"written\": {sent}}}");
    std::process::exit(0);
}
