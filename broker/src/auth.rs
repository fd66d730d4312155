//! Who a client is: client id = user name = device id, proven by a secret or a certificate.
//!
//! Goes in: a CONNECT and what the TLS handshake proved. Comes out: the device, or a refusal that tells nothing more.
//! Must never: say which of id and secret was wrong, compare in a time that depends on the secret, log either.

use crate::codec::Connect;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use store::Directory;
use subtle::ConstantTimeEq;
use vitals::Device;

/// The names that a verified client certificate stands for.
pub(crate) type CertificateNames = Arc<[String]>;

/// A client that proved who it is.
pub(crate) struct Proven {
    pub(crate) device: Arc<Device>,
    pub(crate) by_certificate: bool,
}

/// The device that `connect` proves to be; none is a refused credential, whatever the cause.
pub(crate) fn authenticate(directory: &Directory, connect: &Connect<'_>, names: &[String]) -> Option<Proven> {
    if connect.user.is_some_and(|user| user != connect.client_id) {
        return None;
    }
    let device = directory.device(connect.client_id);
    let secret_fits = connect.password.is_some_and(|password| {
        let given: [u8; 32] = Sha256::digest(password).into();
        // An unknown device costs the same comparison as a known one.
        let stored = device.as_ref().and_then(|d| d.secret_hash);
        bool::from(given.ct_eq(&stored.unwrap_or_default())) && stored.is_some()
    });
    let by_password = secret_fits && connect.user.is_some();
    let by_certificate = names.iter().any(|name| name == connect.client_id);
    let device = device.filter(|d| !d.revoked && (by_password || by_certificate))?;
    Some(Proven { device, by_certificate })
}
