//! The ip scheme: a connection is its remote address.

use std::net::{IpAddr, Ipv6Addr};

use crate::tree::acl::{Id, parse_ip_pattern};

/// The id of a connection from `address`.
pub(super) fn id(address: IpAddr) -> Id {
    Id { scheme: "ip".into(), id: host_address(address) }
}

/// Whether an ACL may name this id.
pub(super) fn is_valid(id: &[u8]) -> bool {
    parse_ip_pattern(id).is_some()
}

/// An address as clients see it in whoAmI, in ACLs and in log lines.
///
/// COMPAT: `Inet6Address.getHostAddress` writes all eight groups, none compressed, and Java never
/// has an IPv4 address in IPv6 form.
pub fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => full_form(v6),
    }
}

fn full_form(address: Ipv6Addr) -> String {
    address.segments().map(|group| format!("{group:x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_java_writes_them() {
        for (address, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("fe80::a:00bc", "fe80:0:0:0:0:0:a:bc"),
        ] {
            assert_eq!(host_address(address.parse().unwrap()), expected);
        }
    }
}
