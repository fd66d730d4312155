//! What one client has subscribed to. Only what the contract knows: its own two down topics, or live copies.

use crate::codec::reason;
use store::Directory;
use vitals::{Device, DeviceKind, OrganisationId};
use wire::topic::{self, Down, Live, Tree};

/// Where a client stands in the topic space: a service client has no tree of its own.
pub(crate) const fn tree(kind: &DeviceKind) -> Option<Tree> {
    match kind {
        DeviceKind::Gateway => Some(Tree::Gateways),
        DeviceKind::Meter | DeviceKind::Kiosk => Some(Tree::Devices),
        DeviceKind::Service => None,
    }
}

/// A client's own filters are four at most: the two topics, `+` and `#`.
const OWN: [&str; 4] = ["receipts", "commands", "+", "#"];

/// Live topics of one service client. Full: the subscription is refused.
const LIVE_TOPICS: usize = 1024;

/// Kept over a lost connection when the session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscriptions {
    /// Granted QoS by filter, in the order of [`OWN`].
    own: [Option<u8>; 4],
    /// Live copies, always QoS 0.
    pub(crate) live: Vec<(OrganisationId, Live)>,
}

impl Subscriptions {
    /// The QoS at which `what` is heard.
    pub(crate) fn qos(&self, what: Down) -> Option<u8> {
        let exact = match what {
            Down::Receipts => self.own[0],
            Down::Commands => self.own[1],
        };
        exact.max(self.own[2]).max(self.own[3])
    }

    /// Takes a filter, or says why not: the reason code of the SUBACK.
    pub(crate) fn add(&mut self, directory: &Directory, device: &Device, filter: &str, qos: u8) -> Result<u8, u8> {
        if filter.starts_with("$share/") {
            return Err(reason::NOT_AUTHORIZED); // as every refused topic
        }
        let Some(tree) = tree(&device.kind) else { return self.add_live(directory, device, filter) };
        let at = place(tree, device, filter).ok_or_else(|| refusal(filter))?;
        let granted = qos.min(1);
        self.own[at] = Some(granted);
        Ok(granted)
    }

    fn add_live(&mut self, directory: &Directory, device: &Device, filter: &str) -> Result<u8, u8> {
        let asked = topic::parse_live(filter).ok_or_else(|| refusal(filter))?;
        let own = device.organisation.ok_or(reason::NOT_AUTHORIZED)?;
        if !directory.is_within(asked.0, own) || self.live.len() >= LIVE_TOPICS {
            return Err(reason::NOT_AUTHORIZED);
        }
        if !self.live.contains(&asked) {
            self.live.push(asked);
        }
        Ok(0)
    }

    /// One line for the store; empty when nothing is heard. The QoS of each of [`OWN`], then the live topics.
    pub(crate) fn to_text(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let qos = |q: &Option<u8>| match q {
            None => '-',
            Some(0) => '0',
            Some(_) => '1',
        };
        let own: String = self.own.iter().map(qos).collect();
        self.live.iter().fold(own, |text, (organisation, what)| text + " " + &topic::live(*organisation, *what))
    }

    /// What [`Self::to_text`] wrote; of anything else, as much as can be understood.
    pub(crate) fn from_text(text: &str) -> Self {
        let mut parts = text.split(' ');
        let mut subscriptions = Self::default();
        for (slot, qos) in subscriptions.own.iter_mut().zip(parts.next().unwrap_or_default().bytes()) {
            *slot = matches!(qos, b'0' | b'1').then(|| qos - b'0');
        }
        subscriptions.live = parts.filter_map(topic::parse_live).take(LIVE_TOPICS).collect();
        subscriptions
    }

    /// After a pause: organisations may have moved meanwhile.
    pub(crate) fn review(&mut self, directory: &Directory, device: &Device) {
        self.live.retain(|(id, _)| device.organisation.is_some_and(|own| directory.is_within(*id, own)));
    }

    /// Gives up a filter; the reason code of the UNSUBACK.
    pub(crate) fn remove(&mut self, device: &Device, filter: &str) -> u8 {
        let existed = match tree(&device.kind) {
            Some(tree) => place(tree, device, filter).is_some_and(|at| self.own[at].take().is_some()),
            None => topic::parse_live(filter).is_some_and(|asked| {
                let before = self.live.len();
                self.live.retain(|l| *l != asked);
                self.live.len() < before
            }),
        };
        if existed { 0 } else { reason::NO_SUBSCRIPTION_EXISTED }
    }
}

fn place(tree: Tree, device: &Device, filter: &str) -> Option<usize> {
    if topic::parse_filter(tree, &device.id, filter).is_empty() {
        return None;
    }
    let tail = filter.rsplit('/').next()?;
    OWN.iter().position(|own| *own == tail)
}

/// A filter that breaks the syntax is told so; any other is somebody else's.
fn refusal(filter: &str) -> u8 {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let bad_hash = level.contains('#') && (level != "#" || levels.peek().is_some());
        if bad_hash || level.contains('+') && level != "+" {
            return reason::TOPIC_FILTER_INVALID;
        }
    }
    if filter.is_empty() { reason::TOPIC_FILTER_INVALID } else { reason::NOT_AUTHORIZED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_the_same_after_a_restart() {
        let live = vec![(OrganisationId::new(7), Live::Readings), (OrganisationId::new(8), Live::Alerts)];
        for subscriptions in [
            Subscriptions::default(),
            Subscriptions { own: [Some(1), None, Some(0), None], live: Vec::new() },
            Subscriptions { own: [None; 4], live },
        ] {
            assert_eq!(Subscriptions::from_text(&subscriptions.to_text()), subscriptions);
        }
        assert_eq!(
            Subscriptions::from_text("?1é nonsense"),
            Subscriptions { own: [None, Some(1), None, None], live: Vec::new() }
        );
    }

    #[test]
    fn a_filter_that_cannot_be_is_told_from_one_that_is_foreign() {
        for bad in ["", "a#", "a/#/b", "+a/b", "a/b+"] {
            assert_eq!(refusal(bad), reason::TOPIC_FILTER_INVALID, "{bad}");
        }
        for foreign in ["#", "hb/v1/devices/+/receipts", "$SYS/#", "/"] {
            assert_eq!(refusal(foreign), reason::NOT_AUTHORIZED, "{foreign}");
        }
    }
}
