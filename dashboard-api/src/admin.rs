//! Setting up people and devices: what HTTP and the command line share.
//!
//! Goes in: plain requests, checked against the directory. Comes out: records, and secrets that are shown once.
//! Must never: ask who the caller is (that is `scope`'s), write a secret anywhere but into its answer.

use crate::password::{self, HashError};
use std::sync::Arc;
use store::{Contact, Organisation, Role, Store, StoreError, User};
use vitals::{Device, DeviceId, DeviceKey, DeviceKind, OrganisationId, PatientId, UserId};

/// The first administrator's name.
pub const FIRST_ADMINISTRATOR: &str = "admin";
/// Shorter passwords are refused.
pub const SHORTEST_PASSWORD: usize = 8;

/// Why something was not set up.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A member is wrong; says which and what would be right.
    #[error("{field}: {remedy}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// What would be right.
        remedy: String,
    },
    /// The system has no randomness.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Shorthand for a member that is wrong.
pub(crate) fn invalid(field: &'static str, remedy: impl Into<String>) -> AdminError {
    AdminError::Invalid { field, remedy: remedy.into() }
}

/// A user to be made.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct NewUser {
    pub username: String,
    pub name: String,
    pub roles: Vec<Role>,
    pub organisation: Option<OrganisationId>,
    /// One is made where absent.
    pub password: Option<String>,
    pub contacts: Vec<Contact>,
    pub locale: Option<String>,
    pub patient: Option<PatientId>,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewUser(…)")
    }
}

/// A user that was made, with the password if it was made too.
#[derive(Debug)]
pub struct MadeUser {
    /// As stored.
    pub user: User,
    /// To be shown once.
    pub password: Option<String>,
}

/// Makes a user; without a password one is made, to be changed at the first login.
///
/// # Errors
/// [`AdminError::Invalid`] naming the member, [`StoreError::Conflict`] when the name is taken.
pub async fn create_user(store: &Store, new: NewUser) -> Result<MadeUser, AdminError> {
    check_username(&new.username)?;
    if new.name.trim().is_empty() || new.name.chars().count() > 200 {
        return Err(invalid("name", "1 to 200 characters"));
    }
    if new.roles.is_empty() {
        return Err(invalid("roles", "at least one"));
    }
    if new.organisation.is_some_and(|id| store.directory().organisation(id).is_none()) {
        return Err(invalid("organisationId", "there is no such organisation"));
    }
    match (new.roles.contains(&Role::Patient), new.patient) {
        (true, None) => return Err(invalid("patientId", "a user with the role patient needs one")),
        (_, Some(id)) if store.directory().patient(id).is_none() => {
            return Err(invalid("patientId", "there is no such patient"));
        }
        _ => {}
    }
    if store.directory().user_named(&new.username).is_some() {
        return Err(StoreError::Conflict("username: it is taken".into()).into());
    }
    let (password, made) = match new.password {
        Some(given) => (given, None),
        None => {
            let made = password::readable()?;
            (made.clone(), Some(made))
        }
    };
    check_password(&password)?;
    let user = User {
        id: UserId::new(0),
        username: new.username,
        name: new.name,
        roles: new.roles,
        organisation: new.organisation,
        password_hash: Some(password::hash_later(password).await?),
        must_change_password: made.is_some(),
        disabled: false,
        contacts: new.contacts,
        locale: new.locale,
        patient: new.patient,
        version: 0,
    };
    Ok(MadeUser { user: store.create_user(user).await?, password: made })
}

fn check_username(name: &str) -> Result<(), AdminError> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if (1..=64).contains(&name.chars().count()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(invalid("username", "1 to 64 letters, digits or . _ - @"))
}

/// Refuses a password that is too short or absurdly long.
///
/// # Errors
/// [`AdminError::Invalid`].
pub fn check_password(password: &str) -> Result<(), AdminError> {
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > password::LONGEST {
        return Err(invalid("password", format!("{SHORTEST_PASSWORD} characters or more")));
    }
    Ok(())
}

/// The first administrator, with `region_admin` and `ops` over the whole installation: its name and its one-time secret.
///
/// # Errors
/// [`StoreError::Conflict`] when there is one already.
pub async fn bootstrap(store: &Store) -> Result<(String, String), AdminError> {
    let new = NewUser {
        username: FIRST_ADMINISTRATOR.into(),
        name: "Administrator".into(),
        roles: vec![Role::RegionAdmin, Role::Ops],
        ..NewUser::default()
    };
    let made = create_user(store, new).await?;
    Ok((made.user.username, made.password.unwrap_or_default()))
}

/// An organisation to be made or changed: its place in the tree is checked.
///
/// # Errors
/// [`AdminError::Invalid`] naming the member.
pub fn check_organisation(store: &Store, organisation: &Organisation) -> Result<(), AdminError> {
    if organisation.name.trim().is_empty() || organisation.name.chars().count() > 200 {
        return Err(invalid("name", "1 to 200 characters"));
    }
    let directory = store.directory();
    if let Some(parent) = organisation.parent {
        if directory.organisation(parent).is_none() {
            return Err(invalid("parentId", "there is no such organisation"));
        }
        if organisation.version > 0 && directory.is_within(parent, organisation.id) {
            return Err(invalid("parentId", "an organisation cannot lie below itself"));
        }
    }
    if organisation.duty.iter().any(|u| directory.user(*u).is_none()) {
        return Err(invalid("duty", "there is no such user"));
    }
    Ok(())
}

/// A device to be provisioned.
#[derive(Clone, Debug, Default)]
pub struct NewDevice {
    /// Made where absent.
    pub id: Option<String>,
    /// `gateway`, `kiosk`, `service`, or any word for a meter.
    pub kind: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// The owning station.
    pub organisation: Option<OrganisationId>,
}

/// A device that was provisioned, with what is shown once.
#[derive(Clone)]
pub struct Provisioned {
    /// As stored.
    pub device: Device,
    /// 256 random bits.
    pub secret: String,
    /// Printed on the meter; a patient binds it with this.
    pub claim_code: String,
}

impl std::fmt::Debug for Provisioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provisioned({})", self.device.id)
    }
}

/// A device's public name, of its form.
pub(crate) fn device_id(text: &str) -> Result<DeviceId, AdminError> {
    text.parse().map_err(|_| invalid("id", "1 to 64 of A-Z a-z 0-9 . _ -"))
}

/// A word of a device that fits a label.
pub(crate) fn short(field: &'static str, text: Option<&str>) -> Result<(), AdminError> {
    if text.is_some_and(|t| t.chars().count() > 100) { Err(invalid(field, "at most 100 characters")) } else { Ok(()) }
}

/// Provisions a device.
///
/// # Errors
/// [`AdminError::Invalid`] naming the member, [`StoreError::Conflict`] when the id is taken.
pub async fn provision_device(store: &Store, new: NewDevice) -> Result<Provisioned, AdminError> {
    let text = match new.id {
        Some(id) => id,
        None => format!("d-{}", password::letters(10)?),
    };
    let id = device_id(&text)?;
    short("kind", new.kind.as_deref())?;
    short("model", new.model.as_deref())?;
    if new.organisation.is_some_and(|o| store.directory().organisation(o).is_none()) {
        return Err(invalid("organisationId", "there is no such organisation"));
    }
    let (kind, label) = match new.kind.as_deref() {
        Some("gateway") => (DeviceKind::Gateway, None),
        Some("kiosk") => (DeviceKind::Kiosk, None),
        Some("service") => (DeviceKind::Service, None),
        _ => (DeviceKind::Meter, new.kind),
    };
    let secret = password::secret()?;
    let hash = password::digest(&secret);
    let device = Device {
        key: DeviceKey::new(0),
        id,
        kind,
        label,
        model: new.model,
        organisation: new.organisation,
        secret_hash: Some(hash),
        revoked: false,
    };
    let device = store.create_device(device).await?;
    Ok(Provisioned { device, secret, claim_code: claim_code(&hash) })
}

/// Follows from the secret's hash, so that it needs no place of its own and tells nothing of the secret.
fn claim_code(secret_hash: &[u8; 32]) -> String {
    let digest = password::digest(&format!("claim:{}", hex::encode(secret_hash)));
    let text = hex::encode_upper(&digest[..6]);
    format!("{}-{}-{}", &text[..4], &text[4..8], &text[8..])
}

/// What the QR code beside a printed claim code says; it can be claimed with as it is.
pub fn printed_code(device: &DeviceId, claim_code: &str) -> String {
    format!("{PRINTED}{device}:{claim_code}")
}

const PRINTED: &str = "urn:hearthbeat:claim:";

/// The meter with this printed code, however it was typed; none when there is none, or its credential was withdrawn.
pub fn device_with_code(store: &Store, code: &str) -> Option<Arc<Device>> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
    };
    let code = code.trim();
    let named = code.strip_prefix(PRINTED).and_then(|rest| rest.rsplit_once(':'));
    let wanted = plain(named.map_or(code, |(_, code)| code));
    let fits = |d: &Arc<Device>| {
        let hash = d.secret_hash.filter(|_| d.kind == DeviceKind::Meter && !d.revoked);
        hash.is_some_and(|hash| plain(&claim_code(&hash)) == wanted)
    };
    match named {
        Some((id, _)) => store.directory().device(id).filter(fits),
        None => store.directory().devices().into_iter().find(fits),
    }
}

/// Withdraws a device's credential; a live session ends soon after.
///
/// # Errors
/// As every write.
pub async fn revoke_device(store: &Store, device: &Device) -> Result<(), StoreError> {
    store.update_device(Device { revoked: true, secret_hash: None, ..device.clone() }).await
}
