//! Topics (contract: device protocol, section 2): built and parsed here and nowhere else.

use vitals::{DeviceId, OrganisationId};

/// Which tree of the topic space a client lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// `hb/v1/devices/D/…`
    Devices,
    /// `hb/v1/gateways/G/…`
    Gateways,
}

impl Tree {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Devices => "hb/v1/devices/",
            Self::Gateways => "hb/v1/gateways/",
        }
    }
}

/// What a client may publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Up {
    /// A reading message.
    Readings,
    /// The raw bytes of one Bluetooth characteristic value, by its 16-bit UUID in lower-case hex.
    Gatt(Characteristic),
    /// A FHIR R4 Observation or Bundle.
    Fhir,
    /// A vendor's own payload, decoded by the named adapter.
    Vendor(Box<str>),
    /// Birth.
    Hello,
    /// Free status; the will belongs here.
    Status,
}

/// The characteristics that a device may forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Characteristic {
    BloodPressure2a35,
    Glucose2a18,
    GlucoseContext2a34,
    Cgm2aa7,
    EnhancedBloodPressure2b34,
}

impl Characteristic {
    /// The 16-bit UUID in lower-case hexadecimal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BloodPressure2a35 => "2a35",
            Self::Glucose2a18 => "2a18",
            Self::GlucoseContext2a34 => "2a34",
            Self::Cgm2aa7 => "2aa7",
            Self::EnhancedBloodPressure2b34 => "2b34",
        }
    }

    /// By its 16-bit UUID, in lower-case hexadecimal.
    pub fn parse(uuid: &str) -> Option<Self> {
        [
            Self::BloodPressure2a35,
            Self::Glucose2a18,
            Self::GlucoseContext2a34,
            Self::Cgm2aa7,
            Self::EnhancedBloodPressure2b34,
        ]
        .into_iter()
        .find(|c| c.as_str() == uuid)
    }
}

impl Up {
    /// The tail of the topic: `readings`, `gatt/2a35`, `vendor/acme`.
    pub fn tail(&self) -> String {
        match self {
            Self::Readings => "readings".into(),
            Self::Gatt(c) => format!("gatt/{}", c.as_str()),
            Self::Fhir => "fhir".into(),
            Self::Vendor(profile) => format!("vendor/{profile}"),
            Self::Hello => "hello".into(),
            Self::Status => "status".into(),
        }
    }
}

/// What a client may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    /// One per message sent.
    Receipts,
    /// `time`, `config`, `resend`, `remeasure`, `reminder`, `message`.
    Commands,
}

impl Down {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Receipts, Self::Commands];
    /// The last level of the topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Commands => "commands",
        }
    }
}

/// What `own` in `tree` publishes on `topic`; none when it may not.
pub fn parse_up(tree: Tree, own: &DeviceId, topic: &str) -> Option<Up> {
    let tail = topic.strip_prefix(tree.as_str())?.strip_prefix(own.as_str())?.strip_prefix('/')?;
    match (tail, tree) {
        ("readings", _) => Some(Up::Readings),
        ("hello", _) => Some(Up::Hello),
        ("status", _) => Some(Up::Status),
        ("fhir", Tree::Devices) => Some(Up::Fhir),
        (other, Tree::Devices) => {
            if let Some(uuid) = other.strip_prefix("gatt/") {
                return Characteristic::parse(uuid).map(Up::Gatt);
            }
            let profile = other.strip_prefix("vendor/")?.parse::<DeviceId>().ok()?;
            Some(Up::Vendor(profile.as_str().into()))
        }
        _ => None,
    }
}

/// Who publishes what on `topic`, by the topic's own word; none when it is nobody's way up.
pub fn parse_any_up(topic: &str) -> Option<(Tree, DeviceId, Up)> {
    [Tree::Devices, Tree::Gateways].into_iter().find_map(|tree| {
        let (id, _) = topic.strip_prefix(tree.as_str())?.split_once('/')?;
        let id: DeviceId = id.parse().ok()?;
        let up = parse_up(tree, &id, topic)?;
        Some((tree, id, up))
    })
}

/// What `own` may subscribe to with `filter`: one down topic, or both for `…/own/+` and `…/own/#`; empty when it may not.
pub fn parse_filter(tree: Tree, own: &DeviceId, filter: &str) -> Vec<Down> {
    let tail = filter
        .strip_prefix(tree.as_str())
        .and_then(|rest| rest.strip_prefix(own.as_str()))
        .and_then(|rest| rest.strip_prefix('/'));
    match tail {
        Some("+" | "#") => Down::ALL.to_vec(),
        Some(tail) => Down::ALL.into_iter().filter(|d| d.as_str() == tail).collect(),
        None => Vec::new(),
    }
}

/// The topic on which `own` hears.
pub fn down(tree: Tree, own: &DeviceId, what: Down) -> String {
    format!("{}{own}/{}", tree.as_str(), what.as_str())
}

/// The topic on which `own` speaks.
pub fn up(tree: Tree, own: &DeviceId, what: &Up) -> String {
    format!("{}{own}/{}", tree.as_str(), what.tail())
}

/// What a service client may follow: live copies, after commit and at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Live {
    /// Committed readings.
    Readings,
    /// Changes of alerts.
    Alerts,
}

impl Live {
    /// The last level of the topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Alerts => "alerts",
        }
    }
}

const LIVE: &str = "hb/v1/live/";

/// The topic of an organisation's live copies.
pub fn live(organisation: OrganisationId, what: Live) -> String {
    format!("{LIVE}{organisation}/{}", what.as_str())
}

/// Whose live copies `topic` names; none for anything else, wildcards included.
pub fn parse_live(topic: &str) -> Option<(OrganisationId, Live)> {
    let (organisation, what) = topic.strip_prefix(LIVE)?.split_once('/')?;
    let what = [Live::Readings, Live::Alerts].into_iter().find(|l| l.as_str() == what)?;
    Some((organisation.parse().ok()?, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> DeviceId {
        "bp-1".parse().unwrap()
    }

    #[test]
    fn own_topics_only() {
        assert_eq!(parse_up(Tree::Devices, &own(), "hb/v1/devices/bp-1/readings"), Some(Up::Readings));
        for what in [Up::Readings, Up::Gatt(Characteristic::Glucose2a18), Up::Vendor("acme".into()), Up::Status] {
            assert_eq!(parse_up(Tree::Devices, &own(), &up(Tree::Devices, &own(), &what)), Some(what));
        }
        for foreign in [
            "hb/v1/devices/bp-10/readings",
            "hb/v1/devices/bp-/readings",
            "hb/v1/devices/+/readings",
            "hb/v1/devices/#",
            "hb/v1/devices/bp-1/receipts",
            "hb/v1/devices/bp-1/readings/",
            "hb/v1/devices//readings",
            "é/readings",
            "hb/v1/devices/bp-1/gatt/2a36",
            "hb/v1/devices/bp-1/vendor/a/b",
            "hb/v1/gateways/bp-1/readings",
            "",
        ] {
            assert_eq!(parse_up(Tree::Devices, &own(), foreign), None, "{foreign}");
        }
        assert_eq!(parse_up(Tree::Gateways, &own(), "hb/v1/gateways/bp-1/fhir"), None);
    }

    #[test]
    fn a_topic_says_whose_it_is_or_nothing() {
        for (tree, what) in [(Tree::Devices, Up::Vendor("acme".into())), (Tree::Gateways, Up::Readings)] {
            assert_eq!(parse_any_up(&up(tree, &own(), &what)), Some((tree, own(), what)));
        }
        for foreign in [
            "hb/v1/devices/a b/readings",
            "hb/v1/devices//readings",
            "hb/v1/devices/bp-1",
            "x",
            "hb/v1/devices/bp-1/receipts",
        ] {
            assert_eq!(parse_any_up(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn wildcards_are_narrowed() {
        assert_eq!(parse_filter(Tree::Devices, &own(), "hb/v1/devices/bp-1/#"), Down::ALL);
        assert_eq!(parse_filter(Tree::Devices, &own(), "hb/v1/devices/bp-1/receipts"), [Down::Receipts]);
        for foreign in
            ["#", "hb/v1/devices/+/receipts", "$share/g/hb/v1/devices/bp-1/receipts", "hb/v1/devices/bp-1/readings"]
        {
            assert!(parse_filter(Tree::Devices, &own(), foreign).is_empty(), "{foreign}");
        }
    }

    #[test]
    fn live_topics_name_one_organisation() {
        let station = OrganisationId::new(7);
        for what in [Live::Readings, Live::Alerts] {
            assert_eq!(parse_live(&live(station, what)), Some((station, what)));
        }
        for other in ["hb/v1/live/+/readings", "hb/v1/live/#", "hb/v1/live/o_0/readings", "hb/v1/live"] {
            assert_eq!(parse_live(other), None, "{other}");
        }
    }
}
