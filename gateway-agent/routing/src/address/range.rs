//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway_agent_tables::Family;

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) family: Family,
    first: u128,
    last: u128,
}

/// What no Gateway can have: this network, loopback, link-local, multicast, reserved, and IPv4 in IPv6's form (RFC 6890).
const UNUSABLE: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
];

impl Range {
    /// `192.0.2.0/28`, `192.0.2.16-192.0.2.31` or an address; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let range = Self::read(text)?;
        let unusable = UNUSABLE.iter().find(|block| Self::read(block).is_ok_and(|block| block.meets(&range)));
        unusable
            .map_or(Ok(range), |block| Err(format!("holds addresses of {block}, which no Gateway can have")))
    }

    fn read(text: &str) -> Result<Self, String> {
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("{text:?} is not an address"));
        if let Some((base, length)) = text.split_once('/') {
            Self::block(address(base)?, length)
        } else if let Some((first, last)) = text.split_once('-') {
            Self::between(address(first)?, address(last)?)
        } else {
            let address = address(text)?;
            Self::between(address, address)
        }
    }

    fn block(base: IpAddr, length: &str) -> Result<Self, String> {
        let bits = width(Family::of(base));
        let length: u32 = length
            .parse()
            .ok()
            .filter(|length| *length <= bits)
            .ok_or_else(|| format!("/{length} is not a prefix length; use /0 to /{bits}"))?;
        let hosts = u128::MAX.checked_shr(128 - bits + length).unwrap_or(0);
        let first = number(base);
        if first & hosts != 0 {
            let network = address(Family::of(base), first & !hosts);
            return Err(format!(
                "{base} is not the first address of its /{length}; write {network}/{length}"
            ));
        }
        Ok(Self { family: Family::of(base), first, last: first | hosts })
    }

    fn between(first: IpAddr, last: IpAddr) -> Result<Self, String> {
        if Family::of(first) != Family::of(last) {
            return Err(format!("{first} and {last} are of different families"));
        }
        if first > last {
            return Err(format!("{last} comes before {first}; write {last}-{first}"));
        }
        Ok(Self { family: Family::of(first), first: number(first), last: number(last) })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&number(address))
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// The first address of both.
    pub(crate) fn first_common(&self, other: &Self) -> Option<IpAddr> {
        self.meets(other).then(|| address(self.family, self.first.max(other.first)))
    }

    /// The first address that is not in any of the ranges that `taken` gives for it.
    pub(crate) fn first_free(&self, taken: impl Fn(IpAddr) -> Option<Self>) -> Option<IpAddr> {
        let mut next = self.first;
        while next <= self.last {
            let candidate = address(self.family, next);
            match taken(candidate) {
                None => return Some(candidate),
                Some(range) => next = range.last.max(next).checked_add(1)?,
            }
        }
        None
    }
}

impl From<IpAddr> for Range {
    fn from(address: IpAddr) -> Self {
        Self { family: Family::of(address), first: number(address), last: number(address) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, last] = [self.first, self.last].map(|number| address(self.family, number));
        if first == last { first.fmt(f) } else { write!(f, "{first}-{last}") }
    }
}

fn width(family: Family) -> u32 {
    match family {
        Family::V4 => Ipv4Addr::BITS,
        Family::V6 => Ipv6Addr::BITS,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The number must be one of the family's, as those between a range's ends are.
fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_blocks_pairs_or_single_addresses() {
        let cases = [
            ("192.0.2.0/28", Ok("192.0.2.0-192.0.2.15")),
            ("192.0.2.16-192.0.2.31", Ok("192.0.2.16-192.0.2.31")),
            ("192.0.2.7", Ok("192.0.2.7")),
            ("192.0.2.7/32", Ok("192.0.2.7")),
            ("2001:db8::/126", Ok("2001:db8::-2001:db8::3")),
            ("2001:db8::5", Ok("2001:db8::5")),
            ("192.0.2.1/28", Err("write 192.0.2.0/28")),
            ("192.0.2.0/33", Err("use /0 to /32")),
            ("192.0.2.0/x", Err("not a prefix length")),
            ("192.0.2.9-192.0.2.8", Err("write 192.0.2.8-192.0.2.9")),
            ("192.0.2.9-2001:db8::", Err("different families")),
            ("192.0.2", Err("\"192.0.2\" is not an address")),
            ("0.0.0.0/0", Err("0.0.0.0/8")),
            ("::/0", Err("::/127")),
            ("223.255.255.255-224.0.0.1", Err("224.0.0.0/4")),
            ("fe80::1", Err("fe80::/10")),
        ];
        for (text, expected) in cases {
            match (Range::parse(text).map(|range| range.to_string()), expected) {
                (Ok(range), Ok(expected)) => assert_eq!(range, expected),
                (Err(cause), Err(expected)) => assert!(cause.contains(expected), "{text}: {cause}"),
                (outcome, _) => panic!("{text}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn the_first_free_address_is_found_past_large_ranges() {
        let range = Range::parse("2001:db8::/64").unwrap();
        let taken = Range::parse("2001:db8::/65").unwrap();
        let free = range.first_free(|address| taken.contains(address).then_some(taken));
        assert_eq!(free, Some("2001:db8::8000:0:0:0".parse().unwrap()));
        assert_eq!(range.first_free(|_| Some(range)), None);
        let last = Range::parse("192.0.2.255").unwrap();
        assert_eq!(last.first_free(|address| Some(address.into())), None);
    }
}
