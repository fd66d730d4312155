//! The acknowledge link in a message: bound to person, episode and cycle, good for 72 h. Pure.
//!
//! `body.signature`, both base64url without padding; the body is fixed-width binary, so there is one text for one meaning.
//! Must never: name a patient.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use store::{Link, LinkError};
use vitals::{AlertId, Timestamp, UserId};

const BODY: usize = 8 + 8 + 4 + 8;

fn mac(key: &[u8; 32], body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(b"hearthbeat acknowledge link v1");
    mac.update(body);
    Some(mac)
}

/// The token of a link that may be used until `until`.
pub(crate) fn make(key: &[u8; 32], link: Link, until: Timestamp) -> String {
    let mut body = Vec::with_capacity(BODY);
    body.extend(link.alert.as_i64().to_be_bytes());
    body.extend(link.user.as_i64().to_be_bytes());
    body.extend(link.cycle.to_be_bytes());
    body.extend(until.as_micros().to_be_bytes());
    // HMAC takes keys of any length; the empty signature of the impossible case is refused when read.
    let signature = mac(key, &body).map(|m| m.finalize().into_bytes().to_vec()).unwrap_or_default();
    format!("{}.{}", URL_SAFE_NO_PAD.encode(body), URL_SAFE_NO_PAD.encode(signature))
}

/// What a token stands for.
///
/// # Errors
/// [`LinkError::Tampered`] for any text that was not made with `key`, [`LinkError::Expired`].
pub(crate) fn read(key: &[u8; 32], token: &str, now: Timestamp) -> Result<Link, LinkError> {
    let (body, signature) = token.split_once('.').ok_or(LinkError::Tampered)?;
    let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| LinkError::Tampered)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| LinkError::Tampered)?;
    let mac = mac(key, &body).ok_or(LinkError::Tampered)?;
    mac.verify_slice(&signature).map_err(|_| LinkError::Tampered)?;
    let number = |at: usize| body.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_be_bytes);
    let cycle = body.get(16..20).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    let (Some(alert), Some(user), Some(cycle), Some(until)) = (number(0), number(8), cycle, number(20)) else {
        return Err(LinkError::Tampered);
    };
    if now > Timestamp::from_micros(until) {
        return Err(LinkError::Expired);
    }
    Ok(Link { alert: AlertId::from_i64(alert), user: UserId::from_i64(user), cycle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_link_is_read_back_and_no_other_text_is() {
        let key = [7; 32];
        let now = Timestamp::from_seconds(1_800_000_000);
        let until = now.plus(Duration::from_secs(72 * 3600));
        let link = Link { alert: AlertId::new(77), user: UserId::new(5), cycle: 2 };
        let token = make(&key, link, until);
        assert_eq!(read(&key, &token, now), Ok(link));
        assert_eq!(read(&key, &token, until.plus(Duration::from_secs(1))), Err(LinkError::Expired));
        assert_eq!(read(&[8; 32], &token, now), Err(LinkError::Tampered));
        for i in 0..token.len() {
            let other = if token.as_bytes()[i] == b'A' { 'B' } else { 'A' };
            let mut bad = token.clone();
            bad.replace_range(i..=i, &other.to_string());
            assert_eq!(read(&key, &bad, now), Err(LinkError::Tampered), "character {i}");
        }
        for bad in [format!("{token}x"), token[..token.len() - 1].to_owned(), "x".into(), ".".into()] {
            assert_eq!(read(&key, &bad, now), Err(LinkError::Tampered));
        }
    }
}
