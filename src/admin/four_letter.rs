//! Four-letter words.
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use crate::config::Config;
use crate::parts::figures::ShardFigures;
use crate::parts::pipeline::PipelineFigures;
use crate::parts::{Facts, Gather};
use crate::storage::disk::Dirs;
use crate::types::{Now, Zxid};
use crate::wire::four_letter::Word;
/// What answering needs.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Context<'a> {
    pub config: &'a Config,
    pub dirs: &'a Dirs,
    pub client_port: u16,
    pub shards: &'a [Arc<ShardFigures>],
    pub pipeline: &'a PipelineFigures,
    pub connections: usize,
    pub backend: &'static str,
    pub trace_mask: &'a AtomicI64,
    pub now: Now,
}
/// Which facts.
pub fn needs(_: Word) -> Option<Gather> { None }
/// The text.
pub fn render(word: Word, context: &Context<'_>, _: &Facts, _: Option<i64>) -> Vec<u8> {
    match word {
        Word::Ruok => b"imok".to_vec(),
        Word::Isro => b"rw".to_vec(),
        Word::Srvr | Word::Stat => format!("Zookeeper version: 3.9.5-ringkeeper, built on x\nZxid: {}\nMode: standalone\n", Zxid(context.pipeline.published.get())).into_bytes(),
        _ => Vec::new(),
    }
}
