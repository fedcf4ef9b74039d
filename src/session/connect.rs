//! What a ConnectRequest gets, as far as the shard that received it can say
//! (client-protocol.md 2.2). The connection throttle comes before this, the pipeline's
//! `SessionTable::attach` after it.

use super::password;
use crate::types::{SessionId, Zxid};
use crate::wire::client::ConnectRequest;

/// What this server holds against the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRules {
    /// This server has lost its quorum and serves reads alone.
    pub read_only: bool,
    /// Newest zxid this *server* has applied, not the shard's visible one.
    pub last_applied: Zxid,
    /// `minSessionTimeout`.
    pub min_timeout_ms: i32,
    /// `maxSessionTimeout`.
    pub max_timeout_ms: i32,
}

/// Why a connection is closed without a byte, so that its client tries another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// The client wants to write and this server cannot.
    NotReadOnly,
    /// The client has seen this zxid, which this server has not.
    ClientAhead(Zxid),
}

/// How a connect goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Close, no bytes.
    Decline(Declined),
    /// Answer with timeout 0, then close: the client takes its session for expired.
    Refuse,
    /// Ask for a new session.
    Create {
        /// Negotiated.
        timeout_ms: i32,
    },
    /// The password is right: ask for the session. If it is unknown or closing: as `Refuse`.
    Attach {
        /// Which one.
        session: SessionId,
        /// Negotiated anew.
        timeout_ms: i32,
    },
}

/// The timeout a client gets. Zero and negative ones are just small.
pub fn negotiate(asked_ms: i32, min_ms: i32, max_ms: i32) -> i32 {
    asked_ms.min(max_ms).max(min_ms)
}

impl ConnectRules {
    /// Applies the checks in ZooKeeper's order. `read_only` is the byte behind the record, false
    /// when the client sent none.
    ///
    /// A wrong password is found here, before the pipeline hears of it: unlike in ZooKeeper, it
    /// cannot disconnect the rightful owner.
    pub fn admit(&self, request: &ConnectRequest<'_>, read_only: bool) -> Admission {
        if self.read_only && !read_only {
            return Admission::Decline(Declined::NotReadOnly);
        }
        // Signed, as ZooKeeper compares: what a client sends may be anything.
        if request.last_zxid_seen > self.last_applied.to_wire() {
            let seen = Zxid::from_wire(request.last_zxid_seen);
            return Admission::Decline(Declined::ClientAhead(seen));
        }
        let timeout_ms = negotiate(request.timeout_ms, self.min_timeout_ms, self.max_timeout_ms);
        let session = SessionId(request.session_id);
        if session == SessionId(0) {
            return Admission::Create { timeout_ms };
        }
        if request.passwd != Some(&password(session)[..]) {
            return Admission::Refuse;
        }
        Admission::Attach { session, timeout_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ConnectRules = ConnectRules {
        read_only: false,
        last_applied: Zxid(7),
        min_timeout_ms: 4000,
        max_timeout_ms: 40_000,
    };
    const SESSION: SessionId = SessionId(0x0100_004d_cd8d_0000);

    fn request(session: SessionId, passwd: Option<&[u8]>) -> ConnectRequest<'_> {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 7,
            timeout_ms: 10_000,
            session_id: session.0,
            passwd,
        }
    }

    #[test]
    fn timeouts_are_clamped_signed() {
        for (asked, got) in
            [(10_000, 10_000), (1, 4000), (0, 4000), (-1, 4000), (i32::MIN, 4000), (99_999, 40_000)]
        {
            assert_eq!(negotiate(asked, 4000, 40_000), got);
        }
    }

    #[test]
    fn a_new_session_needs_no_password() {
        for passwd in [None, Some(&b""[..]), Some(b"garbage")] {
            assert_eq!(
                RULES.admit(&request(SessionId(0), passwd), false),
                Admission::Create { timeout_ms: 10_000 }
            );
        }
    }

    #[test]
    fn only_the_right_password_attaches() {
        let right = password(SESSION);
        assert_eq!(
            RULES.admit(&request(SESSION, Some(&right)), false),
            Admission::Attach { session: SESSION, timeout_ms: 10_000 }
        );
        let longer = [&right[..], b"x"].concat();
        for wrong in [None, Some(&[0; 16][..]), Some(&right[..15]), Some(&longer)] {
            assert_eq!(RULES.admit(&request(SESSION, wrong), false), Admission::Refuse);
        }
    }

    #[test]
    fn a_client_ahead_goes_elsewhere_before_its_session_is_looked_at() {
        let ahead = Admission::Decline(Declined::ClientAhead(Zxid(8)));
        for session in [SessionId(0), SESSION] {
            let request = ConnectRequest { last_zxid_seen: 8, ..request(session, None) };
            assert_eq!(RULES.admit(&request, false), ahead);
        }
        let request = ConnectRequest { last_zxid_seen: -1, ..request(SessionId(0), None) };
        assert_eq!(RULES.admit(&request, false), Admission::Create { timeout_ms: 10_000 });
    }

    #[test]
    fn a_read_only_server_wants_read_only_clients() {
        let rules = ConnectRules { read_only: true, ..RULES };
        let request = ConnectRequest { last_zxid_seen: 8, ..request(SESSION, None) };
        assert_eq!(rules.admit(&request, false), Admission::Decline(Declined::NotReadOnly));
        assert_eq!(rules.admit(&request, true), Admission::Decline(Declined::ClientAhead(Zxid(8))));
        let request = ConnectRequest { last_zxid_seen: 7, session_id: 0, ..request };
        assert_eq!(rules.admit(&request, true), Admission::Create { timeout_ms: 10_000 });
        assert_eq!(RULES.admit(&request, true), Admission::Create { timeout_ms: 10_000 });
    }
}
