//! Meters against a broker of a few lines that can be told to be forgetful.

use super::*;
use tokio::net::{TcpListener, tcp::OwnedReadHalf};

/// Reads packets of a client: (first byte, body).
struct Client {
    read: OwnedReadHalf,
}

impl Client {
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.read.read_u8().await.ok()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.read.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.read.read_exact(&mut body).await.ok()?;
        Some((head, body))
    }
}

fn publish_parts(body: &[u8]) -> ([u8; 2], String) {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    ([body[2 + topic], body[3 + topic]], String::from_utf8(body[4 + topic..].to_vec()).unwrap())
}

#[test]
fn addresses() {
    assert_eq!("mqtt://127.0.0.1:5".parse::<Target>().unwrap().to_string(), "127.0.0.1:5");
    assert_eq!("mqtt://broker".parse::<Target>().unwrap().to_string(), "broker:1883");
    for bad in ["", "mqtt://", "http://a:1/x", "a:b"] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order_with_dup() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
    let broker = tokio::spawn(async move {
        let mut seen = Vec::new();
        for round in 0..2 {
            let (read, mut write) = listener.accept().await.unwrap().0.into_split();
            let mut client = Client { read };
            while let Some((head, body)) = client.packet().await {
                match head >> 4 {
                    1 => write.write_all(&[0x20, 2, 0, 0]).await.unwrap(),
                    3 => {
                        let (pid, payload) = publish_parts(&body);
                        seen.push((head & 8 != 0, payload));
                        // The first connection acknowledges the first message, and dies after the third.
                        if round == 1 || seen.len() == 1 {
                            write.write_all(&[0x40, 2, pid[0], pid[1]]).await.unwrap();
                        }
                        if round == 0 && seen.len() == 3 {
                            break;
                        }
                    }
                    _ => {}
                }
            }
        }
        seen
    });
    let credential = Credential { id: "bp-1".into(), secret: Some("s".into()) };
    let (meter, _) = Meter::connect(&target, credential, Options::default()).await.unwrap();
    let mut acks = Vec::new();
    for text in ["a", "b", "c"] {
        acks.push(meter.send(text.into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    drop(meter);
    let seen = broker.await.unwrap();
    let want = [(false, "a"), (false, "b"), (false, "c"), (true, "b"), (true, "c")];
    assert_eq!(seen, want.map(|(dup, text)| (dup, text.to_owned())));
}

#[tokio::test]
async fn a_refusal_names_the_device_and_not_the_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0x20, 2, 0, 5]).await.unwrap();
        let _ = stream.read_u8().await;
    });
    let credential = Credential { id: "bp-1".into(), secret: Some("very-secret".into()) };
    let text = Meter::connect(&target, credential, Options::default()).await.unwrap_err().to_string();
    assert!(text.contains("bp-1") && !text.contains("very-secret"), "{text}");
}
