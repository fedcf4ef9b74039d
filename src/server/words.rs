//! Four-letter words between a shard, which hears them, and `admin/`, which knows the texts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;

use super::acceptor::Acceptor;
use super::clock::Clock;
use crate::admin::four_letter::{self, Context};
use crate::config::Config;
use crate::parts::Facts;
use crate::parts::figures::ShardFigures;
use crate::parts::pipeline::PipelineFigures;
use crate::parts::shard::Shard;
use crate::storage::disk::Dirs;
use crate::types::{ConnId, ConnRef, Map};
use crate::wire::four_letter::Word;

/// What answering needs; shared by all threads.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) config: Arc<Config>,
    pub(super) dirs: Dirs,
    pub(super) client_port: u16,
    pub(super) shards: Vec<Arc<ShardFigures>>,
    pub(super) pipeline: Arc<PipelineFigures>,
    pub(super) acceptor: Arc<Acceptor>,
    pub(super) backend: &'static str,
    pub(super) clock: Clock,
    pub(super) trace_mask: AtomicI64,
    /// Words that wait for the other parts' facts.
    pub(super) asked: Mutex<Map<ConnRef, Word>>,
}

impl Words {
    pub(super) fn keep_alive(&self) -> bool {
        self.config.client_tcp_keep_alive
    }

    /// Answers at once, or asks the other parts first.
    pub(super) fn ask(
        &self,
        shard: &mut Shard,
        conn: ConnId,
        peer: SocketAddr,
        word: Word,
        argument: Option<i64>,
    ) {
        tracing::debug!("Processing {} command from /{peer}", word.name());
        if word != Word::TelnetClose && !self.config.four_letter_words.allows(word.name()) {
            let refusal =
                format!("{} is not executed because it is not in the whitelist.\n", word.name());
            return shard.answer(conn, refusal.as_bytes());
        }
        if let Some(what) = four_letter::needs(word) {
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(shard.reference(conn), word);
            return shard.ask(conn, what);
        }
        let text = four_letter::render(word, &self.context(), &Facts::default(), argument);
        shard.answer(conn, &text);
    }

    /// The facts came.
    pub(super) fn tell(&self, shard: &mut Shard, conn: ConnId, facts: &Facts) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(word) = asked.remove(&shard.reference(conn)) else { return };
        drop(asked);
        shard.answer(conn, &four_letter::render(word, &self.context(), facts, None));
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            dirs: &self.dirs,
            client_port: self.client_port,
            shards: &self.shards,
            pipeline: &self.pipeline,
            connections: self.acceptor.total(),
            backend: self.backend,
            trace_mask: &self.trace_mask,
            now: self.clock.now(),
        }
    }
}
