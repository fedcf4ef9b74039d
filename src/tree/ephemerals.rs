//! Who owns which nodes: ephemerals by session, containers, nodes with a time to live. The
//! writer's view.

use super::znode::Owner;
use crate::types::{Map, SessionId};
use std::collections::BTreeSet;

type Paths = BTreeSet<Box<[u8]>>;

/// Paths by owner, each set sorted.
#[derive(Debug, Default)]
pub(super) struct Owned {
    sessions: Map<SessionId, Paths>,
    ephemerals: usize,
    containers: Paths,
    ttls: Paths,
}

impl Owned {
    /// A node came.
    pub(super) fn add(&mut self, path: &[u8], raw_owner: i64) {
        match Owner::from_raw(raw_owner) {
            Owner::None => {}
            Owner::Session(session) => {
                let new = self.sessions.entry(session).or_default().insert(path.into());
                self.ephemerals += usize::from(new);
            }
            Owner::Container => {
                self.containers.insert(path.into());
            }
            Owner::Ttl(_) => {
                self.ttls.insert(path.into());
            }
        }
    }

    /// A node went.
    pub(super) fn remove(&mut self, path: &[u8], raw_owner: i64) {
        match Owner::from_raw(raw_owner) {
            Owner::None => {}
            Owner::Session(session) => {
                if let Some(paths) = self.sessions.get_mut(&session) {
                    self.ephemerals -= usize::from(paths.remove(path));
                    if paths.is_empty() {
                        self.sessions.remove(&session);
                    }
                }
            }
            Owner::Container => {
                self.containers.remove(path);
            }
            Owner::Ttl(_) => {
                self.ttls.remove(path);
            }
        }
    }

    /// A session's paths.
    pub(super) fn of_session(&self, session: SessionId) -> impl Iterator<Item = &[u8]> {
        self.sessions.get(&session).into_iter().flatten().map(|path| &**path)
    }

    /// Sessions that own something.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// Ephemerals of all sessions.
    pub(super) fn ephemerals(&self) -> usize {
        self.ephemerals
    }

    /// Containers, then nodes with a time to live: what the expiry scan looks at.
    pub(super) fn expiring(&self) -> impl Iterator<Item = &[u8]> {
        self.containers.iter().chain(&self.ttls).map(|path| &**path)
    }
}
